import dataclasses
import hashlib
import os
import shutil
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import soundfile
from sklearn.model_selection import GroupShuffleSplit
from support.sounds import make_tones
from support.task_layouts import BUILDERS, MP3, SIZES, WAV, artist_word, cell, put, put_table

from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.tasks import SUITES, TASKS, tasks_of
from mert_hf.tasks.base import KEYS, SPLITS, Check, Windows
from mert_hf.tasks.examples import Cell, Example, Waveform

# those whose data comes from elsewhere; the synthetic ones are tested in test_synthetic.py
FOREIGN = {task.name: task for suite in ("marble", "deezer") for task in tasks_of(suite)}


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, build in BUILDERS.items():
        build(folder / name)
    return folder


def test_suites_hold_what_the_papers_evaluate():
    assert len(SUITES["marble"]) == 14
    assert [task.protocol.name for task in tasks_of("marble")] == ["MARBLE"] * 14
    assert [task.protocol.name for task in tasks_of("deezer")] == ["Deezer"] * 5
    assert {task.dataset for task in FOREIGN.values()} == set(BUILDERS)
    assert {name for suite in SUITES.values() for name in suite} == set(TASKS)
    with pytest.raises(InputError, match="suite 'superb' is unknown; known suites: marble, deezer"):
        tasks_of("superb")


@pytest.mark.parametrize("task", FOREIGN.values(), ids=FOREIGN)
def test_a_task_finds_and_reads_its_dataset(task, data_folder):
    data = task.load(data_folder)
    if SIZES[task.name]:
        assert [len(data.splits[split]) for split in SPLITS] == SIZES[task.name]
    assert len(data.labels) == len(set(data.labels)) == (len(task.labels) or task.num_labels)
    names = [example.name for split in SPLITS for example in data.splits[split]]
    if not data.origin.endswith(("gtzan", "instrument", "pitch")):  # rows of a table are numbered within their split
        assert len(set(names)) == len(names)
    for split in SPLITS:
        for example in data.splits[split]:
            check_target(task, data, example)
        first = data.splits[split][0]
        waveform = first.read(12000)
        assert (waveform.dtype, waveform.ndim) == (np.float32, 1)
        # mp3 pads what it encodes
        assert len(waveform) == pytest.approx(12000, abs=1500)
        assert first.duration_s() == pytest.approx(len(waveform) / 12000, abs=1e-3)
    assert data.fingerprint == task.load(data_folder).fingerprint
    # sizes that differ from the official dataset's are said, and nothing is wrong
    assert task.check(data_folder) == Check(notes=data.notes)
    assert len(data.notes) == len(task.split_sizes)


def check_target(task, data, example):
    target = data.target(example)
    if task.kind in ("multiclass", "key"):
        assert data.labels[target] == example.label
    elif task.kind == "multilabel":
        assert (target.shape, target.dtype) == ((len(data.labels),), np.float32)
        assert {label for label, value in zip(data.labels, target, strict=True) if value} == set(example.label)
    elif task.kind == "regression":
        assert target.tolist() == pytest.approx(example.label)
    elif task.kind == "beats":
        assert target.tolist() == list(example.label)
    else:
        assert [path.stem for path in target] == list(data.labels)


@pytest.mark.parametrize("task", FOREIGN.values(), ids=FOREIGN)
def test_check_says_what_is_missing_where(task, tmp_path):
    (problem, *_) = task.check(tmp_path).problems
    expected = "cannot be opened" if "Hub" in task.source.describe() else f"{tmp_path / task.dataset} is not there; expected"
    assert expected in problem
    with pytest.raises(InputError):
        task.load(tmp_path)


