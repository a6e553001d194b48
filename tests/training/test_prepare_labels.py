"""Labels made once and trained on, as a user starts it, small."""

import errno
import json
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from support.sounds import make_tones
from transformers import EncodecConfig, EncodecModel

from mert_hf.common.run_lock import RunLock
from mert_hf.common.settings import read_settings
from mert_hf.data.corpus import open_folder
from mert_hf.data.crops import BatchRange
from mert_hf.data.label_store import LabelStore
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.checkpoint_export import export_checkpoint
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.pretraining.sources import open_sources
from mert_hf.teachers import KMeansTeacher

TRAINING = Path(__file__).parents[2] / "training"
MODEL = shlex.split("""
    --recipe mert_small --model.hidden_size 32 --model.num_hidden_layers 1 --model.intermediate_size 32
    --model.conv_dim [16,16,16,16,16,16,16] --model.num_conv_pos_embeddings 16 --model.num_conv_pos_embedding_groups 4
    --teacher.codebook_sizes [16,12] --teacher.fit_s 20 --cqt.bins 24 --data.max_skipped 0.2 --data.workers 0
    --training.batch_size 2 --training.max_steps 3 --training.log_every 1
""")


def run_here(monkeypatch, script, *arguments):
    """Run a script in this process; return the message it exits with, if it does."""
    AcceleratorState._reset_state(reset_partial_state=True)  # a process of its own would begin without one
    monkeypatch.setattr(sys, "argv", [script, *MODEL, *map(str, arguments)])
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    try:
        runpy.run_path(str(TRAINING / script), run_name="__main__")
    except SystemExit as stop:
        assert isinstance(stop.code, str), stop.code
        assert len(stop.code.splitlines()) == 1
        return stop.code
    return None


@pytest.fixture
def labels(monkeypatch, music_folder, tmp_path):
    assert (
        run_here(monkeypatch, "prepare_labels.py", "--data.folder", music_folder, "--data.labels", tmp_path / "labels") is None
    )
    return tmp_path / "labels"


def test_a_model_is_trained_on_the_labels(capsys, monkeypatch, labels, music_folder, tmp_path):
    results = json.loads((labels / "results.json").read_text())
    assert (results["tracks"], results["tracks_skipped"]) == (6, 0)
    assert results["crops_agree"]["inner"] == [1.0, 1.0]
    assert max(results["training_crops_agree"]["inner"]) < 1.0
    said = capsys.readouterr().out
    assert "  inner frames of crops that begin on a frame: 100.0 100.0 %" in said
    shares = " ".join(f"{100 * share:.1f}" for share in results["training_crops_agree"]["all"])
    assert f"  all frames of crops as training cuts them: {shares} %" in said
    arguments = ("--data.folder", music_folder, "--data.labels", labels, "--output_dir", tmp_path / "run")
    decoded = []
    monkeypatch.setattr("mert_hf.data.tracks.check_audio", lambda source, least: decoded.append(source))
    assert run_here(monkeypatch, "pretrain.py", *arguments) is None
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 3
    assert decoded == []  # the corpus was checked when the labels were made
    assert not (tmp_path / "run" / "teacher").exists()  # nobody was asked
    assert "stand-in" in json.loads((tmp_path / "run" / "results.json").read_text())["teacher"]
    # the recipe beside the labels brings their settings along
    arguments = ("--recipe", labels / "recipe.yaml", "--output_dir", tmp_path / "again")
    assert run_here(monkeypatch, "pretrain.py", *arguments) is None
    losses = [read_metrics(tmp_path / run / "metrics.jsonl")[-1]["loss"] for run in ("run", "again")]
    assert losses[0] == losses[1]
    assert run_here(monkeypatch, "pretrain.py", *arguments[:3], tmp_path / "online", "--teacher.online", "true") is None
    asked, stored = (folder / "teacher" / "teacher.safetensors" for folder in (tmp_path / "online", labels))
    assert asked.read_bytes() == stored.read_bytes()
    said = [json.loads((tmp_path / run / "results.json").read_text())["labels"] for run in ("run", "online")]
    assert said == ["stored", "of crops"]


