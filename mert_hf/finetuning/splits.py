"""What Trainer is given of every split: clips of audio, or features of them that were computed once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, TrainingArguments

from mert_hf.common.files import digest_json
from mert_hf.finetuning.clips import Collator, EvaluationClips, TrainingClips
from mert_hf.finetuning.data import FinetuneData
from mert_hf.finetuning.features import AllFeatures, DrawnFeatures, FeatureMaker, collate_features
from mert_hf.finetuning.progress import Progress, Work
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor


@dataclass(frozen=True)
class Clips:
    """The clips of a run.

    Attributes:
        training: those that are drawn anew in every epoch.
        grid: those of the training tracks whose features are kept and drawn from; None where none are.
        validation, test: those that are measured.
    """

    training: TrainingClips
    grid: EvaluationClips | None
    validation: EvaluationClips
    test: EvaluationClips

    def work(self, epochs: float, frozen: bool) -> Work:
        """What there is to do."""
        measured = len(self.validation), len(self.test)
        to_hear = 0 if self.grid is None else len(self.grid) + sum(measured)
        return Work(epochs, len(self.training), *measured, to_hear, frozen)


@dataclass(frozen=True)
class Inputs:
    """What goes through the model, of each split, and how a batch is made of it."""

    training: Dataset
    validation: Dataset
    test: Dataset
    collate: Callable[[list[dict]], dict[str, torch.Tensor]]


def cut_clips(data: FinetuneData, settings: FinetuneSettings, sampling_rate: int) -> Clips:
    """The clips of all splits."""
    chosen, clip_samples = settings.data, round(settings.data.clip_s * sampling_rate)
    train = (data.tracks, data.targets, data.splits["train"], clip_samples, sampling_rate)
    return Clips(
        TrainingClips(*train, seed=settings.training.seed, per_track=chosen.clips_per_track),
        EvaluationClips(*train, most=chosen.cached_clips) if chosen.cached_clips else None,
        evaluation_clips(data, "validation", clip_samples, sampling_rate, chosen.validation_clips),
        evaluation_clips(data, "test", clip_samples, sampling_rate),
    )


def evaluation_clips(
    data: FinetuneData, split: str, clip_samples: int, sampling_rate: int, most: int | None = None
) -> EvaluationClips:
    """All clips of a split's tracks that the task has heard, or `most` of each track where those are fewer."""
    heard = (data.tracks, data.targets, data.splits[split], clip_samples, sampling_rate)
    most = min((number for number in (most, data.task.windows.most) if number is not None), default=None)
    return EvaluationClips(*heard, most=most, alone=data.task.aggregation == "window")


def make_inputs(
    clips: Clips,
    model: PreTrainedModel,
    extractor: MERTFeatureExtractor,
    data: FinetuneData,
    settings: FinetuneSettings,
    run: FinetuneFolder,
    arguments: TrainingArguments,
    progress: Progress,
) -> Inputs:
    """Clips as they are, or the features of them, which are computed now where they are not there yet; all processes call it.

    Raises:
        InputError: features that cannot be computed or kept.
    """
    collate = Collator(extractor)
    if clips.grid is None:
        return Inputs(clips.training, clips.validation, clips.test, collate)
    stamps = digest_json([track.stamp for track in data.tracks.tracks])
    facts = {**data.facts(), "task": data.task.name, "stamps": stamps}
    device = model.device
    model.to(arguments.device).eval()
    maker = FeatureMaker(model, collate, run.features, facts, arguments, progress.hear)
    grid, validation, test = (
        maker.make(split, chosen)
        for split, chosen in (("train", clips.grid), ("validation", clips.validation), ("test", clips.test))
    )
    model.to(device)
    drawn = DrawnFeatures(grid, clips.grid, settings.training.seed, settings.data.clips_per_track)
    return Inputs(drawn, AllFeatures(validation, clips.validation), AllFeatures(test, clips.test), collate_features)
