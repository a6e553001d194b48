"""data2vec: on hidden frames a student predicts what its own moving average, which hears the whole clip, computes there.

data2vec (arXiv 2202.03555) as in fairseq's `data2vec_audio` and its `base_librispeech.yaml`; on music it is music2vec.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import Data2VecAudioModel

from mert_hf.architectures import ARCHITECTURES
from mert_hf.common.errors import InputError, TrainingFailedError
from mert_hf.common.ramps import linear_ramp
from mert_hf.common.seeding import Draws
from mert_hf.common.settings import check_values, setting
from mert_hf.models.code_head_mert import at_least_float32
from mert_hf.models.model_inputs_mert import repeat_for_masks
from mert_hf.objectives.across_processes import add_up
from mert_hf.objectives.base import Batch, Counts, Objective, ObjectiveOutput
from mert_hf.objectives.health import CollapseWatch, Sign
from mert_hf.objectives.masking import MaskingSettings
from mert_hf.objectives.moving_average import MovingAverage


@dataclass
class Data2VecSettings:
    """data2vec (fairseq's base_librispeech.yaml), which music2vec takes over."""

    top_layers: int = setting(8, "last layers of the teacher whose mean is predicted", above=0, most=1000)
    beta: float = setting(0.0, "of smooth-L1; 0 is the squared error", least=0, most=1e6)
    decay_start: float = setting(0.999, "decay of the moving average at the beginning", least=0, most=1)
    decay_end: float = setting(0.9999, "and behind decay_steps", least=0, most=1)
    decay_steps: int = setting(30_000, "updates of the rise between them", least=0, most=10**9)
    min_target_std: float = setting(0.1, "standard deviation of the targets below which the run is stopped", least=0, most=1e6)
    min_prediction_std: float = setting(0.01, "the same of the predictions", least=0, most=1e6)
    first_judged_step: int = setting(5000, "updates before that is judged", least=0, most=10**9)

    def __post_init__(self):
        check_values(self, "data2vec")


def make_targets(feed_forwards: Sequence[torch.Tensor], top_layers: int) -> torch.Tensor:
    """What is predicted: the mean over the last layers of feed-forward outputs that are normalised over time.

    Args:
        feed_forwards: of each layer (batch, frames, hidden), before the residual is added.
        top_layers: how many of the last layers count (8 in data2vec and in music2vec's vanilla model).

    Returns:
        (batch, frames, hidden) float32; each layer has mean 0 and variance 1 over the frames of a clip, in every dimension.
    """
    normalised = [F.instance_norm(at_least_float32(outputs).mT) for outputs in feed_forwards[-top_layers:]]
    return torch.stack(normalised).mean(0).mT


def regression_errors(predicted: torch.Tensor, target: torch.Tensor, beta: float = 0.0) -> torch.Tensor:
    """(frames,) errors of (frames, hidden): squared, or smooth-L1 with `beta` above 0, summed over hidden / sqrt(hidden)."""
    if beta > 0:
        errors = F.smooth_l1_loss(predicted, target, beta=beta, reduction="none")
    else:
        errors = F.mse_loss(predicted, target, reduction="none")
    return errors.sum(-1) / predicted.shape[-1] ** 0.5


class Data2Vec(Objective):
    """Trains a [`Data2VecAudioModel`] from transformers.

    The teacher is the average of the transformer alone, in float32 and always in `eval()`; it is given the student's
    convolutional features without a mask. The positional convolution is not averaged but copied.

    Args:
        model: what is trained.
        masking: which frames are hidden from the student, and under how many masks it hears each clip in training.
        settings: of the targets, the error, the average and the watch for collapse.

    Raises:
        InputError: more layers than there are, or a model that cannot be masked.
    """

    sections = {"masking": MaskingSettings, "data2vec": Data2VecSettings}

    def __init__(self, model: Data2VecAudioModel, masking: MaskingSettings, settings: Data2VecSettings):
        super().__init__()
        layers = model.config.num_hidden_layers
        if settings.top_layers > layers:
            raise InputError(f"top_layers={settings.top_layers} must lie within 1 and {layers}, the layers of the model.")
        if not hasattr(model, "masked_spec_embed") or not getattr(model.config, "apply_spec_augment", True):
            raise InputError("the model hides no frames: its mask_time_prob is 0, or apply_spec_augment is off.")
        self.model = model
        self.head = nn.Linear(model.config.hidden_size, model.config.hidden_size)
        self.teacher = MovingAverage(model.encoder).eval()
        self.masking, self.settings = masking, settings
        self.limits = {"target_std": settings.min_target_std, "prediction_std": settings.min_prediction_std}
        self._deviations: dict[str, torch.Tensor] = {}
        remedy = "Lower training.learning_rate or raise data2vec.decay_start; the run stops at half of that."
        signs = [
            Sign("target_std", "the targets of masked frames hardly differ", remedy, 2 * settings.min_target_std),
            Sign("prediction_std", "the predictions of masked frames hardly differ", remedy, 2 * settings.min_prediction_std),
        ]
        self._watch = CollapseWatch(type(self).__name__, signs, settings.first_judged_step)

    @classmethod
    def architecture(cls, settings):
        return ARCHITECTURES["data2vec_audio"]

    @classmethod
    def counted_in_updates(cls, settings):
        names = ("decay_steps", "first_judged_step")
        return {f"data2vec.{name}": getattr(settings.data2vec, name) for name in names}

    @classmethod
    def describe(cls, settings, teachers):
        return f"moving average of the student, mean of its last {settings.data2vec.top_layers} layers"

    @classmethod
    def from_settings(cls, settings, model, teachers):
        architecture = cls.architecture(settings)
        shortest_s = min(settings.data.crop_s, settings.data.min_track_s)
        shortest = round(shortest_s * architecture.sampling_rate(model.config))
        settings.masking.require_room(architecture.count_frames(model, shortest))
        return cls(model, settings.masking, settings.data2vec)

    def train(self, mode: bool = True) -> "Data2Vec":
        """The teacher stays in `eval()`: no dropout, no layer left out."""
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """Clips (batch, samples) scaled to mean 0 and variance 1, as the published feature extractor does, and a mask.

        With several masks a clip (data2vec 2.0, arXiv 2212.07525) the mask alone has rows for each: convolutions
        and teacher work once.
        """
        frames = int(self.model._get_feat_extract_output_lengths(waveforms.shape[1]))
        masks = self.masking.masks if self.training else 1
        mask = self.masking.draw(masks * len(waveforms), frames, draws.for_batch("mask"))
        # rounded otherwise than by `normalise_clips`: what was published was trained with this
        centred = waveforms - waveforms.mean(-1, keepdim=True)
        scaled = centred * (centred.square().mean(-1, keepdim=True) + 1e-7).rsqrt()
        return {"input_values": scaled, "mask_time_indices": mask.to(waveforms.device)}

    def count(self, batch: Batch) -> Counts:
        return {"masked_frames": batch["mask_time_indices"].sum()}

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """Share of the mean error over masked frames."""
        mask = batch["mask_time_indices"]
        outputs, features = self._run_student(batch)
        targets = repeat_for_masks(self.compute_targets(features), mask)[mask]
        with torch.autocast(mask.device.type, enabled=False):
            predicted = self.head(outputs.last_hidden_state[mask].to(self.head.weight.dtype))
            loss = regression_errors(predicted, targets, self.settings.beta).sum() / totals["masked_frames"]
        deviations = {"target_std": measure_deviation(targets), "prediction_std": measure_deviation(predicted.detach())}
        if self.training:
            self._deviations = deviations
        # the same on all processes and in all parts: shares that add up to the mean
        share = mask.sum() / totals["masked_frames"]
        watched = {**deviations, "ema_distance": self.teacher.measure_distance()}
        logs = {"loss": loss.detach(), **{name: value * share for name, value in watched.items()}}
        return ObjectiveOutput(loss, logs)

    @torch.no_grad()
    def compute_targets(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, frames, hidden) targets of the projected convolutional features (batch, frames, hidden) of clean clips."""
        encoder, outputs = self.teacher.copies[0], []
        # before the residual: hidden states of transformers are taken behind it
        hooks = [
            layer.feed_forward.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
            for layer in encoder.layers
        ]
        try:
            encoder(features)
        finally:
            for hook in hooks:
                hook.remove()
        return make_targets(outputs, self.settings.top_layers)

    def _run_student(self, batch: Batch):
        """Its outputs (masks * batch, ...), and the features (batch, frames, hidden) that it masks, without a mask."""
        features = []

        def keep_and_repeat(_module, _inputs, output):
            features.append(output[0].detach().clone())  # copied: the model masks them in place
            return (repeat_for_masks(output[0], batch["mask_time_indices"]), *output[1:])

        hook = self.model.feature_projection.register_forward_hook(keep_and_repeat)
        try:
            return self.model(**batch), features[0]
        finally:
            hook.remove()

    def after_step(self, step: int) -> None:
        """Move the teacher; TrainingFailedError where targets or predictions have become nearly constant."""
        settings = self.settings
        self.teacher.move(linear_ramp(step + 1, settings.decay_steps, settings.decay_start, settings.decay_end))
        convolutions = self.teacher.copies[0].pos_conv_embed
        convolutions.load_state_dict(self.model.encoder.pos_conv_embed.state_dict())
        if step + 1 <= settings.first_judged_step:
            return
        self._watch.look(self._deviations, step)
        for name, limit in self.limits.items():
            value = float(self._deviations.get(name, torch.inf))
            if value < limit:
                what = "targets" if name == "target_std" else "predictions"
                raise TrainingFailedError(
                    f"data2vec has collapsed at update {step + 1}: the {what} of masked frames hardly differ ({name} is"
                    f" {value:.3g}, the limit is {limit:g}). Start a new run from an earlier checkpoint or anew, with a lower"
                    " training.learning_rate, a longer warm-up or a higher data2vec.decay_start."
                )

    def export(self) -> Data2VecAudioModel:
        return self.model


@torch.no_grad()
def measure_deviation(values: torch.Tensor) -> torch.Tensor:
    """() mean over hidden of the standard deviation over the frames (frames, hidden) of all processes."""
    values = values.double()
    count = add_up(values.new_tensor(len(values)))
    mean = add_up(values.sum(0)) / count
    squares = add_up((values - mean).square().sum(0))
    return (squares / (count - 1).clamp(min=1) + 1e-6).sqrt().mean().float()
