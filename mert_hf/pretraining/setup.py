"""What a run trains, as its settings say, before any audio is read: objective, configuration, stored labels."""

import logging
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.feature_extraction_utils import FeatureExtractionMixin

from mert_hf.architectures.initial_weights import build_model, make_config, read_config
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import seed_torch
from mert_hf.objectives import OBJECTIVES, Objective, Teachers
from mert_hf.objectives.across_processes import world_size
from mert_hf.pretraining.settings import RunSettings
from mert_hf.pretraining.sources import Sources
from mert_hf.pretraining.teachers import fit_or_load_teacher, mean_spectrum, open_labels, open_validation_labels
from mert_hf.teachers import CQTTeacher

logger = logging.getLogger(__name__)


def build_config(settings: RunSettings) -> PreTrainedConfig:
    """The model's configuration: `settings.model` over that of `init.model`, or over the defaults.

    What describes heads follows from the teachers, unless they are those of a model to go on with.

    Raises:
        InputError: a field the configuration does not have, a value it does not take, or a model that cannot be read.
    """
    objective = OBJECTIVES[settings.objective]
    config_class = objective.architecture(settings).config_class
    given = read_config(config_class, settings.init)
    if given is None:
        given = objective.default_fields(settings) | objective.head_fields(settings)
    elif settings.init.new_heads:
        given |= objective.head_fields(settings)
    return make_config(config_class, settings.model, given)


class Setup:
    """Everything about a run that follows from its settings.

    Raises:
        InputError: settings no model can be made of, or that this one does not know; labels that would not be used.

    Attributes:
        objective: class of what is trained.
        sampling_rate: samples per second of the clips.
        labels: stored codes to learn from; None where there are none.
        validation_labels: those of `validation.folder`, where there are labels.
        teachers: what is learnt from; there once `prepare` was called.
    """

    def __init__(self, settings: RunSettings):
        self.settings = settings
        self.objective = OBJECTIVES[settings.objective]
        self.architecture = self.objective.architecture(settings)
        self.model_class = self.objective.model_class(settings)
        self.config = build_config(settings)
        self.sampling_rate = self.architecture.sampling_rate(self.config)
        self.teachers = Teachers()
        self._check_labels()
        self._check_training()
        self.labels = self.validation_labels = None
        if self.objective.uses_teachers:
            self.labels = open_labels(settings, self.config)
            self.validation_labels = open_validation_labels(settings, self.config, self.labels)

    def prepare(self, sources: Sources, teacher_folder: Path, device: torch.device) -> None:
        """Fit the code teacher, or load it; one process does it first, and the others read what it wrote.

        Args:
            sources: of the clips to fit on.
            teacher_folder: keeps what is fitted.
        """
        if self.objective.uses_teachers:
            codes = self._prepare_codes(sources, teacher_folder, device)
            spectrum = CQTTeacher.from_settings(self.settings.cqt, self.sampling_rate, self.config.hop_samples)
            self.teachers = Teachers(codes) if spectrum is None else Teachers(codes, spectrum.to(device))
            # a head that goes on is left as it is
            if spectrum is not None and self.settings.cqt.mean_s > 0 and self.settings.init.model is None:
                mean = mean_spectrum(spectrum, sources.training.clips(), self.settings.cqt.mean_s, teacher_folder, device)
                self.teachers = self.teachers._replace(spectrum_mean=mean)
        if self.objective.pair_distances_s(self.settings) is not None:
            known, skipped = sources.training.num_known()
            tracks, pairs = known - skipped, self.settings.training.batch_size * world_size()
            if tracks < pairs:
                logger.warning(
                    "The %d tracks to train on are fewer than a batch of %d pairs: a track will be told apart from itself",
                    *(tracks, pairs),
                )

    def build_model(self) -> PreTrainedModel:
        """The model with the weights it begins with, compiled where that is wanted.

        Raises:
            InputError: as in [`mert_hf.architectures.initial_weights.build_model`].
        """
        training = self.settings.training
        how = (training.seed, training.attention, training.gradient_checkpointing)
        model = build_model(self.model_class, self.config, self.settings.init, *how, self.objective.heads)
        if training.compile != "no":
            for layer in self.architecture.layers(model):  # one by one: they share their code, which is compiled once
                layer.compile(backend=training.compile)
        return model

    def build(self) -> Objective:
        """The objective, with the weights it begins with; `prepare` was called before.

        Raises:
            InputError: settings that do not fit together, or weights that cannot be had.
        """
        model = self.build_model()
        seed_torch(self.settings.training.seed, "head")
        return self.objective.from_settings(self.settings, model, self.teachers)

    def make_extractor(self) -> FeatureExtractionMixin:
        """The feature extractor that is published with the model."""
        return self.architecture.make_extractor(self.config)

    @property
    def description(self) -> str:
        """What is learnt from, in a few words, for results and pictures; `prepare` was called before."""
        return self.objective.describe(self.settings, self.teachers)

    def facts(self) -> dict[str, Any]:
        """Facts for `results.json`; `prepare` was called before."""
        facts: dict[str, Any] = {"objective": self.settings.objective, "teacher": self.description}
        if self.objective.uses_teachers:
            facts["codebook_sizes"] = self.teachers.codes.codebook_sizes
            if self.teachers.spectrum is not None:
                facts["constant_q"] = self.teachers.spectrum.description
            facts["labels"] = "of crops" if self.labels is None else "stored"
        return facts

    def _prepare_codes(self, sources: Sources, folder: Path, device: torch.device) -> Any:
        if self.labels is not None:
            return self.labels
        teacher = fit_or_load_teacher(self.settings, self.config, sources.training.clips(), folder, device)
        if teacher.whole_files and not self.settings.teacher.online:
            logger.warning(
                "No data.labels: %s are made of crops of %g s, while the official labels are of whole files and differ from"
                " them. Make labels with training/prepare_labels.py and give them as --data.labels, or say"
                " --teacher.online true where crops are meant.",
                *(teacher.description, self.settings.data.crop_s),
            )
        return teacher.to(device)

    def _check_labels(self) -> None:
        settings = self.settings
        if settings.data.labels is not None and not self.objective.uses_teachers:
            raise InputError(f"data.labels holds codes, which objective {settings.objective!r} does not predict; leave it out.")
        if settings.validation.labels is not None and settings.data.labels is None:
            raise InputError(
                "validation.labels are for a run that learns from data.labels, which is not given; leave them out, or give"
                " both."
            )

    def _check_training(self) -> None:
        """Refuse what the model does not know."""
        training, model = self.settings.training, self.model_class.__name__
        relax = getattr(self.config, "attention_relax", None)
        if training.attention == "relaxed" and relax is None:
            raise InputError(f"training.attention=relaxed is for MERT encoders, not {model}; give another training.attention.")
        if training.attention == "relaxed" and relax <= 0:
            raise InputError(
                f"training.attention=relaxed divides by model.attention_relax, which is {relax:g}; give a positive one, such as"
                " --model.attention_relax 32, or another training.attention."
            )
        if training.gradient_checkpointing and not self.model_class.supports_gradient_checkpointing:
            raise InputError(f"training.gradient_checkpointing cannot be used with {model}; leave it out.")
        if training.compile != "no" and training.compile not in torch.compiler.list_backends(exclude_tags=()):
            known = ", ".join(torch.compiler.list_backends())
            raise InputError(f"training.compile={training.compile} is no backend of torch.compile; give no, or one of {known}.")
        if training.compile != "no" and not self.objective.can_be_compiled:
            raise InputError(f"training.compile was never tried with objective={self.settings.objective}; leave it out.")
