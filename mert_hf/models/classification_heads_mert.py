"""Heads on labelled music, of every family: a decision a clip, or one a frame."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from .code_head_mert import IGNORED_LABEL
from .model_inputs_mert import fit_to_frames, require_tensor, wants_hidden_states
from .views_mert import layers_of


class MERTLayerSum(nn.Module):
    """A learned weighted sum of all hidden states; it begins as their mean."""

    def __init__(self, config):
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(config.num_hidden_layers + 1))

    def forward(self, hidden_states: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """num_hidden_layers + 1 tensors (batch, frames, hidden) -> (batch, frames, hidden)."""
        shares = self.weights.softmax(-1).to(hidden_states[0].dtype)
        return sum(share * states for share, states in zip(shares, hidden_states, strict=True))


class ClassificationHeads:
    """What the heads share: an encoder that is the model's `base_model`, and which of its layers are read.

    With `config.use_weighted_layer_sum` a learned weighted sum of all layers is read, otherwise the last.
    """

    # the loss is a mean over the batch; Trainer divides it over accumulated batches
    accepts_loss_kwargs = False

    def freeze_base_model(self) -> None:
        """Train the head alone, and the weights of the layers."""
        self.base_model.requires_grad_(False)

    def _encode(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None, kwargs: dict):
        """What the head reads, (batch, frames, hidden), which frames are audio, (batch, frames) bool, and the outputs."""
        wanted = wants_hidden_states(kwargs.pop("output_hidden_states", None), self.config)
        needed = wanted or self.layer_sum is not None
        outputs = self.base_model(input_values, attention_mask, output_hidden_states=needed, return_dict=True, **kwargs)
        states = outputs.last_hidden_state if self.layer_sum is None else self.layer_sum(layers_of(outputs, self.config))
        if attention_mask is None:
            audible = states.new_ones(states.shape[:2], dtype=torch.bool)
        else:
            audible = self._get_feature_vector_attention_mask(states.shape[1], attention_mask)
        return states, audible, {"hidden_states": outputs.hidden_states if wanted else None, "attentions": outputs.attentions}


class ClipClassification(ClassificationHeads):
    """One decision a clip: genre, key, tags, valence; frames are projected, averaged over time and classified."""

    def _add_heads(self, config) -> None:
        self.layer_sum = MERTLayerSum(config) if config.use_weighted_layer_sum else None
        self.projector = nn.Linear(config.hidden_size, config.classifier_proj_size)
        self.classifier = nn.Linear(config.classifier_proj_size, config.num_labels)

    def _outer_projections(self):
        return (self.projector, self.classifier)

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Classify a batch of clips. Padding has no part in the mean.

        Args:
            input_values: (batch, samples) float, mono, at the model's rate.
            attention_mask: (batch, samples), 1 for audio and 0 for padding on the right.
            labels: (batch,) int64 classes for `config.problem_type` "single_label_classification" (cross-entropy), (batch,
                num_labels) float 0 or 1 for "multi_label_classification" (binary cross-entropy), (batch, num_labels) float
                for "regression" (mean squared error). Left out, the type follows from the labels, as in transformers.

        Returns:
            `loss`; `logits` (batch, num_labels); `hidden_states` and `attentions` where they are asked for.
        """
        require_tensor("labels", labels)
        states, audible, others = self._encode(input_values, attention_mask, kwargs)
        weights = (audible / audible.sum(1, keepdim=True)).to(states.dtype).unsqueeze(1)
        logits = self.classifier((weights @ self.projector(states)).squeeze(1))
        loss = None if labels is None else _loss(logits, labels, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits, **others)


class FrameClassification(ClassificationHeads):
    """A decision for every frame: beats, pitches, chords."""

    def _add_heads(self, config) -> None:
        self.layer_sum = MERTLayerSum(config) if config.use_weighted_layer_sum else None
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def _outer_projections(self):
        return (self.classifier,)

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs,
    ) -> TokenClassifierOutput:
        """Classify every frame of a batch of clips. Padding has no part in the loss.

        Args:
            input_values: (batch, samples) float, mono, at the model's rate.
            attention_mask: (batch, samples), 1 for audio and 0 for padding on the right.
            labels: (batch, frames) int64 classes, -100 is ignored, for "single_label_classification"; (batch, frames,
                num_labels) float for "multi_label_classification" and "regression". Longer ones are cut to the frames.

        Returns:
            `loss`; `logits` (batch, frames, num_labels); `hidden_states` and `attentions` where they are asked for.

        Raises:
            ValueError: labels of another shape, or shorter than the frames.
        """
        require_tensor("labels", labels)
        states, audible, others = self._encode(input_values, attention_mask, kwargs)
        logits = self.classifier(states)
        loss = None
        if labels is not None:
            if labels.ndim < 2:
                raise ValueError(
                    f"labels must have the shape (batch, frames) or (batch, frames, num_labels); got {tuple(labels.shape)}."
                )
            width = 1 if labels.ndim == 2 else self.config.num_labels
            labels = fit_to_frames("labels", labels.reshape(*labels.shape[:2], -1), audible.shape, width, "labels a frame")
            labels = labels.squeeze(-1) if width == 1 and not labels.is_floating_point() else labels
            loss = _loss(logits[audible], labels[audible], self.config)
        return TokenClassifierOutput(loss=loss, logits=logits, **others)


def _loss(logits: torch.Tensor, labels: torch.Tensor, config) -> torch.Tensor:
    """(items, num_labels) and their labels -> the mean loss of `config.problem_type`, which is set where it is None."""
    if config.problem_type is None:
        kind = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
        config.problem_type = "regression" if config.num_labels == 1 else kind
    if config.problem_type == "single_label_classification":
        if labels.is_floating_point() or labels.ndim != 1:
            raise ValueError(
                f"single labels are int64 classes, one an item; got {labels.dtype} of shape {tuple(labels.shape)}."
            )
        return F.cross_entropy(logits.float(), labels, ignore_index=IGNORED_LABEL)
    labels = labels.float().reshape(len(labels), -1)
    if labels.shape != logits.shape:
        raise ValueError(f"{config.problem_type} needs labels of shape {tuple(logits.shape)}; got {tuple(labels.shape)}.")
    if config.problem_type == "regression":
        return F.mse_loss(logits.float(), labels)
    return F.binary_cross_entropy_with_logits(logits.float(), labels)


__all__ = ["ClipClassification", "FrameClassification"]
