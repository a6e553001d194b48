"""Clips scaled to zero mean and unit variance, as transformers' Wav2Vec2FeatureExtractor does where `do_normalize` is set."""

import torch

# Added to the variance, so that silence stays silence (transformers, `zero_mean_unit_var_norm`).
VARIANCE_FLOOR = 1e-7


def normalise_clips(waveforms: torch.Tensor) -> torch.Tensor:
    """(batch, samples) -> (batch, samples) of mean 0 and variance 1, each clip by itself; clips hold no padding."""
    # The arithmetic that the published scores of probes were made with. data2vec's batches alone are scaled by another rounding
    # of this, up to 1e-6 apart: those of its published trainings, which a last digit would lead elsewhere.
    variance = waveforms.var(dim=-1, unbiased=False, keepdim=True)
    return (waveforms - waveforms.mean(dim=-1, keepdim=True)) / (variance + VARIANCE_FLOOR).sqrt()


def normalise_padded_clips(waveforms: torch.Tensor, audible: torch.Tensor) -> torch.Tensor:
    """[`normalise_clips`] of what is audible, (batch, samples) bool, in each clip; padding becomes 0 whatever it holds."""
    counts = audible.sum(-1, keepdim=True)
    means = waveforms.where(audible, 0.0).sum(-1, keepdim=True) / counts
    centred = (waveforms - means).where(audible, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / counts
    return centred / (variance + VARIANCE_FLOOR).sqrt()
