"""The fine-tuning command as a user starts it, small."""

import json
import runpy
import sys
from pathlib import Path

import peft
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from support.sounds import make_tones
from transformers import AutoModelForAudioClassification, pipeline

from mert_hf import MERTFeatureExtractor, MERTForPreTraining, MERTForSequenceClassification
from mert_hf.common.errors import InputError
from mert_hf.publishing.model_card import CardFacts, write_card
from mert_hf.synthetic.labelled_corpus import write_labelled_corpus

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "training" / "finetune.py"


def run(monkeypatch, *arguments) -> str | None:
    """Run the script in this process; return the message it exits with."""
    AcceleratorState._reset_state(reset_partial_state=True)  # a process of its own would begin without one
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--training.use_cpu", *map(str, arguments)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    return None


@pytest.fixture
def base(tiny_config, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "base"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def music(tmp_path):
    """Eight tracks of each of two labels."""
    folder = tmp_path / "music"
    for label in ("calm", "wild"):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            tones = make_tones(0.8, 24000, seed=number)
            tones = tones if label == "calm" else 0.3 * torch.randn(19200, generator=torch.manual_seed(number)).numpy()
            soundfile.write(folder / label / f"{number}.wav", tones, 24000)
    return folder


SMALL = [
    "--data.clip_s",
    "0.5",
    "--training.batch_size",
    "4",
    "--training.epochs",
    "2",
    "--data.validation_share",
    "0.25",
    "--data.test_share",
    "0.25",
]


@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
def test_from_a_folder_of_labels_to_a_measured_model(monkeypatch, capsys, base, music, tmp_path, method):
    out = tmp_path / "run"
    arguments = ["--model.base", base, "--data.folder", music, "--output_dir", out, "--model.method", method, *SMALL]
    assert run(monkeypatch, *arguments) is None
    said = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert f"accuracy {results['test']['accuracy']:.3f}" in said
    assert results["tracks_of_each_class"]["test"] == {"calm": 2, "wild": 2}
    assert sum(results["tracks"].values()) == 16
    assert results["test_without_hearing"]["accuracy"] == 0.5
    assert results["split"] == "drawn by tracks; equal files stay together"
    assert (out / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    card = (out / "model" / "README.md").read_text()
    assert f"| accuracy | {results['test']['accuracy']:.4g} | 0.5 |" in card
    assert "mean over a track's clips of 0.5 s" in card
    assert "| Base model | base |" in card and "No licence of the weights is stated yet" in card
    assert "git clone ADDRESS-OF-MERT_HF mert_hf" in card and "eprint = {2306.00107}" in card
    assert said.count("\n") < 12 and all(str(out / name) in said for name in ("predictions.csv", "training_curves.png"))
    monkeypatch.chdir(tmp_path)
    soundfile.write("song.mp3", make_tones(1.0, 44100), 44100)
    names = {}
    monkeypatch.setenv("PATH", "")  # without the program ffmpeg
    exec(card.split("```python\n")[1].split("```")[0], names)
    assert {one["label"] for one in names["classes"]} == {"calm", "wild"}
    model = AutoModelForAudioClassification.from_pretrained(out / "model").eval()
    card = write_card(ROOT / "model_cards" / "template.md", CardFacts(license="mit"), model.config, 1, "user/name", results)
    assert f"| accuracy | {results['test']['accuracy']:.4g} | 0.5 |" in card.text and f"method {method}" in card.text
    assert type(model) is MERTForSequenceClassification
    assert {one["label"] for one in pipeline("audio-classification", model=str(out / "model"))(make_tones(1, 24000))} == {
        "calm",
        "wild",
    }
    before = MERTForPreTraining.from_pretrained(base).mert.state_dict()
    changed = {name for name, weight in model.mert.state_dict().items() if not torch.equal(weight, before[name])}
    if method == "frozen":
        assert not changed
    elif method == "lora":
        assert {name.split(".")[-2] for name in changed} == {"q_proj", "k_proj", "v_proj", "out_proj"}
        for name in ("adapter_config.json", "README.md"):
            assert str(tmp_path) not in (out / "adapter" / name).read_text(), name
        adapted = MERTForSequenceClassification(model.config)
        adapted.mert.load_state_dict(before)
        adapted = peft.PeftModel.from_pretrained(adapted, out / "adapter").eval()
        clip = torch.from_numpy(make_tones(1.0, 24000))[None]
        torch.testing.assert_close(adapted(input_values=clip).logits, model(clip).logits, atol=1e-5, rtol=1e-5)
    else:
        assert any("feed_forward" in name for name in changed)


def test_from_a_dataset_whose_classes_have_names(monkeypatch, base, music, tmp_path):
    from datasets import Audio, ClassLabel, Dataset, Features

    files = sorted(music.rglob("*.wav"))
    columns = {"audio": [str(file) for file in files], "mood": [int(file.parent.name == "wild") for file in files]}
    features = Features({"audio": Audio(sampling_rate=24000), "mood": ClassLabel(names=["calm", "wild"])})
    Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "dataset")
    arguments = ["--model.base", base, "--data.dataset", tmp_path / "dataset", "--data.label_columns", "[mood]"]
    assert run(monkeypatch, *arguments, "--output_dir", tmp_path / "run", *SMALL) is None
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["tracks_of_each_class"]["test"] == {"calm": 2, "wild": 2}


@pytest.mark.parametrize(
    ("kind", "columns", "measures"),
    [("multi_label_classification", "[tags]", "roc_auc"), ("regression", "[arousal,valence]", "r2")],
)
def test_several_labels_and_numbers(monkeypatch, base, music, tmp_path, kind, columns, measures):
    lines = ["file_name,tags,arousal,valence"]
    for number, file in enumerate(sorted(music.rglob("*.wav"))):
        tags = ("loud;" if number % 2 else "") + file.parent.name
        lines.append(f"{file.relative_to(music).as_posix()},{tags},{number / 8},{-number / 4}")
    (music / "metadata.csv").write_text("\n".join(lines) + "\n")
    arguments = ["--model.base", base, "--data.folder", music, "--model.problem_type", kind, "--data.label_columns", columns]
    assert run(monkeypatch, *arguments, "--output_dir", tmp_path / "run", *SMALL) is None
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert any(measures in name for name in results["test"])
    assert AutoModelForAudioClassification.from_pretrained(tmp_path / "run" / "model").config.problem_type == kind


def test_folders_named_after_splits_are_no_classes(monkeypatch, base, music, tmp_path):
    for number, place in enumerate(["train"] * 6 + ["test"] * 2):
        for label in ("calm", "wild"):
            (tmp_path / "parts" / place / label).mkdir(parents=True, exist_ok=True)
            (music / label / f"{number}.wav").rename(tmp_path / "parts" / place / label / f"{number}.wav")
    arguments = ["--model.base", base, "--data.folder", tmp_path / "parts", "--model.method", "frozen"]
    assert run(monkeypatch, *arguments, "--output_dir", tmp_path / "run", *SMALL, "--training.epochs", "1") is None
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["classes"] == ["calm", "wild"]
    assert results["tracks_of_each_class"]["test"] == {"calm": 2, "wild": 2}
    assert results["tracks"] == {"train": 9, "validation": 3, "test": 4}  # a quarter of what is given as train
    assert results["split"] == "given with the tracks, validation drawn from train"


def test_a_resumed_run_ends_as_one_that_was_not_stopped(monkeypatch, base, music, tmp_path):
    from mert_hf.finetuning import run as module

    arguments = ["--model.base", base, "--data.folder", music, *SMALL]
    assert run(monkeypatch, *arguments, "--output_dir", tmp_path / "whole") is None
    original = module.build_trainer

    def stops_after_one_epoch(*parts):
        trainer = original(*parts)
        trainer.add_callback(Stop())
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(module, "build_trainer", stops_after_one_epoch)
        run(patch, *arguments, "--output_dir", tmp_path / "two")
    for file in ("results.json", "model/model.safetensors"):
        (tmp_path / "two" / file).unlink()
    said = run(monkeypatch, *arguments, "--output_dir", tmp_path / "two")
    assert "already holds a run; continue it with --training.resume" in said
    other = run(monkeypatch, *arguments, "--output_dir", tmp_path / "two", "--training.resume", "--training.seed", 7)
    assert "was started with other settings: training.seed (1337 -> 7). Give the same ones" in other
    assert run(monkeypatch, *arguments, "--output_dir", tmp_path / "two", "--training.resume") is None
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "two"))
    assert first["updates"] == second["updates"]
    weights = [AutoModelForAudioClassification.from_pretrained(tmp_path / name / "model") for name in ("whole", "two")]
    for one, other in zip(*(model.parameters() for model in weights), strict=True):
        assert torch.equal(one, other)


