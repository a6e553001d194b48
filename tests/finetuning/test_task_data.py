"""Fine-tuning on the tasks there are: what it is given of each, and which it refuses."""

import json

import numpy as np
import pytest
from support.task_layouts import BUILDERS

from mert_hf.common.errors import InputError
from mert_hf.finetuning import data as module
from mert_hf.finetuning.data import arrange
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.scores import chance_scores
from mert_hf.finetuning.settings import PROBLEM_TYPES, FinetuneSettings, LabelledDataSettings, ModelSettings
from mert_hf.finetuning.splits import evaluation_clips
from mert_hf.probing.metrics import METRICS
from mert_hf.tasks import TASKS, tasks_of
from mert_hf.tasks.base import SPLITS

FOREIGN = [task for suite in ("marble", "deezer") for task in tasks_of(suite)]
RATE = 8000


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, build in BUILDERS.items():
        build(folder / name)
    return folder


def folder_of_run(folder) -> FinetuneFolder:
    folder.mkdir(exist_ok=True)
    return FinetuneFolder(folder)


@pytest.mark.parametrize("task", FOREIGN, ids=lambda task: task.name)
def test_every_task_is_fine_tuned_on_or_refused_in_a_line(task, data_folder, tmp_path):
    if task.kind in ("beats", "separation"):
        with pytest.raises(InputError, match=f"task '{task.name}' asks for {task.kind}; .*training/probe.py") as refusal:
            FinetuneSettings(task=task.name)
        assert "\n" not in str(refusal.value)
        return
    settings = FinetuneSettings(task=task.name)
    assert settings.model.problem_type == PROBLEM_TYPES[task.kind]
    assert settings.data.clip_s == (task.windows.duration_s or 5.0)
    loaded = task.load(data_folder)
    data = arrange(loaded, folder_of_run(tmp_path), 0.1)
    assert data.labels == list(loaded.labels)
    assert {split: len(places) for split, places in data.splits.items()} == {
        split: len(loaded.splits[split]) for split in SPLITS
    }
    for split in SPLITS:
        for place, example in zip(data.splits[split], loaded.splits[split], strict=True):
            np.testing.assert_array_equal(data.targets[place], loaded.target(example))
    first = loaded.splits["test"][0].read(RATE)
    clips = evaluation_clips(data, "test", round(settings.data.clip_s * RATE), RATE)
    heard = clips[0]["waveform"]
    if task.windows.standardise:
        assert abs(heard.mean()) < 1e-5 and heard.std() == pytest.approx(1, abs=1e-3)
    else:
        np.testing.assert_array_equal(heard, first[: len(heard)])
    # what is told without hearing is what the measure says of it
    chance = chance_scores(data.targets[data.splits["train"]], clips.references, data.task, data.labels)
    assert task.monitor in chance
    if task.kind == "multiclass":
        guess = np.bincount(data.targets[data.splits["train"]]).argmax()
        guesses = np.full(len(clips.references), guess)
        assert chance["accuracy"] == METRICS["accuracy"](clips.references, guesses, data.labels).values["accuracy"]


def test_windows_of_a_task_are_heard_by_their_rules(data_folder, tmp_path, monkeypatch):
    singers = arrange(TASKS["vocalset_singer"].load(data_folder), folder_of_run(tmp_path / "a"), 0.1)
    clips = evaluation_clips(singers, "test", 1000, RATE)  # every window is an example of its own
    assert len(clips) > len(clips.tracks) and len(clips.references) == len(clips)
    np.testing.assert_array_equal(clips.answers(np.eye(len(clips))), np.eye(len(clips)))
    tags = arrange(TASKS["deezer_magnatagatune"].load(data_folder), folder_of_run(tmp_path / "b"), 0.1)
    assert "quiet windows are heard as well" in tags.notes
    clips = evaluation_clips(tags, "test", 100, RATE)
    assert np.bincount(clips.track_of_clip).tolist() == [25] * len(clips.tracks)
    assert len(clips.references) == len(clips.tracks)
    monkeypatch.setattr(tags.tracks, "_heard_s", 0.1)
    assert tags.tracks.length(0, RATE) == 800 and len(tags.tracks.read(0, RATE)) == 800


def test_parts_of_audio_are_what_their_examples_hear(small_chords, tmp_path):
    loaded = TASKS["synthetic_chord"].load(tmp_path / "data")
    data = arrange(loaded, folder_of_run(tmp_path / "run"), 0.1)
    pairs = list(zip(data.splits["train"], loaded.splits["train"], strict=True))
    assert any(example.start_s > 0 for _, example in pairs)
    for place, example in pairs:
        np.testing.assert_array_equal(data.tracks.read(place, 24000), example.read(24000))
        np.testing.assert_array_equal(data.tracks.read(place, 24000, 500, 900), example.read(24000)[500:1400])


@pytest.fixture
def small_chords(monkeypatch):
    from mert_hf.synthetic import benchmark

    monkeypatch.setitem(benchmark.SIZES, "pieces", {"train": 3, "validation": 1, "test": 1})
    monkeypatch.setattr(benchmark, "PIECE_S", 6.0)
    benchmark.make_score.cache_clear()
    yield
    benchmark.make_score.cache_clear()


def test_damaged_audio_of_a_task_is_skipped_and_listed_and_the_rest_is_not_checked_again(tmp_path, monkeypatch):
    BUILDERS["emomusic"](tmp_path / "emomusic")
    loaded = TASKS["emomusic"].load(tmp_path)
    damaged = loaded.splits["train"][0]
    damaged.audio.write_bytes(b"no audio")
    run = folder_of_run(tmp_path / "run")
    data = arrange(loaded, run, 0.1)
    (line,) = map(json.loads, run.skipped.read_text().splitlines())
    assert line["file"] == f"train: {damaged.name}"
    assert len(data.splits["train"]) == len(loaded.splits["train"]) - 1
    facts = data.facts()
    for place, example in zip(data.splits["train"], loaded.splits["train"][1:], strict=True):
        np.testing.assert_array_equal(data.targets[place], loaded.target(example))
    checked, original = [], module.check_track
    monkeypatch.setattr(module, "check_track", lambda name, *given: checked.append(name) or original(name, *given))
    assert arrange(loaded, run, 0.1).facts() == facts and checked == [line["file"]]
    with pytest.raises(InputError, match="1 of .* tracks in .* cannot be used"):
        arrange(loaded, run, 0.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "gtzan_gener"}, "there is no task 'gtzan_gener'; did you mean gtzan_genre"),
        ({"task": "gtzan_genre", "data": LabelledDataSettings(folder="x")}, "task and data.folder are both given"),
        ({"task": "gtzan_genre", "data": LabelledDataSettings(dataset="x")}, "task and data.dataset are both given"),
        ({"data": LabelledDataSettings(task_folder="x")}, "data.task_folder is given without a task"),
        (
            {"task": "gtzan_genre", "model": ModelSettings(problem_type="regression")},
            "model.problem_type='regression': the task gtzan_genre is of 'single_label_classification'; leave it out",
        ),
    ],
)
def test_settings_that_do_not_go_together(given, message):
    with pytest.raises(InputError, match=message):
        FinetuneSettings(**given)


def test_what_a_task_brings_along_may_be_given_otherwise():
    assert FinetuneSettings(task="giantsteps_key", data=LabelledDataSettings(clip_s=10.0)).data.clip_s == 10.0
    tagging = ModelSettings(problem_type="multi_label_classification")
    assert FinetuneSettings(task="jamendo_mood", model=tagging).model.problem_type == "multi_label_classification"
    assert FinetuneSettings().data.clip_s == 5.0