def test_check_names_missing_files_of_a_folder(tmp_path):
    BUILDERS["emomusic"](tmp_path / "emomusic")
    (tmp_path / "emomusic" / "clips_45seconds" / "5.mp3").unlink()
    (tmp_path / "emomusic" / "clips_45seconds" / "10.mp3").unlink()
    assert TASKS["emomusic"].check(tmp_path) == Check(
        (f"2 of 8 audio files of the test split are missing in {tmp_path / 'emomusic'}: 5, 10",)
    )
    BUILDERS["musdb18"](tmp_path / "musdb18")
    (tmp_path / "musdb18" / "train" / "B - Two" / "bass.wav").unlink()
    (problem,) = TASKS["musdb18"].check(tmp_path).problems
    assert "1 of 2 audio files of the train split are missing" in problem
    (tmp_path / "emomusic" / "songs_info.csv").unlink()
    (problem,) = TASKS["emomusic"].check(tmp_path).problems
    assert problem.startswith(f"{tmp_path / 'emomusic' / 'songs_info.csv'} is missing; expected songs_info.csv")
    assert "none was given" in TASKS["emomusic"].check(None).problems[0]


def test_columns_of_other_names_are_listed(tmp_path):
    for split in SPLITS:
        put_table(tmp_path / "gtzan" / "data" / f"{split}-0.parquet", {"audio": [cell("a.wav")], "style": ["rock"]})
    (problem,) = TASKS["gtzan_genre"].check(tmp_path).problems
    expected = "confit/gtzan-parquet has no column 'genre'; columns found: audio, style."
    assert expected in problem
    with pytest.raises(InputError, match=expected):
        TASKS["gtzan_genre"].load(tmp_path)
    for split in SPLITS:
        put_table(tmp_path / "nsynth" / "pitch" / split / "0.parquet", {"audio": [cell("a.wav")], "label": [3]})
    with pytest.raises(InputError, match=r"no column 'pitch' \(its name was never verified\); columns found: audio, label"):
        TASKS["nsynth_pitch"].load(tmp_path)


def test_splits_of_other_names_are_listed(tmp_path):
    put_table(tmp_path / "gtzan" / "data" / "train-0.parquet", {"audio": [cell("a.wav")], "genre": ["rock"]})
    with pytest.raises(InputError, match=r"no split 'validation'; splits found: train\."):
        TASKS["gtzan_genre"].load(tmp_path)


def test_tables_that_are_not_what_they_should_be_are_named(tmp_path):
    for name in ("emomusic", "giantsteps_key", "magnatagatune", "msd100"):
        BUILDERS[name](tmp_path / name)
    songs = tmp_path / "emomusic" / "songs_info.csv"
    rows = songs.read_text().splitlines()
    songs.write_text("\n".join(["song_id,Artist,Set", *rows[1:]]))
    with pytest.raises(InputError, match="no column 'Mediaeval 2013 set'; columns found: song_id, Artist, Set"):
        TASKS["emomusic"].load(tmp_path)
    songs.write_text("\n".join([rows[0], "seven,A,B,development"]))
    with pytest.raises(InputError, match="songs_info.csv, line 2: 'seven' in column 'song_id' is no number"):
        TASKS["emomusic"].load(tmp_path)
    songs.write_text("\n".join([*rows, "99,A,B,development"]))
    with pytest.raises(InputError, match="song 99 of .* has no row in static_annotations.csv"):
        TASKS["emomusic"].load(tmp_path)
    (tmp_path / "emomusic" / "static_annotations.csv").open("a").write("\n99,high,1,low")
    with pytest.raises(InputError, match="song 99 of .*static_annotations.csv: could not convert string to float: 'high'"):
        TASKS["emomusic"].load(tmp_path)
    (tmp_path / "giantsteps_key" / "giantsteps-mtg-key-dataset" / "annotations" / "beatport_metadata.txt").write_text(
        "ID\tARTIST"
    )
    with pytest.raises(InputError, match="track 3 of .* has no row in beatport_metadata.txt"):
        TASKS["giantsteps_key"].load(tmp_path)
    (tmp_path / "magnatagatune" / "annotations_final.csv").open("a").write("77\t1\tz/a.mp3\n")
    with pytest.raises(InputError, match="the row of clip '77' names no clip"):
        TASKS["magnatagatune"].load(tmp_path)
    np.save(tmp_path / "msd100" / "train_ids.npy", np.array(["99//TRABC128F"]))
    with pytest.raises(InputError, match="train_ids.npy holds '99//TRABC128F'; expected 'row//song id'"):
        TASKS["deezer_msd100"].load(tmp_path)
    np.save(tmp_path / "msd100" / "tags.npy", np.array([{}], dtype=object))
    with pytest.raises(InputError, match="tags.npy cannot be read: .*allow_pickle=False"):
        TASKS["deezer_msd100"].load(tmp_path)


