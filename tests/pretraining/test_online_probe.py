"""Probes while a model is pre-trained: what they tell, and that they change nothing."""

import json
import time

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from safetensors.torch import load_file
from support.multiview_runs import make_data2vec, make_multiview
from support.probed_runs import TASK, add_tones, pretrain_probed, probed_settings
from support.small_runs import finish, make_objective, start

from mert_hf import MERTFeatureExtractor, MERTModel
from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_json
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.updates import Updater
from mert_hf.pretraining.checkpoint_export import export_checkpoint
from mert_hf.pretraining.online_probe import OnlineProbe, load_probed_tasks, summarise_probes
from mert_hf.pretraining.run import pretrain
from mert_hf.pretraining.settings import OnlineProbeSettings, PretrainSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.probing.online.examples import TaskExamples, log_mel_statistics
from mert_hf.tasks import TASKS


@pytest.fixture
def tones(monkeypatch):
    """The small task among all tasks, on the CPU."""
    monkeypatch.setattr("mert_hf.pretraining.online_probe.TASKS", known := dict(TASKS))
    monkeypatch.setattr("mert_hf.pretraining.settings.TASKS", known)
    add_tones(known)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield known[TASK]
    AcceleratorState._reset_state(reset_partial_state=True)


def run_probed(music, folder, every, **training):
    settings = probed_settings(music, folder, every, **training)
    with RunFolder(folder).hold() as run:
        return run, pretrain(settings, Setup(settings), run)


def assert_equal_tensors(files):
    expected, *others = map(load_file, files)
    for found in others:
        assert found.keys() == expected.keys()
        assert all(value.equal(found[name]) for name, value in expected.items()), files


def test_a_run_tells_what_it_learnt(tones, music_folder, tmp_path):
    run, results = run_probed(music_folder, tmp_path / "run", 3, ema_decay=0.9)
    reports = read_metrics(run.online_probe)
    assert [report["step"] for report in reports] == [0, 3, 6, 8]
    assert reports[0]["audio_hours"] == 0 and reports[-1]["audio_hours"] == results["audio_hours"]
    for report in reports:
        assert len(report[f"{TASK}_layers"]) == 3
        assert report[TASK] == report[f"{TASK}_layers"][report[f"{TASK}_layer"]]
    assert results["online_probe"] == {
        TASK: {
            "measure": "accuracy",
            "start": reports[0][TASK],
            "end": reports[-1][TASK],
            "layer": reports[-1][f"{TASK}_layer"],
            "log_mel": reports[0][f"{TASK}_log_mel"],
        }
    }
    assert results["online_probe"] == json.loads(run.results.read_text())["online_probe"]
    assert (run.report / "online_probe.png").read_bytes().startswith(b"\x89PNG")

    # what is saved, embedded by transformers alone
    model = MERTModel.from_pretrained(run.model).eval()

    def embed(clips):
        with torch.no_grad():
            states = model(clips, output_hidden_states=True).hidden_states
        return torch.stack([layer.mean(1) for layer in states], dim=1)

    examples = TaskExamples(tones.load(), 24000, 14)
    found = examples.score(examples.embed(embed))
    assert (found.value, found.layer, found.layers) == (
        reports[-1][TASK],
        *(reports[-1][f"{TASK}_{x}"] for x in ("layer", "layers")),
    )
    spectrum = examples.score(examples.embed(log_mel_statistics(24000)))
    assert {report[f"{TASK}_log_mel"] for report in reports} == {spectrum.value}


def test_a_run_that_is_killed_and_one_that_is_not_probed_end_bit_by_bit_alike(tones, music_folder, tmp_path):
    """With the moving average of the weights, which is in the checkpoints too."""
    whole, killed, alone = (tmp_path / name for name in ("whole", "killed", "alone"))
    training = {"ema_decay": 0.95}
    assert finish(start(pretrain_probed, music_folder, whole, 3, training)) == [0]
    assert finish(start(pretrain_probed, music_folder, alone, 0, training)) == [0]
    (process,) = start(pretrain_probed, music_folder, killed, 3, training)
    while process.is_alive() and len(read_metrics(killed / "metrics.jsonl")) < 4:
        time.sleep(0.002)
    process.kill()
    process.join()
    assert not (killed / "results.json").exists()
    assert finish(start(pretrain_probed, music_folder, killed, 3, training)) == [0]
    for name in ("online_probe.jsonl", "validation.jsonl"):
        assert (whole / name).read_text() == (killed / name).read_text(), name
    assert [report["step"] for report in read_metrics(killed / "online_probe.jsonl")] == [0, 3, 6, 8]
    assert not (alone / "online_probe.jsonl").exists()
    assert read_json(alone / "results.json")["online_probe"] is None
    for place in ("model/model.safetensors", "checkpoints/step_00000008/model.safetensors"):
        assert_equal_tensors([folder / place for folder in (whole, killed, alone)])
    assert_equal_tensors([folder / "checkpoints/step_00000008/average.safetensors" for folder in (whole, killed, alone)])
    # the model of the checkpoint is the one that was saved behind the last update
    export_checkpoint(whole, tmp_path / "exported")
    assert_equal_tensors([tmp_path / "exported" / "model.safetensors", whole / "model" / "model.safetensors"])


