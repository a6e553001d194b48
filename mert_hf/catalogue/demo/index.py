"""The small index that a dropped song is looked up in: synthetic music, made and embedded when the page starts."""

import os
from dataclasses import dataclass
from pathlib import Path

from mert_hf.audio import AudioFile
from mert_hf.audio.writing import encode_mp3
from mert_hf.catalogue.catalogue import Catalogue, Hit
from mert_hf.catalogue.embedding import embed
from mert_hf.common.reading import read_json
from mert_hf.synthetic import PieceLabels, write_corpus

# Of a piece: long enough for a few bars in every tempo, short enough that all of it can be listened to in the page.
PIECE_S = 10.0
# Of pieces in the page, mono: 80 kB each.
PLAYED_RATE, PLAYED_KBPS = 24000, 64


@dataclass(frozen=True)
class Neighbour:
    """A piece of the index.

    Attributes:
        hit: how near it is, and which.
        key, tempo_bpm, instruments: what it was composed with; see [`PieceLabels`].
        mp3: the piece, to be played.
    """

    hit: Hit
    key: str
    tempo_bpm: float
    instruments: tuple[str, ...]
    mp3: bytes


def make_index(folder: str | os.PathLike, model: str | os.PathLike, pieces: int, device: str | None = None) -> Catalogue:
    """Make synthetic music and embed it; what lies in the folder already is not made again.

    Vectors are compared after centring: without it any two of one model are alike.

    Args:
        folder: gets `music` and `catalogue`.
        model: folder or repository.
        pieces: how many there are to be, 1 to 100000.
        device: of the model; the fastest there is by default.

    Raises:
        InputError: the number is none, or the folder holds an index of another model or something else.
    """
    folder = Path(folder)
    write_corpus(folder / "music", pieces, PIECE_S)
    # the query is computed in float32, and so is what it is compared with
    embed([folder / "music"], folder / "catalogue", model, device=device, dtype="float32")
    return Catalogue(folder / "catalogue", projection="centre")


def describe(hit: Hit) -> Neighbour:
    """What is known of a piece that was found, and its sound."""
    audio = Path(hit.path)
    labels = PieceLabels.from_dict(read_json(audio.with_suffix(".json")), str(audio.with_suffix(".json")))
    with AudioFile(audio) as file:
        heard = file.read(PLAYED_RATE, 0, file.info.resampled_length(PLAYED_RATE))
    mp3 = encode_mp3([heard], PLAYED_RATE, PLAYED_KBPS)
    return Neighbour(hit, labels.key, labels.tempo_bpm, tuple(labels.instruments), mp3)
