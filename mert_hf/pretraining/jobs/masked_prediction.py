"""MERT and musicHuBERT: masked prediction of a teacher's codes and of the constant-Q spectrum."""

import logging

from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert import MERTForPreTraining
from mert_hf.pretraining.code_teachers import fit_or_load_teacher, open_labels, open_validation_labels
from mert_hf.pretraining.initial_weights import build_config
from mert_hf.pretraining.jobs.base import Job
from mert_hf.pretraining.pretraining import build_objective
from mert_hf.pretraining.report import draw_report

logger = logging.getLogger(__name__)


class MaskedPredictionJob(Job):
    """A [`mert_hf.objectives.MaskedPrediction`] and its teachers."""

    model_class = MERTForPreTraining

    def __init__(self, settings):
        super().__init__(settings)
        self.config = build_config(settings)
        self.sampling_rate = self.config.sample_rate
        self.labels = open_labels(settings, self.config)
        self.validation_labels = open_validation_labels(settings, self.config, self.labels)

    def prepare(self, sources, run, device):
        """Fit the code teacher, or load it; stored labels take its place."""
        self.teacher = self.labels
        if self.teacher is None:
            clips = sources.training.clips()
            self.teacher = fit_or_load_teacher(self.settings, self.config, clips, run.teacher, device)
            if not (self.teacher.frame_local or self.settings.teacher.online):
                logger.warning(
                    "No data.labels: %s are made of crops of %g s, while the official labels are of whole files and differ from"
                    " them. Make labels with training/prepare_labels.py and give them as --data.labels, or say"
                    " --teacher.online true where crops are meant.",
                    self.teacher.description,
                    self.settings.data.crop_s,
                )
        self.description = self.teacher.description

    def build(self, device):
        """As in [`Job`]."""
        return build_objective(self.settings, self.config, self.teacher, device)

    def make_extractor(self):
        """As in [`Job`]."""
        return MERTFeatureExtractor(sampling_rate=self.sampling_rate)

    def facts(self):
        """As in [`Job`]."""
        labels = "of crops" if self.labels is None else "stored"
        return {**super().facts(), "codebook_sizes": self.teacher.codebook_sizes, "labels": labels}

    def draw(self, run, objective, validator, validation, title):
        """Curves, accuracy and use of the codes, and a predicted spectrum."""
        draw_report(run, objective, self.settings.cqt, validator, validation, title)