def test_labels_outside_the_list_are_named(tmp_path):
    for split in SPLITS:
        rows = {"audio": [cell("a.wav")] * 2, "genre": ["rock", "hip-hop"]}
        put_table(tmp_path / "gtzan" / "data" / f"{split}-0.parquet", rows)
    data = TASKS["gtzan_genre"].load(tmp_path)
    assert data.target(data.splits["train"][0]) == 9
    with pytest.raises(
        InputError, match="row 1 is labelled 'hip-hop', which is none of the task's 10 labels; near ones: hiphop"
    ):
        data.target(data.splits["train"][1])


def test_a_dataset_that_is_not_whole_is_refused(tmp_path):
    BUILDERS["mtg_jamendo"](tmp_path / "mtg_jamendo")
    for split in SPLITS:
        path = tmp_path / "mtg_jamendo" / "data" / "splits" / "split-0" / f"autotagging_genre-{split}.tsv"
        path.write_text("\n".join(path.read_text().splitlines()[:3]))
    with pytest.raises(InputError, match="jamendo_genre: 20 labels were found in .*mtg_jamendo, the task has 87"):
        TASKS["jamendo_genre"].load(tmp_path)
    path.write_text(path.read_text().splitlines()[0])
    splits = TASKS["jamendo_genre"].source
    with pytest.raises(InputError, match="the test split in .* is empty"):
        dataclasses.replace(TASKS["jamendo_genre"], num_labels=20, source=splits).load(tmp_path)


def test_the_commit_of_a_hub_dataset_is_kept_and_can_be_pinned(tmp_path, monkeypatch):
    BUILDERS["gtzan"](tmp_path / "copy")
    asked = []
    builder_of = datasets.load_dataset_builder

    def from_hub(repo_id, config=None, revision=None):
        asked.append((repo_id, config, revision))
        builder = builder_of(str(tmp_path / "copy"))
        builder.hash = revision or "newest"
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", from_hub)
    task = TASKS["gtzan_genre"]
    data = task.load(tmp_path / "nothing")
    assert data.revisions == {"confit/gtzan-parquet": "newest"}
    assert data.origin == "confit/gtzan-parquet"
    pinned = task.pinned({"confit/gtzan-parquet": "abc123", "other/dataset": "def"}).load()
    assert pinned.revisions == {"confit/gtzan-parquet": "abc123"}
    assert pinned.fingerprint != data.fingerprint
    assert asked == [("confit/gtzan-parquet", None, None), ("confit/gtzan-parquet", None, "abc123")]
    monkeypatch.setattr(datasets.DatasetBuilder, "download_and_prepare", None)  # a check of what is on the Hub fetches nothing
    assert task.check() == Check()
    builder = SimpleNamespace(info=SimpleNamespace(splits=dict.fromkeys(SPLITS), features=None))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder)
    note = "columns of confit/gtzan-parquet are checked at loading: the Hub does not tell them before"
    assert task.check() == Check(notes=(note,))
    assert TASKS["emomusic"].pinned({"a": "b"}) == TASKS["emomusic"]


