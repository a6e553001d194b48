"""The music encoder: whatever may be handed over as audio, its options, and as a model."""

import torch
from audio_attacks import draw_item, draw_rate, hostile, prepare_files
from support.small_runs import MODEL

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel
from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder

DOCUMENTED = (InputError,)


def prepare(folder):
    """One small encoder takes all audio; models come from values and from the folder."""
    files = prepare_files(folder)
    torch.manual_seed(0)
    encoder = MusicEncoder(MERTModel(MERTConfig(**MODEL)), MERTFeatureExtractor(), device="cpu")
    options = {
        "layers": 1,
        "pool": "mean_std",
        "batch_size": 2,
        "normalize": True,
        "window_s": 0.05,
        "overlap_s": 0.02,
        "output_dir": None,
        "progress": False,
    }

    def strike(rng):
        if rng.random() < 0.05:
            MusicEncoder(folder if rng.random() < 0.5 else hostile(rng), device="cpu")
        chosen = {name: value for name, value in options.items() if name == "progress" or rng.random() < 0.2}
        if rng.random() < 0.3:
            chosen[list(chosen)[int(rng.integers(len(chosen)))]] = hostile(rng)
        if chosen["progress"] or isinstance(chosen.get("output_dir"), str):
            chosen = {"progress": False}  # neither a bar nor files anywhere
        rate = None if rng.random() < 0.2 else draw_rate(rng)
        chosen.setdefault("layers", 2)
        encoder.encode(draw_item(rng, folder, files), sampling_rate=rate, **chosen)

    return strike
