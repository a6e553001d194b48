"""Runs that were begun when fine-tuning read tables itself (commit bec028e) are the same runs now, and go on."""

import numpy as np
import pytest
import soundfile
import yaml

from mert_hf.common.errors import InputError
from mert_hf.common.settings import write_settings
from mert_hf.finetuning.data import open_data
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings, LabelledDataSettings, ModelSettings

# `data.json` as that commit wrote it, the beginning of each digest
TRACKS = "245f8df0a748907d"
WRITTEN = {
    "single_label_classification": (["label"], {"labels": "005d36ced9daad68", "splits": "8e9f5c01b8a5ef75"}),
    "multi_label_classification": (["tags"], {"labels": "129e20f31eb25277", "splits": "49b1f931a27447b1"}),
    "regression": (["arousal", "valence"], {"labels": "91f92a16f7bcd49f", "splits": "49b1f931a27447b1"}),
}


@pytest.fixture
def music(tmp_path):
    """Eighteen tracks, two of them equal to others, some in groups."""
    (tmp_path / "music").mkdir()
    lines = ["file_name,label,tags,arousal,valence,group"]
    for number in range(18):
        samples = np.random.default_rng(number % 16).uniform(-0.5, 0.5, 5000 + 100 * number % 700)
        soundfile.write(tmp_path / "music" / f"{number}.wav", samples, 8000)
        group = number // 2 if number < 6 else ""
        lines.append(f"{number}.wav,{'abc'[number % 3]},{'x;y' if number % 2 else 'y'},{number / 3},{-number},{group}")
    (tmp_path / "music" / "metadata.csv").write_text("\n".join(lines))
    return tmp_path / "music"


@pytest.mark.parametrize("problem_type", WRITTEN)
def test_tracks_labels_and_splits_are_those_that_were_written_down(music, tmp_path, problem_type):
    columns, written = WRITTEN[problem_type]
    settings = FinetuneSettings(
        model=ModelSettings(problem_type=problem_type), data=LabelledDataSettings(folder=str(music), label_columns=columns)
    )
    (tmp_path / "run").mkdir()
    facts = open_data(settings, FinetuneFolder(tmp_path / "run"), 24000).facts()
    assert {name: digest[:16] for name, digest in facts.items()} == {"tracks": TRACKS, **written}


def test_their_settings_are_those_of_now(tmp_path, caplog):
    run, settings = FinetuneFolder(tmp_path), FinetuneSettings()
    write_settings(settings, run.recipe)
    before = yaml.safe_load(run.recipe.read_text())
    assert (before.pop("task"), before["data"].pop("task_folder")) == (None, None)  # there were none
    assert (before["data"]["clip_s"], before["model"]["problem_type"]) == (5.0, "single_label_classification")
    # what there was not at first is what runs did then: one clip a track, all clips of the validation tracks, nothing kept
    assert [before["data"].pop(name) for name in ("clips_per_track", "validation_clips", "cached_clips")] == [1, 10, 0]
    run.recipe.write_text(yaml.safe_dump(before))
    run.keep_former(settings)  # nothing is kept of a run in which no update was done
    assert settings.data.validation_clips == 10
    run.checkpoint(3).mkdir(parents=True)
    run.keep_former(settings)
    assert "is older than data.validation_clips, which is null for it" in caplog.text
    run.require_settings(settings)
    other = FinetuneSettings(data=LabelledDataSettings(clips_per_track=2, validation_clips=4))
    run.keep_former(other)
    with pytest.raises(InputError, match=r"other settings: data.clips_per_track \(1 -> 2\)\."):
        run.require_settings(other)


def test_a_frozen_encoder_hears_on_as_it_did_before_features_were_kept(tmp_path):
    run, settings = FinetuneFolder(tmp_path), FinetuneSettings(model=ModelSettings(method="frozen"))
    assert settings.data.cached_clips == 20  # as many as twenty epochs can draw
    write_settings(settings, run.recipe)
    before = yaml.safe_load(run.recipe.read_text())
    del before["data"]["cached_clips"]
    run.recipe.write_text(yaml.safe_dump(before))
    run.checkpoint(3).mkdir(parents=True)
    run.keep_former(settings)
    assert (settings.data.cached_clips, settings.data.validation_clips) == (0, 10)
    run.require_settings(settings)
