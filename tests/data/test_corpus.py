import json
import os

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from support.sounds import make_tones

from mert_hf.audio import read_audio
from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_dataset, open_folder


def spoil(folder):
    """Add one track of every kind that cannot be used; returns the names and a word of the reason."""
    good = (folder / "a.wav").read_bytes()
    (folder / "text.wav").write_text("these are words " * 100)
    (folder / "cut.wav").write_bytes(good[: len(good) // 2])
    (folder / "empty.flac").write_bytes(b"")
    samples = make_tones(4.0, 24000)
    samples[1000] = np.nan
    soundfile.write(folder / "nan.wav", samples, 24000, subtype="FLOAT")
    soundfile.write(folder / "short.ogg", make_tones(2.5, 24000), 24000)
    return {"text.wav": "not a", "cut.wav": "truncated", "empty.flac": "empty", "nan.wav": "NaN", "short.ogg": "too short"}


def test_finds_all_formats_and_reads_them_at_one_rate(music_folder):
    (music_folder / ".hidden.wav").write_bytes(b"x")
    (music_folder / "cover.jpg").write_bytes(b"x")
    corpus = open_folder(music_folder)
    assert [track.name for track in corpus.tracks] == ["a.wav", "album/e.wav", "album/f.flac", "b.flac", "c.ogg", "d.mp3"]
    assert (corpus.skipped, corpus.num_silent) == ([], 0)
    assert corpus.duration_s == pytest.approx(4 + 5 + 6 + 7 + 8 + 9, abs=0.2)
    for index in range(6):
        whole = corpus.read(index, 24000)
        assert len(whole) == corpus.length(index, 24000)
        np.testing.assert_allclose(corpus.read(index, 24000, 5000, 24000), whole[5000:29000], atol=2e-6)


def test_unusable_tracks_are_skipped_counted_and_listed_with_their_reason(music_folder, tmp_path):
    reasons = spoil(music_folder)
    soundfile.write(music_folder / "silence.flac", np.zeros(96000), 24000)
    corpus = open_folder(music_folder)
    corpus.write_skipped(tmp_path / "skipped.jsonl")
    listed = {line["file"]: line["reason"] for line in map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())}
    assert set(listed) == set(reasons)
    for name, word in reasons.items():
        assert word in listed[name]
    assert len(corpus.tracks) == 7
    assert (corpus.num_silent, [track.name for track in corpus.tracks if track.silent]) == (1, ["silence.flac"])


def test_too_many_unusable_tracks_stop_with_where_to_look(music_folder, tmp_path):
    spoil(music_folder)
    corpus = open_folder(music_folder)
    with pytest.raises(InputError, match=r"5 of 11 tracks .* \(45%, data.max_skipped is 10%\); .*skipped\.jsonl"):
        corpus.require_usable(0.1, tmp_path / "skipped.jsonl")
    corpus.require_usable(0.5, tmp_path / "skipped.jsonl")
    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3", "album/e.wav", "album/f.flac"):
        (music_folder / name).unlink()
    with pytest.raises(InputError, match="none of the 5 tracks"):
        open_folder(music_folder).require_usable(1.0, tmp_path / "skipped.jsonl")


def test_missing_empty_and_mistaken_folders(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no audio file"):
        open_folder(tmp_path)
    (tmp_path / "song.wav").write_bytes(b"x")
    with pytest.raises(InputError, match=r"song\.wav is not a folder"):
        open_folder(tmp_path / "song.wav")


def test_unchanged_tracks_are_not_checked_twice(music_folder, tmp_path, monkeypatch):
    index = tmp_path / "tracks.json"
    first = open_folder(music_folder, index=index)
    soundfile.write(music_folder / "b.flac", make_tones(3.5, 44100), 44100)
    checked = []
    from mert_hf.data import tracks as module

    check = module.check_audio
    monkeypatch.setattr(module, "check_audio", lambda source, least: checked.append(source.name) or check(source, least))
    second = open_folder(music_folder, index=index)
    assert checked == ["b.flac"]
    assert second.tracks[3].duration_s == pytest.approx(3.5)
    assert [track for track in second.tracks if track.name != "b.flac"] == [
        track for track in first.tracks if track.name != "b.flac"
    ]
    open_folder(music_folder, min_duration_s=4.5, index=index)
    assert len(checked) == 7  # another question, asked of every track


def test_a_check_that_was_broken_off_goes_on_and_other_checks_are_taken(music_folder, tmp_path, monkeypatch):
    from mert_hf.data import tracks as module

    spoil(music_folder)
    check, checked = module.check_audio, []

    def note(source, least):
        checked.append(source.name)
        return check(source, least)

    def stop_at_the_sixth(source, least):
        if len(checked) == 5:
            raise KeyboardInterrupt
        return note(source, least)

    monkeypatch.setattr(module, "KEPT_EVERY", 2)
    monkeypatch.setattr(module, "check_audio", stop_at_the_sixth)
    index = tmp_path / "tracks.json"
    with pytest.raises(KeyboardInterrupt):
        open_folder(music_folder, index=index, threads=1)
    assert checked == ["a.wav", "e.wav", "f.flac", "b.flac", "c.ogg"]
    checked.clear()
    monkeypatch.setattr(module, "check_audio", note)
    corpus = open_folder(music_folder, index=index, threads=3)
    # those of the first two writings are kept
    assert sorted(checked) == ["c.ogg", "cut.wav", "d.mp3", "empty.flac", "nan.wav", "short.ogg", "text.wav"]
    fresh = open_folder(music_folder, threads=8)
    assert (corpus.tracks, corpus.skipped) == (fresh.tracks, fresh.skipped)
    soundfile.write(music_folder / "b.flac", make_tones(3.5, 44100), 44100)
    for track in corpus.skipped:
        (music_folder / track.name).unlink()
    checked.clear()
    again = open_folder(music_folder, index=tmp_path / "other.json", known_from=index)
    assert checked == ["b.flac"]
    assert again.tracks == open_folder(music_folder).tracks


def test_what_can_be_used_by_now_is_asked_again(music_folder, tmp_path):
    good = (music_folder / "a.wav").read_bytes()
    (music_folder / "a.wav").write_bytes(b"x" * len(good))
    index, stat = tmp_path / "tracks.json", (music_folder / "a.wav").stat()
    assert len(open_folder(music_folder, index=index).skipped) == 1
    (music_folder / "a.wav").write_bytes(good)
    os.utime(music_folder / "a.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_folder(music_folder, index=index).skipped == []


def test_links_and_closed_folders(music_folder, monkeypatch):
    (music_folder / "again").symlink_to(music_folder)
    (music_folder / "dangling.wav").symlink_to(music_folder / "nowhere.wav")
    (music_folder / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    corpus = open_folder(music_folder)
    assert len(corpus.tracks) == 6
    reasons = {track.name: track.skipped_because for track in corpus.skipped}
    assert reasons == {
        "dangling.wav": "cannot be opened: No such file or directory",
        "closed": "cannot be listed: Permission denied",
    }


def test_names_that_are_no_text_are_read(music_folder):
    strange = os.fsdecode(b"caf\xe9.wav")
    os.rename(music_folder / "a.wav", os.path.join(music_folder, strange))
    corpus = open_folder(music_folder)
    assert corpus.skipped == []
    assert strange in [track.name for track in corpus.tracks]
    (music_folder / "z").mkdir()
    with open(os.path.join(music_folder, "z", strange), "w") as file:
        file.write("no audio")
    corpus = open_folder(music_folder)
    corpus.write_skipped(music_folder / "skipped.jsonl")
    assert len(corpus.skipped) == 1


def test_header_check_trusts_what_it_does_not_decode(music_folder):
    samples = make_tones(4.0, 24000)
    samples[1000] = np.nan
    soundfile.write(music_folder / "nan.wav", samples, 24000, subtype="FLOAT")
    (music_folder / "text.wav").write_text("words")
    corpus = open_folder(music_folder, check="header")
    assert [track.name for track in corpus.skipped] == ["text.wav"]
    assert "nan.wav" in [track.name for track in corpus.tracks]


def test_a_dataset_is_read_without_decoding_it_as_a_whole(music_folder, tmp_path):
    spoil(music_folder)
    names = ["b.flac", "cut.wav", "a.wav"]
    rows = [{"bytes": (music_folder / name).read_bytes(), "path": name} for name in names]
    dataset = Dataset.from_dict({"audio": rows, "artist": ["x", "y", "z"]}).cast_column("audio", Audio())
    corpus = open_dataset(dataset)
    assert [track.name for track in corpus.tracks] == ["row 0", "row 2"]
    assert "truncated" in corpus.skipped[0].skipped_because
    np.testing.assert_array_equal(corpus.read(1, 24000), read_audio(music_folder / "a.wav", 24000))
    empty = Dataset.from_dict({"audio": [*rows, None]}).cast_column("audio", Audio())
    assert [track.name for track in open_dataset(empty).skipped] == ["row 1", "row 3"]
    with pytest.raises(InputError, match="no column 'music'; its columns: audio, artist"):
        open_dataset(dataset, "music")
    with pytest.raises(InputError, match="not Audio"):
        open_dataset(dataset, "artist")


@pytest.mark.parametrize("name", ["a.wv", "b.TTA", "album/c.mp2", "d.ape", "e.mpc", "f.dsf", "g.ra", "h.shn", "i.spx", "j.dts"])
def test_audio_of_formats_that_are_not_read_is_counted_and_listed(music_folder, tmp_path, name):
    (music_folder / "cover.jpg").write_bytes(b"no audio by its name")
    (music_folder / name).write_bytes(b"no reader takes this for its format" * 50)
    corpus = open_folder(music_folder)
    assert [track.name for track in corpus.skipped] == [name] and len(corpus.tracks) == 6
    corpus.write_skipped(tmp_path / "skipped.jsonl")
    with pytest.raises(InputError, match=r"1 of 7 tracks .* cannot be used"):
        corpus.require_usable(0.1, tmp_path / "skipped.jsonl")
    assert json.loads((tmp_path / "skipped.jsonl").read_text())["reason"]


@pytest.mark.parametrize("damage", ["cut", "another kind", "an earlier reader", "no length"])
def test_an_index_that_cannot_be_believed_is_made_anew(music_folder, tmp_path, damage, caplog):
    index = tmp_path / "tracks.json"
    expected = [(track.name, track.num_samples) for track in open_folder(music_folder, index=index).tracks]
    content = json.loads(index.read_text())
    if damage == "another kind":
        content["tracks"][0]["num_samples"] = "many"
    elif damage == "an earlier reader":
        del content["reader"]
        content["tracks"][0]["num_samples"] = 2**63 - 1
    elif damage == "no length":
        content["tracks"][0]["num_samples"] = 0
    text = json.dumps(content)
    index.write_text(text[: len(text) // 2] if damage == "cut" else text)
    with caplog.at_level("WARNING", "mert_hf"):
        assert [(track.name, track.num_samples) for track in open_folder(music_folder, index=index).tracks] == expected
    assert ("tracks.json is damaged" in caplog.text) == (damage in ("cut", "another kind"))


def test_tracks_of_absurd_shape_are_skipped_and_the_others_kept(music_folder):
    usable = len(open_folder(music_folder).tracks)
    whole = make_tones(4.0, 24000)
    soundfile.write(music_folder / "wide.wav", np.repeat(whole[:100, None], 1024, axis=1), 24000)
    soundfile.write(music_folder / "slow.wav", whole, 1)
    soundfile.write(music_folder / "inverse.wav", np.stack([whole, -whole], axis=1), 24000)
    corpus = open_folder(music_folder)
    assert len(corpus.tracks) == usable + 1
    assert corpus.num_silent >= 1
    reasons = {track.name: track.skipped_because for track in corpus.skipped}
    assert "too short: 0.00 s" in reasons["wide.wav"]
    assert "the rate in its header must be a whole number" in reasons["slow.wav"]
