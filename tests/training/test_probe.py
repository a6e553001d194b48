"""`training/probe.py`, run in this process: what it writes, that it goes on, and what it says to mistakes."""

import json

import pytest
import soundfile
from PIL import Image
from support.probing_tasks import RATE, clicks
from support.task_layouts import BUILDERS

from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.synthetic import benchmark
from mert_hf.tasks import SUITES


@pytest.fixture
def run(run_script):
    return lambda *arguments: run_script("probe.py", *arguments)


@pytest.fixture
def model(tiny_config, tmp_path):
    MERTForPreTraining(tiny_config).save_pretrained(tmp_path / "mine" / "model")
    MERTFeatureExtractor().save_pretrained(tmp_path / "mine" / "model")
    return tmp_path / "mine"


def test_the_synthetic_suite_from_nothing_to_a_table(run, small_suite, model, tmp_path, capsys):
    output = tmp_path / "results"
    common = ("--model", model, "--suite", "synthetic", "--output", output, "--data", tmp_path, "--cache", tmp_path / "cache")
    run(*common, "--seeds", 1, "--limited")
    results = json.loads((output / "evaluation.json").read_text())
    assert results["title"] == "mine" and results["suite"] == "synthetic" and len(results["weights"]) == 64
    assert {"torch", "transformers", "mert_hf"} <= set(results["versions"])
    rows = {(row["task"], row["metric"]): row for row in results["results"]}
    assert {task for task, _ in rows} == {*SUITES["synthetic"]}
    for (task, _), row in rows.items():
        assert row["low"] <= row["high"] and set(row["layers"]) == {"0", "1", "2", "weighted sum"}
        spectra = {"log-mel mean + std", "chroma mean + std", "log constant-Q mean + std", "all three spectra"}
        assert {"majority", "random weights", *spectra} <= set(row["baselines"])
        assert row["best_baseline"] in spectra
        assert row["dataset"]["revision"] and row["published"] == {}
        assert ("chroma + Krumhansl" in row["baselines"]) == (task == "synthetic_key")
        assert ("onset autocorrelation" in row["baselines"]) == (task == "synthetic_tempo")
        assert ("onset activation + HMM" in row["baselines"]) == (task == "synthetic_beat")
    assert set(rows["synthetic_pitch", "accuracy"]["limited"]) == {"0.2"}
    table = (output / "evaluation.md").read_text()
    assert table.startswith("| task | measure | layer | mine | best baseline | random weights |")
    assert table in capsys.readouterr().out and table.count("\n") == len(rows) + 2
    pictures = {path.name: Image.open(path).size for path in output.glob("*.png")}
    assert {"layer_heat_map.png", "limited_data.png", "confusion_synthetic_key.png", "activation_synthetic_beat.png"} <= {
        *pictures
    }
    assert min(min(size) for size in pictures.values()) > 300

    # what is there is not made again, what is lost is
    parts = {path: path.stat().st_mtime_ns for path in output.rglob("parts/*/*.json")}
    lost = output / "parts" / "synthetic_key" / "majority.json"
    lost.unlink()
    (output / "evaluation.json").unlink()
    run(*common, "--seeds", 1, "--limited")
    assert json.loads((output / "evaluation.json").read_text()) == results
    assert {path for path in parts if path.stat().st_mtime_ns != parts[path]} == {lost}
    # other settings are other results
    run(*common, "--seeds", 1, "--limited", "--tasks", "synthetic_key", "--probe", "linear")
    (only, *_) = json.loads((output / "evaluation.json").read_text())["results"]
    assert (only["task"], only["probe"]) == ("synthetic_key", "linear")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "synthetic"), "--output is needed, or --check alone"),
        (("--suite", "synthetic", "--tasks", "gtzan_genre"), "'gtzan_genre' is no task of this suite; tasks of synthetic: "),
        (("--suite", "marble", "--tasks", "genre"), "task 'genre' is unknown; tasks of marble: magnatagatune"),
        (("--suite", "marble", "--renderer", "fluidsynth"), "--renderer belongs to --suite synthetic"),
        (
            ("--suite", "marble", "--beats", "music"),
            "--beats belongs to --suite synthetic: its pieces are what the probe learns",
        ),
        (
            ("--suite", "synthetic", "--tasks", "real_beat"),
            "task 'real_beat' needs --beats, a folder of tracks with .beats files",
        ),
        (("--suite", "synthetic", "--seeds", "0"), "--seeds must be 1 or more"),
        (("--suite", "synthetic", "--model", "nowhere/at-all", "--output", "x"), "nowhere/at-all cannot be loaded: "),
    ],
)
def test_mistakes_are_told_in_a_line(run, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert str(stopped.value).startswith("error: ") and message in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_a_package_that_is_missing_is_named_before_the_work(run, monkeypatch, tmp_path):
    monkeypatch.setattr("mert_hf.probing.report.results.PACKAGES", ("torch", "package-that-is-missing"))
    with pytest.raises(SystemExit) as stopped:
        run("--suite", "synthetic", "--model", "nowhere/at-all", "--output", tmp_path)
    assert str(stopped.value) == 'error: judging needs package-that-is-missing: pip install "mert_hf[train]"'


def test_beats_of_recordings_stand_in_the_table(run, small_suite, model, tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.SIZES, "pieces", {"train": 3, "validation": 2, "test": 1})
    music = tmp_path / "music"
    music.mkdir()
    for number, period_s in enumerate((0.4, 0.5)):
        sound, beats = clicks(period_s, 11.0, seed=number)  # longer than a window
        soundfile.write(music / f"{number}.wav", 0.2 * sound, RATE)
        (music / f"{number}.beats").write_text("".join(f"{beat:.3f}\n" for beat in beats))
    output = tmp_path / "results"
    common = ("--model", model, "--suite", "synthetic", "--output", output, "--data", tmp_path, "--cache", tmp_path / "cache")
    run(*common, "--seeds", 1, "--beats", music, "--tasks", "real_beat")
    rows = json.loads((output / "evaluation.json").read_text())["results"]
    assert {row["task"] for row in rows} == {"real_beat"} and "| Real beat | beat F1 (70 ms) |" in (
        output / "evaluation.md"
    ).read_text()
    (main,) = [row for row in rows if row["metric"] == "beat_f1"]
    # clicks can be followed without any model
    assert main["baselines"]["onset activation + HMM"]["value"] > 90 > main["baselines"]["majority"]["value"]
    assert main["dataset"]["name"].endswith("tested on music")
    assert Image.open(output / "activation_real_beat.png").size[0] > 300


def test_check_says_what_is_there_and_what_is_not(run, tmp_path, capsys):
    run("--suite", "synthetic", "--tasks", "synthetic_key", "--check", "--data", tmp_path)
    assert capsys.readouterr().out == "synthetic_key: ready\n"
    BUILDERS["musdb18"](tmp_path / "small" / "musdb18")
    run("--suite", "marble", "--tasks", "musdb18", "--check", "--data", tmp_path / "small")  # other sizes are no obstacle
    assert capsys.readouterr().out.startswith("musdb18: ready, but: the train split has 2 examples, the official one 86; ")
    with pytest.raises(SystemExit, match="error: 2 of 2 tasks cannot be run yet"):
        run("--suite", "marble", "--tasks", "musdb18", "giantsteps_key", "--check", "--data", tmp_path)
    printed = capsys.readouterr().out
    assert f"musdb18:\n    {tmp_path / 'musdb18'} is not there; expected train/ and test/" in printed
