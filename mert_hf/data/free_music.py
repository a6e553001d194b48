"""Music that a system's package manager installs, under licences that allow training and publishing what was trained.

Read on Debian 12 from the copyright file of every package (`/usr/share/doc/PACKAGE/copyright`), authors also from the tags of
the files, and of warzone2100-music from the `license.txt` beside its albums, where an author allows more than the package says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import OR, PUBLIC_DOMAIN, allows
from mert_hf.common.suggestions import suggest


@dataclass(frozen=True)
class Tracks:
    """Files of a package under one licence.

    Attributes:
        files: patterns of their paths, matched from the right; of archives, of the paths within.
        licence: by SPDX.
        authors: as they wish to be named, as far as it is known.
        hours: of music, as measured, without what is shorter than 10 s.
    """

    files: tuple[str, ...]
    licence: str
    authors: str
    hours: float


@dataclass(frozen=True)
class MusicPackage:
    """A package of music.

    Attributes:
        name: of the package.
        title: of what it is the music of.
        source: where that comes from, as the copyright file says.
        tracks: its music; of a file that several patterns fit, the first holds.
        no_music: pattern -> what its audio files are that are no music.
    """

    name: str
    title: str
    source: str
    tracks: tuple[Tracks, ...]
    no_music: dict[str, str] = field(default_factory=dict)

    @property
    def licences(self) -> list[str]:
        """Of its tracks, each once."""
        return list(dict.fromkeys(tracks.licence for tracks in self.tracks))

    def hours(self, weights_licence: str | None = None) -> float:
        """Of its music; with a licence, of what weights under it may be trained on."""
        return sum(one.hours for one in self.tracks if weights_licence is None or allows(one.licence, weights_licence))

    def find_tracks(self, path: str) -> Tracks | None:
        """What is known of a file; None where it is not known as music."""
        return next((tracks for tracks in self.tracks if _fits(path, tracks.files)), None)

    def find_reason(self, path: str) -> str | None:
        """Why a file is no music, where it is known to be none."""
        return next((reason for pattern, reason in self.no_music.items() if _fits(path, (pattern,))), None)


def _fits(path: str, patterns: tuple[str, ...]) -> bool:
    return any(PurePosixPath(path).match(pattern) for pattern in patterns)


GPL, BY_SA = "GPL-2.0-or-later", "CC-BY-SA-3.0"
FREE_MUSIC: dict[str, MusicPackage] = {
    package.name: package
    for package in (
        MusicPackage(
            "wesnoth-1.16-music",
            "The Battle for Wesnoth",
            "http://www.wesnoth.org/",
            (
                Tracks(
                    ("music/*.ogg",),
                    GPL,
                    "Aleksi Aubry-Carlson, Doug Kaufman, Gianmarco Leone, Jeremy Nicoll, Joseph G. Toscano, Mattias Westlund,"
                    " Ryan Reilly, Stephen Rozanc, Timothy Pinkham, Tyler Johnson",
                    2.131,
                ),
            ),
            {"silence.ogg": "silence"},
        ),
        MusicPackage(
            "warzone2100-music",
            "Warzone 2100",
            "http://wz2100.net/download",
            (
                Tracks(("aftermath_soundtrack/track3_enhanced.opus",), GPL, "LupusMechanicus, Martin Severn", 0.083),
                Tracks(
                    ("legacy_soundtrack/*.opus", "aftermath_soundtrack/*.opus"), f"{BY_SA}{OR}{GPL}", "LupusMechanicus", 3.589
                ),
                Tracks(("original_soundtrack/*.opus",), GPL, "Martin Severn", 0.331),
                Tracks(("music/menu.opus",), GPL, "Eidos Interactive, Warzone 2100 Project", 0.05),
            ),
        ),
        MusicPackage(
            "ufoai-music",
            "UFO: Alien Invasion",
            "http://sourceforge.net/projects/ufoai/",
            (
                Tracks(("David0?.ogg",), "CC-BY-3.0", "David Reeves (Destructavator)", 0.253),
                Tracks(("azrael1.ogg",), "CC-BY-3.0", "azrael1322", 0.062),
                Tracks(("karlmacklin_*.ogg",), "CC-BY-3.0", "Karl Macklin", 0.074),
                Tracks(("van_*.ogg",), "CC-BY-3.0", 'Manuel "Vanethian" Marino (www.manuelmarino.com)', 0.459),
                Tracks(("Crystan-*.ogg",), BY_SA, "Christian Hoffmann (Crystan)", 0.819),
                Tracks(("Marine*.ogg",), BY_SA, '"Marine" Baklund', 0.349),
                Tracks(("TheThings-Slippycurb.ogg",), BY_SA, "Slippycurb", 0.131),
                Tracks(("dynamictest-*.ogg", "returnjourney.ogg"), BY_SA, "the UFO:AI Team, Gren", 0.162),
                Tracks(("alBasrahM.ogg", "greecei.ogg", "turinItalyM.ogg"), PUBLIC_DOMAIN, "Golgotha, Independent.nu", 0.153),
                Tracks(("AlexFightmare.ogg",), "GPL-2.0-only", "Alex Parker", 0.092),
                Tracks(("Psymong*.ogg",), "GPL-2.0-only", "Simon Green (Psymong)", 1.256),
                Tracks(("ufo?.ogg",), "GPL-2.0-only", "Paul Bee", 0.059),
                Tracks(("dawn.ogg", "space.ogg", "dbsea.ogg"), "GPL-2.0-only", "Sebastian Ahlen, the UFO:AI Team", 0.138),
            ),
        ),
        MusicPackage(
            "nexuiz-music",
            "Nexuiz",
            "svn://svn.icculus.org/nexuiz/",
            (
                Tracks(
                    ("cdtracks/*.ogg",),
                    GPL,
                    "blkrbt, Braden Walters, Gerd Raudenbusch (elysis), Parapraxis; Alientrap, Lee Vermeulen",
                    1.388,
                ),
            ),
            {"thunder.ogg": "a thunderstorm"},
        ),
        MusicPackage(
            "singularity-music",
            "Endgame: Singularity",
            "https://code.google.com/p/endgame-singularity/",
            (Tracks(("*.ogg",), BY_SA, "Max McCracken (Maxstack)", 1.068),),
        ),
        MusicPackage(
            "hyperrogue-music",
            "HyperRogue",
            "https://www.roguetemple.com/z/hyper/",
            (
                Tracks(("music/hr3-*.ogg",), BY_SA, "Shawn Parrotte (http://www.shawnparrotte.com)", 0.275),
                Tracks(("music/hr-domina-*.ogg",), BY_SA, "Lincoln Domina", 0.044),
                Tracks(("music/hr-savino-*.ogg",), BY_SA, "Will Savino (http://www.willsavino.net)", 0.07),
            ),
            {"sounds/*.ogg": "a sound effect"},
        ),
        MusicPackage(
            "drascula-music",
            "Drascula: The Vampire Strikes Back",
            "https://scummvm.org",
            # may be changed and given away, also in a collection that is sold, but not sold by itself
            (Tracks(("drascula/audio/track*.ogg",), "LicenseRef-Drascula", "Alcachofa Soft S.L.", 0.776),),
            {"drascula/??/track*.ogg": "a link to the same track, for another language"},
        ),
        MusicPackage(
            "asc-music",
            "Advanced Strategic Command",
            "http://www.asc-hq.de/",
            (Tracks(("music/*.mp3",), GPL, "Michael Kievernagel", 0.293),),
        ),
    )
}


def choose_packages(names: Iterable[str] = ()) -> list[MusicPackage]:
    """The packages of these names; all, where none is named.

    Raises:
        InputError: an unknown name; with those that may be meant.
    """
    names = list(names) or list(FREE_MUSIC)
    for name in names:
        if name not in FREE_MUSIC:
            raise InputError(f"{name} is no package of music that is known here{suggest(name, list(FREE_MUSIC))}")
    return [FREE_MUSIC[name] for name in dict.fromkeys(names)]
