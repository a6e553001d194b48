"""The attacks of `fuzz.py` in short: damaged and absurd input ends in a result or in a documented error."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fuzz import FAMILIES, run_family


@pytest.mark.parametrize("family", FAMILIES)
def test_only_documented_errors_come_of_it(family):
    report = run_family(family, inputs=60, seed=20261126)
    assert report.findings == [], report.line()
