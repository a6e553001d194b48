"""Objectives: what a model is trained to do, one file each.

An objective is a module: `forward(waveforms, batch_number, rank)` gives an [`ObjectiveOutput`], `after_step(step)` moves what
is not moved by gradients, `export()` gives the model to publish.
"""

from mert_hf.objectives.base import ObjectiveOutput
from mert_hf.objectives.masked_prediction import MaskedPrediction

__all__ = ["MaskedPrediction", "ObjectiveOutput"]
