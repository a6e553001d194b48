"""The feature-extraction pipeline: whatever may be handed over as audio, and its options."""

import torch
from audio_attacks import draw_item, hostile, prepare_files
from support.small_runs import MODEL
from transformers import pipeline

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel

DOCUMENTED = (ValueError,)


def prepare(folder):
    """A small model; a new pipeline would cost more than an input."""
    files = prepare_files(folder)
    torch.manual_seed(0)
    model = MERTModel(MERTConfig(**MODEL))
    extract = pipeline("feature-extraction", model=model, feature_extractor=MERTFeatureExtractor(), device="cpu")

    def strike(rng):
        options = {}
        if rng.random() < 0.2:
            options = {"window_s": 0.05, "overlap_s": 0.02, "output_hidden_states": True}
            options[list(options)[int(rng.integers(len(options)))]] = hostile(rng)
        found = extract(draw_item(rng, folder, files), return_tensors=True, **options)
        for features in [found] if isinstance(found, torch.Tensor) else found:
            assert features.isfinite().all()

    return strike
