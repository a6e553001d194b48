"""Music into a catalogue: what is in a row, what is done again and what is not, whatever happens on the way."""

import hashlib
import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from support.catalogues import embed_share, embed_slowly, read_rows, save_model, vectors_of, write_songs
from support.small_runs import MODEL, finish, start
from support.sounds import make_tones

from mert_hf import MusicEncoder
from mert_hf.catalogue import Rows, embed
from mert_hf.catalogue.embedding import Process
from mert_hf.catalogue.settings import parse_layers, write_layers
from mert_hf.common.errors import InputError

HIDDEN = MODEL["hidden_size"]
QUIET = dict(dtype="float32", progress=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def no_more_models(monkeypatch):
    """From the call on, nothing is computed any more."""

    def forbid():
        def fail(*_, **__):
            raise AssertionError("a track was computed again")

        monkeypatch.setattr(MusicEncoder, "encode", fail)

    return forbid


def test_a_row_tells_of_a_track_what_is_true(model, music_folder, tmp_path):
    done = embed([music_folder], tmp_path / "out", model, **QUIET)
    rows = read_rows(tmp_path / "out")
    files = sorted(file for file in music_folder.rglob("*") if file.is_file())
    assert (done.new, done.known, done.failed) == (6, 0, 0) and set(rows) == set(map(str, files))
    expected = MusicEncoder(model).encode(list(map(str, files)), normalize=False, progress=False)
    for file, vector in zip(files, expected, strict=True):
        row = rows[str(file)]
        np.testing.assert_allclose(row["vector"], vector, atol=1e-5)
        assert row["name"] == file.relative_to(music_folder).as_posix()
        assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert (row["size"], row["modified_ns"]) == (file.stat().st_size, file.stat().st_mtime_ns)
        assert row["sampling_rate"] == soundfile.info(file).samplerate
        if file.suffix != ".mp3":
            assert row["duration_s"] == soundfile.info(file).duration
        assert (row["model"], row["layers"], row["pool"], row["window_s"]) == (str(model), "1", "mean", 30.0)
    assert done.audio_s == pytest.approx(sum(row["duration_s"] for row in rows.values()))


@pytest.mark.parametrize(
    ("layers", "pool", "columns"),
    [
        ([0, 2], "mean", {"layer_00": (HIDDEN,), "layer_02": (HIDDEN,)}),
        ("all", "mean_std", {f"layer_{layer:02d}": (2 * HIDDEN,) for layer in range(3)}),
        ({1: 0.5, 2: 0.25}, "mean", {"vector": (HIDDEN,)}),
        ([2], "second", {"layer_02": (3, HIDDEN)}),
        (1, "second", {"vector": (3, HIDDEN)}),
    ],
)
def test_layers_and_pools_give_their_columns(model, tmp_path, layers, pool, columns):
    soundfile.write(tmp_path / "a.wav", make_tones(2.5, 24000), 24000)
    embed([tmp_path / "a.wav"], tmp_path / "out", model, layers, pool, **QUIET)
    (row,) = read_rows(tmp_path / "out").values()
    expected = MusicEncoder(model).encode(str(tmp_path / "a.wav"), layers, pool, normalize=False, progress=False)
    expected = expected if isinstance(layers, (list, str)) else [expected]
    assert {name: np.shape(row[name]) for name in row if name.startswith(("vector", "layer_"))} == columns
    for name, vector in zip(columns, expected, strict=True):
        np.testing.assert_allclose(row[name], vector, atol=1e-5)


def test_all_frames_go_to_files_and_are_not_computed_for_a_copy(model, tmp_path, no_more_models):
    (song,) = write_songs(tmp_path / "music", 1)
    embed([tmp_path / "music"], tmp_path / "out", model, [0, 2], None, **QUIET)
    shutil.copy(song, tmp_path / "music" / "copy.wav")
    no_more_models()
    embed([tmp_path / "music"], tmp_path / "out", model, [0, 2], None, **QUIET)
    names = {row["frames"] for row in read_rows(tmp_path / "out").values()}
    (file,) = (tmp_path / "out" / "frames").iterdir()
    assert names == {file.name}
    assert np.load(file).shape == (2, 44, HIDDEN)


def test_a_second_run_computes_what_is_new_alone(model, tmp_path, no_more_models):
    music, out = tmp_path / "music", tmp_path / "out"
    first, second, third = write_songs(music, 3)
    embed([music], out, model, **QUIET)
    before = read_rows(out)
    os.utime(second)  # touched
    shutil.move(third, music / "moved.wav")
    no_more_models()
    done = embed([music], out, model, **QUIET)
    after = read_rows(out)
    assert (done.new, done.known, done.failed, done.audio_s) == (1, 2, 0, 0.0)  # the speed is that of what was computed
    assert after[str(music / "moved.wav")]["vector"] == before[str(third)]["vector"]
    assert {path: after[path] for path in before} == before


def test_a_file_with_another_content_gets_another_row_in_place_of_its_own(model, tmp_path):
    music, out = tmp_path / "music", tmp_path / "out"
    first, second = write_songs(music, 2)
    embed([music], out, model, **QUIET)
    before = read_rows(out)
    soundfile.write(first, make_tones(0.9, 24000, 77), 24000)
    assert embed([music], out, model, **QUIET).new == 1
    after = read_rows(out)
    assert after[str(second)] == before[str(second)] and len(after) == 2
    expected = MusicEncoder(model).encode(str(first), normalize=False, progress=False)
    np.testing.assert_allclose(after[str(first)]["vector"], expected, atol=1e-5)


def test_vectors_depend_on_their_track_alone(model, tmp_path):
    songs = write_songs(tmp_path / "music", 4)
    embed(songs, tmp_path / "one", model, **QUIET)
    embed(songs[::-1], tmp_path / "two", model, **QUIET)
    embed(songs[2:3], tmp_path / "three", model, **QUIET)
    one, two, three = (vectors_of(read_rows(tmp_path / name)) for name in ("one", "two", "three"))
    assert one == two and three == {str(songs[2]): one[str(songs[2])]}


def test_changed_settings_are_refused_by_name(model, tmp_path):
    songs, out = write_songs(tmp_path / "music", 1), tmp_path / "out"
    embed(songs, out, model, **QUIET)
    before = read_rows(out)
    other = save_model(tmp_path / "other", seed=1)
    cases = {
        "layers '1', now '2'": dict(model=model, layers=2),
        "pool 'mean', now 'second'": dict(model=model, pool="second"),
        "window_s 30.0, now 5.0": dict(model=model, window_s=5),
        "dtype 'float32', now 'bfloat16'": dict(model=model, dtype="bfloat16"),
        "weights": dict(model=other),
    }
    for told, how in cases.items():
        with pytest.raises(InputError, match="was begun with other settings") as error:
            embed(songs, out, **{**QUIET, **how})
        assert told in str(error.value)
    assert read_rows(out) == before
    # the same weights under another name are the same model
    shutil.copytree(model, tmp_path / "same")
    assert embed(songs, out, tmp_path / "same", **QUIET).known == 1


def test_bad_tracks_are_listed_and_tried_again(model, tmp_path):
    music, out = tmp_path / "music", tmp_path / "out"
    songs = write_songs(music, 3)
    whole = songs[1].read_bytes()
    songs[1].write_bytes(b"no audio")
    (music / "empty.mp3").touch()
    soundfile.write(music / "short.wav", np.zeros(100), 24000)
    done = embed([music], out, model, **QUIET)
    listed = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert (done.new, done.failed) == (2, 3) and {entry["name"] for entry in listed} == {
        "song 01.wav",
        "empty.mp3",
        "short.wav",
    }
    assert all(entry["reason"] and entry["path"].startswith(str(music)) for entry in listed)
    songs[1].write_bytes(whole)
    again = embed([music], out, model, **QUIET)
    assert (again.new, again.known, again.failed) == (1, 2, 2) and len(read_rows(out)) == 3
    for name in ("empty.mp3", "short.wav"):
        (music / name).unlink()
    (out / "failures-00001.jsonl").write_text("{}\n")  # of a launch of before
    assert embed([music], out, model, **QUIET).failed == 0 and not list(out.glob("failures*"))


@pytest.mark.parametrize(
    "name", ["with space.wav", "emoji 🎵.wav", "new\nline.wav", "quote\"'.wav", "[brackets].wav", "#hash.wav"]
)
def test_names_of_every_kind(model, tmp_path, name):
    song = write_songs(tmp_path / "music", 1)[0]
    song.rename(tmp_path / "music" / name)
    for sources in ([tmp_path / "music"], [tmp_path / "music" / name]):
        embed(sources, tmp_path / "out", model, **QUIET)
        assert set(read_rows(tmp_path / "out")) == {str(tmp_path / "music" / name)}


def test_a_name_that_is_no_text_is_listed(model, tmp_path):
    (song,) = write_songs(tmp_path / "music", 1)
    try:
        shutil.copy(song, os.fsencode(tmp_path / "music") + b"/\xff.wav")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    done = embed([tmp_path / "music"], tmp_path / "out", model, **QUIET)
    assert (done.new, done.failed) == (1, 1) and "UTF-8" in done.failures.read_text()


def test_a_run_that_is_interrupted_keeps_what_is_done(model, tmp_path, monkeypatch):
    music, out = tmp_path / "music", tmp_path / "out"
    write_songs(music, 5)
    encode, left = MusicEncoder.encode, iter([1, 1, 0])

    def interrupted(self, *arguments, **options):
        if not next(left):
            raise KeyboardInterrupt
        return encode(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MusicEncoder, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embed([music], out, model, **QUIET)
    done = embed([music], out, model, **QUIET)
    assert (done.new, done.known) == (3, 2) and len(read_rows(out)) == 5


def test_killed_runs_end_as_one_that_was_not(model, tmp_path):
    """SIGKILL at random moments while rows are written; the documented proof kills ten times (tests/reliability)."""
    music, out, whole = tmp_path / "music", tmp_path / "out", tmp_path / "whole"
    write_songs(music, 16, 0.1)
    embed([music], whole, model, **QUIET)
    chance, kills = random.Random(5), 0
    while kills < 3:
        (process,) = start(embed_slowly, music, out, model, 0.05)
        deadline = time.monotonic() + 100
        before = journal_length(out)
        while process.is_alive() and journal_length(out) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        finish([process])
        kills += 1
        if len(read_rows(out)) == 16:
            break
    assert kills >= 2
    done = embed([music], out, model, **QUIET)
    assert done.known >= kills and done.new + done.known == 16
    assert vectors_of(read_rows(out)) == vectors_of(read_rows(whole))
    assert not list(out.glob("journal-*"))


def journal_length(folder) -> int:
    return sum(file.stat().st_size for file in folder.glob("journal-*"))


def test_processes_share_the_tracks_and_one_takes_over_what_killed_ones_left(model, tmp_path):
    music, out, whole = tmp_path / "music", tmp_path / "out", tmp_path / "whole"
    songs = write_songs(music, 7)
    embed([music], whole, model, **QUIET)
    assert finish(start(embed_share, music, out, model, processes=2)) == [0, 0]
    shared, alone = read_rows(out), read_rows(whole)
    assert set(shared) == set(alone)
    for path, row in shared.items():  # on fewer threads the last bits differ
        np.testing.assert_allclose(row["vector"], alone[path]["vector"], atol=1e-5)
    files = {file.name[:10] for file in (out / "data").iterdir()}
    assert files == {"part-00000", "part-00001"}
    # more songs; the second of three processes dies before it has written a shard
    write_songs(music, 12)
    shares = [embed([music], out, model, process=Process(number, 3), **QUIET) for number in (0, 2)]
    journal_of_the_dead(out, model, music, 1)
    done = embed([music], out, model, **QUIET)
    assert done.known == 12 - done.new and sum(share.new for share in shares) + 1 + done.new == 5
    assert set(read_rows(out)) == {str(path) for path in music.iterdir()} and len(songs) == 7
    assert not list(out.glob("journal-*"))


def journal_of_the_dead(out, model, music, number):
    """One row by a process that is no more."""
    from mert_hf.catalogue.embedder import Embedder, hear
    from mert_hf.catalogue.sources import Files
    from mert_hf.catalogue.store import Store

    embedder = Embedder(model)
    item = list(Files([music]))[10]
    heard = hear(item.source, 24000)
    facts = dict(sha256=heard.sha256, duration_s=heard.duration_s, sampling_rate=heard.sampling_rate)
    Store(out, embedder.settings, number).add(item, facts | embedder.vectors(heard))


def test_two_runs_do_not_write_into_one_folder(model, tmp_path):
    music, out = tmp_path / "music", tmp_path / "out"
    write_songs(music, 12, 0.1)
    (process,) = start(embed_slowly, music, out, model, 0.3)
    while process.is_alive() and not journal_length(out):
        time.sleep(0.01)
    with pytest.raises(InputError, match="another run is writing into"):
        embed([music], out, model, **QUIET)
    process.kill()
    finish([process])


def test_sources_of_every_kind_name_each_file_once(model, tmp_path):
    music = tmp_path / "music"
    songs = write_songs(music / "a", 2) + write_songs(music / "b", 2)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(
        "\ufeff#EXTM3U\n#EXTINF:1,x\nmusic/a/song 00.wav\r\n\nmusic/b/gone.wav\nhttp://example.org/a.mp3\n", "utf-8"
    )
    done = embed([playlist], tmp_path / "list", model, **QUIET)
    assert (done.new, done.failed) == (1, 2) and "does not exist" in done.failures.read_text()
    embed([music, songs[0], f"{music}/**/*.wav", playlist], tmp_path / "all", model, **QUIET)
    assert set(read_rows(tmp_path / "all")) == set(map(str, songs))


@pytest.mark.parametrize("stream", [False, True])
def test_rows_of_a_dataset(model, tmp_path, stream, no_more_models):
    songs = write_songs(tmp_path / "music", 3)
    audio = [{"bytes": song.read_bytes(), "path": song.name} for song in songs] + [{"bytes": b"no audio", "path": None}]
    (tmp_path / "rows").mkdir()
    if stream:
        pyarrow.parquet.write_table(pyarrow.table({"audio": audio}), tmp_path / "rows" / "0.parquet")
    else:
        from datasets import Audio, Dataset

        Dataset.from_dict({"audio": audio}).cast_column("audio", Audio(decode=False)).cast_column(
            "audio", Audio()
        ).save_to_disk(tmp_path / "rows")
    found = Rows(str(tmp_path / "rows"), stream=stream)
    done = embed(found, tmp_path / "out", model, **QUIET)
    assert (done.new, done.failed) == (3, 1)
    embed([tmp_path / "music"], tmp_path / "files", model, **QUIET)
    rows, files = read_rows(tmp_path / "out"), read_rows(tmp_path / "files")
    assert sorted(vectors_of(rows).values()) == sorted(vectors_of(files).values())
    assert {row["name"] for row in rows.values()} == {song.name for song in songs}
    no_more_models()
    assert embed(Rows(str(tmp_path / "rows"), stream=stream), tmp_path / "out", model, **QUIET).known == 3


def test_what_cannot_be_is_told_in_a_line(model, tmp_path):
    (song,), foreign = write_songs(tmp_path / "music", 1), tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    cases = [
        ([tmp_path / "gone.wav"], "out", "does not exist"),
        ([tmp_path / "empty"], "out", "holds no audio file"),
        ([tmp_path / "*.flac"], "out", "no file fits the pattern"),
        ([], "out", "nothing to embed"),
        ([song], "foreign", "holds other files, such as 'thesis.txt'"),
        ([song], "music/song 00.wav", "is a file"),
        ([song], "music/song 00.wav/below", "cannot be written"),
    ]
    for sources, folder, told in cases:
        with pytest.raises(InputError, match=told) as error:
            embed(sources, tmp_path / folder, model, **QUIET)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="there is no such folder"):
        embed([song], tmp_path / "out", tmp_path / "no model", **QUIET)
    with pytest.raises(InputError, match="layer 9 does not exist"):
        embed([song], tmp_path / "out", model, 9, **QUIET)
    assert sorted(os.listdir(foreign)) == ["thesis.txt"]
    # a folder of which nothing was noted yet is free
    assert embed([song], tmp_path / "out", model, **QUIET).new == 1


def test_layers_are_read_as_they_were_written():
    for layers in (0, 7, [7], [0, 3, 12], {7: 0.5, 8: 0.1}):
        assert parse_layers(write_layers(layers, 12)) == layers
    assert parse_layers(write_layers("all", 3)) == [0, 1, 2, 3] and parse_layers("all") == "all"
    for text in ("", "seven", "1,x", "7:", "1:2:3"):
        with pytest.raises(InputError, match="are none"):
            parse_layers(text)
