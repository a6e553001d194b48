"""A folder of free music out of packages, of a system that is made up."""

import csv
import io
import json

import numpy as np
import pytest
import soundfile
from support.packages import System, archive, sound

from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import ALLOWED, WEIGHTS_LICENCES, allows
from mert_hf.data.corpus import open_folder
from mert_hf.data.free_music import FREE_MUSIC, choose_packages
from mert_hf.data.free_music_folder import Source, describe_music, installed_version, link_music


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Four packages: files and an archive, several licences, jingles, effects, and one track twice."""
    made = System(tmp_path, monkeypatch)
    battle = sound(10.5, 0)
    music = "usr/share/games/wesnoth/1.16/data/core/music"
    files = {"battle.ogg": battle, "battle-again.ogg": battle, "victory.ogg": sound(4, 1), "silence.ogg": sound(10.5, 2)}
    made.install("wesnoth-1.16-music", {f"{music}/{name}": content for name, content in files.items()} | {"x/README": b"read"})
    files = {"David01.ogg": sound(11, 3), "ufo1.ogg": sound(11, 4), "new.ogg": sound(11, 5), "greecei.ogg": b"no audio"}
    pack = archive({"music/": b""} | {f"music/{name}": content for name, content in files.items()})
    made.install("ufoai-music", {"usr/share/games/ufoai/base/0music.pk3": pack}, "2.5-2")
    files = {"music/hr3-caves.ogg": sound(12, 6), "sounds/tada.ogg": sound(11, 7)}
    made.install("hyperrogue-music", {f"usr/share/hyperrogue/{name}": content for name, content in files.items()})
    made.install("drascula-music", {"usr/share/scummvm/drascula/audio/track1.ogg": sound(11, 8)})
    return made


def test_the_folder_holds_the_music_and_says_what_it_is(system, tmp_path):
    folder = tmp_path / "music"
    made = link_music(choose_packages(), folder)
    names = [
        "hyperrogue-music/music/hr3-caves.ogg",
        "ufoai-music/music/David01.ogg",
        "wesnoth-1.16-music/music/battle-again.ogg",
    ]
    assert sorted(source.file for source in made.sources) == names
    corpus = open_folder(folder)
    assert [track.name for track in corpus.tracks] == names
    assert made.hours == pytest.approx((10.5 + 11 + 12) / 3600, abs=1e-4)
    # a link to what is installed, and a copy of what lies in an archive
    assert (folder / names[2]).resolve() == system.root / "usr/share/games/wesnoth/1.16/data/core/music/battle-again.ogg"
    np.testing.assert_array_equal(soundfile.read(folder / names[1])[0], soundfile.read(io.BytesIO(sound(11, 3)))[0])

    rows = {row["file"]: row for row in csv.DictReader((folder / "SOURCES.csv").open(newline=""))}
    assert list(rows) == [source.file for source in made.sources]
    assert rows[names[1]] | {"duration_s": "11.0"} == {
        "file": names[1],
        "package": "ufoai-music",
        "version": "2.5-2",
        "title": "UFO: Alien Invasion",
        "licence": "CC-BY-3.0",
        "authors": "David Reeves (Destructavator)",
        "source": "http://sourceforge.net/projects/ufoai/",
        "duration_s": "11.0",
    }
    told = json.loads((folder / "licences.json").read_text())
    assert told["weights_licence"] == made.weights_licence == "gpl-3.0"
    assert "Will Savino" not in told["training_data"] and "Shawn Parrotte" in told["training_data"]
    assert "CC-BY-3.0, CC-BY-SA-3.0, GPL-2.0-or-later" in told["license_note"]


def test_what_is_left_out_has_its_reason(system, tmp_path):
    made = link_music(choose_packages(), tmp_path / "music")
    reasons = {one.file.rpartition("/")[2]: one.reason for one in made.left_out}
    assert reasons.pop("greecei.ogg")  # the reader's own words
    assert reasons.pop("victory.ogg").startswith("too short")
    assert reasons == {
        "battle.ogg": "the same as wesnoth-1.16-music/music/battle-again.ogg",
        "silence.ogg": "silence",
        "ufo1.ogg": "GPL-2.0-only does not allow gpl-3.0",
        "new.ogg": "not known as music",
        "tada.ogg": "a sound effect",
        "track1.ogg": "LicenseRef-Drascula does not allow gpl-3.0",
    }


def test_a_licence_that_is_asked_for_chooses_the_music(system, tmp_path):
    made = link_music(choose_packages(), tmp_path / "music", "cc-by-sa-4.0")
    assert made.weights_licence == "cc-by-sa-4.0"
    assert {source.package for source in made.sources} == {"hyperrogue-music", "ufoai-music"}
    # without one, what there is decides
    assert link_music(choose_packages(["hyperrogue-music"]), tmp_path / "other").weights_licence == "cc-by-sa-4.0"


def test_the_folder_is_made_anew_and_nothing_else_is_touched(system, tmp_path):
    folder = tmp_path / "music"
    link_music(choose_packages(), folder)
    system.remove("hyperrogue-music")
    link_music(choose_packages(), folder)
    assert not (folder / "hyperrogue-music").exists() and (folder / "ufoai-music").is_dir()
    assert (system.root / "usr/share/hyperrogue/music/hr3-caves.ogg").is_file()
    (folder / "own.mp3").write_bytes(b"somebody's")
    with pytest.raises(InputError, match="holds other files, such as own.mp3"):
        link_music(choose_packages(), folder)
    assert (folder / "own.mp3").is_file() and (folder / "SOURCES.csv").is_file()


def test_what_cannot_be_is_told(system, tmp_path, monkeypatch):
    folder = tmp_path / "music"
    with pytest.raises(InputError, match="none of these packages is installed; .*apt-get install asc-music"):
        link_music(choose_packages(["asc-music"]), folder)
    with pytest.raises(InputError, match="nothing in drascula-music may be used for weights under gpl-3.0"):
        link_music(choose_packages(["drascula-music"]), folder)
    with pytest.raises(InputError, match="'mit' is no licence of weights"):
        link_music(choose_packages(), folder, "mit")
    with pytest.raises(InputError, match="wesnoth-music is no package .*did you mean wesnoth-1.16-music"):
        choose_packages(["wesnoth-music"])
    system.install("ufoai-music", {"usr/share/games/ufoai/base/0music.pk3": b"no archive"})
    with pytest.raises(InputError, match="0music.pk3 of ufoai-music cannot be read"):
        link_music(choose_packages(["ufoai-music"]), folder)
    assert not folder.exists() and not list(tmp_path.glob("*.partial"))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="this system has no packages of Debian"):
        installed_version("asc-music")


def test_authors_are_named_once_beside_their_licence():
    about = ("a-music", "1", "A", "CC-BY-3.0", "Ann, Bea", "http://a")
    told = describe_music([Source("a.ogg", *about, 1800.0), Source("b.ogg", *about, 1800.0)])
    assert told.splitlines() == [
        "Music of free games, as Debian distributes it:",
        "",
        "- A (a-music 1, http://a; 1.0 hours): CC-BY-3.0, by Ann, Bea",
    ]


@pytest.mark.parametrize("package", FREE_MUSIC.values(), ids=FREE_MUSIC)
def test_every_package_says_what_a_model_card_needs(package):
    assert package.tracks and package.title and "://" in package.source
    for tracks in package.tracks:
        assert tracks.authors and tracks.hours > 0 and tracks.files
        assert all(part in ALLOWED or part.startswith("LicenseRef-") for part in tracks.licence.split(" OR "))
        usable = any(allows(tracks.licence, found) for found in WEIGHTS_LICENCES)
        assert usable == (package.name != "drascula-music")  # which may not be sold by itself
    assert package.hours() == pytest.approx(sum(tracks.hours for tracks in package.tracks))
    assert package.hours("gpl-3.0") <= package.hours()


def test_the_table_counts_what_was_measured():
    """14.1 hours in all; what the folder of each licence holds on Debian 12."""
    found = {licence: sum(package.hours(licence) for package in FREE_MUSIC.values()) for licence in (None, *WEIGHTS_LICENCES)}
    assert found[None] == pytest.approx(14.105) and found["gpl-3.0"] == pytest.approx(11.783, abs=2e-3)
    assert found["cc-by-sa-4.0"] == pytest.approx(7.509, abs=3e-3)