def assert_labels_are_of_the_crops(source, tracks, teacher):
    """Labels of a source are the teacher's codes of whole tracks, at the place where each crop is heard."""
    (batch,) = source.batches(BatchRange(4, 0, 1))
    heard = 0
    for crop, labels in zip(batch.waveforms, batch.labels, strict=True):
        for track in tracks:
            for (start,) in (track.unfold(0, 64, 1) == crop[:64]).all(1).nonzero().tolist():
                first = round(start * 75 / 24000)
                assert torch.equal(labels, teacher(track[None])[0, :, first : first + labels.shape[1]])
                heard += 1
    assert heard == len(batch.labels) == 4


def test_labels_of_a_folder_to_validate_on(monkeypatch, labels, music_folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name, cycles in (("y.wav", 5), ("z.wav", 7)):
        soundfile.write(other / name, make_tones(4.0, 24000, cycles), 24000)
    audio = ("--data.folder", music_folder, "--data.labels", labels, "--validation.folder", other)
    run = tmp_path / "run"

    def train(output, *arguments):
        common = ("--output_dir", tmp_path / output, "--training.checkpoint_every", 2)
        return run_here(monkeypatch, "pretrain.py", *audio, *common, *arguments)

    def results():
        return json.loads((run / "results.json").read_text())

    assert f"--data.labels OTHER_FOLDER --teacher.folder {labels}/teacher, and give" in train("run")
    prepare = ("prepare_labels.py", "--data.folder", other)
    assert run_here(monkeypatch, *prepare, "--data.labels", tmp_path / "own", "--teacher.fit_s", 7) is None
    assert "two teachers of the same settings" in train("run", "--validation.labels", tmp_path / "own")
    same = ("--data.labels", tmp_path / "same", "--teacher.folder", labels / "teacher")
    assert run_here(monkeypatch, *prepare, *same) is None
    given = ("--validation.labels", tmp_path / "same")
    with monkeypatch.context() as patch:
        decoded = []
        patch.setattr("mert_hf.data.tracks.check_audio", lambda source, least: decoded.append(source))
        assert train("run", *given) is None
        assert decoded == []  # both folders were checked when their labels were made
    assert (results()["tracks"], results()["tracks_validated_on"]) == (6, 2)

    settings = read_settings(PretrainSettings, str(run / "recipe.yaml"), TRAINING)
    setup = Setup(settings)
    sources = open_sources(settings, setup.sampling_rate, RunFolder(run), setup.labels, setup.validation_labels)
    tracks = [torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in sorted(other.iterdir())]
    assert_labels_are_of_the_crops(sources.validation, tracks, KMeansTeacher.from_pretrained(labels / "teacher"))

    # resumed it validates as what was not stopped did; a track that has no labels by now is left out
    soundfile.write(other / "new.wav", make_tones(4.0, 24000, 3), 24000)
    expected, weights = results()["validation"], (run / "model" / "model.safetensors").read_bytes()
    for folder in (run / "checkpoints" / "step_00000003", run / "model"):
        shutil.rmtree(folder)
    assert train("run", *given, "--training.resume") is None
    assert (results()["validation"], results()["tracks_validated_on"]) == (expected, 2)
    assert (run / "model" / "model.safetensors").read_bytes() == weights
    assert [report["step"] for report in read_metrics(run / "validation.jsonl")] == [3]

    for file in other.iterdir():
        file.write_text("no audio")
    assert "validation.folder: none of the 3 tracks in" in train("none", *given)
    alone = (*given, "--output_dir", tmp_path / "alone")
    assert "validation.labels needs validation.folder" in run_here(monkeypatch, "pretrain.py", *audio[:4], *alone)
    export_checkpoint(run, tmp_path / "exported")
    assert (tmp_path / "exported" / "model.safetensors").read_bytes() == weights


def test_two_processes_make_the_labels_of_one(labels, music_folder, tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    script = [str(TRAINING / "prepare_labels.py"), *MODEL, "--data.folder", str(music_folder)]
    (music_folder / "broken.wav").write_text("no audio")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script]
    result = subprocess.run([*command, "--data.labels", str(tmp_path / "two")], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "6 tracks, 0.01 hours" in result.stdout
    one, two = LabelStore(labels), LabelStore(tmp_path / "two")
    assert {row.shard for row in two.rows.values()} == {"00000", "00001"}
    assert one.rows.keys() == two.rows.keys()
    assert all(torch.equal(one.read(name), two.read(name)) for name in one.rows)
    assert json.loads((tmp_path / "two" / "skipped.jsonl").read_text())["file"] == "broken.wav"


def test_a_codec_can_be_the_teacher(monkeypatch, music_folder, tmp_path):
    torch.manual_seed(0)
    config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, num_lstm_layers=1, target_bandwidths=[1.5])
    EncodecModel(config).save_pretrained(tmp_path / "codec")
    teacher = ("--teacher.kind", "codec", "--teacher.folder", tmp_path / "codec", "--teacher.codebook_sizes", "[1024,1024]")
    audio = ("--data.folder", music_folder, "--data.labels", tmp_path / "labels")
    assert run_here(monkeypatch, "prepare_labels.py", *audio, *teacher) is None
    labels, corpus = LabelStore(tmp_path / "labels"), open_folder(music_folder)
    for index, track in enumerate(corpus.tracks):
        assert labels.rows[track.name].frames == -(-corpus.length(index, 24000) // 320)
    assert run_here(monkeypatch, "pretrain.py", *audio, *teacher, "--output_dir", tmp_path / "run") is None
    assert "codec" in json.loads((tmp_path / "run" / "results.json").read_text())["teacher"]
    online = ("--output_dir", tmp_path / "online", "--teacher.online", "--training.max_steps", 1)
    assert run_here(monkeypatch, "pretrain.py", *audio, *teacher, *online) is None
    (tmp_path / "codec" / "model.safetensors").unlink()
    said = run_here(monkeypatch, "pretrain.py", *audio, *teacher, "--output_dir", tmp_path / "none", "--teacher.online")
    assert "codec cannot be loaded" in said


def test_labels_that_do_not_belong_to_the_run_are_refused(monkeypatch, labels, music_folder, tmp_path):
    def train(*arguments):
        common = ("--output_dir", tmp_path / "run", "--data.labels", labels)
        return run_here(monkeypatch, "pretrain.py", *common, *arguments)

    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "z.wav", make_tones(4.0, 24000), 24000)
    audio = ("--data.folder", music_folder)
    assert "are of another corpus: they were made for 6 tracks" in train("--data.folder", other)
    assert "made by another teacher: teacher.codebook_sizes" in train(*audio, "--teacher.codebook_sizes", "[16]")
    assert "are of audio at 24000 Hz, 75 a second; the model works at 12000 Hz" in train(*audio, "--model.sample_rate", 12000)
    for name in ("a.wav", "b.flac"):
        (music_folder / name).unlink()
        soundfile.write(music_folder / name, make_tones(5.0, 44100, 9), 44100)
    assert "2 of 6 tracks" in train(*audio)
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert reasons == ["the audio file was replaced since its labels were made"] * 2
    assert "holds no labels" in train(*audio, "--data.labels", tmp_path)


def fill_the_disk(file, content):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_mistakes_before_the_labels_are_made(monkeypatch, labels, music_folder, tmp_path):
    def prepare(*arguments):
        return run_here(monkeypatch, "prepare_labels.py", *arguments)

    audio = ("--data.folder", music_folder)
    assert "--data.labels is missing" in prepare(*audio)
    assert "--data.folder is missing" in prepare("--data.labels", tmp_path / "new")
    assert "data.streaming: labels belong to" in prepare(
        *(
            "--data.dataset",
            music_folder,
            "--data.streaming",
            "true",
            "--validation.share",
            0,
            "--data.labels",
            tmp_path / "new",
        )
    )
    assert "teacher.kind=codec needs teacher.folder" in prepare(*audio, "--teacher.kind", "codec")
    recipe = (labels / "recipe.yaml").read_text()
    said = prepare(*audio, "--data.labels", labels, "--teacher.feature_options", "{log_mel: {bins: 50}}")
    assert "was fitted with other settings" in said
    assert (labels / "recipe.yaml").read_text() == recipe
    with monkeypatch.context() as full:
        full.setattr("mert_hf.data.label_store._write_flushed", fill_the_disk)
        assert "the disk is full; make room and give the same" in prepare(*audio, "--data.labels", tmp_path / "full")
    assert prepare(*audio, "--data.labels", tmp_path / "full") is None
    lock = RunLock(labels / "labels.lock")
    lock.acquire()
    try:
        assert "another run is writing into" in prepare(*audio, "--data.labels", labels)
    finally:
        lock.release()
