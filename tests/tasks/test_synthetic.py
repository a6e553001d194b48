"""The tasks of the synthetic suite."""

import numpy as np
import pytest

from mert_hf.common.errors import InputError
from mert_hf.synthetic import benchmark
from mert_hf.synthetic.benchmark import make_score
from mert_hf.tasks import tasks_of
from mert_hf.tasks.base import SPLITS, Check
from mert_hf.tasks.synthetic import CHORD, PITCH, SYNTHETIC, TAGS, TEMPO, piece_tags, with_renderer

SIZES = {"train": 4, "validation": 2, "test": 3}


@pytest.fixture
def small(monkeypatch):
    for name in ("notes", "pieces"):
        monkeypatch.setitem(benchmark.SIZES, name, SIZES)


def test_every_task_is_ready_without_a_download_and_reads_its_audio(small, tmp_path):
    assert [task.name.removeprefix("synthetic_") for task in tasks_of("synthetic")] == [
        "pitch",
        "instrument",
        "key",
        "chord",
        "beat",
        "tempo",
        "tagging",
    ]
    fingerprints = {}
    for task in SYNTHETIC:
        assert task.check(None) == Check()
        data = task.load(tmp_path)
        fingerprints[task.name] = data.fingerprint
        if task is not CHORD:
            assert {split: len(examples) for split, examples in data.splits.items()} == SIZES
        for split in SPLITS:
            for example in data.splits[split]:
                target = data.target(example)
                assert np.size(target)
            waveform = data.splits[split][0].read(16000)
            seconds = {"pitch": 1.0, "instrument": 1.0, "chord": 1.0}.get(task.name.split("_")[1], 10.0)
            assert len(waveform) == seconds * 16000 and np.abs(waveform).max() > 0.1
    # tasks that hear the same audio share its features
    heard = {name: fingerprints[f"synthetic_{name}"] for name in ("key", "beat", "tempo", "tagging")}
    assert len({*heard.values()}) == 1
    assert len({*fingerprints.values()}) == 3


def test_in_noise_probes_learn_from_the_same_clips_and_are_tested_on_others(small, tmp_path):
    for clean, noisy in zip(SYNTHETIC, tasks_of("synthetic_noise"), strict=True):
        assert noisy.name == f"{clean.name}_noise"
        ours, theirs = clean.load(tmp_path), noisy.load(tmp_path)
        assert ours.fingerprint != theirs.fingerprint and "pink noise 10 dB below" in theirs.origin
        for split in SPLITS:
            for one, other in zip(ours.splits[split], theirs.splits[split], strict=True):
                assert (one.name, one.label, one.start_s) == (other.name, other.label, other.start_s)
                assert np.array_equal(one.read(24000), other.read(24000)) == (split != "test")


def test_chords_are_those_that_sound(small, tmp_path):
    data = CHORD.load(tmp_path)
    for example in data.splits["test"]:
        assert example.group == example.name.split("@")[0]  # chords of a piece are no independent examples
        index = int(example.group[-5:])
        labels = make_score("pieces", "test", index)
        (span,) = [span for span in labels.chords if span.start_s == example.start_s]
        assert example.end_s == span.start_s + 1.0 <= span.end_s
        root, quality = example.label.split(":")
        assert span.name.startswith(f"{root}:") and (quality == "min") == span.quality.startswith("min")
        assert span.quality not in ("dim", "hdim7", "dim7", "sus4")


def test_tempo_is_in_octaves(small, tmp_path):
    data = TEMPO.load(tmp_path)
    for index, example in enumerate(data.splits["train"]):
        assert 2 ** data.target(example)[0] == pytest.approx(make_score("pieces", "train", index).tempo_bpm, rel=1e-5)


def test_tags_have_positives_and_negatives_in_every_split():
    for split, count in (("train", 120), ("test", 120)):
        tags = [piece_tags(make_score("pieces", split, index)) for index in range(count)]
        for tag in TAGS:
            assert 4 <= sum(tag in found for found in tags) <= count - 20, (split, tag)


def test_no_class_lacks_training_examples():
    pitches = {make_score("notes", "train", index).notes[0].pitch for index in range(880)}
    assert {str(pitch) for pitch in pitches} == {*PITCH.labels}


def test_another_renderer_is_another_dataset(monkeypatch, tmp_path):
    task = with_renderer(PITCH, "fluidsynth")
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = task.check(tmp_path).problems
    assert problem.startswith("the program fluidsynth is not installed")
    with pytest.raises(InputError, match="fluidsynth is not installed"):
        task.load(tmp_path)


def test_one_soundfont_for_all_splits_is_said_before_and_with_the_results(monkeypatch, tmp_path):
    program, font = tmp_path / "fluidsynth", tmp_path / "own.sf2"
    program.write_text("")
    program.chmod(0o755)
    font.write_bytes(b"font")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MERT_HF_SOUNDFONT", str(font))
    monkeypatch.delenv("MERT_HF_TEST_SOUNDFONT", raising=False)
    monkeypatch.setattr("mert_hf.tasks.synthetic.write_benchmark", lambda *_: None)
    task = with_renderer(PITCH, "fluidsynth")
    (note,) = task.check(tmp_path).notes
    assert note.startswith(
        "all splits are played with one soundfont, own.sf2; install TimGM6mb.sf2 or set MERT_HF_TEST_SOUNDFONT"
    )
    data = task.load(tmp_path)
    assert note in data.notes and "for all splits" in data.origin
    other = tmp_path / "other.sf2"
    other.write_bytes(b"other")
    monkeypatch.setenv("MERT_HF_TEST_SOUNDFONT", str(other))
    assert task.check(tmp_path) == Check()
    assert task.load(tmp_path).fingerprint != data.fingerprint