def test_magnatagatune_is_split_by_folder_and_keeps_the_most_frequent_tags(data_folder):
    data = TASKS["magnatagatune"].load(data_folder)
    assert data.labels == tuple(f"tag {number:02}" for number in range(50))
    letters = {split: {example.name[0] for example in data.splits[split]} for split in SPLITS}
    assert letters == {"train": set("0123456789ab"), "validation": {"c"}, "test": set("def")}
    assert not [example.name for example in data.splits["train"] if "norine_braun" in example.name]
    assert any(not example.label for example in data.splits["test"])
    tagged = TASKS["deezer_magnatagatune"].load(data_folder)
    assert all(example.label for split in SPLITS for example in tagged.splits[split])


def test_giantsteps_splits_by_artist_and_drops_doubtful_keys(data_folder):
    data = TASKS["giantsteps_key"].load(data_folder)
    parts = ["train"] * 100 + ["valid"] * 16
    artists = {number: [f"Artist {number % 37}", *([f"Guest {number}"] if number % 5 == 0 else [])] for number in range(1, 61)}
    split_of = {
        name: parts[int(hashlib.sha1(name.lower().encode()).hexdigest(), 16) % 116]
        for names in artists.values()
        for name in names
    }
    for _ in range(2):
        for names in artists.values():
            if "valid" in [split_of[name] for name in names]:
                split_of.update(dict.fromkeys(names, "valid"))
    usable = [number for number in artists if number not in (1, 2)]
    for ours, theirs in (("train", "train"), ("validation", "valid")):
        expected = {str(number) for number in usable if split_of[artists[number][0]] == theirs}
        assert {example.name for example in data.splits[ours]} == expected
        assert expected
    assert [example.label for example in data.splits["test"]] == ["Eb major", "Gb minor"]
    assert {example.label for example in data.splits["train"]} == {"C major", "Db minor", "Bb minor", "Ab major"}
    put_bad = data_folder / "giantsteps_key" / "giantsteps-key-dataset" / "annotations" / "key" / "903.LOFI.key"
    put(put_bad, "H dur")
    with pytest.raises(InputError, match=r"903.LOFI.key: 'H dur' is none of the 24 keys"):
        TASKS["giantsteps_key"].load(data_folder)
    put_bad.unlink()


def test_emomusic_splits_by_set_and_artist(data_folder):
    data = TASKS["emomusic"].load(data_folder)
    assert {example.name for example in data.splits["test"]} == {str(number) for number in range(5, 42, 5)}
    for number in range(2, 42):
        if number % 5:
            digest = hashlib.sha1(f"the {artist_word(number)} no shne".encode()).hexdigest()
            expected = (["train"] * 8 + ["validation"] * 2)[int(digest, 16) % 10]
            assert str(number) in {example.name for example in data.splits[expected]}
    example = data.splits["test"][0]
    assert dict(zip(data.labels, example.label, strict=True)) == {"arousal": 1.5, "valence": 8.5}


def test_vocalset_draws_its_splits_as_scikit_learn(data_folder):
    singers = [f"f{number}" for number in range(1, 10)] + [f"m{number}" for number in range(1, 12)]
    techniques = ["belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry"]
    rows = []
    for technique in [*techniques, "forte"]:
        names = sorted(f"{singer}_scales_{technique}_{vowel}.wav" for singer in singers for vowel in "ae")
        rows += [(name, technique, name.split("_")[0], number) for number, name in enumerate(names)]
    np.random.seed(42617)
    held_out = [row for row in rows if row[2] not in ("f2", "f8", "m3", "m5", "m10") and row[1] != "forte"]
    _, places = next(GroupShuffleSplit(1, test_size=0.4).split(held_out, groups=[row[3] for row in held_out]))
    expected = {held_out[place][0] for place in places}
    data = TASKS["vocalset_technique"].load(data_folder)

    def names_of(data, split):
        names = set()
        for example in data.splits[split]:
            person, name = example.name.split("/")[1], example.name.split("/")[-1]
            names.add(name if person != "male8" else f"m8_{name}")
        return names

    assert names_of(data, "validation") == expected
    assert {name.split("_")[0] for name in names_of(data, "test")} == {"f2", "f8", "m3", "m5", "m10"}
    rest, places = next(GroupShuffleSplit(1, test_size=0.2).split(rows, groups=[row[3] for row in rows]))
    data = TASKS["vocalset_singer"].load(data_folder)
    assert names_of(data, "test") == {rows[place][0] for place in places}
    rest = [rows[place] for place in rest]
    _, places = next(GroupShuffleSplit(1, test_size=0.4).split(rest, groups=[row[3] for row in rest]))
    assert names_of(data, "validation") == {rest[place][0] for place in places}
    assert {example.label for example in data.splits["train"]} <= set(singers)


