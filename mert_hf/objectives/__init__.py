"""Objectives: what a model is trained to do.

Each is an [`Objective`], whose docstring is the contract with the training loop and with the run that sets it up. A further one
is one file, a subclass that brings its settings (`sections`), how it is made of them (`from_settings`) and what a run must know
of it, and one line in `OBJECTIVES`. With that `--objective NAME` trains it.

A further multi-view method is shorter, see `contrastive.py`:

1. the loss as a pure function of two tensors (batch, size), whose rows belong together;
2. a subclass of [`MultiView`] with the heads it needs, whose keyword arguments are its options in recipes;
3. `compare(views, embeddings)`: heads on the embeddings, `self.gather` for the batch of all processes, the loss of that, and
   numbers to watch; `signs` says when they are a sign of collapse; `after_step` moves a teacher, if there is one.

Both encoders, gradients over processes, the generic signs of collapse and checkpoints come with the base, and
`tests/objectives/test_multiview_objectives.py` runs over it, with its heads made small. In this repository an objective also
has a recipe in `training/recipes` and a cell of the comparison in `training/cells`; tests ask for both.
"""

from mert_hf.objectives.barlow_twins import BarlowTwins
from mert_hf.objectives.base import Counts, Objective, ObjectiveOutput, Outcome, Teachers
from mert_hf.objectives.byol import BYOL
from mert_hf.objectives.clustering import Clustering
from mert_hf.objectives.contrastive import Contrastive
from mert_hf.objectives.data2vec import Data2Vec
from mert_hf.objectives.masked_prediction import MaskedPrediction
from mert_hf.objectives.multiview import MultiView
from mert_hf.objectives.token_dropping import TokenDropping
from mert_hf.objectives.transposition import Transposition
from mert_hf.objectives.vicreg import VICReg

OBJECTIVES: dict[str, type[Objective]] = {
    "masked_prediction": MaskedPrediction,
    "data2vec": Data2Vec,
    "contrastive": Contrastive,
    "byol": BYOL,
    "clustering": Clustering,
    "barlow_twins": BarlowTwins,
    "vicreg": VICReg,
    "transposition": Transposition,
    "token_dropping": TokenDropping,
}

__all__ = [
    "OBJECTIVES",
    "BYOL",
    "BarlowTwins",
    "Clustering",
    "Contrastive",
    "Counts",
    "Data2Vec",
    "MaskedPrediction",
    "MultiView",
    "Objective",
    "ObjectiveOutput",
    "Outcome",
    "Teachers",
    "TokenDropping",
    "Transposition",
    "VICReg",
]
