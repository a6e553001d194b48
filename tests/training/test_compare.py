"""`training/compare.py`, run in this process: a table of cells, one of which collapses; it goes on where it was stopped."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from support.small_runs import ENCODER
from transformers import AutoModel

from mert_hf.synthetic import write_corpus

CELLS = Path(__file__).parents[2] / "training" / "cells"
TEACHER = {"codebook_sizes": [8], "fit_s": 20}
TINY = {
    "tiny": {"base": "mert", "teacher": TEACHER},
    "tiny_start": {"base": "mert", "teacher": TEACHER, "training": {"max_steps": 0}},
    "tiny_resnet": {
        "base": "contrastive_resnet",
        "model": {"width": 4, "hidden_size": 32, "blocks": [1, 1, 1, 1], "num_attention_heads": 4},
        "multiview": {"options": {"head": [16, 24]}},
    },
    # no targets are spread so far: it collapses at its first update
    "collapsing": {"base": "music2vec", "data2vec": {"first_judged_step": 0, "min_target_std": 1000.0}},
}


@pytest.fixture
def compare(run_script, small_suite, tmp_path, capsys):
    """`compare(budget_s)` trains the cells (or some) -> what was printed as the error."""
    music, files = tmp_path / "music", {}
    write_corpus(music, 5, 9.0, seed=2, sampling_rate=16000)
    for name, cell in TINY.items():
        cell = {"data": {"workers": 0}, "validation": {"share": 0.3, "clips": 4}, **cell}
        cell["training"] = {"batch_size": 2, **cell.get("training", {})}
        cell["model"] = cell.get("model", ENCODER)
        files[name] = tmp_path / f"{name}.yaml"
        files[name].write_text(yaml.safe_dump({**cell, "base": str(CELLS / f"{cell['base']}.yaml")}))

    def run(budget_s, *more, cells=tuple(TINY)):
        given = ("--budget", budget_s, "--music", music, "--output", tmp_path / "out", "--cache", tmp_path / "cache")
        with pytest.raises(SystemExit) as stopped:
            chosen = [files[name] for name in cells]
            run_script("compare.py", *given, "--cells", *chosen, "--tasks", "synthetic_instrument", "synthetic_beat", *more)
        return stopped.value.code

    return run


def test_cells_are_trained_judged_and_put_into_a_table(compare, tmp_path):
    output = tmp_path / "out"
    assert compare(32) == "error: 1 of 4 cells could not be trained: collapsing; why is said above."
    results = json.loads((output / "results.json").read_text(), parse_constant=pytest.fail)  # no NaN, no Infinity
    assert results["cells"][2]["settings"]["training.max_grad_norm"] == "inf"
    cells = {cell["name"]: cell for cell in results["cells"]}
    assert list(cells) == list(TINY)
    assert {name: (cell["steps"], cell["audio_s"]) for name, cell in cells.items() if "failed" not in cell} == {
        "tiny": (8, 32.0),
        "tiny_start": (0, 0.0),
        "tiny_resnet": (2, 32.0),
    }
    assert "data2vec has collapsed at update 1" in cells["collapsing"]["failed"]
    measures = ["synthetic_instrument/accuracy", "synthetic_beat/beat_f1", "synthetic_beat/beat_f1_20ms"]
    assert list(results["columns"]) == measures
    assert set(cells["tiny"]["values"]) == set(measures)
    # one vector in four seconds cannot tell beats
    assert set(cells["tiny_resnet"]["values"]) == set(measures[:1])
    for cell in (*cells.values(), *results["baselines"]):
        assert all(value["low"] <= value["high"] for value in cell["values"].values())
    assert [baseline["name"] for baseline in results["baselines"]] == [
        "log-mel mean + std",
        "chroma mean + std",
        "log constant-Q mean + std",
        "all three spectra",
        "majority",
        "onset activation + HMM",
    ]
    caption, _, *table = (output / "comparison.md").read_text().splitlines()
    assert caption.startswith("Each cell: 32 s of audio (music), one training (seed 1337), probes of 1 seed(s).")
    assert len(table) == 2 + 4 + 6
    # of every measure, one spectrum is the best in validation
    assert set(results["best_baselines"]) == set(measures)
    assert sum(line.count("**") for line in table) == 2 * len(measures)
    # what training changed, of the cell whose encoder has an untrained one beside it
    assert [cell["name"] for cell in results["cells"] if "differences" in cell] == ["tiny"]
    for column, found in cells["tiny"]["differences"].items():
        ends = [cells[name]["values"][column]["value"] for name in ("tiny", "tiny_start")]
        assert found["value"] == pytest.approx(ends[0] - ends[1]) and found["low"] <= found["high"]
    assert cells["tiny"]["compared_with"] == "tiny_start"
    assert table[5].startswith("| collapsing | failed |")
    assert min(Image.open(output / "comparison.png").size) > 300
    assert min(Image.open(output / "differences.png").size) > 150
    # the untrained cell is what the trained one began with
    trained, start = (AutoModel.from_pretrained(output / "cells" / name / "model") for name in ("tiny", "tiny_start"))
    moved = [(one - other).abs().max() for one, other in zip(trained.parameters(), start.parameters(), strict=True)]
    assert 0 < max(moved) < 0.05

    # what is there is not made again; what is lost is
    def files():
        return {file: file.stat().st_mtime_ns for part in ("model", "parts") for file in output.rglob(f"{part}/**/*.*")}

    before = files()
    (output / "results.json").unlink()
    lost = next(file for file in before if file.name == "model.json" and "tiny_start" in str(file))
    lost.unlink()
    compare(32)
    assert {file for file, time in files().items() if before[file] != time} == {lost}
    again = json.loads((output / "results.json").read_text())
    assert [cell["values"] for cell in again["cells"]] == [cell["values"] for cell in results["cells"]]
    # another budget, or other music, is another comparison
    other = compare(64)
    assert "started with other settings" in other and "training.max_steps (8 -> 16)" in other
    (tmp_path / "music" / "one.flac").write_bytes(b"more")
    assert "is made of" in compare(32)


def test_every_cell_is_trained_once_a_seed_and_goes_on(compare, tmp_path):
    output = tmp_path / "out"
    failed = compare(32, "--training_seeds", 2, cells=("tiny", "tiny_start", "collapsing"))
    assert failed == "error: 1 of 3 cells could not be trained: collapsing; why is said above."
    results = json.loads((output / "results.json").read_text(), parse_constant=pytest.fail)
    trained, start, collapsed = results["cells"]
    assert collapsed["failed"].startswith("seed 1337: ")
    runs = output / "cells" / "tiny"
    assert sorted(folder.name for folder in runs.iterdir()) == ["seed_1337", "seed_1338"]
    assert [run["seed"] for run in trained["runs"]] == [1337, 1338] and results["training_seeds"] == 2
    # random weights are drawn anew, and each training begins with those of its seed
    models = {
        (name, seed): torch.cat([weight.flatten() for weight in AutoModel.from_pretrained(folder).parameters()])
        for name in ("tiny", "tiny_start")
        for seed in (1337, 1338)
        for folder in [output / "cells" / name / f"seed_{seed}" / "model"]
    }
    assert (models["tiny_start", 1337] - models["tiny_start", 1338]).abs().max() > 0.05
    for seed in (1337, 1338):
        assert 0 < (models["tiny", seed] - models["tiny_start", seed]).abs().max() < 0.05
    for column, value in trained["values"].items():
        assert value["value"] == pytest.approx(sum(value["seeds"]) / 2) and len(value["layers"]) == 2
        assert value["low"] <= value["value"] <= value["high"]
        # the mean of two seeds that differ by d deviates by d / 2 or more, which the normal quantile alone takes 1.96 times
        assert value["high"] - value["low"] >= 1.95 * abs(value["seeds"][0] - value["seeds"][1])
        difference = trained["differences"][column]
        assert difference["value"] == pytest.approx(value["value"] - start["values"][column]["value"])
        assert difference["low"] <= difference["value"] <= difference["high"]
    caption = (output / "comparison.md").read_text().splitlines()[0]
    assert "2 trainings (seeds 1337, 1338), probes of 1 seed(s). Values are means over the trainings" in caption
    before = {file: file.stat().st_mtime_ns for part in ("model", "parts") for file in output.rglob(f"{part}/**/*.*")}
    compare(32, "--training_seeds", 2, cells=("tiny", "tiny_start", "collapsing"))
    assert before == {file: file.stat().st_mtime_ns for file in before}
    again = json.loads((output / "results.json").read_text())
    assert [cell["values"] for cell in again["cells"]] == [cell["values"] for cell in results["cells"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "100", "--training_seeds", "0"), "--budget must be more than 0, --seeds and --training_seeds 1 or more"),
        (("--budget", "0"), "--budget must be more than 0"),
        (("--budget", "100", "--music", "nowhere"), "--music nowhere is no folder"),
        (("--budget", "100", "--cells", "bylo"), "there is no cell 'bylo'; did you mean byol"),
    ],
)
def test_mistakes_are_told_in_a_line(run_script, tmp_path, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        run_script("compare.py", *arguments, "--output", tmp_path / "out")
    assert str(stopped.value).startswith(f"error: {message}") and "\n" not in str(stopped.value)
    assert not (tmp_path / "out").exists()
