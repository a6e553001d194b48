"""Clips scaled to zero mean and unit variance, as transformers' Wav2Vec2FeatureExtractor does where `do_normalize` is set."""

import torch

# Added to the variance, so that silence stays silence (transformers, `zero_mean_unit_var_norm`).
VARIANCE_FLOOR = 1e-7


def normalise_clips(waveforms: torch.Tensor) -> torch.Tensor:
    """(batch, samples) -> (batch, samples) of mean 0 and variance 1, each clip by itself; clips hold no padding."""
    # data2vec's batches and the probes' windows are scaled by other roundings of this, which their results were made with
    centred = waveforms - waveforms.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + VARIANCE_FLOOR).sqrt()
