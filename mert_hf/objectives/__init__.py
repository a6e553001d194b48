"""Objectives: what a model is trained to do, one file each.

Each is an [`Objective`], whose docstring is the contract with the training loop.
"""

from mert_hf.objectives.base import Batch, Counts, Objective, ObjectiveOutput
from mert_hf.objectives.masked_prediction import MaskedPrediction

__all__ = ["Batch", "Counts", "MaskedPrediction", "Objective", "ObjectiveOutput"]
