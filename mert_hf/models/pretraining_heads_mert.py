"""The heads of pre-training, of every family: the teacher's codes and the constant-Q spectrum, predicted on masked frames."""

from dataclasses import dataclass

import torch
import torch.nn as nn
from transformers.utils.generic import ModelOutput, can_return_tuple

from .code_head_mert import IGNORED_LABEL, MERTCodeHead, at_least_float32
from .model_inputs_mert import fit_to_frames, repeat_for_masks, require_tensor, require_waveforms

# Least variance of a constant-Q target that its error is divided by; of music that is about 0.3 (12 bins an octave).
LEAST_VARIANCE = 1e-4


@dataclass
class MERTForPreTrainingOutput(ModelOutput):
    """Output of [`MERTForPreTraining`]. All losses are means over the masked frames, unweighted but for `loss`.

    With `loss_totals` they are this call's share of the means over a larger batch: the shares of all its parts add up to them.

    Attributes:
        loss: weighted sum of the terms below; None without labels.
        code_loss: sum over codebooks of the mean cross-entropy, in nats; None without `labels`.
        cqt_loss: mean squared error of the constant-Q spectrum, with `cqt_standardise` as a share of its variance; None without
            `cqt_labels`.
        unmasked_code_loss, unmasked_cqt_loss: the same over frames that are not masked; None where `unmasked_loss_weight` is 0.
        feature_penalty: mean square of `extract_features`, the convolutional features of MERT v1.
        num_masked_frames: () int64, frames of the batch that were masked and not padding.
        code_accuracy: (codebooks,) share of labelled masked frames whose most likely code is the label; NaN where a
            codebook has no label; None without `labels`.
        last_hidden_state, hidden_states, attentions: as in the output of the encoder.
    """

    loss: torch.FloatTensor | None = None
    code_loss: torch.FloatTensor | None = None
    cqt_loss: torch.FloatTensor | None = None
    unmasked_code_loss: torch.FloatTensor | None = None
    unmasked_cqt_loss: torch.FloatTensor | None = None
    feature_penalty: torch.FloatTensor | None = None
    num_masked_frames: torch.LongTensor | None = None
    code_accuracy: torch.FloatTensor | None = None
    last_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


