"""Label stores whose files are damaged: refused, or the labels that were written."""

import json
import shutil
from pathlib import Path

import numpy as np
from fuzzing import damage_bytes, damage_values

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import Corpus
from mert_hf.data.label_store import LabelFolder, LabelHeader, LabelStore, LabelWriter
from mert_hf.data.tracks import Track

DOCUMENTED = (InputError,)
TRACKS = {"a.wav": 300, "album/b.flac": 225, "é.mp3": 75}


def prepare(folder: Path):
    """A store of three tracks in two shards, and a corpus of them."""
    whole, damaged = LabelFolder(folder / "whole"), LabelFolder(folder / "damaged")
    header = LabelHeader("codes", {"kind": "any"}, "0" * 64, True, 24000, 75.0, [1024, 16], "music", 3, "0" * 64, complete=True)
    drawn = np.random.default_rng(0)
    for number, (name, frames) in enumerate(TRACKS.items()):
        codes = np.stack([drawn.integers(1024, size=frames), drawn.integers(16, size=frames)])
        with LabelWriter(whole, header, number % 2) as writer:
            writer.write(name, codes, frames / 75, (7, number), "0" * 32)
    header.write(whole)
    tracks = [Track(name, 24000, 320 * frames, stamp=(7, number)) for number, (name, frames) in enumerate(TRACKS.items())]
    audio = folder / "audio"
    audio.write_bytes(b"audio")
    corpus = Corpus("music", tracks, [audio] * 3)
    store = LabelStore(whole.folder)
    expected = {name: store.read(name) for name in TRACKS}
    meant = (store.sampling_rate, store.frame_rate, store.codebook_sizes, store.fingerprint())

    def strike(rng: np.random.Generator) -> None:
        shutil.rmtree(damaged.folder, ignore_errors=True)
        shutil.copytree(whole.folder, damaged.folder)
        files = sorted(file for file in damaged.folder.rglob("*") if file.is_file())
        file = files[int(rng.integers(len(files)))]
        if file.suffix == ".bin" or rng.random() < 0.5:
            file.write_bytes(damage_bytes(rng, file.read_bytes()))
        elif file.suffix == ".jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            lines[int(rng.integers(len(lines)))] = damage_values(rng, lines[int(rng.integers(len(lines)))])
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            file.write_text(json.dumps(damage_values(rng, json.loads(file.read_text()))))
        opened = LabelStore(damaged.folder)
        assert (opened.sampling_rate, opened.frame_rate, opened.codebook_sizes, opened.fingerprint()) == meant, "unnoticed"
        for track in opened.match(corpus).tracks:
            piece = opened.read(track.name, 10, 50)
            assert piece.equal(expected[track.name][:, 10:60]), f"unnoticed: {track.name}"
            assert opened.read(track.name).equal(expected[track.name]), f"unnoticed: {track.name}"
        assert len(opened.match(corpus).tracks) == 3, "unnoticed: a track is gone"

    return strike
