"""The cells of training/cells: equal budgets, and each differs from its neighbour in what its name says."""

from pathlib import Path

import pytest
from support.multiview_runs import MULTIVIEW

from mert_hf import MERT2Config
from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten, read_settings
from mert_hf.comparison.cells import Music, cell_names, cut_to_budget, read_cells
from mert_hf.comparison.claims import cells_of, read_claims
from mert_hf.comparison.table import encoder_of
from mert_hf.objectives import OBJECTIVES
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.teachers import CODE_TEACHERS

# MERT2Config.small()
SMALL = {
    name: getattr(MERT2Config.small(), name)
    for name in (
        "hidden_size",
        "num_hidden_layers",
        "intermediate_size",
        "num_mel_bins",
        "n_fft",
        "short_mel_bins",
        "subsampling_channels",
    )
}
CELLS = Path(__file__).parents[2] / "training" / "cells"
BUDGET_S = 10_000
LOG_MEL = {"teacher.features": ["log_mel"], "teacher.books": None}
# what each cell changes of which other
CHANGES = {
    "random_weights": ("small", {"training.max_steps": 0}),
    "small_timbre": (
        "small_acoustic",
        {"teacher.features": ["log_mel"], "teacher.books": [8], "teacher.codebook_sizes": [64] * 8},
    ),
    "small_timbre_cqt": ("small_timbre", {"cqt.enabled": True}),
    "small_timbre_1": ("small_timbre", {"teacher.books": [1], "teacher.codebook_sizes": [64]}),
    "small_acoustic": ("small", {"cqt.enabled": False}),
    "small_cqt_only": ("small", {"model.code_loss_weight": 0.0}),
    "small_cqt_weight_1": ("small", {"model.cqt_loss_weight": 1.0}),
    "small_plain_cqt": ("small_cqt_weight_1", {"cqt.compression": "none", "cqt.standardise": False}),
    "small_masked_only": ("small", {"model.unmasked_loss_weight": 0.0}),
    "small_coarse": (
        "small",
        {
            "model.num_mel_bins": 128,
            "model.n_fft": 2048,
            "model.win_length": 2048,
            "model.subsampling_channels": [160, 192, 256],
        },
    ),
    "small_one_window": ("small", {"model.short_mel_bins": 0, "model.subsampling_channels": [192, 224, 256]}),
    "small_mixture_50": ("small", {"mixture.probability": 0.5}),
    "small_gain_10": ("small", {"mixture.gain_db": 10.0}),
    "small_span_10": ("small", {"masking.span_frames": 10}),
    "small_masks_4": ("small", {"masking.masks": 4}),
    "small_average": ("small", {"training.ema_decay": 0.99}),
    "small_random_projection": (
        "small",
        {"teacher.kind": "random_projection", "teacher.codebook_sizes": [4096], **LOG_MEL},
    ),
    "small_mel_rvq": ("small", {"teacher.kind": "mel_rvq", "teacher.codebook_sizes": [64] * 8, **LOG_MEL}),
    "random_weights_mert": ("mert", {"training.max_steps": 0}),
    "mert_pre_ln": ("mert", {"model.do_stable_layer_norm": True}),
    "mert_deepnorm": ("mert", {"model.deepnorm": True}),
    "mert_fast": ("mert", {"training.learning_rate": 5e-3}),
    "mert_fast_pre_ln": ("mert_fast", {"model.do_stable_layer_norm": True}),
    "mert_fast_deepnorm": ("mert_fast", {"model.deepnorm": True}),
    "music2vec_all_layers": ("music2vec", {"data2vec.top_layers": 3}),
    "music2vec_crop_10": (
        "music2vec",
        {"data.crop_s": 10.0, "data.min_track_s": 10.0, "training.batch_size": 1, "training.max_steps": 2000},
    ),
}


# of the features that `small` codes and others do not
OTHER_FEATURES = ("teacher.feature_options.chroma", "teacher.feature_options.constant_q")


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return {cell.name: cell for cell in read_cells([], CELLS, "out", BUDGET_S, 7, Music("music"))}


