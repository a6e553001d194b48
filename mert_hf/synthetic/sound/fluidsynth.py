"""The same scores played with sampled instruments, where `fluidsynth` and a General MIDI soundfont are installed."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from mert_hf.audio import read_audio
from mert_hf.common.errors import InputError
from mert_hf.synthetic.score.chance import pick
from mert_hf.synthetic.score.labels import PieceLabels, Score
from mert_hf.synthetic.score.vocabulary import CORPUS, Vocabulary
from mert_hf.synthetic.sound.midi import score_events
from mert_hf.synthetic.sound.oscillators import FloatArray
from mert_hf.synthetic.sound.soundfonts import Soundfont, find_soundfonts
from mert_hf.synthetic.sound.timeline import POLYPHONY, Timeline

PLAYER_VERSION = 2
"""Raised whenever the same score and soundfont sound other than before (1: a start a clip, with reverb and chorus)."""

# what fluidsynth can play
LEAST_SAMPLING_RATE, GREATEST_SAMPLING_RATE = 8000, 96_000
# seconds of music a start: the soundfont is loaded once for all of it, and 24 kHz in stereo take 60 MB for a moment
MOST_PLAYED_S = 300.0
_GAIN = 0.5
_PEAK = 0.9

# General MIDI programs, counted from 0, of every instrument; the splits of the benchmark play three different ones, as far as
# General MIDI has so many
PROGRAMS = {
    "bass": (33, 32, 34),
    "brass": (61, 56, 57),
    "clarinet": (71, 68, 70),
    "electric_piano": (4, 5, 2),
    "flute": (73, 72, 75),
    "guitar": (24, 25, 26),
    "organ": (16, 17, 19),
    "piano": (0, 1, 3),
    "strings": (48, 49, 50),
    "synth_bass": (38, 39, 87),
    "vibraphone": (11, 12, 13),
}
_PLACES = {"train": 0, "validation": 1, "test": 2}
CORPUS_PROGRAMS = {
    "bass": (32, 33, 35, 36, 37),
    "brass": (56, 59, 60, 61, 62),
    "clarinet": (68, 69, 71),
    "electric_piano": (4, 5, 7),
    "flute": (72, 73, 74, 79),
    "guitar": (24, 25, 27, 28),
    "organ": (16, 17, 18, 20),
    "piano": (0, 1),
    "strings": (44, 48, 49, 51),
    "synth_bass": (38, 39),
    "vibraphone": (8, 11, 12),
}
"""Those of which every piece of a corpus has one drawn for each instrument; none is of the benchmark's test split."""

Clip = tuple[PieceLabels | Score, np.random.SeedSequence, Vocabulary]
"""What is played, the seed of all that the score leaves open, and the vocabulary whose instruments play it."""


@dataclass(frozen=True)
class FluidSynth:
    """A player of scores: the program, and its soundfonts."""

    program: str
    soundfont: Soundfont  # of training, validation and corpora
    test_soundfont: Soundfont

    @property
    def version(self) -> str:
        """What the audio of a benchmark depends on."""
        test = "for all splits" if self.one_for_all else f"test soundfont {self.test_soundfont.fingerprint[:12]}"
        return f"{self.corpus_version}, {test}"

    @property
    def corpus_version(self) -> str:
        """What the audio of a corpus depends on."""
        return f"player {PLAYER_VERSION}, soundfont {self.soundfont.fingerprint[:12]}"

    @property
    def one_for_all(self) -> bool:
        """Whether the test split has no soundfont of its own."""
        return self.soundfont.fingerprint == self.test_soundfont.fingerprint

    def render(
        self,
        score: PieceLabels | Score,
        num_samples: int,
        sampling_rate: int,
        seed: np.random.SeedSequence,
        vocabulary: Vocabulary,
    ) -> FloatArray:
        """Play one score, as `mert_hf.synthetic.sound.render.render` does; result and errors as in [`render_all`]."""
        (played,) = self.render_all([(score, seed, vocabulary)], num_samples, sampling_rate)
        return played

    def render_all(self, clips: Iterable[Clip], num_samples: int, sampling_rate: int) -> Iterator[FloatArray]:
        """Play clips in their order, many a start of the program; each sounds as it would alone, sample for sample.

        The seed draws the programs of a corpus; those of a benchmark's split are given.

        Returns:
            Of every clip (num_samples,), dry, with a peak of 0.9.

        Raises:
            InputError: the program fails, or the sampling rate is beyond it.
        """
        if not LEAST_SAMPLING_RATE <= sampling_rate <= GREATEST_SAMPLING_RATE:
            raise InputError(
                f"fluidsynth plays at {LEAST_SAMPLING_RATE} to {GREATEST_SAMPLING_RATE} Hz, not at {sampling_rate}; use the"
                " renderer builtin."
            )
        together = max(1, int(MOST_PLAYED_S * sampling_rate / num_samples))
        for soundfont, group in groupby(clips, self._soundfont_of):
            while batch := list(islice(group, together)):
                yield from self._play(soundfont, batch, num_samples, sampling_rate)

    def _soundfont_of(self, clip: Clip) -> Soundfont:
        return self.test_soundfont if clip[2].name == "test" else self.soundfont

    def _play(self, soundfont: Soundfont, clips: Sequence[Clip], num_samples: int, sampling_rate: int) -> Iterator[FloatArray]:
        timeline = Timeline(len(clips), num_samples, sampling_rate)
        events = [score_events(score, draw_programs(vocabulary, seed)) for score, seed, vocabulary in clips]
        with tempfile.TemporaryDirectory() as folder:
            notes, audio = Path(folder) / "scores.mid", Path(folder) / "scores.wav"
            notes.write_bytes(timeline.midi_bytes(events))
            options = ["-ni", "-q", "-g", str(_GAIN), "-r", str(sampling_rate), "-R", "0", "-C", "0"]
            # 16 bit would be dithered with noise that goes on from clip to clip
            options += ["-o", f"synth.polyphony={POLYPHONY}", "-T", "wav", "-O", "float", "-F", str(audio)]
            ran = subprocess.run([self.program, *options, str(soundfont.path), str(notes)], capture_output=True, text=True)
            if ran.returncode or not audio.exists():
                raise InputError(
                    f"{self.program} cannot play {soundfont.path}: {' '.join(ran.stderr.split()) or 'no reason given'}"
                )
            played = read_audio(audio, sampling_rate)
        for start in timeline.starts:
            clip = played[start : start + num_samples]
            clip = np.pad(clip, (0, num_samples - len(clip)))
            yield (clip * (_PEAK / max(float(np.abs(clip).max()), 1e-9))).astype(np.float32)


def draw_programs(vocabulary: Vocabulary, seed: np.random.SeedSequence) -> dict[str, int]:
    """General MIDI program of every instrument: that of the benchmark's split, or one of a corpus's, drawn from the seed."""
    if vocabulary.name != CORPUS.name:
        return {name: choices[_PLACES[vocabulary.name]] for name, choices in PROGRAMS.items()}
    rng = np.random.default_rng(seed)
    return {name: pick(rng, choices) for name, choices in CORPUS_PROGRAMS.items()}


def find_fluidsynth() -> FluidSynth:
    """The program and its soundfonts (`mert_hf.synthetic.sound.soundfonts`).

    Raises:
        InputError: one of them is missing.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise InputError("the program fluidsynth is not installed (or not on PATH); install it, or use the renderer builtin.")
    return FluidSynth(program, *find_soundfonts())
