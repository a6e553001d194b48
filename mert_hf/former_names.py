"""Modules that moved, under the names they had up to version 0.1: each still imports, and says once where it is now."""

import importlib
import warnings
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "mert_hf.configuration_mert": "mert_hf.models.configuration_mert",
    "mert_hf.data.synthetic": "mert_hf.synthetic",
    "mert_hf.encoder": "mert_hf.encoding.encoder",
    "mert_hf.errors": "mert_hf.common.errors",
    "mert_hf.feature_extraction_mert": "mert_hf.models.feature_extraction_mert",
    "mert_hf.layer_guide": "mert_hf.encoding.layer_guide",
    "mert_hf.masking": "mert_hf.objectives.masking",
    "mert_hf.modeling_mert": "mert_hf.models.modeling_mert",
    "mert_hf.pipeline_mert": "mert_hf.models.pipeline_mert",
    "mert_hf.probing.beat_tracking": "mert_hf.probing.probes.beat_tracking",
    "mert_hf.seeding": "mert_hf.common.seeding",
}


class FormerNames(MetaPathFinder, Loader):
    """Finds modules by their former names, after all other finders: what stands under a name today goes first."""

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        """Find a module that moved."""
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def exec_module(self, module: ModuleType) -> None:
        """Make its names those of the module where it is now."""
        now = FORMER[module.__name__]
        warnings.warn(f"{module.__name__} is now {now}; import from there.", FutureWarning, stacklevel=2)
        moved = importlib.import_module(now)
        module.__doc__ = moved.__doc__
        module.__getattr__ = lambda name: getattr(moved, name)


__all__ = ["FORMER", "FormerNames"]
