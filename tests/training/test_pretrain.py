"""The main job as a user starts it, small."""

import itertools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file
from support.sounds import make_tones
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForPreTraining, pipeline

from mert_hf import MERTForPreTraining, MERTModel
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.sealed import seal
from mert_hf.pretraining.checkpoint_export import export_checkpoint

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "training" / "pretrain.py"
SMALL = [
    "--recipe",
    "mert_small",
    "--model.hidden_size",
    "32",
    "--model.num_hidden_layers",
    "2",
    "--model.intermediate_size",
    "64",
    "--model.conv_dim",
    "[16,16,16,16,16,16,16]",
    "--model.num_conv_pos_embeddings",
    "16",
    "--model.num_conv_pos_embedding_groups",
    "4",
    "--teacher.codebook_sizes",
    "[16,12]",
    "--teacher.fit_s",
    "20",
    "--data.crop_s",
    "2",
    "--cqt.bins",
    "24",
    "--training.batch_size",
    "2",
    "--training.max_steps",
    "12",
    "--training.log_every",
    "3",
    "--training.checkpoint_every",
    "6",
]


def launch(*arguments, processes=1):
    """Start the script with the README's launcher, or with several processes; return exit code and everything it printed."""
    if processes == 1:
        config = ROOT / "training" / "launch" / "one_device.yaml"
        command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file", str(config)]
    else:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(
        [*command, str(SCRIPT), *SMALL, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=600
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "small"
    code, output = launch("--data.synthetic_pieces", 6, "--data.synthetic_piece_s", 6, "--output_dir", folder)
    assert code == 0, output
    return folder, output


def test_trains_on_synthetic_music_and_says_what_it_did(trained):
    folder, output = trained
    for part in (
        "rendering 6 pieces of synthetic music",
        "Corpus: 6 tracks, 0.01 hours",
        "0 skipped, 0 silent",
        "Fitting residual k-means codes of a spectrum (local stand-in for EnCodec, not EnCodec): 16 + 12",
        "M parameters; 12 updates on cpu",
        "An update: 2 clips, 4 s (0.00 h) of audio (1 x 2 x 1: processes x clips x accumulated batches)",
        # a trial of a recipe whose warm-up takes 50 updates and whose peak is 0.001
        "The warm-up of 50 updates is not over before the run's 12 are: the learning rate only rises, to 0.00024 (training.",
        "Give --training.warmup_steps 1 for a rate that rises and falls",
        "masked accuracy",
        "s audio/s",
        "Loss ",
        str(folder / "model"),
    ):
        assert part in output, part
    results = json.loads((folder / "results.json").read_text())
    reports = read_metrics(folder / "metrics.jsonl")
    assert [report["step"] for report in reports] == [3, 6, 9, 12]
    assert max(report["learning_rate"] for report in reports) == pytest.approx(12 / 50 * 0.001)
    assert output.index("The warm-up of 50 updates") < output.index("Training:")
    assert (results["steps"], results["tracks"], results["tracks_skipped"]) == (12, 6, 0)
    assert results["audio_hours"] == pytest.approx(12 * 2 * 2 / 3600)
    assert (results["loss_start"], results["loss_end"]) == (reports[0]["loss"], reports[-1]["loss"])
    assert "stand-in" in results["teacher"]
    assert (folder / "report" / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "skipped.jsonl").read_text() == ""


def test_the_model_loads_with_the_auto_classes_and_the_pipeline(trained):
    folder = trained[0] / "model"
    names = {file.name for file in folder.iterdir()}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "modeling_mert.py"} <= names
    assert not [name for name in names if not name.endswith((".json", ".safetensors", ".py"))]
    base, whole = AutoModel.from_pretrained(folder), AutoModelForPreTraining.from_pretrained(folder)
    assert (type(base), type(whole)) == (MERTModel, MERTForPreTraining)
    assert whole.config.codebook_sizes == [16, 12]
    waveform = make_tones(1.0, 24000)
    expected = base(torch.from_numpy(waveform)[None]).last_hidden_state
    extract = pipeline("feature-extraction", model=str(folder))
    torch.testing.assert_close(extract(waveform, return_tensors=True), expected)
    assert AutoFeatureExtractor.from_pretrained(folder).sampling_rate == 24000


def test_the_model_of_a_checkpoint_is_that_of_the_run(trained, tmp_path, capsys):
    run, output = tmp_path / "run", tmp_path / "model"
    shutil.copytree(trained[0], run)
    main(["export-checkpoint", str(run), str(output)])
    assert "step_00000012" in capsys.readouterr().out
    files = {file.name: file.read_bytes() for file in output.iterdir()}
    assert files == {file.name: file.read_bytes() for file in (run / "model").iterdir()}
    main(["export-checkpoint", str(run), str(tmp_path / "middle"), "--step", "6"])
    saved = load_file(run / "checkpoints" / "step_00000006" / "model.safetensors")
    exported = MERTForPreTraining.from_pretrained(tmp_path / "middle").state_dict()
    assert len(exported) == len(saved)
    assert all(torch.equal(value, saved[f"model.{name}"]) for name, value in exported.items())
    assert (tmp_path / "middle" / "model.safetensors").read_bytes() != files["model.safetensors"]

    weights = run / "checkpoints" / "step_00000012" / "model.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if "cqt_head" not in name}, weights)
    with pytest.raises(InputError, match=r"model\.safetensors is damaged: its SHA-256 .* another checkpoint: 6\."):
        export_checkpoint(run, tmp_path / "again")
    seal(weights.parent)
    with pytest.raises(InputError, match=r"does not hold the model of .*: cqt_head\.bias, cqt_head\.weight\."):
        export_checkpoint(run, output)
    weights.unlink()
    seal(weights.parent)
    with pytest.raises(InputError, match="holds no model.safetensors: it was saved in shards, by FSDP or DeepSpeed"):
        export_checkpoint(run, output)
    with pytest.raises(InputError, match="holds no checkpoint of step 7; there are 6, 12"):
        export_checkpoint(run, output, 7)
    with pytest.raises(InputError, match=r"holds no run \(recipe.yaml is missing\)"):
        export_checkpoint(tmp_path, output)


def test_two_processes_train_on_a_folder_of_files(music_folder, tmp_path):
    (music_folder / "broken.wav").write_text("no audio")
    code, output = launch(
        "--data.folder", music_folder, "--output_dir", tmp_path / "run", "--data.max_skipped", 0.2, processes=2
    )
    assert code == 0, output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["tracks"], results["tracks_skipped"]) == (6, 1)
    assert results["audio_hours"] == pytest.approx(2 * 12 * 2 * 2 / 3600)
    assert "An update: 4 clips, 8 s (0.00 h) of audio (2 x 2 x 1:" in output
    assert json.loads((tmp_path / "run" / "skipped.jsonl").read_text())["file"] == "broken.wav"


