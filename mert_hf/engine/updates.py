"""One update: the global batch, its gradient, the decision whether to take it, the step."""

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from safetensors.torch import load_file, save_file

from mert_hf.common.errors import InputError, TrainingFailedError
from mert_hf.common.ramps import cosine_ramp
from mert_hf.common.seeding import Draws
from mert_hf.data.crops import AudioBatch
from mert_hf.engine.schedules import SCHEDULES
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.spikes import SpikeGuard
from mert_hf.models.audio_inputs_mert import LOUDEST
from mert_hf.objectives import Counts, Objective, ObjectiveOutput
from mert_hf.objectives.moving_average import AverageWeights

LOUDEST_NAMED = 3
# Of a checkpoint: the moving average of the weights, by the names that model.safetensors has.
AVERAGE = "average.safetensors"


@dataclass
class Update:
    """What came of an update."""

    logs: dict[str, torch.Tensor]  # this process's share of its numbers; they add up over processes
    grad_norm: float  # norm of the global gradient before clipping
    left_out: str | None = None  # why the weights stayed as they were, such as "no finite loss"; None where they moved


class Updater:
    """The objective, its optimizer (Adam, as in the official recipes) and the rules of an update.

    Attributes:
        objective, optimizer: as the accelerator prepared them.
        average: moving average of the weights; None without `ema_decay`.
    """

    def __init__(self, objective: Objective, settings: TrainingSettings, accelerator: Accelerator):
        self.settings = settings
        self.accelerator = accelerator
        self.guard = SpikeGuard(settings.spike_deviations, settings.spike_memory_steps)
        optimizer = torch.optim.AdamW(
            [parameter for parameter in objective.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
        )
        self.steps_in_backward = accelerator.distributed_type == DistributedType.DEEPSPEED
        if self.steps_in_backward and self.guard.enabled:
            raise InputError(
                "training.spike_deviations cannot be used with DeepSpeed, which takes its step before the norm is known; set it"
                " to 0, or launch with multi_gpu.yaml or fsdp2.yaml."
            )
        if accelerator.distributed_type == DistributedType.FSDP:
            wrapped = sorted({type(layer).__name__ for layer in objective.layers()})
            accelerator.state.fsdp_plugin.transformer_cls_names_to_wrap = wrapped
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.plain_objective: Objective = accelerator.unwrap_model(self.objective)
        self.average = None if settings.ema_decay == 0 else self._begin_average()

    def rate(self, step: int) -> float:
        """Learning rate of an update."""
        settings = self.settings
        share = SCHEDULES[settings.schedule](step, settings.warmup_steps, settings.max_steps)
        return settings.min_learning_rate + (settings.learning_rate - settings.min_learning_rate) * share

    def weight_decay(self, step: int) -> float:
        """Weight decay of an update."""
        start, end = self.settings.weight_decay, self.settings.weight_decay_end
        return start if end is None else cosine_ramp(step, self.settings.max_steps, start, end)

    def update(self, parts: Sequence[AudioBatch], step: int) -> Update:
        """Train on this process's parts of the global batch of update `step` (0, 1, 2 ...).

        Raises:
            TrainingFailedError: DeepSpeed has taken a step with a gradient that is not finite.
        """
        for group in self.optimizer.param_groups:
            group["lr"], group["weight_decay"] = self.rate(step), self.weight_decay(step)
        seed, rank, first = self.settings.seed, self.accelerator.process_index, step * len(parts)
        draws = [Draws(seed, step, first + part, rank) for part in range(len(parts))]
        before = [(buffer, buffer.clone()) for buffer in self.plain_objective.moving_buffers()]
        batches = [self.prepare(part, draw) for part, draw in zip(parts, draws, strict=True)]
        logs = self.compute_gradient(batches, draws)
        grad_norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), self.settings.max_grad_norm)
        share = logs["loss"].detach()
        beyond = share.new_tensor(float(any(part.waveforms.abs().gt(LOUDEST).any() for part in parts)))
        loss, beyond = self.accelerator.reduce(torch.stack([share, beyond])).tolist()
        if self.steps_in_backward:
            grad_norm = self._judge_step_of_deepspeed(loss)
        # of sharded parameters the norm is a sharded tensor as well
        grad_norm = float(grad_norm.full_tensor() if hasattr(grad_norm, "full_tensor") else grad_norm)
        left_out = self._find_reason_to_skip(loss, grad_norm, beyond > 0)
        if left_out is None or not grad_norm < torch.inf:
            # float16's loss scaler leaves out an update that is not finite itself, and has to see it to lower its scale
            if left_out is None or self.accelerator.scaler is not None:
                self.optimizer.step()
        elif self.accelerator.scaler is not None:
            self.accelerator.scaler.update()
        if left_out is not None:
            for buffer, value in before:
                buffer.copy_(value)
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.move(step)
        self.plain_objective.after_step(step)
        return Update(logs, grad_norm, left_out)

    def compute_gradient(self, batches: Sequence[dict], draws: Sequence[Draws]) -> dict[str, torch.Tensor]:
        """The gradient of the loss of the global batch, of which `batches` are this process's parts; their logs, added up."""
        totals = self.count([self.plain_objective.count(batch) for batch in batches])
        added: dict[str, torch.Tensor] = {}
        for part, (batch, draw) in enumerate(zip(batches, draws, strict=True)):
            draw.seed_torch("dropout")
            last = part == len(batches) - 1
            self.accelerator.gradient_state._set_sync_gradients(last)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.objective):
                loss, logs = ObjectiveOutput(*self.objective(batch, totals))
                # processes average their gradients, and the sum is wanted: each loss is a share of the global mean
                self.accelerator.backward(loss * self.accelerator.num_processes)
            added = {name: added[name] + value if name in added else value for name, value in logs.items()}
        return added

    def count(self, counts: Sequence[Counts]) -> Counts:
        """Add up the counts of this process's parts, and those of all processes."""
        added = {name: sum(count[name] for count in counts) for name in counts[0]}
        return {name: self.accelerator.reduce(value) for name, value in added.items()}

    def save_model(self, folder: str | os.PathLike) -> None:
        """Write the model to publish, in Hugging Face format; all processes must call it, one writes.

        With `ema_decay` it has the moving average of the weights.
        """
        with self.averaged():
            weights = self.accelerator.get_state_dict(self.objective)  # of all processes, where they are sharded
            if not self.accelerator.is_main_process:
                return
            model, prefix = self.plain_objective.export(), self.plain_objective.model_prefix
            own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            model.save_pretrained(folder, state_dict=own)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """The moving average in place of the weights; where there is none, the weights as they are."""
        return contextlib.nullcontext() if self.average is None else self.average.in_place()

    def _begin_average(self) -> AverageWeights:
        """The average of all parameters that are trained, and of the running statistics of what is saved."""
        kind, objective = self.accelerator.distributed_type, self.plain_objective
        if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise InputError(
                f"training.ema_decay cannot be used with {kind.value}, where no process holds all weights; set it to 0, or"
                " launch with multi_gpu.yaml."
            )
        followed = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
        saved, moved = objective.state_dict(), {id(buffer) for buffer in objective.moving_buffers()}
        for name, buffer in objective.named_buffers():
            if name.startswith(objective.model_prefix) and name in saved and id(buffer) in moved and buffer.is_floating_point():
                followed[name] = buffer
        average = AverageWeights(followed, self.settings.ema_decay)

        def save(_models, _weights, folder: str) -> None:
            if self.accelerator.is_main_process:
                save_file(average.state_dict(), Path(folder) / AVERAGE)

        def load(_models, folder: str) -> None:
            average.load_state_dict(load_file(Path(folder) / AVERAGE))

        self.accelerator.register_save_state_pre_hook(save)
        self.accelerator.register_load_state_pre_hook(load)
        return average

    def prepare(self, batch: AudioBatch, draws: Draws) -> dict:
        """What the objective computes its loss of, on the device."""
        device = self.accelerator.device
        labels = None if batch.labels is None else batch.labels.to(device, non_blocking=True)
        return self.plain_objective.prepare(batch.waveforms.to(device, non_blocking=True), draws, labels)

    def _judge_step_of_deepspeed(self, loss: float) -> float:
        """The gradient's norm of the step that DeepSpeed has taken; infinite where it has left it out."""
        if self.optimizer.step_was_skipped:
            return torch.inf
        norm = self.accelerator.deepspeed_engine_wrapped.get_global_grad_norm()
        lost = "gradient" if not 0 <= norm < torch.inf else None if math.isfinite(loss) else "loss"  # of NaN the norm is -1
        if lost is not None:
            raise TrainingFailedError(
                f"DeepSpeed has taken a step although the {lost} was not finite, so the weights are lost. Start a new run with"
                " training.mixed_precision fp16, of which it checks every gradient, or a lower training.learning_rate, or"
                " launch with multi_gpu.yaml or fsdp2.yaml, which leave such updates out."
            )
        return norm

    def _find_reason_to_skip(self, loss: float, grad_norm: float, beyond: bool) -> str | None:
        # of an infinite loss the gradient may be finite, and of a finite one infinite
        if not math.isfinite(grad_norm):
            return "no finite gradient"
        if not math.isfinite(loss):
            return "no finite loss"
        if beyond:  # squared they would overflow, in a longer clip or a larger batch
            return "samples beyond all range"
        spikes = self.guard.find_spikes({"loss": loss, "gradient norm": grad_norm}) if self.guard.enabled else []
        return f"a spike of the {' and the '.join(spikes)}" if spikes else None


def name_loudest_clips(batches: Sequence[AudioBatch]) -> str:
    """The tracks of the loudest clips that all processes have in these batches, in words; all must call it."""
    peaks = gather_object([peak for batch in batches for peak in batch.peaks()])
    loudest = sorted({name: peak for peak, name in sorted(peaks)}.items(), key=lambda item: -item[1])[:LOUDEST_NAMED]
    return ", ".join(f"{name!r} (peak {peak:.3g})" for name, peak in loudest) or "not known"
