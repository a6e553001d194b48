"""The cells of training/cells: equal budgets, and each differs from its neighbour in what its name says."""

from pathlib import Path

import pytest
from support.multiview_runs import MULTIVIEW

from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten, read_settings
from mert_hf.comparison.cells import Music, cell_names, cut_to_budget, read_cells
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.settings import PretrainSettings

CELLS = Path(__file__).parents[2] / "training" / "cells"
BUDGET_S = 10_000
# what each cell of MERT changes of the cell "mert"
CHANGES = {
    "mert_acoustic": {"cqt.enabled": False},
    "mert_cqt_only": {"model.code_loss_weight": 0.0},
    "mert_cqt_weight_2": {"model.cqt_loss_weight": 2.0},
    "mert_cqt_weight_5": {"model.cqt_loss_weight": 5.0},
    "mert_mixture_0": {"mixture.probability": 0.0},
    "mert_mixture_25": {"mixture.probability": 0.25},
    "mert_mixture_100": {"mixture.probability": 1.0},
    "mert_codebooks_1": {"teacher.codebook_sizes": [32]},
    "mert_masks_4": {"masking.masks": 4},
    "mert_kmeans_parallel": {
        "teacher.kind": "kmeans_parallel",
        "teacher.features": ["log_mel", "chroma"],
        "teacher.codebook_sizes": [300, 200],
    },
    "mert_pre_ln": {"model.do_stable_layer_norm": True},
    "mert_deepnorm": {"model.deepnorm": True},
    "random_weights": {"training.max_steps": 0},
}


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return {cell.name: cell for cell in read_cells([], CELLS, "out", BUDGET_S, 7, Music("music"))}


def read(name: str) -> dict:
    return flatten(read_settings(PretrainSettings, str(CELLS / f"{name}.yaml"), CELLS))


@pytest.mark.parametrize("name", CHANGES)
def test_a_cell_changes_what_its_name_says(name):
    plain, own = read("mert"), read(name)
    changed = {key: own.get(key) for key in plain.keys() | own.keys() if plain.get(key) != own.get(key)}
    changed.pop("output_dir")
    assert changed == CHANGES[name]


def test_every_objective_has_a_cell(cells):
    assert {cell.settings.objective for cell in cells.values()} == set(OBJECTIVES)
    assert set(CHANGES) | set(MULTIVIEW) | {"mert", "musichubert", "music2vec"} < set(cells)
    assert not any(name.startswith("_") for name in cell_names(CELLS))


def test_every_cell_hears_the_budget(cells):
    """Counted from what the trainer counts: seconds of all crops of an update."""
    for cell in cells.values():
        settings = cell.settings
        crops = 2 if settings.objective in MULTIVIEW else 1
        heard_s = settings.training.max_steps * settings.training.batch_size * crops * settings.data.crop_s
        assert heard_s == (pytest.approx(BUDGET_S, rel=0.01) if cell.trained else 0), cell.name
        assert (settings.training.seed, settings.data.folder) == (7, "music")
        assert settings.output_dir == f"out/cells/{cell.name}"
    assert [name for name, cell in cells.items() if not cell.trained] == ["random_weights", "random_weights_resnet"]


def test_encoders_are_of_one_size(cells):
    """So that objectives are compared, and not models; the cells of other encoders are named after those."""
    for name, cell in cells.items():
        if "resnet" not in name and cell.settings.multiview.encoder != "mert2":
            model = cell.settings.model
            sizes = (model["hidden_size"], model["num_hidden_layers"], model["intermediate_size"], model["conv_dim"])
            assert sizes == (128, 3, 512, [48] * 7), name
        assert (cell.settings.multiview.encoder == "mert2") == name.startswith("mert2_"), name


def test_what_is_counted_in_updates_keeps_its_share():
    settings = read_settings(PretrainSettings, "music2vec_vanilla", CELLS.parent / "recipes")
    update_s = 7 * 30.0
    short = cut_to_budget(settings, 1000 * update_s, processes=2)
    assert short.training.max_steps == 500
    assert short.training.warmup_steps == 500 * 12_000 // 400_000
    assert (short.data2vec.decay_steps, short.data2vec.first_judged_step) == (38, 6)
    clustering = cut_to_budget(read_settings(PretrainSettings, "clustering", CELLS), 3200.0)
    assert (clustering.training.max_steps, clustering.multiview.options["temperature_steps"]) == (100, 16)
    del clustering.multiview.options["temperature_steps"]  # a default of 5,120 updates changes along as well
    assert cut_to_budget(clustering, 50 * clustering.update_audio_s()).multiview.options["temperature_steps"] == 2560


@pytest.mark.parametrize(
    ("names", "budget_s", "message"),
    [
        (["bylo"], 100, "there is no cell 'bylo'; did you mean byol"),
        (["byol", "byol"], 100, "cells of one name cannot be told apart: byol"),
        (["byol"], 10, "a budget of 10 s is less than an update of byol, which hears 32 s"),
        (["nowhere.yaml"], 100, "there is no recipe 'nowhere.yaml'"),
    ],
)
def test_mistakes_are_told_in_a_line(names, budget_s, message):
    with pytest.raises(InputError, match=message):
        read_cells(names, CELLS, "out", budget_s, 0, Music("music"))


def test_cells_of_two_precisions_are_refused(tmp_path):
    (tmp_path / "half.yaml").write_text(f"base: {CELLS / 'mert.yaml'}\ntraining: {{mixed_precision: bf16}}\n")
    with pytest.raises(InputError, match="share a precision; training.mixed_precision is bf16 and no"):
        read_cells(["mert", str(tmp_path / "half.yaml")], CELLS, "out", 100, 0, Music("music"))