def read(name: str) -> dict:
    return flatten(read_settings(PretrainSettings, str(CELLS / f"{name}.yaml"), CELLS))


@pytest.mark.parametrize("name", CHANGES)
def test_a_cell_changes_what_its_name_says(name):
    other, changes = CHANGES[name]
    plain, own = read(other), read(name)
    changed = {key: own.get(key) for key in plain.keys() | own.keys() if plain.get(key) != own.get(key)}
    changed.pop("output_dir")
    kept = {key: value for key, value in changed.items() if not key.startswith(OTHER_FEATURES)}
    assert kept == changes
    assert len(kept) == len(changed) or changes["teacher.features"] == ["log_mel"]


def test_every_teacher_of_a_cell_can_be_made(cells):
    made = []
    for cell in cells.values():
        teacher = cell.settings.teacher
        if cell.settings.objective == "masked_prediction":
            found = CODE_TEACHERS[teacher.kind].from_settings(teacher, 24000, 960)
            assert (found.codebook_sizes, found.features) == (teacher.codebook_sizes, teacher.features), cell.name
            made.append(cell.name)
    assert len(made) > 20


def test_every_objective_has_a_cell(cells):
    assert {cell.settings.objective for cell in cells.values()} == set(OBJECTIVES)
    assert set(CHANGES) | set(MULTIVIEW) | {"small", "mert", "musichubert", "music2vec"} < set(cells)
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
    assert [name for name, cell in cells.items() if not cell.trained] == [
        "random_weights",
        "random_weights_mert",
        "random_weights_resnet",
    ]


def test_encoders_are_of_one_size(cells):
    """So that objectives are compared, and not models; the cells of other encoders are named after those."""
    shapes = {}
    for name, cell in cells.items():
        model = cell.settings.model
        raw = (model.get("hidden_size"), model.get("num_hidden_layers"), model.get("intermediate_size"), model.get("conv_dim"))
        if name.startswith(("mert", "music")) or name == "random_weights_mert":
            assert raw == (128, 3, 512, [48] * 7), name
        elif "resnet" not in name and name not in ("small_coarse", "small_one_window"):
            shapes[name] = {key: tuple(found) if isinstance(found := model[key], list) else found for key in SMALL}
    assert len(shapes) == 24 and all(shape == SMALL for shape in shapes.values())
    kinds = set()
    for cell in cells.values():
        given = {key: value for key, value in flatten(cell.settings).items() if value is not None}
        kinds.add(encoder_of({"objective": cell.settings.objective, "settings": given}))
    assert kinds == {"mert", "mert2", "resnet"}


def test_the_claims_cells_are_there(cells):
    claims = read_claims(CELLS.parent / "claims.yaml")
    assert set(cells_of(claims)) <= set(cells)
    for claim in claims.values():
        assert claim.better not in claim.worse


def test_what_is_counted_in_updates_keeps_its_share():
    settings = read_settings(PretrainSettings, "music2vec_vanilla", CELLS.parent / "recipes")
    update_s = 7 * 30.0
    short = cut_to_budget(settings, 1000 * update_s, processes=2)
    assert short.training.max_steps == 500
    assert short.training.warmup_steps == 500 * 12_000 // 400_000
    assert (short.data2vec.decay_steps, short.data2vec.first_judged_step) == (38, 6)
    clustering = cut_to_budget(read_settings(PretrainSettings, "clustering", CELLS), 6400.0)
    assert (clustering.training.max_steps, clustering.multiview.options["temperature_steps"]) == (100, 16)
    del clustering.multiview.options["temperature_steps"]  # a default of 5,120 updates changes along as well
    assert cut_to_budget(clustering, 50 * clustering.update_audio_s()).multiview.options["temperature_steps"] == 2560


@pytest.mark.parametrize(
    ("names", "budget_s", "message"),
    [
        (["bylo"], 100, "there is no cell 'bylo'; did you mean byol"),
        (["byol", "byol"], 100, "cells of one name cannot be told apart: byol"),
        (["byol"], 10, "a budget of 10 s is less than an update of byol, which hears 64 s"),
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