def test_a_signal_to_the_whole_process_group_saves_a_checkpoint(music_folder, tmp_path):
    """Schedulers and Ctrl-C signal the group: launcher, training and the processes that read audio."""
    folder = tmp_path / "run"
    arguments = ["--data.folder", str(music_folder), "--output_dir", str(folder), "--training.max_steps", "100000"]
    command = [sys.executable, str(SCRIPT), *SMALL, *arguments, "--training.checkpoint_every", "100000", "--data.workers", "2"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if read_metrics(folder / "metrics.jsonl"):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "a checkpoint is saved, go on with --training.resume" in said
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert json.loads((checkpoint / "state.json").read_text())["step"] == int(checkpoint.name.removeprefix("step_"))


def run_here(monkeypatch, *arguments) -> str:
    """Run the script in this process; return the message it exits with."""
    AcceleratorState._reset_state(reset_partial_state=True)  # a process of its own would begin without one
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *SMALL, *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert isinstance(stop.value.code, str), stop.value.code
    return stop.value.code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.folder", "/nowhere"], "error: data.folder: /nowhere does not exist"),
        (["--recipe", "quikstart"], "did you mean quickstart"),
        (["--training.max_step", "3"], "unknown setting --training.max_step; did you mean --training.max_steps"),
        (["--model.hidden_sise", "3"], "model.hidden_sise is no field of MERTConfig; did you mean hidden_size"),
        (["--model.sample_rate", "-24000"], "sample_rate must be a whole number of samples per second"),
        (["--training.batch_size", "1"], "noise mixture needs 2 or more clips in a batch"),
        (["--training.learning_rate", "-1"], "training.learning_rate=-1.0 must be positive"),
        (["--masking.span_frames", "0"], "masking.span_frames=0 must be positive"),
        (["--masking.span_frames", "148"], "masking: clips of 149 frames are too short"),
        (["--training.mixed_precision", "fp16"], "fp16 needs a GPU"),
        (["--model.code_offset", "3"], "it is for converted checkpoints"),
        (["--mixture.max_s", "3"], "mixture.max_s=3.0 is longer than the shortest clip, 2.0 s"),
        (["--cqt.bins", "420"], "half the sampling rate"),
        (["--teacher.folder", "/nowhere"], "teacher: /nowhere holds no fitted k-means teacher"),
        (["--teacher.codebook_sizes", "[5000]"], "5000 codes cannot be fitted on"),
        (["--data.dataset", "/nowhere/data"], "data.dataset='/nowhere/data' cannot be loaded"),
    ],
)
def test_mistakes_end_with_one_line(monkeypatch, tmp_path, music_folder, arguments, message):
    corpus = [] if {"--data.folder", "--data.dataset"} & set(arguments) else ["--data.folder", music_folder]
    said = run_here(monkeypatch, "--output_dir", tmp_path / "run", *corpus, *arguments)
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_corpus_with_too_much_broken_stops_and_says_where_to_look(monkeypatch, tmp_path, music_folder):
    for name in ("a.wav", "b.flac"):
        (music_folder / name).write_text("no audio")
    soundfile.write(music_folder / "short.wav", make_tones(1.0, 24000), 24000)
    arguments = ("--output_dir", tmp_path / "run", "--data.folder", music_folder)
    said = run_here(monkeypatch, *arguments)
    assert "3 of 7 tracks" in said
    report = tmp_path / "run" / "skipped.jsonl"
    assert str(report) in said
    assert {json.loads(line)["file"] for line in report.read_text().splitlines()} == {"a.wav", "b.flac", "short.wav"}
    # nothing was trained, so the folder can be used again once the corpus is mended
    assert "3 of 7 tracks" in run_here(monkeypatch, *arguments)


