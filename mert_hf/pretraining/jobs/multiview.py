"""The multi-view objectives on Deezer's ResNet, or on MERT in its place."""

import inspect
import logging

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import seed_torch
from mert_hf.common.settings import suggest
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.configuration_multiview import MultiViewConfig
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.models.modeling_mert import MERTModel
from mert_hf.models.modeling_multiview import MultiViewModel
from mert_hf.objectives import MULTIVIEW_OBJECTIVES, Clustering
from mert_hf.objectives.across_processes import world_size
from mert_hf.pretraining import plots
from mert_hf.pretraining.initial_weights import build_model, make_config, read_config
from mert_hf.pretraining.jobs.base import Job

logger = logging.getLogger(__name__)

ENCODERS = {"resnet": (MultiViewConfig, MultiViewModel), "mert": (MERTConfig, MERTModel)}


class MultiViewJob(Job):
    """One of [`mert_hf.objectives.MULTIVIEW_OBJECTIVES`]."""

    prefix = "encoder.model."

    def __init__(self, settings):
        super().__init__(settings)
        config_class, self.model_class = ENCODERS[settings.multiview.encoder]
        # loudness tells tracks apart too easily; Deezer scales whole tracks, and MERT does not hear it
        loudness = {"peak_normalize": True} if config_class is MultiViewConfig else {}
        self.config = make_config(config_class, settings.model, read_config(config_class, settings.init) or loudness)
        self.sampling_rate = self.config.sample_rate
        self.description = f"{settings.objective}: two crops of {settings.data.crop_s:g} s of a track agree"
        objective = MULTIVIEW_OBJECTIVES[settings.objective]
        known = [name for name in inspect.signature(objective).parameters if name not in ("model", "max_steps")]
        for name in settings.multiview.options:
            if name not in known:
                raise InputError(f"multiview.options.{name} is no argument of {settings.objective}" + suggest(name, known))
        if settings.training.compile != "no":
            raise InputError(f"training.compile is for masked prediction; leave it out with objective={settings.objective}.")

    def prepare(self, sources, run, device):
        """Warn of a corpus that is smaller than a batch of all processes, in which clips are compared."""
        known, skipped = sources.training.num_known()
        tracks, pairs = known - skipped, self.settings.training.batch_size * world_size()
        if tracks < pairs:
            logger.warning(
                "The %d tracks to train on are fewer than a batch of %d pairs: a track will be told apart from itself",
                tracks,
                pairs,
            )

    def build(self, device):
        """As in [`Job`]."""
        settings = self.settings
        model = build_model(self.model_class, self.config, settings)
        seed_torch(settings.training.seed, "head")
        try:
            objective = MULTIVIEW_OBJECTIVES[settings.objective]
            return objective(model, settings.training.max_steps, **settings.multiview.options)
        except (TypeError, ValueError) as error:
            raise InputError(f"multiview.options: {error}") from None

    def make_extractor(self):
        """As in [`Job`]; the ResNet takes clips of any length."""
        shortest = {"min_samples": 1} if self.settings.multiview.encoder == "resnet" else {}
        return MERTFeatureExtractor(sampling_rate=self.sampling_rate, **shortest)

    def draw(self, run, objective, validator, validation, title):
        """Curves; of clustering also how often each prototype is used."""
        super().draw(run, objective, validator, validation, title)
        if isinstance(objective, Clustering):
            usage = objective.usage.cpu().numpy()
            plots.plot_prototype_usage(run.metrics, run.report / "prototype_usage.png", title, usage)
