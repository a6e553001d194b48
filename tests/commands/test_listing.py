"""`mert-hf list`: every entry of the registries, a line each."""

import pytest

from mert_hf import cli
from mert_hf.common.places import CARDS, FINETUNE_RECIPES, RECIPES
from mert_hf.encoding.layer_guide import LAYER_GUIDES
from mert_hf.encoding.released import released_models
from mert_hf.objectives import OBJECTIVES
from mert_hf.tasks import TASKS
from mert_hf.teachers import CODE_TEACHERS


def listed(capsys, kind: str) -> list[list[str]]:
    cli.main(["list", kind])
    return [[cell for cell in line.split("  ") if cell] for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("models", [*released_models(), *LAYER_GUIDES]),
        ("objectives", [*OBJECTIVES]),
        ("teachers", [*CODE_TEACHERS, "cqt"]),
        ("tasks", [*TASKS]),
        ("recipes", [*sorted(file.stem for folder in (RECIPES, FINETUNE_RECIPES) for file in folder.glob("*.yaml"))]),
    ],
)
def test_every_entry_has_a_line(capsys, kind, names):
    titles, *rows = listed(capsys, kind)
    found = [row[0] for row in rows]
    assert (sorted(found) if kind == "recipes" else found) == names
    assert all(len(row) == len(titles) for row in rows)


def test_models_are_listed_with_what_is_known_of_them(capsys):
    rows = {row[0]: [cell.strip() for cell in row[1:]] for row in listed(capsys, "models")}
    assert rows["m-a-p/MERT-v1-95M"][:5] == ["cc-by-nc-4.0", "24000", "75", "12", "768"]
    assert rows["m-a-p/MERT-v2-30s"][:5] == ["cc-by-nc-4.0", "24000", "25", "24", "1024"]
    assert "key 9" in rows["m-a-p/MERT-v1-95M"][-1] and rows["m-a-p/MERT-v1-330M"][-1] == "-"


def test_what_lies_beside_the_package_is_found():
    assert {file.name for file in (RECIPES, CARDS)} == {"recipes", "model_cards"}
    assert (RECIPES / "quickstart.yaml").is_file()
    assert (CARDS / "template.md").is_file() and (FINETUNE_RECIPES / "quickstart.yaml").is_file()
