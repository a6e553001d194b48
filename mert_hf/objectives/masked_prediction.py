"""MERT's objective: predict the teachers' targets of the clean clip on frames hidden from the encoder (MERT, section 3)."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from mert_hf.data.label_store import LabelStore
from mert_hf.errors import InputError
from mert_hf.masking import draw_span_mask
from mert_hf.mixture import NoiseMixture, mix_in
from mert_hf.modeling_mert import MERTForPreTraining
from mert_hf.objectives.base import ObjectiveOutput
from mert_hf.seeding import generator


@dataclass(frozen=True)
class SpanMasking:
    """Arguments of [`mert_hf.masking.draw_span_mask`]."""

    probability: float = 0.8
    span_frames: int = 5
    min_spans: int = 2


class MaskedPrediction(nn.Module):
    """Draws masks and mixtures, asks the teachers, and compares.

    Args:
        model: what is trained.
        code_teacher: gives codes, or is the [`mert_hf.data.label_store.LabelStore`] that the batches' labels are from; None
            trains without.
        cqt_teacher: gives the constant-Q spectrum; None trains without.
        masking: which frames are hidden.
        mixture: noise laid over the clips the model hears; the teachers hear the clean ones.
        seed: of masks and mixtures, which are functions of it, the batch number and the rank.

    Raises:
        InputError: no teacher, or one whose rate, frame rate, codebooks or bins are not the model's.
    """

    def __init__(
        self,
        model: MERTForPreTraining,
        code_teacher: nn.Module | LabelStore | None,
        cqt_teacher: nn.Module | None,
        masking: SpanMasking,
        mixture: NoiseMixture,
        seed: int = 0,
    ):
        super().__init__()
        _check_fit(model, code_teacher, cqt_teacher)
        self.model = model
        self.masking = masking
        self.mixture = mixture
        self.seed = seed
        # in a tuple, so that torch does not see them: teachers are no part of checkpoints or of the exchange between processes
        self._teachers = (code_teacher, cqt_teacher)

    def forward(
        self, waveforms: torch.Tensor, batch_number: int, rank: int = 0, labels: torch.Tensor | None = None
    ) -> ObjectiveOutput:
        """Loss of one batch.

        Args:
            waveforms: (batch, samples) float32, clean clips.
            batch_number: which batch of this process, counted from the start of training.
            rank: which process.
            labels: (batch, codebooks, frames) int64 codes of the clean clips, where they are stored; else the teacher is asked.
        """
        batch, samples = waveforms.shape
        frames = self.model.count_frames(samples)
        mask_draws = generator(self.seed, "mask", batch_number, rank)
        mask = draw_span_mask(batch, frames, mask_draws, **vars(self.masking)).to(waveforms.device)
        excerpts = []
        if batch > 1:  # of a batch whose other clips could not be read, one is left, and there is nothing to mix in
            excerpts = self.mixture.draw(batch, samples, generator(self.seed, "mixture", batch_number, rank))
        code_teacher, cqt_teacher = self._teachers
        if labels is None and code_teacher is not None:
            labels = code_teacher(waveforms)
        outputs = self.model(
            mix_in(waveforms, excerpts),
            mask_time_indices=mask,
            labels=labels,
            cqt_labels=None if cqt_teacher is None else cqt_teacher(waveforms),
        )
        names = ("code_loss", "cqt_loss", "feature_penalty", "code_accuracy")
        logs = {name: outputs[name].detach() for name in names if outputs.get(name) is not None}
        return ObjectiveOutput(outputs.loss, {"loss": outputs.loss.detach(), **logs})

    def after_step(self, step: int) -> None:
        """Nothing moves but by gradients."""

    def export(self) -> MERTForPreTraining:
        """The model to publish."""
        return self.model


def _check_fit(model: MERTForPreTraining, code_teacher: nn.Module | LabelStore | None, cqt_teacher: nn.Module | None) -> None:
    config = model.config
    if code_teacher is None and cqt_teacher is None:
        raise InputError("masked prediction needs a teacher of codes, the constant-Q spectrum, or both; got neither.")
    for name, teacher in (("code", code_teacher), ("constant-Q", cqt_teacher)):
        if teacher is None:
            continue
        given = (teacher.sampling_rate, teacher.frame_rate)
        if given != (config.sample_rate, config.frame_rate):
            raise InputError(
                f"the {name} teacher works at {given[0]} Hz and {given[1]:g} frames per second, the model at"
                f" {config.sample_rate} Hz and {config.frame_rate:g}; make them equal."
            )
    if code_teacher is not None and config.code_offset:
        raise InputError(
            f"model.code_offset={config.code_offset} shifts the teacher's codes out of codebooks of the teacher's own sizes; it"
            " is for converted checkpoints."
        )
    if code_teacher is not None and list(code_teacher.codebook_sizes) != list(config.codebook_sizes):
        raise InputError(
            f"the code teacher has codebooks of {list(code_teacher.codebook_sizes)} codes, the model is made for"
            f" {list(config.codebook_sizes)}; leave model.codebook_sizes out, it follows from the teacher."
        )
    if cqt_teacher is not None and cqt_teacher.num_bins != config.cqt_bins:
        raise InputError(
            f"the constant-Q teacher has {cqt_teacher.num_bins} bins, the model is made for {config.cqt_bins}; leave"
            " model.cqt_bins out, it follows from cqt.bins."
        )