class MaskedPredictionHeads:
    """Heads and loss, beside an encoder of transformers that is the model's `base_model` and can hide frames from itself."""

    def _add_heads(self, config) -> None:
        self.code_head = MERTCodeHead(config)
        self.cqt_head = nn.Linear(config.hidden_size, config.cqt_bins)

    def _outer_projections(self):
        return (self.code_head.projection, self.cqt_head)

    def _mask_options(self) -> dict[str, torch.Tensor]:
        """What the encoder is given beside the mask."""
        return {}

    def _no_mask(self, input_values: torch.Tensor) -> torch.Tensor:
        num_frames = self.count_frames(input_values.shape[-1])
        return input_values.new_zeros((input_values.shape[0], num_frames), dtype=torch.bool)

    def count_loss_items(
        self,
        mask_time_indices: torch.Tensor,
        labels: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        cqt_labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """What the terms of the loss are averaged over; arguments as in `forward`.

        A batch that is computed in parts, one after the other or on several devices, has the loss and the gradient of the
        whole if these numbers are added up over the parts and given to each call of `forward` as `loss_totals`.

        Returns:
            int64 tensors: `frames` () without padding, `masked_frames` (), and with labels `labels` (codebooks,), the masked
            frames that have a label. With `unmasked_loss_weight` also `unmasked_frames` and `unmasked_labels`. With
            `cqt_standardise` and `cqt_labels` what their variance on masked frames is told by: `cqt_sums` (bins,) and
            `cqt_squares` (), floats.
        """
        frame_mask = self._valid_frames(mask_time_indices, attention_mask)
        masked = mask_time_indices & frame_mask
        counts = {"frames": frame_mask.sum(), "masked_frames": masked.sum()}
        parts = self._parts(masked, frame_mask)
        counts |= {f"{name}frames": frames.sum() for name, frames in parts.items() if name}
        if labels is not None:
            known = self._fit_labels(labels, masked.shape) != IGNORED_LABEL
            counts |= {f"{name}labels": known[frames].sum(0) for name, frames in parts.items()}
        if cqt_labels is not None and self.config.cqt_standardise:
            targets = at_least_float32(self._fit_spectrum(cqt_labels, masked.shape)[masked])
            counts |= {"cqt_sums": targets.sum(0), "cqt_squares": targets.square().sum()}
        return counts

    def cqt_scale(self, loss_totals: dict[str, torch.Tensor]) -> torch.Tensor | float:
        """What the mean squared error of the spectrum is divided by: 1, or with `cqt_standardise` the variance of its targets.

        Around the mean of each bin, averaged over bins: then the loss is the share of the variance that is not explained, equal
        for loud and quiet music and for every compression, and loud bins still count for more than bins that nothing is in.
        Below `LEAST_VARIANCE` it stays, so that silence is not blown up.

        Args:
            loss_totals: of [`count_loss_items`], which was given `cqt_labels`.

        Raises:
            ValueError: it was not.
        """
        if not self.config.cqt_standardise:
            return 1.0
        if "cqt_sums" not in loss_totals:
            raise ValueError("with cqt_standardise, count_loss_items must be given cqt_labels to make loss_totals.")
        count, sums = loss_totals["masked_frames"].clamp(min=1), loss_totals["cqt_sums"]
        variance = (loss_totals["cqt_squares"] - sums.square().sum() / count) / (count * len(sums))
        return variance.clamp(min=LEAST_VARIANCE)

    def _fit_spectrum(self, cqt_labels: torch.Tensor, frames_shape: torch.Size) -> torch.Tensor:
        return fit_to_frames("cqt_labels", cqt_labels, frames_shape, self.config.cqt_bins, "bins")

    def _valid_frames(self, mask_time_indices: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        if attention_mask is None:
            return torch.ones_like(mask_time_indices)
        frames = self._get_feature_vector_attention_mask(mask_time_indices.shape[1], attention_mask)
        return repeat_for_masks(frames, mask_time_indices)

    def _fit_labels(self, labels: torch.Tensor, frames_shape: torch.Size) -> torch.Tensor:
        """(batch, codebooks, label frames) -> (batch, frames, codebooks)."""
        if labels.is_floating_point() or labels.dtype == torch.bool:
            raise ValueError(f"labels must be int64 codes; got {labels.dtype}.")
        labels = labels.mT if labels.ndim == 3 else labels
        return fit_to_frames("labels", labels, frames_shape, len(self.config.codebook_sizes), "codebooks")

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        cqt_labels: torch.Tensor | None = None,
        loss_totals: dict[str, torch.Tensor] | None = None,
        **kwargs,
    ) -> MERTForPreTrainingOutput:
        """Encode a batch with some frames masked and compare the predictions on those frames with the teachers' targets.

        loss = code_loss_weight * sum over codebooks of the mean cross-entropy + cqt_loss_weight * mean squared error of the
        spectrum + feature_penalty_weight * mean square of `extract_features` (fairseq mert criterion, where these are the
        convolutional ones; the weights are fields of the configuration). The first two are means over masked frames; where
        unmasked_loss_weight is above 0, that times the mean over the other frames is added to each. Masks are never drawn here,
        so equal inputs give equal losses in `eval()`.

        Args:
            input_values: (batch, samples) float, mono, at the model's rate.
            attention_mask: (batch, samples), 1 for audio and 0 for padding on the right. Padding counts in no loss.
            mask_time_indices: (batch, frames) bool, frames hidden from the encoder; required with labels. Or (masks * batch,
                frames), row m * batch + i being mask m of clip i: what the encoder computes before it hides frames serves all
                masks, and labels have as many rows.
            labels: (batch, codebooks, frames) int64 codes, -100 is ignored. May be longer than the model's frames (the codec
                makes one more), never shorter.
            cqt_labels: (batch, frames, bins) float, magnitudes of the constant-Q spectrum, compressed as `cqt_compression`
                says; may be longer as well.
            loss_totals: what the terms are averaged over where this call is a part of a larger batch: the sums of
                [`count_loss_items`] over all its parts. By default the call is the whole batch.

        Raises:
            ValueError: labels without mask_time_indices, of another shape, too short, or outside their codebook.
        """
        require_waveforms(input_values, attention_mask)
        for name, given in (("mask_time_indices", mask_time_indices), ("labels", labels), ("cqt_labels", cqt_labels)):
            require_tensor(name, given)
        if mask_time_indices is None:
            if labels is not None or cqt_labels is not None:
                raise ValueError(
                    "labels are compared on masked frames only, so mask_time_indices is required with labels or cqt_labels;"
                    " draw it with mert_hf.objectives.masking.draw_span_mask."
                )
            mask_time_indices = self._no_mask(input_values)
        outputs = self.base_model(
            input_values, attention_mask, mask_time_indices=mask_time_indices, **self._mask_options(), **kwargs
        )
        if loss_totals is None:
            loss_totals = self.count_loss_items(mask_time_indices, labels, attention_mask, cqt_labels)
        frame_mask = self._valid_frames(mask_time_indices, attention_mask)
        masked = mask_time_indices & frame_mask
        parts = self._parts(masked, frame_mask)
        losses, code_accuracy = self._compare(outputs.last_hidden_state, parts, labels, cqt_labels, loss_totals)

        # float32: the sum of squares over a batch overflows half precision
        squares = at_least_float32(outputs.extract_features).square().mean(-1)
        feature_penalty = repeat_for_masks(squares, frame_mask)[frame_mask].sum() / loss_totals["frames"]
        loss = None
        if losses:
            loss = sum(self._weigh(losses), self.config.feature_penalty_weight * feature_penalty)
        return MERTForPreTrainingOutput(
            loss=loss,
            **losses,
            feature_penalty=feature_penalty,
            num_masked_frames=masked.sum(),
            code_accuracy=code_accuracy,
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def _parts(self, masked: torch.Tensor, frame_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """(batch, frames) bool, frames that losses are means over, by how the names of those losses begin."""
        return {"": masked} | ({"unmasked_": frame_mask & ~masked} if self.config.unmasked_loss_weight > 0 else {})

    def _compare(
        self,
        hidden_states: torch.Tensor,
        parts: dict[str, torch.Tensor],
        labels: torch.Tensor | None,
        cqt_labels: torch.Tensor | None,
        loss_totals: dict[str, torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
        """Losses by the names they have in the output, and the accuracy on masked frames."""
        losses, accuracies = {}, []
        for name, chosen in parts.items():
            frames = hidden_states[chosen]
            if labels is not None:
                codes = self._fit_labels(labels, chosen.shape)[chosen]
                losses[f"{name}code_loss"], accuracy = self.code_head.loss(frames, codes, loss_totals[f"{name}labels"])
                accuracies.append(accuracy)
            if cqt_labels is not None:
                error = at_least_float32(self.cqt_head(frames)) - self._fit_spectrum(cqt_labels, chosen.shape)[chosen]
                count = (loss_totals[f"{name or 'masked_'}frames"] * self.config.cqt_bins).clamp(min=1)
                losses[f"{name}cqt_loss"] = error.square().sum() / count / self.cqt_scale(loss_totals)
        return losses, accuracies[0] if accuracies else None

    def _weigh(self, losses: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        config = self.config
        weights = {"code_loss": config.code_loss_weight, "cqt_loss": config.cqt_loss_weight}
        weights |= {f"unmasked_{name}": config.unmasked_loss_weight * weight for name, weight in weights.items()}
        return [weights[name] * loss for name, loss in losses.items()]


__all__ = ["MERTForPreTrainingOutput", "MaskedPredictionHeads"]