def test_two_processes_share_the_examples_and_tell_the_same_of_the_same_weights(tones, music_folder, tmp_path):
    assert finish(start(pretrain_probed, music_folder, tmp_path / "two", 1, {"max_steps": 1}, processes=2)) == [0, 0]
    one, _ = run_probed(music_folder, tmp_path / "one", 1, max_steps=1)
    first, other = (read_metrics(folder / "online_probe.jsonl") for folder in (one.folder, tmp_path / "two"))
    assert [report["step"] for report in other] == [0, 1]
    assert first[0] == other[0]


@pytest.mark.parametrize("kind", ["data2vec", "byol", "compiled"])
def test_whatever_is_trained_is_probed_by_the_layers_it_has(tones, kind):
    if kind == "compiled":
        objective, extractor, layers = make_objective(), MERTFeatureExtractor(), 3
        for layer in objective.model.base_model.encoder.layers:
            layer.compile(backend="eager")
    elif kind == "data2vec":
        objective, extractor, layers = make_data2vec(), MERTFeatureExtractor(sampling_rate=16000), 4
    else:
        objective, extractor, layers = make_multiview("byol"), MERTFeatureExtractor(sampling_rate=16000), 1
    accelerator = Accelerator(cpu=True)
    settings = OnlineProbeSettings([TASK], 1, 10)
    before = {name: value.clone() for name, value in objective.state_dict().items()}
    updater = Updater(objective.train(), TrainingSettings(), accelerator)
    probe = OnlineProbe(load_probed_tasks(settings), extractor, settings, accelerator)
    report = probe.run(updater).report
    assert len(report[f"{TASK}_layers"]) == layers
    assert 0 <= report[TASK] <= 1
    assert objective.training and all(value.equal(objective.state_dict()[name]) for name, value in before.items())
    assert probe.run(updater).report == report


def test_what_cannot_be_probed_is_refused_in_a_line(tones, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="online_probe.tasks: there is no task 'synthetic_pich'; did you mean synthetic_pitch"):
        OnlineProbeSettings(["synthetic_pich"])
    with pytest.raises(InputError, match="online_probe.tasks: synthetic_beat has no single answer an example; there are"):
        OnlineProbeSettings(["synthetic_beat"], 10)
    with pytest.raises(InputError, match="online_probe.tasks is empty"):
        OnlineProbeSettings([], 10)
    with pytest.raises(InputError, match="names a task twice"):
        OnlineProbeSettings([TASK, TASK], 10)
    with pytest.raises(InputError, match="online_probe.examples=0 must be positive"):
        OnlineProbeSettings(examples=0)
    with pytest.raises(InputError, match=f"emomusic: this dataset is read from a folder|{tmp_path}.* is not there"):
        load_probed_tasks(OnlineProbeSettings(["emomusic"], 10, data=str(tmp_path)))
    accelerator, settings = Accelerator(cpu=True), OnlineProbeSettings([TASK], 1)
    loaded = load_probed_tasks(settings)
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    with pytest.raises(InputError, match="online_probe cannot be used with FSDP, where no process holds all weights; give"):
        OnlineProbe(loaded, MERTFeatureExtractor(), settings, accelerator)


def test_it_is_off_unless_it_is_asked_for_and_a_summary_bears_what_is_missing():
    assert PretrainSettings().online_probe.every == 0 and load_probed_tasks(OnlineProbeSettings()) == []
    assert summarise_probes([]) is None
    later = [{"step": 5, "audio_hours": 0.1, "synthetic_key": 0.3, "synthetic_key_layer": 1, "synthetic_key_log_mel": 0.2}]
    found = summarise_probes(later)["synthetic_key"]
    assert found == {"measure": "refined_accuracy", "start": None, "end": 0.3, "layer": 1, "log_mel": 0.2}
