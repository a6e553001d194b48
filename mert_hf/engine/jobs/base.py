"""What the training script asks of an objective."""

import logging
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from mert_hf.data.label_store import LabelStore
from mert_hf.engine import plots
from mert_hf.engine.initial_weights import make_config
from mert_hf.engine.pretrain_settings import PretrainSettings
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.sources import Sources
from mert_hf.engine.validation import Validation, Validator
from mert_hf.errors import InputError
from mert_hf.loading import loading
from mert_hf.objectives import Objective
from mert_hf.seeding import seed_torch

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


def read_config(config_class: type[PreTrainedConfig], settings: PretrainSettings, **given) -> PreTrainedConfig:
    """`settings.model` over the configuration of `init.model`, or over `given`.

    Raises:
        InputError: a field there is not, a value that is not taken, or a model that cannot be read.
    """
    init = settings.init
    if init.model is not None:
        with loading(f"init.model={init.model!r}"):
            given = config_class.from_pretrained(init.model, revision=init.revision).to_dict()
        if given["model_type"] != config_class.model_type:
            raise InputError(f"init.model={init.model!r} is a {given['model_type']}; needed is a {config_class.model_type}.")
    return make_config(config_class, settings.model, given)


def build_encoder(model_class: type[PreTrainedModel], config: PreTrainedConfig, settings: PretrainSettings) -> PreTrainedModel:
    """An encoder without heads with the weights it begins with, in float32; what is drawn is a function of the run's seed.

    Raises:
        InputError: `init.model` cannot be loaded or lacks weights, or the model does not have `training.attention`.
    """
    training, init = settings.training, settings.init
    seed_torch(training.seed, "weights")
    attention = {"attn_implementation": training.attention} if model_class._supports_sdpa else {}
    try:
        if init.model is None:
            model = model_class._from_config(config, **attention)
        else:
            with loading(f"init.model={init.model!r}"):
                model, report = model_class.from_pretrained(
                    init.model,
                    revision=init.revision,
                    config=config,
                    dtype=torch.float32,
                    ignore_mismatched_sizes=True,  # they are reported, and refused below
                    output_loading_info=True,
                    **attention,
                )
            new = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
            if new:
                raise InputError(
                    f"init.model={init.model!r} does not hold the encoder that model.* describes: {new[0]} would be random."
                )
            logger.info("Starting from %s; the objective's heads are drawn anew", init.model)
    except (ImportError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the model cannot be made: {' '.join(str(error).split())}") from None
    if training.gradient_checkpointing:
        # the reentrant form cannot be told which weights LayerDrop left without a gradient
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    return model
