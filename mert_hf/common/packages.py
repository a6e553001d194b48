"""Packages that an installation without extras lacks: what is said where a room needs one."""

import importlib.util

from mert_hf.common.errors import MissingPackageError


def require_packages(extra: str, *names: str) -> None:
    """Refuse to go on where packages are not installed; stands before their imports, or in the `__init__.py` of a room.

    Args:
        extra: of `pyproject.toml` that brings them.
        names: as they are imported.

    Raises:
        MissingPackageError: names the packages, and how to install them.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} needed here and not installed:"
            f' pip install "mert_hf[{extra}]"'
        )
