"""The music of installed packages as one folder to train on, with a list of what it is, by whom and under which licences."""

import csv
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePosixPath

from mert_hf.audio import AudioError, read_info, require_duration
from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_file, fill_folder, open_atomically, to_json
from mert_hf.common.licence_terms import allows, derive_weights_licence, require_weights_licence
from mert_hf.common.reading import read_json, read_text, to_dataclass
from mert_hf.data.free_music import MusicPackage

SOURCES, LICENCES = "SOURCES.csv", "licences.json"
AUDIO = (".ogg", ".opus", ".mp3", ".flac", ".wav")
ARCHIVES = (".pk3",)  # zip files
# The licence of weights that most of the music allows.
WIDEST = "gpl-3.0"
# Shorter ones are jingles: what is played when a game is won.
SHORTEST_S = 10.0


@dataclass(frozen=True)
class Source:
    """A track of the folder.

    Attributes:
        file: its path in the folder.
        package, version: that it is of.
        title, source: of the package: what it is the music of, and where that comes from.
        licence: by SPDX.
        authors: as [`mert_hf.data.free_music.Tracks`] has them.
        duration_s: its length.
    """

    file: str
    package: str
    version: str
    title: str
    licence: str
    authors: str
    source: str
    duration_s: float = 0.0


@dataclass(frozen=True)
class LeftOut:
    """An audio file that is not in the folder, and why."""

    file: str
    package: str
    reason: str


@dataclass(frozen=True)
class MusicFolder:
    """What was put into a folder."""

    folder: Path
    weights_licence: str
    sources: list[Source]
    left_out: list[LeftOut]

    @property
    def hours(self) -> float:
        """Of all its music."""
        return sum(source.duration_s for source in self.sources) / 3600


@dataclass(frozen=True)
class Credits:
    """What `licences.json` of a folder says, to be quoted.

    Attributes:
        weights_licence: of a model that is trained on it, as the Hub lists licences.
        license_note: why it is that one.
        training_data: the music with its authors, as [`describe_music`] names it.
        licences: of the music, by SPDX.
        hours, tracks: how much there is.
        left_out: fields of [`LeftOut`].
    """

    weights_licence: str
    license_note: str
    training_data: str
    licences: list[str]
    hours: float
    tracks: int
    left_out: list[dict]


def read_credits(file: str | os.PathLike) -> Credits:
    """What was noted with a folder of free music.

    Raises:
        InputError: there is no such file, or it is none of these.
    """
    return to_dataclass(Credits, read_json(file), str(file))


def installed_version(package: str) -> str | None:
    """The version of a package that is installed; None where it is not.

    Raises:
        InputError: the system has no packages of Debian.
    """
    state, _, version = _ask_dpkg("--show", "--showformat=${db:Status-Status} ${Version}", package).partition(" ")
    return version.strip() if state == "installed" else None


def link_music(packages: Sequence[MusicPackage], folder: str | os.PathLike, weights_licence: str | None = None) -> MusicFolder:
    """Make a folder of links to the music of packages; what lies in archives is unpacked into it.

    `SOURCES.csv` lists every track, `licences.json` what a model card quotes: the licence of weights that are trained on the
    folder, why it is that one, and the music with its authors; and what was left out with its reason. The same music under
    two names is there once.

    Args:
        packages: those that are not installed are left out.
        folder: a new or empty one, or one that this made before, which is made anew.
        weights_licence: of the model that is to be trained; only what allows it is taken. By default, what allows
            [`WIDEST`], and the licence is the one that asks least of those that all of it allows.

    Raises:
        InputError: no package of them is installed, nothing of them allows the licence, the folder holds other things, or the
            system has no packages of Debian.
    """
    wanted = weights_licence or WIDEST
    require_weights_licence(wanted)
    folder = Path(folder).expanduser()
    _require_own(folder)
    versions = {package.name: version for package in packages if (version := installed_version(package.name)) is not None}
    if not versions:
        names = " ".join(package.name for package in packages)
        raise InputError(f"none of these packages is installed; install some first: apt-get install {names}")
    sources: list[Source] = []
    left_out: list[LeftOut] = []
    known: dict[str, str] = {}
    with fill_folder(folder) as partial:
        for package in packages:
            for path, place, member in _audio_files(package.name) if package.name in versions else ():
                found = _take(package, path, place, member, partial, wanted, known)
                if isinstance(found, Source):
                    sources.append(replace(found, version=versions[package.name]))
                else:
                    left_out.append(found)
        if not sources:
            raise InputError(f"nothing in {', '.join(versions)} may be used for weights under {wanted}.")
        licence = weights_licence or derive_weights_licence(source.licence for source in sources)
        made = MusicFolder(folder, licence, sources, left_out)
        (partial / SOURCES).write_text(_to_csv(sources), encoding="utf-8", newline="")
        (partial / LICENCES).write_text(to_json(asdict(_credit(made)), indent=1) + "\n", encoding="utf-8")
    return made


