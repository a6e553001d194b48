"""The pieces of the benchmark, each as the gallery holds it and as it is looked for: synthetic ones, or tracks of a folder."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mert_hf.audio import AudioError
from mert_hf.audio.stretching import change_tempo, shift_pitch
from mert_hf.catalogue.retrieval.disturbances import (
    SEMITONES,
    TEMPI,
    at_tempo,
    cut_score,
    disturb_sound,
    exchange_instruments,
    transpose,
)
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import generator
from mert_hf.data.corpus import Corpus, open_folder
from mert_hf.encoding.released import local_folder
from mert_hf.models.audio_reading_mert import SILENCE_PEAK
from mert_hf.synthetic.score.benchmark_vocabularies import TEST
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.labels import Score
from mert_hf.synthetic.sound.render import render

# Of the synthetic pieces; no corpus and no item of the synthetic benchmark has it (their third number is 1 or 2).
_SEED = (230_600_107, 3)
_RECORDING, _OTHER_RECORDING = 1_000_000, 1_000_001

MADE_OF_SOUND = {
    "mp3": "through an mp3 file of one channel at 44.1 kHz and a constant 64 kb/s",
    "gain": "every sample times -12 dB",
    "noise": "white noise, 20 dB below the clip's mean power",
}
MADE_OF_SCORE = MADE_OF_SOUND | {
    "pitch_up": "the same score a semitone higher, played by the same instruments in the same room",
    "pitch_down": "the same score a semitone lower, likewise",
    "tempo_up": "the same score at 1.1 times the tempo, likewise: the same music in 1/1.1 of the time",
    "tempo_down": "the same score at 0.9 times the tempo, likewise",
    "recording": "the same score by other specimens of the same instruments, with another drum kit, room, balance and level",
    "instruments": "the same score with every pitched instrument exchanged for another; drums, room and balance as they were",
    "part": "what the piece goes on with: as long as the clip, right behind it",
}
MADE_OF_RECORDING = MADE_OF_SOUND | {
    "pitch_up": "a semitone higher: resampled and brought back to its tempo by overlapping pieces (FFmpeg's atempo)",
    "pitch_down": "a semitone lower, likewise",
    "tempo_up": "1.1 times as fast at the same pitch, by FFmpeg's atempo: the same music in 1/1.1 of the time",
    "tempo_down": "0.9 times as fast, likewise",
    "part": "what the track goes on with: as long as the clip, right behind it",
}


@dataclass(frozen=True)
class PieceClips:
    """A piece: `original` (samples,) stands in the gallery, each of `queries` (samples,) is to find it."""

    name: str
    original: NDArray[np.float32]
    queries: dict[str, NDArray[np.float32]]


class Pieces(Protocol):
    """Pieces in a fixed order, made one after another."""

    what: str  # they are, in a report
    made: Mapping[str, str]  # how each of a piece's queries is made, by its name
    most: int  # pieces that there are, or fewer, if some turn out to be of no use
    left_out: dict[str, str]  # why, by name; complete when all pieces have been made

    def clips(self, sampling_rate: int) -> Iterator[PieceClips]:
        """Piece by piece, at a rate in Hz."""


class SyntheticPieces(Pieces):
    """Pieces from a seed: those of the synthetic benchmark's test vocabulary, which no training corpus of this package shares.

    Piece k depends on the seed and on k alone.

    Args:
        count: how many.
        clip_s: length of the gallery's clips in seconds.
        seed: 0 or more.
    """

    made = MADE_OF_SCORE

    def __init__(self, count: int, clip_s: float, seed: int):
        self.what, self.left_out = f"synthetic pieces (seed {seed})", {}
        self.most, self._clip_s, self._seed = count, clip_s, seed

    def clips(self, sampling_rate: int) -> Iterator[PieceClips]:
        return (self._piece(number, sampling_rate) for number in range(self.most))

    def _piece(self, number: int, rate: int) -> PieceClips:
        # no zero at the end: it would not count
        entropy = (*_SEED, self._seed, number + 1)
        labels = compose(entropy, 2 * self._clip_s, TEST)
        whole = Score(labels.notes, labels.drum_hits, labels.tuning_cents)
        score = cut_score(whole, self._clip_s)

        def play(score: Score, duration_s: float = self._clip_s, recording: int = _RECORDING) -> NDArray[np.float32]:
            rendering = np.random.SeedSequence(entropy, spawn_key=(recording,))
            return render(score, round(duration_s * rate), rate, rendering, TEST, apart=True)

        original = play(score)
        queries = disturb_sound(original, rate, generator(self._seed, "retrieval noise", number))
        queries |= {name: play(transpose(score, semitones)) for name, semitones in SEMITONES.items()}
        queries |= {name: play(at_tempo(score, factor), self._clip_s / factor) for name, factor in TEMPI.items()}
        queries["recording"] = play(score, recording=_OTHER_RECORDING)
        queries["instruments"] = play(exchange_instruments(score, generator(self._seed, "other instruments", number)))
        queries["part"] = play(whole, 2 * self._clip_s)[len(original) :]
        return PieceClips(f"piece_{number:05d}", original, queries)


class FolderPieces(Pieces):
    """Tracks below a folder: of each, two clips that meet in its middle; the gallery holds the first one.

    Tracks that are shorter, silent there or damaged are left out.

    Args:
        folder: of audio files.
        most: how many are used; where there are more, they are drawn.
        clip_s: length of the clips in seconds.
        seed: of the drawing.

    Raises:
        InputError: there is no such folder, or it holds fewer than two tracks that are long enough.
    """

    made = MADE_OF_RECORDING

    def __init__(self, folder: str | os.PathLike, most: int, clip_s: float, seed: int):
        if local_folder(folder) is None:
            raise InputError(f"--music {folder} is no folder; give one of audio files.")
        try:
            self._corpus: Corpus = open_folder(folder, min_duration_s=2 * clip_s, check="header")
        except InputError as error:
            raise InputError(f"--music: {str(error).removeprefix('data.folder: ')}") from None
        self.what, self.left_out = "tracks of a folder", {one.name: one.skipped_because for one in self._corpus.skipped}
        self._most, self._clip_s, self._seed = most, clip_s, seed
        self.most = min(most, len(self._corpus.tracks))

    def clips(self, sampling_rate: int) -> Iterator[PieceClips]:
        order = generator(self._seed, "retrieval tracks").permutation(len(self._corpus.tracks))
        used = 0
        for index in order.tolist():
            piece = self._piece(index, used, sampling_rate) if used < self._most else None
            if piece is not None:
                used += 1
                yield piece

    def _piece(self, index: int, number: int, rate: int) -> PieceClips | None:
        name, length = self._corpus.tracks[index].name, round(self._clip_s * rate)
        # of a track as long as two clips, resampling may round a sample away
        start = max(self._corpus.length(index, rate) // 2 - length, 0)
        try:
            both = self._corpus.read(index, rate, start, min(2 * length, self._corpus.length(index, rate) - start))
        except AudioError as error:
            self.left_out[name] = str(error)
            return None
        original, part = both[:length], both[length:]
        if min(np.abs(original).max(), np.abs(part).max(initial=0.0)) < SILENCE_PEAK:
            self.left_out[name] = "silent in its middle"
            return None
        queries = disturb_sound(original, rate, generator(self._seed, "retrieval noise", number))
        queries |= {name: shift_pitch(original, rate, semitones) for name, semitones in SEMITONES.items()}
        queries |= {name: change_tempo(original, rate, factor) for name, factor in TEMPI.items()}
        return PieceClips(name, original, queries | {"part": part})
