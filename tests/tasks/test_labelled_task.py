"""Labelled music as a task: what fine-tuning and probing are given of a folder or a dataset."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import sklearn.metrics
import soundfile
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.probing.metrics import METRICS
from mert_hf.probing.report.results import row_values
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import SPLITS, Check
from mert_hf.tasks.examples import Cell
from mert_hf.tasks.labelled import LabelledDataset, LabelledFolder, LabelReading, labelled_task
from mert_hf.tasks.labelled.splits import read_split, split_tracks

SIX = {f"{label}/{number}.wav": 1 + number / 10 for label in ("jazz", "rock") for number in range(6)}


@pytest.fixture
def folder(tmp_path):
    for seed, (name, seconds) in enumerate(SIX.items()):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "music" / name, make_tones(seconds, 8000, seed=seed), 8000)
    return tmp_path / "music"


def examples(data):
    return {example.name: example for split in SPLITS for example in data.splits[split]}


def test_a_folder_is_a_task_like_any_other(folder):
    task = labelled_task(LabelledFolder(folder))
    data = task.load()
    assert (task.name, task.title, task.kind, data.labels) == ("folder_music", "music", "multiclass", ("jazz", "rock"))
    assert task.published == {} and (data.origin, data.revisions) == (str(folder), {})
    found = examples(data)
    assert sorted(found) == sorted(SIX) and all(data.splits[split] for split in SPLITS)
    for name, example in found.items():
        assert data.labels[data.target(example)] == name.split("/")[0] == example.label
        assert example.duration_s() == pytest.approx(SIX[name]) and len(example.read(16000)) == round(16000 * SIX[name])
    assert sorted(found, key=lambda name: found[name].number) == sorted(SIX)
    assert task.check() == Check(notes=data.notes) == Check(notes=("splits drawn by tracks; equal files stay together",))
    # of 12 s, in clips of 5: two whole ones, and no third of 2 s
    assert task.windows.spans(12.0) == [(0.0, 5.0), (5.0, 10.0)] and len(task.windows.spans(12.6)) == 3


@pytest.mark.parametrize(
    ("problem_type", "columns", "label", "target"),
    [
        ("multi_label_classification", ["tags"], ("loud", "slow"), [1, 1]),
        ("regression", ["arousal", "valence"], (0.5, -1.0), [0.5, -1.0]),
    ],
)
def test_several_labels_and_numbers(folder, problem_type, columns, label, target):
    lines = [f"{name},slow;loud,0.5,-1" if "rock" in name else f"{name},,1,2" for name in SIX]
    (folder / "metadata.csv").write_text("\n".join(["file_name,tags,arousal,valence", *lines]))
    data = labelled_task(LabelledFolder(folder, problem_type=problem_type, reading=LabelReading(label_columns=columns))).load()
    example = examples(data)["rock/0.wav"]
    assert example.label == label and data.target(example).tolist() == target


def test_equal_files_and_groups_are_in_one_split_whatever_the_seed(folder):
    shutil.copy(folder / "jazz" / "0.wav", folder / "rock" / "twin.wav")
    lines = [f"{name},{name[:4]},{'band' if name.endswith('1.wav') else ''}" for name in (*SIX, "rock/twin.wav")]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label,group", *lines]))
    drawn = set()
    for seed in range(20):
        data = labelled_task(LabelledFolder(folder, seed=seed)).load()
        place = {example.name: split for split in SPLITS for example in data.splits[split]}
        assert place["jazz/0.wav"] == place["rock/twin.wav"] and place["jazz/1.wav"] == place["rock/1.wav"]
        found = examples(data)
        assert found["jazz/1.wav"].group == found["rock/1.wav"].group != found["rock/2.wav"].group
        drawn.add(place["jazz/0.wav"])
    assert drawn == set(SPLITS)


def test_the_fingerprint_changes_with_files_labels_and_splits(folder):
    def fingerprint(**options):
        return labelled_task(LabelledFolder(folder, **options)).load().fingerprint

    first = fingerprint()
    assert fingerprint() == first != fingerprint(seed=2)
    soundfile.write(folder / "jazz" / "0.wav", make_tones(1.3, 8000, seed=99), 8000)
    second = fingerprint()
    (folder / "jazz").rename(folder / "swing")
    assert len({first, second, fingerprint()}) == 3


def test_what_cannot_be_read_is_left_out_listed_and_noted(folder, tmp_path):
    (folder / "rock" / "5.wav").write_bytes(b"no audio")
    report = tmp_path / "skipped.jsonl"
    source = LabelledFolder(folder, index=tmp_path / "tracks.json", report=report)
    data = labelled_task(source).load()
    assert "rock/5.wav" not in examples(data)
    (line,) = map(json.loads, report.read_text().splitlines())
    assert line["file"] == "rock/5.wav" and f"1 of 12 tracks are left out: rock/5.wav ({line['reason']})" in data.notes
    with pytest.raises(InputError, match=r"1 of 12 tracks in .* cannot be used \(8%, data.max_skipped is 5%\)"):
        labelled_task(LabelledFolder(folder, reading=LabelReading(max_skipped=0.05))).load()


def test_a_dataset_gives_what_its_folder_gives(folder, tmp_path):
    from datasets import Audio, ClassLabel, Dataset, Features

    names = sorted(SIX)
    columns = {"audio": [str(folder / name) for name in names], "label": [int("rock" in name) for name in names]}
    features = Features({"audio": Audio(sampling_rate=8000), "label": ClassLabel(names=["jazz", "rock"])})
    Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    one, other = labelled_task(LabelledFolder(folder)).load(), labelled_task(LabelledDataset(str(tmp_path / "saved"))).load()
    for split in SPLITS:
        assert len(one.splits[split]) == len(other.splits[split])
        for ours, theirs in zip(one.splits[split], other.splits[split], strict=True):
            assert (ours.number, ours.label) == (theirs.number, theirs.label)
            assert isinstance(theirs.audio, Cell) and theirs.name == f"row {ours.number}"
            np.testing.assert_array_equal(ours.read(8000), theirs.read(8000))


def test_readings_that_cannot_be_meant(folder):
    for given, message in (
        ({"validation_share": 0.0}, "validation_share=0.0 must lie within"),
        ({"label_columns": []}, "label_columns is empty"),
        ({"max_skipped": 2.0}, "max_skipped"),
    ):
        with pytest.raises(InputError, match=message):
            LabelReading(**given)
    with pytest.raises(InputError, match="several columns are for problem_type regression"):
        labelled_task(LabelledFolder(folder, reading=LabelReading(label_columns=["a", "b"]))).load()


def test_splits_are_those_that_were_drawn_before_there_were_tasks_of_folders():
    """A run that was begun before goes on, and one that is made again is the same: digests from commit bec028e."""
    classes = np.arange(97) % 5
    groups = [f"artist {number * 7 % 41}" for number in range(97)]
    drawn = split_tracks(groups, classes, 0.15, 0.2, seed=1337)
    rows = [{"split": "test" if number % 41 < 9 else "train"} for number in range(97)]
    given = read_split(rows, "split", [str(number) for number in range(97)], classes, 0.15, seed=3)
    digests = [hashlib.sha256(json.dumps(splits).encode()).hexdigest()[:16] for splits in (drawn, given)]
    assert digests == ["43bd6f4676ac5c10", "a0c867e0489c929c"]


def test_the_balanced_accuracy_stands_in_tables_of_labelled_music_alone(folder):
    scores = METRICS["accuracy"]([0, 0, 0, 2], [0, 2, 0, 2], ["a", "b", "c"])
    assert scores.values["balanced_accuracy"] == sklearn.metrics.balanced_accuracy_score([0, 0, 0, 2], [0, 2, 0, 2])
    assert row_values(labelled_task(LabelledFolder(folder)), "folder", scores.values) == ["accuracy", "balanced_accuracy"]
    assert row_values(TASKS["synthetic_pitch"], "synthetic", scores.values) == ["accuracy"]
    assert row_values(TASKS["gtzan_genre"], "marble", scores.values) == ["accuracy"]
