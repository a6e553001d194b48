"""Modules that moved still import under the names that the README of version 0.1 gave, and say once where they are."""

import importlib
import subprocess
import sys

import pytest

import mert_hf
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.former_names import FORMER

# what users imported, by the README before the modules moved
DOCUMENTED = {
    "mert_hf.encoder": "MusicEncoder",
    "mert_hf.layer_guide": "LAYER_GUIDE",
    "mert_hf.data.synthetic": "generate_piece",
    "mert_hf.masking": "draw_span_mask",
    "mert_hf.seeding": "generator",
    "mert_hf.probing.beat_tracking": "BeatTracker",
    "mert_hf.errors": "InputError",
    "mert_hf.modeling_mert": "MERTModel",
}


@pytest.mark.parametrize("former", FORMER)
def test_a_former_name_gives_what_is_there_now_and_warns_once(former, monkeypatch):
    monkeypatch.delitem(sys.modules, former, raising=False)
    with pytest.warns(FutureWarning, match=f"^{former} is now {FORMER[former]}; import from there") as warned:
        module = importlib.import_module(former)
        importlib.import_module(former)
    assert len(warned) == 1
    now = importlib.import_module(FORMER[former])
    for name in [DOCUMENTED[former]] if former in DOCUMENTED else now.__all__ if hasattr(now, "__all__") else []:
        assert getattr(module, name) is getattr(now, name)
    with pytest.raises(AttributeError):
        _ = module.never_there


def test_all_that_was_documented_is_there():
    assert DOCUMENTED.keys() <= FORMER.keys()
    for kept, name in (("audio", "read_audio"), ("teachers", "CQTTeacher"), ("tasks", "TASKS"), ("probing.metrics", "METRICS")):
        assert hasattr(importlib.import_module(f"mert_hf.{kept}"), name)


def test_the_encoder_is_a_public_name_that_costs_nothing_until_it_is_asked_for():
    assert mert_hf.MusicEncoder is MusicEncoder
    assert "MusicEncoder" in mert_hf.__all__
    loaded = "print('mert_hf.encoding' in sys.modules)"
    code = f"import sys, mert_hf; {loaded}; mert_hf.MusicEncoder; {loaded}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="has no attribute 'MusicDecoder'"):
        _ = mert_hf.MusicDecoder
