"""What travels to the Hub: configurations, models, feature extractor, pipeline, and what they read audio with.

transformers copies these files, which import each other as siblings, into every repository that is published, and a reader's
machine runs them without this package. The suffix names the family: `_mert`, `_mert2`, `_multiview`; what serves all of them
bears `_mert` too, for the names are flattened and must not meet those of others.
"""

import importlib
import importlib.util


def __getattr__(name: str) -> object:
    """A module of this folder, loaded when it is first asked for."""
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
