"""What small fine-tunings begin with: a base of random weights, and tones in a folder a label."""

from pathlib import Path

import soundfile
import torch
from support.small_runs import MODEL
from support.sounds import make_tones

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForPreTraining


def make_base_and_music(folder: Path, tracks: int, length_s: float) -> tuple[Path, Path]:
    """A base (with dropout), and so many tracks of each of two labels."""
    torch.manual_seed(0)
    MERTForPreTraining(MERTConfig(**MODEL)).save_pretrained(folder / "base")
    MERTFeatureExtractor().save_pretrained(folder / "base")
    for label in ("calm", "wild"):
        (folder / "music" / label).mkdir(parents=True)
        for number in range(tracks):
            tones = make_tones(length_s, 24000, seed=number + 10 * (label == "wild"))
            soundfile.write(folder / "music" / label / f"{number}.wav", tones, 24000)
    return folder / "base", folder / "music"
