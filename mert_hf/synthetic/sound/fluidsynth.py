"""The same scores played with sampled instruments, where `fluidsynth` and a General MIDI soundfont are installed."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mert_hf.audio import read_audio
from mert_hf.common.errors import InputError
from mert_hf.synthetic.score.labels import PieceLabels, Score
from mert_hf.synthetic.score.vocabulary import Vocabulary
from mert_hf.synthetic.sound.midi import midi_bytes
from mert_hf.synthetic.sound.oscillators import FloatArray

SOUNDFONT_VARIABLE = "MERT_HF_SOUNDFONT"
SOUNDFONT_FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts", "/usr/local/share/soundfonts")
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


@dataclass(frozen=True)
class FluidSynth:
    """A player of scores: the program, and the soundfont with its SHA-256."""

    program: str
    soundfont: Path
    fingerprint: str

    def render(
        self,
        score: PieceLabels | Score,
        num_samples: int,
        sampling_rate: int,
        seed: np.random.SeedSequence,
        vocabulary: Vocabulary,
    ) -> FloatArray:
        """Play a score; arguments and result as those of `mert_hf.synthetic.sound.render.render`, `seed` has no influence.

        Raises:
            InputError: the program fails.
        """
        programs = {name: choices[_PLACES.get(vocabulary.name, 0)] for name, choices in PROGRAMS.items()}
        with tempfile.TemporaryDirectory() as folder:
            notes, audio = Path(folder) / "score.mid", Path(folder) / "score.wav"
            notes.write_bytes(midi_bytes(score, programs))
            options = ["-ni", "-q", "-g", str(_GAIN), "-r", str(sampling_rate), "-F", str(audio)]
            ran = subprocess.run([self.program, *options, str(self.soundfont), str(notes)], capture_output=True, text=True)
            if ran.returncode or not audio.exists():
                raise InputError(
                    f"{self.program} cannot play {self.soundfont}: {' '.join(ran.stderr.split()) or 'no reason given'}"
                )
            played = read_audio(audio, sampling_rate)[:num_samples]
        played = np.pad(played, (0, num_samples - len(played)))
        return (played * (_PEAK / max(float(np.abs(played).max()), 1e-9))).astype(np.float32)


def find_fluidsynth() -> FluidSynth:
    """The program and a soundfont: that of the environment variable, or the first in the usual folders.

    Raises:
        InputError: one of them is missing.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise InputError("the program fluidsynth is not installed (or not on PATH); install it, or use --renderer builtin.")
    named = os.environ.get(SOUNDFONT_VARIABLE)
    found = [Path(named)] if named else []
    for folder in map(Path, SOUNDFONT_FOLDERS):
        found += sorted([*folder.glob("*.sf2"), *folder.glob("*.sf3")]) if folder.is_dir() else []
    if not found or not found[0].is_file():
        raise InputError(
            f"no General MIDI soundfont was found ({named or ', '.join(SOUNDFONT_FOLDERS)}); set {SOUNDFONT_VARIABLE} to an"
            " .sf2 file, or use --renderer builtin."
        )
    return FluidSynth(program, found[0], hashlib.sha256(found[0].read_bytes()).hexdigest())