def describe_music(sources: Iterable[Source]) -> str:
    """A list in Markdown that names the music, its licences and its authors, for the page of a model."""
    sources = list(sources)
    parts = []
    for name in dict.fromkeys(source.package for source in sources):
        of_it = [source for source in sources if source.package == name]
        by_licence: dict[str, list[str]] = {}
        for source in of_it:
            by_licence.setdefault(source.licence, []).extend(source.authors.split(", "))
        credits = "; ".join(
            f"{licence}, by {', '.join(dict.fromkeys(authors))}" for licence, authors in sorted(by_licence.items())
        )
        hours = sum(source.duration_s for source in of_it) / 3600
        first = of_it[0]
        parts.append(f"- {first.title} ({name} {first.version}, {first.source}; {hours:.1f} hours): {credits}")
    return "\n".join(["Music of free games, as Debian distributes it:\n", *parts])


def _ask_dpkg(*arguments: str) -> str:
    program = shutil.which("dpkg-query")
    if program is None:
        raise InputError(
            "this system has no packages of Debian (there is no dpkg-query); use Debian, Ubuntu or a container of one, or give"
            " a folder of your own music to train on."
        )
    return subprocess.run([program, *arguments], capture_output=True, text=True).stdout


def _audio_files(package: str) -> Iterator[tuple[str, Path, str | None]]:
    """Of a package, in order: the path that patterns are matched with, the file, and the name in it if it is an archive."""
    for line in sorted(_ask_dpkg("--listfiles", package).splitlines()):
        file = Path(line)
        if file.suffix.lower() in AUDIO and file.is_file():
            yield line, file, None
        elif file.suffix.lower() in ARCHIVES and file.is_file():
            try:
                with zipfile.ZipFile(file) as archive:
                    names = sorted(archive.namelist())
            except (zipfile.BadZipFile, OSError) as error:
                raise InputError(f"{file} of {package} cannot be read ({error}); install the package again.") from None
            yield from ((name, file, name) for name in names if PurePosixPath(name).suffix.lower() in AUDIO)


def _take(
    package: MusicPackage, path: str, place: Path, member: str | None, folder: Path, wanted: str, known: dict[str, str]
) -> Source | LeftOut:
    """Put a file into the folder, or say why not; `known` holds the names of what is there by its digest."""
    tracks, reason = package.find_tracks(path), package.find_reason(path)
    if reason is None and tracks is None:
        reason = "not known as music"
    elif reason is None and not allows(tracks.licence, wanted):
        reason = f"{tracks.licence} does not allow {wanted}"
    if reason is not None:
        return LeftOut(path, package.name, reason)
    name = f"{package.name}/{'/'.join(PurePosixPath(path).parts[-2:])}"
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if member is None:
        target.symlink_to(place.resolve())
    else:
        with zipfile.ZipFile(place) as archive, archive.open(member) as content, open_atomically(target) as written:
            shutil.copyfileobj(content, written)
    try:
        info, digest = read_info(target), digest_file(target)
        require_duration(info, SHORTEST_S)
    except AudioError as error:
        reason = str(error).removeprefix(f"{target}: ")
    else:
        reason = f"the same as {known[digest]}" if digest in known else None
    if reason is not None:
        target.unlink()
        return LeftOut(path, package.name, reason)
    known[digest] = name
    about = (package.name, "", package.title, tracks.licence, tracks.authors, package.source)
    return Source(name, *about, round(info.duration_s, 2))


def _require_own(folder: Path) -> None:
    """Refuse a folder that holds anything that this did not put there."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder.")
    listed = {SOURCES, LICENCES}
    if (folder / SOURCES).is_file():
        listed |= {row.get("file") for row in csv.DictReader(io.StringIO(read_text(folder / SOURCES)))}
    for parent, _, names in os.walk(folder):
        for name in names:
            file = (Path(parent) / name).relative_to(folder).as_posix()
            if file not in listed:
                raise InputError(f"{folder} holds other files, such as {file}; give a new or empty folder.")


def _to_csv(sources: Sequence[Source]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Source)], lineterminator="\n")
    table.writeheader()
    table.writerows(map(asdict, sources))
    return text.getvalue()


def _credit(made: MusicFolder) -> Credits:
    licences = sorted({source.licence for source in made.sources})
    allowed = f"all the free music that was heard ({', '.join(licences)}) allows it for what is made from that music"
    return Credits(
        made.weights_licence,
        f"{allowed}; whether weights are, is not settled in law.",
        describe_music(made.sources),
        licences,
        round(made.hours, 3),
        len(made.sources),
        list(map(asdict, made.left_out)),
    )
