"""Which General MIDI soundfonts there are: one for training, validation and corpora, another for test.

1. `MERT_HF_SOUNDFONT` names the first and `MERT_HF_TEST_SOUNDFONT` the second; the first named alone plays everything.
2. Where the first is not named, it is FluidR3_GM.sf2 (Debian's fluid-soundfont-gm) in one of the usual folders, or whatever
   lies there that is not the second, which is TimGM6mb.sf2 (timgm6mb-soundfont).
3. Where there is only one, it plays everything, and the results say so.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file

SOUNDFONT_VARIABLE, TEST_SOUNDFONT_VARIABLE = "MERT_HF_SOUNDFONT", "MERT_HF_TEST_SOUNDFONT"
SOUNDFONT_FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts", "/usr/local/share/soundfonts")
TRAINING_SOUNDFONT, TEST_SOUNDFONT = "FluidR3_GM.sf2", "TimGM6mb.sf2"


@dataclass(frozen=True)
class Soundfont:
    """A file of sampled instruments."""

    path: Path
    fingerprint: str  # its SHA-256


def find_soundfonts() -> tuple[Soundfont, Soundfont]:
    """The soundfont of training, validation and corpora, and that of test; the same twice where there is only one.

    Raises:
        InputError: there is none, or none where an environment variable says.
    """
    named, named_for_test = map(os.environ.get, (SOUNDFONT_VARIABLE, TEST_SOUNDFONT_VARIABLE))
    usual = {} if named else _usual()
    training = _named(SOUNDFONT_VARIABLE, named) if named else _training(usual)
    if named_for_test:
        return training, _named(TEST_SOUNDFONT_VARIABLE, named_for_test)
    test = usual.get(TEST_SOUNDFONT)
    return training, training if test is None else _soundfont(test)


def _usual() -> dict[str, Path]:
    """Soundfonts of the usual folders by the name of their file, where links lead; the first one of a name."""
    found: dict[str, Path] = {}
    for folder in map(Path, SOUNDFONT_FOLDERS):
        files = sorted([*folder.glob("*.sf2"), *folder.glob("*.sf3")]) if folder.is_dir() else []
        for file in (file.resolve() for file in files):
            found.setdefault(file.name, file)
    return found


def _training(usual: dict[str, Path]) -> Soundfont:
    others = [name for name in usual if name != TEST_SOUNDFONT]
    for name in (TRAINING_SOUNDFONT, *others, TEST_SOUNDFONT):
        if name in usual:
            return _soundfont(usual[name])
    raise _missing(SOUNDFONT_VARIABLE, ", ".join(SOUNDFONT_FOLDERS))


def _named(variable: str, path: str) -> Soundfont:
    if not Path(path).is_file():
        raise _missing(variable, path)
    return _soundfont(Path(path))


def _missing(variable: str, where: str) -> InputError:
    return InputError(
        f"no General MIDI soundfont was found ({where}); set {variable} to an .sf2 file, or use the renderer builtin."
    )


def _soundfont(path: Path) -> Soundfont:
    state = path.stat()
    return Soundfont(path, _fingerprint(path, state.st_size, state.st_mtime_ns))


@cache
def _fingerprint(path: Path, size: int, mtime_ns: int) -> str:
    """Of 140 MB it takes a tenth of a second, and every task asks for it; size and time of change tell whether it is old."""
    return digest_file(path)