def test_gtzan_rhythm_joins_audio_and_beats_by_clip(data_folder, tmp_path):
    data = TASKS["gtzan_rhythm"].load(data_folder)
    assert [example.name for example in data.splits["validation"]] == ["blues.00001", "classical.00001", "country.00001"]
    assert data.splits["test"][0].label == (0.1, 0.6)
    assert data.splits["train"][0].label == ()  # a clip without beats: metrics leave it out by name
    shutil.copytree(data_folder / "gtzan_rhythm", tmp_path / "gtzan_rhythm")
    rows = {"file": ["blues.00000.wav"], "audio": [cell("blues.00000.wav")]}
    put_table(tmp_path / "gtzan_rhythm" / "audio" / "data" / "train-00000-of-00001.parquet", rows)
    with pytest.raises(
        InputError, match="8 clips of seungheondoh/gtzan-bind are not in sanchit-gandhi/gtzan, such as blues.00001"
    ):
        TASKS["gtzan_rhythm"].load(tmp_path)
    notes = {"path": ["blues.00000.wav"], "fault_filtered_split": ["training"], "beat": [[1.0]]}
    put_table(tmp_path / "gtzan_rhythm" / "annotations" / "data" / "gtzan_bind_v1-00000-of-00001.parquet", notes)
    with pytest.raises(InputError, match="no clips of the train split; fault_filtered_split is one of 'training' beside train"):
        TASKS["gtzan_rhythm"].load(tmp_path)


def test_gtzan_rhythm_with_other_audio_or_another_commit_is_another_dataset(data_folder, tmp_path, monkeypatch):
    shutil.copytree(data_folder / "gtzan_rhythm", tmp_path / "gtzan_rhythm")
    task = TASKS["gtzan_rhythm"]
    before = task.load(tmp_path)
    audio = tmp_path / "gtzan_rhythm" / "audio" / "data" / "train-00000-of-00001.parquet"
    rows = datasets.Dataset.from_parquet(str(audio)).cast_column("audio", datasets.Audio(decode=False)).to_dict()
    put_table(audio, rows | {"audio": [{"bytes": MP3, "path": value["path"]} for value in rows["audio"]]})
    after = task.load(tmp_path)
    assert after.fingerprint != before.fingerprint
    assert [example.label for example in after.splits["test"]] == [example.label for example in before.splits["test"]]

    builder_of = datasets.load_dataset_builder

    def from_hub(repo_id, config=None, revision=None):
        builder = builder_of(str(tmp_path / "gtzan_rhythm" / ("audio" if "sanchit" in repo_id else "annotations")))
        builder.hash = revision or "newest"
        return builder

    monkeypatch.setattr(datasets, "load_dataset_builder", from_hub)
    prints = {
        task.pinned(pins).load().fingerprint
        for pins in ({}, {"sanchit-gandhi/gtzan": "abc"}, {"sanchit-gandhi/gtzan": "abd"}, {"seungheondoh/gtzan-bind": "abc"})
    }
    assert len(prints) == 4


