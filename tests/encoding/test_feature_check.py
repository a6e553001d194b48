"""Features that somebody kept, told from those that code with a table of garbage computed."""

import re

import numpy as np
import pytest
import soundfile
import torch
from support.small_runs import MERT2_MODEL
from support.sounds import make_tones

from mert_hf import MERT2Config, MERT2Model, MERTFeatureExtractor, MusicEncoder
from mert_hf.cli import main
from mert_hf.models import modeling_mert2

SIZES = {**MERT2_MODEL, "initializer_range": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checked")
    torch.manual_seed(0)
    MERT2Model(MERT2Config(**SIZES)).save_pretrained(folder / "model")
    MERTFeatureExtractor(min_samples=1025).save_pretrained(folder / "model")
    soundfile.write(folder / "song.wav", make_tones(4.0, 24_000, 1), 24_000)
    return folder


def check(folder, capsys, features, *options) -> tuple[str, int]:
    np.save(folder / "kept.npy", features)
    code = 0
    try:
        main(["check-features", str(folder / "model"), str(folder / "kept.npy"), str(folder / "song.wav"), *options])
    except SystemExit as ended:
        code = ended.code
    return capsys.readouterr().out + str(code or ""), int(bool(code))


@pytest.mark.parametrize("mean", [False, True], ids=["frames", "their mean"])
def test_right_features_are_told_from_those_of_a_garbage_table(folder, capsys, monkeypatch, mean):
    options = dict(layers=3, pool="mean" if mean else None, normalize=False, window_s=None, progress=False)
    song = str(folder / "song.wav")
    right = MusicEncoder(folder / "model").encode(song, **options)
    assert "kept.npy: right; they come closest to layer 3, with a difference of " in check(folder, capsys, right)[0]
    half = MusicEncoder(folder / "model", dtype="float16").encode(song, **options)
    said, code = check(folder, capsys, half[None])
    verdict = "right" if mean else "right, computed in 16 bit"
    assert f"kept.npy: {verdict}; they come closest to layer 3" in said
    assert code == 0
    # as memory that nobody filled: the official code's table of rotary frequencies on transformers 5
    garbage = torch.rand(100, 16) * 2 - 1
    monkeypatch.setattr(modeling_mert2, "rotary_table", lambda *_: (garbage, garbage.flip(1)))
    wrong = MusicEncoder(folder / "model").encode(song, **options)
    monkeypatch.undo()
    said, code = check(folder, capsys, wrong)
    if mean:
        assert "undecided" in said
        return
    assert "kept.npy: wrong; they come closest to layer" in said
    assert "does not hold features of" in said and "compute them anew" in said
    assert code == 1


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((7, 32), np.float32), r"the features have the shape \(7, 32\); the model gives \(100, 32\) of this audio"),
        (np.zeros((100, 31), np.float32), r"the features have the shape \(100, 31\)"),
        (np.zeros((2, 100, 32), np.float32), "must hold floats of shape"),
        (np.zeros((100, 32), np.int64), "must hold floats of shape"),
        (np.full((100, 32), np.nan, np.float32), "holds NaN or infinity"),
        (np.array([{}], object), "cannot be read as .npy: Object arrays cannot be loaded"),
    ],
)
def test_what_is_no_features_is_one_line(folder, capsys, features, message):
    said, code = check(folder, capsys, features)
    assert code == 1
    assert re.search(message, said), said
    assert "Traceback" not in said
