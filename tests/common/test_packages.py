"""What is said where a package of an extra is missing; tests/test_installation.py looks where they are."""

import sys

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages


def test_missing_packages_are_named_with_the_extra_that_brings_them(monkeypatch):
    require_packages("train", "numpy", "torch")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError) as told:
        require_packages("train", "numpy", "torch")
    assert isinstance(told.value, InputError)  # a command tells it in a line
    assert str(told.value) == 'torch is needed here and not installed: pip install "mert_hf[train]"'
    with pytest.raises(InputError, match=r'torch, not_a_package are needed here and not installed: .*"mert_hf\[onnx\]"'):
        require_packages("onnx", "torch", "not_a_package")
