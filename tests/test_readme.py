"""What the README says holds: its numbers come from a results file, its paths, settings and imports exist."""

import ast
import json
import re
from pathlib import Path

import mert_hf
from mert_hf.engine.initial_weights import build_config
from mert_hf.engine.plan import keep_global_batch, plan_run
from mert_hf.engine.pretrain_settings import PretrainSettings
from mert_hf.engine.settings import flatten, read_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_numbers_come_from_the_results_of_the_quickstart():
    results = json.loads((ROOT / "model_cards" / "quickstart" / "results.json").read_text())
    start, end, hours = results["loss_start"], results["loss_end"], results["audio_hours"]
    assert f"Loss {start:.3f} -> {end:.3f} after {hours:.2f} hours of audio" in README
    first, second = (round(100 * share) for share in results["masked_accuracy_end"])
    chance = {round(100 / size) for size in results["codebook_sizes"]}
    assert chance == {3}
    assert f"rises from chance (3 %) to {first} % and {second} %" in README.replace("\n", " ")
    assert f"Model: {results['parameters'] / 1e6:.2f} M parameters; {results['steps']} updates" in README


def test_the_plan_is_what_the_formulas_give():
    rows = re.findall(
        r"^\| `(\w+)` \| (\d+) K hours \| (\d+) \| ([\d.]+) hours \| ([\d.]+) \| ([\d.]+) \|$", README, re.MULTILINE
    )
    assert len(rows) == 4
    for recipe, hours, gpus, update, passes, days in rows:
        settings = read_settings(PretrainSettings, recipe, ROOT / "training" / "recipes")
        keep_global_batch(settings, int(gpus), 64)
        plan = plan_run(settings, build_config(settings), 317_900_000, int(gpus), 312, 0.2, 1000 * int(hours))
        assert (update, passes, days) == (f"{plan.update_audio_hours:.2f}", f"{plan.passes:.1f}", f"{plan.days:.1f}")
        if recipe == "mert_330m":
            sizes = f"take {plan.state_gib:.1f} GiB on each GPU, its corpus {plan.corpus_tib:.1f} TiB as FLAC, its codes"
            assert f"{sizes} {plan.labels_gib:.0f} GiB" in README


def test_the_two_commands_are_one_line_each():
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("pip install")]
    assert len(lines) == 2
    assert '".[train]" && accelerate launch' in lines[0]
    assert lines[1].endswith('".[test]" && pytest')


def test_paths_and_settings_exist():
    for path in set(re.findall(r"(?:training|model_cards|tests|mert_hf)/[\w./]*\w", README)):
        assert (ROOT / path).exists(), path
    known = set(flatten(PretrainSettings()))
    used = set(re.findall(r"--([a-z]+[._][\w.]+)", README)) - {"config_file", "section.key", "corpus_hours"}
    assert used
    for name in used:
        assert name in known or name.split(".")[0] == "model", name


def test_python_is_valid_and_its_imports_exist():
    assert blocks("python")
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = __import__(node.module, fromlist=["_"])
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
    assert mert_hf.MERTConfig.mert_95m().hidden_size == 768


def test_no_line_runs_off_the_page():
    for line in README.splitlines():
        assert len(line) <= 250 or line.startswith(("|", "--teacher")), line