def test_gtzan_rhythm_names_what_the_annotations_lack(data_folder, tmp_path):
    shutil.copytree(data_folder / "gtzan_rhythm", tmp_path / "gtzan_rhythm")
    task, notes = TASKS["gtzan_rhythm"], tmp_path / "gtzan_rhythm" / "annotations" / "data"
    (table,) = notes.iterdir()
    put_table(table, {"path": ["blues.00000.wav"], "fault_filtered_split": ["train"], "beat": [None]})
    with pytest.raises(InputError, match="seungheondoh/gtzan-bind has nothing in column 'beat' for blues.00000"):
        task.load(tmp_path)
    put_table(table, {"file": ["blues.00000.wav"], "fault_filtered_split": ["train"], "beat": [[1.0]]})
    guess = r"no column 'path' \(its name was never verified\); columns found: file, fault_filtered_split, beat"
    with pytest.raises(InputError, match=guess):
        task.load(tmp_path)
    table.rename(notes / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"no split 'gtzan_bind_v1' \(its name was never verified\); splits found: train"):
        task.load(tmp_path)
    assert "no split 'gtzan_bind_v1'" in task.check(tmp_path).problems[0]


@pytest.mark.parametrize(("name", "file"), [("emomusic", "clips_45seconds/5.mp3"), ("musdb18", "train/A - One/bass.wav")])
def test_replaced_audio_is_another_dataset_and_a_moved_folder_is_not(name, file, tmp_path):
    BUILDERS[name](tmp_path / "here" / name)
    task, audio = TASKS[name], tmp_path / "here" / name / file
    before = task.load(tmp_path / "here").fingerprint
    shutil.copytree(tmp_path / "here", tmp_path / "there")  # with the times of the files
    assert task.load(tmp_path / "there").fingerprint == before
    kept = audio.stat()
    audio.write_bytes(audio.read_bytes() + b"x")
    os.utime(audio, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    longer = task.load(tmp_path / "here").fingerprint
    os.utime(audio, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))
    assert len({before, longer, task.load(tmp_path / "here").fingerprint}) == 3


def test_labels_are_read_without_the_audio(data_folder, monkeypatch):
    data = TASKS["nsynth_pitch"].load(data_folder)
    fetched = []
    original = Cell.source
    monkeypatch.setattr(Cell, "source", lambda cell: fetched.append(cell.row) or original(cell))
    table = data.splits["test"].table
    monkeypatch.setattr(data.splits["test"], "table", None)  # the audio's column is in none of the other tables
    examples = [*data.splits["test"]]
    assert [data.target(example) for example in examples] == [*range(9, 120, 10)][:11] and not fetched
    data.splits["test"].table = table
    assert len(data.splits["test"][3].read(16000)) == 16000 and fetched == [3]


def test_a_copy_with_its_card_is_read_as_the_card_says(tmp_path):
    for split in SPLITS:
        rows = {"audio": [cell("n.wav")] * 2, "pitch": ["60", "61"]}
        put_table(tmp_path / "nsynth" / "files" / f"pitch-{split}.parquet", rows)
        put_table(
            tmp_path / "nsynth" / "files" / f"instrument-{split}.parquet", {"audio": [cell("n.wav")], "instrument": ["reed"]}
        )
    configs = "".join(
        f"- config_name: {config}\n  data_files:\n"
        + "".join(f"  - split: {split}\n    path: files/{config}-{split}.parquet\n" for split in SPLITS)
        for config in ("instrument", "pitch")
    )
    put(tmp_path / "nsynth" / "README.md", f"---\nconfigs:\n{configs}---\n")
    data = TASKS["nsynth_pitch"].load(tmp_path)
    assert [example.label for example in data.splits["test"]] == ["60", "61"]
    assert TASKS["nsynth_instrument"].load(tmp_path).splits["train"][0].label == "reed"


def test_musdb18_holds_out_the_official_songs(data_folder):
    data = TASKS["musdb18"].load(data_folder)
    assert [example.name for example in data.splits["validation"]] == ["train/Leaf - Summerghost"]