def test_a_run_that_fails_leaves_its_curves_and_why_but_no_results(monkeypatch, tmp_path, music_folder):
    backward, calls = Accelerator.backward, itertools.count(1)

    def diverge(self, loss, **options):
        backward(self, loss * float("nan") if next(calls) > 2 else loss, **options)

    monkeypatch.setattr(Accelerator, "backward", diverge)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    folder = tmp_path / "run"
    arguments = ("--data.folder", music_folder, "--training.max_bad_steps", 3, "--training.log_every", 1, "--data.workers", 0)
    said = run_here(monkeypatch, "--output_dir", folder, *arguments)
    failure = json.loads((folder / "failure.json").read_text())
    assert said == f"error: {failure['failed']}"
    assert "3 updates in a row up to step 5 were left out, the last for no finite gradient" in said
    assert (failure["steps"], failure["skipped_steps"], failure["tracks"]) == (5, 3, 6)
    assert failure["loss_end"] == read_metrics(folder / "metrics.jsonl")[1]["loss"]
    assert (folder / "report" / "training_curves.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "results.json").exists()  # what a comparison takes for a run that is finished
    assert not (folder / "model").exists()


def test_a_finished_run_is_not_overwritten(monkeypatch, trained):
    said = run_here(monkeypatch, "--data.synthetic_pieces", 6, "--data.synthetic_piece_s", 6, "--output_dir", trained[0])
    assert "already holds a run; continue it with --training.resume, or choose another --output_dir" in said


def test_a_dataset_on_the_disk_can_be_the_corpus(music_folder, tmp_path):
    from datasets import Audio, Dataset

    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.pretraining.settings import DataSettings, PretrainSettings
    from mert_hf.pretraining.sources import open_corpus

    files = sorted(str(file) for file in music_folder.glob("*.*"))
    Dataset.from_dict({"song": files}).cast_column("song", Audio()).save_to_disk(tmp_path / "data")
    (tmp_path / "run").mkdir()
    settings = PretrainSettings(data=DataSettings(dataset=str(tmp_path / "data"), dataset_column="song"))
    corpus = open_corpus(settings, 24000, RunFolder(tmp_path / "run"))
    assert len(corpus.tracks) == len(files)
    assert corpus.read(0, 24000).dtype == "float32"
