"""Tiny datasets in the layouts of the real ones.

`BUILDERS[dataset](folder)` fills a folder; `SIZES[task]` says what must be found in it.
"""

import io
import json
from pathlib import Path

import numpy as np
import soundfile
from datasets import Audio, ClassLabel, Dataset
from support.sounds import make_tones


def audio_bytes(kind="wav", seconds=1.0, sampling_rate=16000, seed=0):
    buffer = io.BytesIO()
    soundfile.write(buffer, make_tones(seconds, sampling_rate, seed), sampling_rate, format=kind.upper())
    return buffer.getvalue()


WAV, MP3 = audio_bytes(), audio_bytes("mp3")


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def put_table(path: Path, rows: dict, names=None) -> None:
    table = Dataset.from_dict(rows)
    if "audio" in rows:
        table = table.cast_column("audio", Audio())
    if names:
        table = table.cast_column(names[0], ClassLabel(names=names[1]))
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(path)


def cell(name):
    return {"bytes": WAV, "path": name}


def build_magnatagatune(folder):
    tags = [f"tag {number:02}" for number in range(60)]
    lines = ["\t".join(["clip_id", *tags, "mp3_path"])]
    clip = 0
    for letter in "0123456789abcdef":
        for _ in range(3):
            clip += 1
            # the first 50 tags occur more often than the last ten; every third clip has none of them
            given = set() if clip % 3 == 0 else {clip % 50, (clip + 1) % 50, (7 * clip) % 50}
            given |= {50 + clip % 10} if clip % 3 == 0 else set()
            path = f"{letter}/song-{clip}.mp3"
            lines.append("\t".join([str(clip), *("1" if place in given else "0" for place in range(60)), path]))
            put(folder / path, MP3)
    # more of the first 50, so that they are the most frequent whatever the ties
    for extra in range(2):
        for place in range(50):
            path = f"0/extra-{extra}-{place}.mp3"
            lines.append("\t".join([str(1000 + 50 * extra + place), *("1" if p == place else "0" for p in range(60)), path]))
            put(folder / path, MP3)
    lines.append("\t".join(["35644", *["1"] * 60, "6/norine_braun-now_and_zen-08-gently-117-146.mp3"]))
    put(folder / "annotations_final.csv", "\n".join(lines) + "\n")


def build_giantsteps(folder):
    train = folder / "giantsteps-mtg-key-dataset"
    annotations, metadata = ["ID\tMANUAL KEY\tC"], ["ID\tARTIST"]
    keys = ["C major", "C# minor", "Bb minor", "G# major"]
    for number in range(1, 61):
        key, confidence = keys[number % 4], "2"
        if number == 1:
            key = "C major / G major"
        if number == 2:
            confidence = "1"
        annotations.append(f"{number}\t{key}\t{confidence}")
        metadata.append(f"{number}\tArtist {number % 37}" + (f", Guest {number}" if number % 5 == 0 else ""))
        put(train / "audio" / f"{number}.LOFI.mp3", MP3)
    put(train / "annotations" / "annotations.txt", "\n".join(annotations))
    put(train / "annotations" / "beatport_metadata.txt", "\n".join(metadata))
    test = folder / "giantsteps-key-dataset"
    for number, key in ((901, "Eb major"), (902, "F# minor\n")):
        put(test / "annotations" / "key" / f"{number}.LOFI.key", key)
        put(test / "audio" / f"{number}.LOFI.mp3", MP3)


GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]


def build_gtzan(folder):
    for split, count in (("train", 3), ("validation", 2), ("test", 2)):
        rows = {"audio": [cell("x.wav")] * 10 * count, "genre": [*range(10)] * count}
        put_table(folder / "data" / f"{split}-00000-of-00001.parquet", rows, ("genre", GENRES))


def build_gtzan_rhythm(folder):
    clips = [f"{genre}.{number:05}" for genre in GENRES[:3] for number in range(4)]
    rows = {"file": [f"/somewhere/{clip}.wav" for clip in clips], "audio": [cell(f"{clip}.wav") for clip in clips]}
    put_table(folder / "audio" / "data" / "train-00000-of-00001.parquet", {**rows, "genre": [0] * 12})
    # annotated, but without usable audio in the real dataset too
    clips.append("jazz.00054")
    notes = {
        "path": [f"{clip[:-6]}/{clip}.wav" for clip in clips],
        "fault_filtered_split": ["train", "valid", "test", None] * 3 + ["train"],
        "beat": [[0.1 + 0.5 * beat for beat in range(number)] for number in range(13)],
        "downbeat": [[0.1]] * 13,
    }
    put_table(folder / "annotations" / "data" / "gtzan_bind_v1-00000-of-00001.parquet", notes)