def Stop():  # noqa: N802 (a class that is made where transformers is imported)
    from transformers import TrainerCallback

    class StopAfterOneEpoch(TrainerCallback):
        def on_epoch_end(self, args, state, control, **kwargs):
            control.should_training_stop = True

    return StopAfterOneEpoch()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.base", "nowhere/model"], "error: model.base='nowhere/model' cannot be loaded"),
        (["--data.folder", "/nowhere"], "error: data.folder: /nowhere does not exist"),
        (["--data.label_columns", "[genre]"], "there is no label column 'genre'"),
        (["--data.label_columns", "[a, b]"], "several columns are for model.problem_type regression"),
        (["--data.validation_share", "0"], "data.validation_share=0.0 must lie within"),
        (["--training.epoch", "1"], "did you mean --training.epochs"),
        (["--data.dataset", "/nowhere/data", "--data.folder", "null"], "data.dataset='/nowhere/data' cannot be loaded"),
    ],
)
def test_mistakes_end_with_one_line(monkeypatch, base, music, tmp_path, arguments, message):
    (music / "metadata.csv").write_text(
        "file_name,label\n" + "".join(f"{label}/{n}.wav,{label}\n" for label in ("calm", "wild") for n in range(8))
    )
    given = ["--model.base", base, "--data.folder", music, "--output_dir", tmp_path / "run", *arguments]
    said = run(monkeypatch, *given)
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_base_in_half_precision_with_a_head_of_other_labels_gives_its_encoder(
    monkeypatch, caplog, tiny_config, music, tmp_path
):
    tiny_config.num_labels = 7
    MERTForSequenceClassification(tiny_config).bfloat16().save_pretrained(tmp_path / "base")
    MERTFeatureExtractor().save_pretrained(tmp_path / "base")
    out = tmp_path / "run"
    arguments = ["--model.base", tmp_path / "base", "--data.folder", music, "--output_dir", out, "--model.method", "frozen"]
    assert run(monkeypatch, *arguments, *SMALL) is None
    assert "has a head for 7 labels; it is left out, a new one is trained" in caplog.text
    model = AutoModelForAudioClassification.from_pretrained(out / "model")
    assert model.config.num_labels == 2 and {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_synthetic_labelled_music(tmp_path):
    from mert_hf.synthetic import generate_piece

    write_labelled_corpus(tmp_path / "solo", "instrument", 12, 2.0, seed=5)
    rows = (tmp_path / "solo" / "metadata.csv").read_text().splitlines()
    assert rows[0] == "file_name,label" and len(rows) == 13
    for index, row in enumerate(rows[1:]):
        assert row.split(",")[1] in generate_piece([5, index], 2.0).labels.instruments
    write_labelled_corpus(tmp_path / "key", "key", 2, 1.0, seed=5)
    keys = [row.split(",")[1] for row in (tmp_path / "key" / "metadata.csv").read_text().splitlines()[1:]]
    assert keys == [generate_piece([5, index], 1.0).labels.key for index in range(2)]
    # what is there is kept, and never taken for music of other settings
    table = (tmp_path / "key" / "metadata.csv").stat().st_mtime_ns
    write_labelled_corpus(tmp_path / "key", "key", 2, 1.0, seed=5)
    assert (tmp_path / "key" / "metadata.csv").stat().st_mtime_ns == table
    given = {"task": "key", "num_pieces": 2, "duration_s": 1.0, "seed": 5, "sampling_rate": 24000}
    for name, other in {"task": "instrument", "num_pieces": 3, "duration_s": 2.0, "seed": 6, "sampling_rate": 16000}.items():
        with pytest.raises(InputError, match=f"other settings: {name} is {given[name]!r} there and {other!r} here"):
            write_labelled_corpus(tmp_path / "key", **{**given, name: other})
    with pytest.raises(InputError, match="no synthetic task 'tempo'; accepted: instrument, key"):
        write_labelled_corpus(tmp_path / "x", "tempo", 1)
