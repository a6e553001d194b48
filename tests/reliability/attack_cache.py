"""Caches of features whose files are damaged: refused, or the features that were written."""

import json
import shutil
from pathlib import Path

import numpy as np
from fuzzing import damage_bytes, damage_values

from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import FeatureCache, FeatureWindow

DOCUMENTED = (InputError,)
KEY = {"model": "small", "level": "windows"}
NAMES = [["one", "two"], ["three"]]


def prepare(folder: Path):
    """Two shards of three examples."""
    whole, damaged = folder / "whole", folder / "damaged"
    cache = FeatureCache(whole, KEY)
    drawn = np.random.default_rng(0).standard_normal((6, 2, 8)).astype(np.float16)
    windows = [[[FeatureWindow(0.0, 2), FeatureWindow(1.5, 1)], [FeatureWindow(0.0, 1)]], [[FeatureWindow(0.0, 2)]]]
    cache.write(0, NAMES[0], windows[0], drawn[:4])
    cache.write(1, NAMES[1], windows[1], drawn[4:])
    meant = [listed for shard in windows for listed in shard]

    def strike(rng: np.random.Generator) -> None:
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        files = sorted(file for file in damaged.rglob("*") if file.is_file())
        file = files[int(rng.integers(len(files)))]
        if file.suffix == ".json" and rng.random() < 0.6:
            file.write_text(json.dumps(damage_values(rng, json.loads(file.read_text()))))
        else:
            file.write_bytes(damage_bytes(rng, file.read_bytes()))
        found = FeatureCache(damaged, KEY).read(NAMES)
        assert [list(listed) for listed in found.windows] == meant, "unnoticed"
        assert np.array_equal(found.take(np.arange(6)), drawn.astype(np.float32)), "unnoticed"

    return strike