def artist_word(number):
    return chr(97 + number % 26) + chr(97 + number // 26)


def build_emomusic(folder):
    songs, labels = ["song_id,Artist,Song title,Mediaeval 2013 set"], ["song_id,mean_arousal,std_arousal,mean_valence"]
    for number in range(2, 42):
        part = "evaluation" if number % 5 == 0 else "development"
        songs.append(f'{number},"The  {artist_word(number)}, No. {number} & Söhne",Song {number}\t, {part}')
        labels.append(f"{number},{1 + number / 10},0.5,{9 - number / 10}")
        put(folder / "clips_45seconds" / f"{number}.mp3", MP3)
    put(folder / "songs_info.csv", "\n".join(songs))
    put(folder / "static_annotations.csv", "\n".join(labels))


def build_nsynth(folder):
    families = ["bass", "brass", "flute", "guitar", "keyboard", "mallet", "organ", "reed", "string", "synth_lead", "vocal"]
    for split in ("train", "validation", "test"):
        rows = {"audio": [cell("n.wav")] * 11, "instrument": families, "label": [*range(11)]}
        put_table(folder / "instrument" / split / "0000.parquet", rows)
        rows = {"audio": [cell("n.wav")] * 11, "pitch": [str(pitch) for pitch in range(9, 120, 10)][:11], "label": [0] * 11}
        put_table(folder / "pitch" / split / "0000.parquet", rows)


def build_vocalset(folder):
    techniques = ["belt", "breathy", "inhaled", "lip_trill", "spoken", "straight", "trill", "trillo", "vibrato", "vocal_fry"]
    people = [f"female{number}" for number in range(1, 10)] + [f"male{number}" for number in range(1, 12)]
    for person in people:
        singer = f"{'f' if person[0] == 'f' else 'm'}{person.lstrip('femal')}"
        for technique in [*techniques, "forte"]:
            for vowel in "ae":
                # one singer's names lack the singer, as some do
                name = f"scales_{technique}_{vowel}.wav" if person == "male8" else f"{singer}_scales_{technique}_{vowel}.wav"
                put(folder / "FULL" / person / "scales" / technique / name, WAV)
    put(folder / "FULL" / "female2" / "scales" / "vibrato" / "f2_scales_vibrato_a(1).wav", WAV)
    put(folder / "FULL" / "female2" / "excerpts" / "humming" / "f2_hum.wav", WAV)


def build_mtg_jamendo(folder):
    for subset, kind, count in (
        ("top50tags", "genre", 50),
        ("genre", "genre", 87),
        ("instrument", "instrument", 40),
        ("moodtheme", "mood/theme", 56),
    ):
        track = 0
        for split in ("train", "validation", "test"):
            lines = ["TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"]
            for first in range(0, count, 10):
                track += 1
                tags = [f"{kind}---{number:02}" for number in range(first, min(first + 10, count))]
                lines.append("\t".join([f"track_{track:07}", "artist_1", "album_1", f"{track:02}/{track}.mp3", "40.1", *tags]))
                put(folder / "audio" / f"{track:02}" / f"{track}.low.mp3", MP3)
            put(folder / "data" / "splits" / "split-0" / f"autotagging_{subset}-{split}.tsv", "\n".join(lines) + "\n")


def build_msd100(folder):
    folder.mkdir(parents=True)
    np.save(folder / "tags.npy", np.array([f"tag {number}" for number in range(100)]))
    np.save(folder / "binaries.npy", np.random.default_rng(0).random((9, 100)) < 0.1)
    for split, first in (("train", 0), ("valid", 5), ("test", 7)):
        last = {0: 5, 5: 7, 7: 9}[first]
        np.save(folder / f"{split}_ids.npy", np.array([f"{row}//TRABC{row}128F" for row in range(first, last)]))
    for row in range(9):
        put(folder / "audio" / "A" / "B" / "C" / f"TRABC{row}128F.mp3", MP3)


def build_musdb18(folder, seconds=1.0):
    songs = ["train/A - One", "train/Leaf - Summerghost", "train/B - Two", "test/C - Three", "test/D - Four"]
    for seed, song in enumerate(songs):
        for stem in ("mixture", "vocals", "drums", "bass", "other"):
            put(folder / song / f"{stem}.wav", audio_bytes(seconds=seconds, sampling_rate=24000, seed=seed))


BUILDERS = {
    "magnatagatune": build_magnatagatune,
    "giantsteps_key": build_giantsteps,
    "gtzan": build_gtzan,
    "gtzan_rhythm": build_gtzan_rhythm,
    "emomusic": build_emomusic,
    "nsynth": build_nsynth,
    "vocalset": build_vocalset,
    "mtg_jamendo": build_mtg_jamendo,
    "msd100": build_msd100,
    "musdb18": build_musdb18,
}

# examples of train, validation and test; None: depends on a hash, see the dataset's own test
SIZES = json.loads("""{
    "magnatagatune": [136, 3, 9], "deezer_magnatagatune": [124, 2, 6],
    "giantsteps_key": null, "gtzan_genre": [30, 20, 20], "gtzan_rhythm": [3, 3, 3], "emomusic": null,
    "nsynth_instrument": [11, 11, 11], "nsynth_pitch": [11, 11, 11], "vocalset_technique": null, "vocalset_singer": null,
    "jamendo_top50": [5, 5, 5], "jamendo_genre": [9, 9, 9], "jamendo_instrument": [4, 4, 4], "jamendo_mood": [6, 6, 6],
    "deezer_jamendo_top50": [5, 5, 5], "deezer_jamendo_instrument": [4, 4, 4], "deezer_jamendo_mood": [6, 6, 6],
    "deezer_msd100": [5, 2, 2], "musdb18": [2, 1, 2]
}""")
