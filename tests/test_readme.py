"""What the README says holds: its numbers come from a results file, its paths, settings and imports exist."""

import ast
import json
import re
from pathlib import Path

import mert_hf
from mert_hf.engine.pretrain_settings import PretrainSettings
from mert_hf.engine.settings import flatten
from mert_hf.probing.results import markdown_table
from mert_hf.tasks import tasks_of
from mert_hf.tasks.table import tasks_table

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


def test_the_table_of_the_synthetic_suite_is_that_of_the_results():
    results = json.loads((ROOT / "model_cards" / "quickstart" / "evaluation.json").read_text())
    assert markdown_table(results) in README
    rows = {row["task"].removeprefix("synthetic_"): row for row in reversed(results["results"])}  # of two measures, the first
    untrained = {task: row["baselines"]["random weights"] for task, row in rows.items()}
    better = {task for task, row in rows.items() if row["low"] > untrained[task]["high"]}
    worse = {task for task, row in rows.items() if row["high"] < untrained[task]["low"]}
    chance = {task for task, row in rows.items() if row["low"] < row["baselines"]["majority"]["high"]}
    assert (better, worse, chance) == ({"instrument", "beat", "tagging"}, {"pitch"}, {"key", "chord"})
    assert sum(row["value"] < row["baselines"]["log-mel mean + std"]["value"] for row in rows.values()) > len(rows) / 2
    trained = json.loads((ROOT / "model_cards" / "quickstart" / "results.json").read_text())
    assert (results["suite"], results["model"], trained["steps"]) == ("synthetic", "runs/quickstart", 2500)
    assert {*results["versions"]} >= {*trained["versions"]} - {"accelerate"}


def test_the_two_commands_are_one_line_each():
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("pip install")]
    assert len(lines) == 2
    assert '".[train]" && accelerate launch' in lines[0]
    assert lines[1].endswith('".[test]" && pytest')


def test_paths_and_settings_exist():
    for path in set(re.findall(r"(?:training|model_cards|tests|mert_hf)/[\w./]*\w", README)):
        assert (ROOT / path).exists(), path
    known = set(flatten(PretrainSettings()))
    probe = set(re.findall(r'"--(\w+)"', (ROOT / "training" / "probe.py").read_text()))
    used = set(re.findall(r"--([a-z]+[._][\w.]+)", README)) - {"config_file", "section.key"} - probe
    assert used
    for name in used:
        assert name in known or name.split(".")[0] == "model", name


def test_the_table_of_tasks_is_that_of_the_registry():
    assert tasks_table("marble") in README
    assert {task.name for task in tasks_of("marble")} == set(re.findall(r"^\| `(\w+)` \|", tasks_table("marble"), re.MULTILINE))


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
