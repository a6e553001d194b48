"""What the training script asks of an objective."""

import logging
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from mert_hf.data.label_store import LabelStore
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.validation import Validation, Validator
from mert_hf.objectives import Objective
from mert_hf.pretraining import plots
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.sources import Sources

logger = logging.getLogger(__name__)


class Job:
    """Everything that differs between objectives when a run is set up and written down.

    Attributes:
        settings: of the run.
        config: configuration of the model.
        sampling_rate: samples per second of the clips.
        description: what is learnt from, in a few words, for results and pictures.
        labels: stored codes to learn from; None where there are none.
        validation_labels: those of `validation.folder`, where there are labels.
        model_class: of the model that is published.
        prefix: of the names of that model's tensors among the objective's.
    """

    model_class: type[PreTrainedModel]
    prefix: str = "model."
    config: PreTrainedConfig
    sampling_rate: int
    description: str
    labels: LabelStore | None = None
    validation_labels: LabelStore | None = None

    def __init__(self, settings: PretrainSettings):
        self.settings = settings

    def prepare(self, sources: Sources, run: RunFolder, device: torch.device) -> None:
        """What one process does first and the others read, such as fitting a teacher."""

    def build(self, device: torch.device) -> Objective:
        """The objective, with the weights it begins with."""
        raise NotImplementedError

    def make_extractor(self) -> FeatureExtractionMixin:
        """The feature extractor that is published with the model."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Facts for `results.json`."""
        return {"objective": self.settings.objective, "teacher": self.description}

    def draw(
        self, run: RunFolder, objective: Objective, validator: Validator | None, validation: Validation | None, title: str
    ) -> None:
        """Draw the pictures of a run whose model is saved into its `report` folder."""
        run.report.mkdir(exist_ok=True)
        plots.plot_numbers(run.metrics, run.report / "training_curves.png", title, run.validation)
