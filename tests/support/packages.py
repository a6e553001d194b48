"""A system of Debian packages that is made up: files, and a `dpkg-query` that tells of them."""

import io
import os
import zipfile
from pathlib import Path

import soundfile
from support.sounds import make_tones

RATE = 8000
DPKG = """#!/bin/sh
for name in "$@"; do :; done
case "$1" in
    --show) cat "{folder}/$name.state" 2> /dev/null ;;
    --listfiles) cat "{folder}/$name.list" ;;
esac
"""


def sound(seconds: float, seed: int) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, make_tones(seconds, RATE, seed), RATE, format="OGG")
    return content.getvalue()


class System:
    """Packages that are installed, as `dpkg-query` tells of them."""

    def __init__(self, folder: Path, monkeypatch):
        self.root, self._notes = folder / "root", folder / "dpkg"
        (folder / "bin").mkdir()
        self._notes.mkdir()
        (folder / "bin" / "dpkg-query").write_text(DPKG.format(folder=self._notes))
        (folder / "bin" / "dpkg-query").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder / "bin"), prepend=os.pathsep)

    def install(self, package: str, files: dict[str, bytes], version: str = "1:1.0-2") -> None:
        paths = []
        for name, content in files.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            paths += [str(file.parent), str(file)]
        (self._notes / f"{package}.state").write_text(f"installed {version}")
        (self._notes / f"{package}.list").write_text("\n".join(paths) + "\n/not/there.ogg\n")

    def remove(self, package: str) -> None:
        (self._notes / f"{package}.state").write_text("config-files 1:1.0-2")


def archive(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return content.getvalue()