def test_examples_are_files_bytes_or_waveforms_and_parts_of_them(tmp_path):
    tones = make_tones(2.0, 16000)
    soundfile.write(tmp_path / "tones.wav", tones, 16000, subtype="FLOAT")
    sources = [tmp_path / "tones.wav", (tmp_path / "tones.wav").read_bytes(), Waveform(tones, 16000)]
    for source in sources:
        np.testing.assert_allclose(Example("x", source, None).read(16000), tones, atol=1e-7)
        part = Example("x", source, None, start_s=0.5, end_s=1.25)
        np.testing.assert_allclose(part.read(16000), tones[8000:20000], atol=1e-7)
        assert part.duration_s() == 0.75
        assert len(part.read(12000)) == 9000
        np.testing.assert_allclose(part.read(12000), Example("x", sources[0], None, 0.5, 1.25).read(12000), atol=1e-3)
        assert len(Example("x", source, None, start_s=1.5, end_s=9.0).read(16000)) == 8000
        with pytest.raises(AudioError, match="late: nothing lies between 3 s and"):
            Example("late", source, None, start_s=3.0).read(16000)
    for source in (b"", b"text " * 99, tmp_path / "nowhere.wav", Waveform(np.full(9, np.nan), 16000)):
        with pytest.raises(AudioError, match="^broken: "):
            Example("broken", source, None).read(16000)


@pytest.mark.parametrize(
    ("windows", "duration_s", "expected"),
    [
        (Windows(), 29.1, [(0, 29.1)]),
        (Windows(duration_s=5, heard_s=30), 45.0, [(start, start + 5) for start in range(0, 30, 5)]),
        (Windows(duration_s=30), 95.0, [(0, 30), (30, 60), (60, 90)]),
        (Windows(duration_s=30, least_s=1), 95.0, [(0, 30), (30, 60), (60, 90), (90, 95)]),
        (Windows(duration_s=30, least_s=1), 60.5, [(0, 30), (30, 60)]),
        (Windows(duration_s=30), 12.0, [(0, 12)]),
        (Windows(duration_s=30), 30 - 1e-9, [(0, 30 - 1e-9)]),
        (Windows(duration_s=10, hop_s=5), 22.0, [(0, 10), (5, 15), (10, 20)]),
        (Windows(duration_s=1, most=3), 9.0, [(0, 1), (3, 4), (6, 7)]),
    ],
)
def test_windows(windows, duration_s, expected):
    assert windows.spans(duration_s) == [pytest.approx(span) for span in expected]


def test_windows_of_nothing():
    with pytest.raises(InputError, match=r"audio of 0\.0 s cannot be cut"):
        Windows().spans(0.0)


def example_of(label):
    return Example("clip", WAV, label)


@pytest.mark.parametrize(
    ("task", "label", "message"),
    [
        ("gtzan_rhythm", (1.0, 0.5), "the beats of clip must be ascending"),
        ("gtzan_rhythm", (1.0, float("nan")), "the label of clip holds NaN"),
        ("emomusic", (1.0,), "clip needs 2 numbers"),
        ("emomusic", (1.0, float("inf")), "holds NaN or infinity"),
        ("giantsteps_key", "C# major", "labelled 'C# major', .* near ones: C major"),
        ("magnatagatune", ("polka",), "labelled 'polka'"),
        ("musdb18", (MP3,), "clip has 1 sources, not 4"),
    ],
)
def test_labels_that_cannot_be_meant(task, label, message, data_folder):
    with pytest.raises(InputError, match=message):
        TASKS[task].load(data_folder).target(example_of(label))


def test_pitches_may_be_numbers(data_folder):
    data = TASKS["nsynth_pitch"].load(data_folder)
    assert data.target(example_of(60)) == data.target(example_of("60")) == 60


def test_keys_are_24_and_begin_with_c():
    assert len(KEYS) == 24
    assert (KEYS[0], KEYS[7], KEYS[12], KEYS[21]) == ("C major", "G major", "C minor", "A minor")
