"""The training loop, for any objective and any number of processes."""

import contextlib
import json
import logging
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn as nn
from accelerate import Accelerator
from tqdm import tqdm

from mert_hf.data.corpus import WHILE_TRAINING
from mert_hf.data.crops import AudioBatch, BatchNumbers, RandomCrops, UnreadableCrop, load_batches
from mert_hf.engine.metrics import Averages, MetricsFile, flatten_metrics
from mert_hf.engine.pretrain_settings import TrainingSettings
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.schedules import linear_warmup_decay
from mert_hf.errors import InputError
from mert_hf.seeding import seed_torch

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint.

    Attributes:
        step: updates done.
        audio_s: seconds of audio heard by all processes.
        wall_s: seconds spent in training.
        skipped_steps: updates left out because their gradient was not finite.
    """

    step: int = 0
    audio_s: float = 0.0
    wall_s: float = 0.0
    skipped_steps: int = 0


class Interrupted(SystemExit):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved a checkpoint; the exit code is 128 + the signal."""


class Trainer:
    """Runs an objective over random crops until `max_steps`.

    Everything random is a function of the seed and of the batch's number, so a run that was stopped and resumed ends as one
    that was not.

    Args:
        objective: module that turns waveforms into a loss; see [`mert_hf.objectives`].
        crops: the audio.
        settings: of the optimisation.
        run: where checkpoints and metrics go.
        accelerator: devices, processes, precision, trackers.
        workers: processes that read audio.
        max_skipped: share of tracks that may turn out unreadable.
    """

    def __init__(
        self,
        objective: nn.Module,
        crops: RandomCrops,
        settings: TrainingSettings,
        run: RunFolder,
        accelerator: Accelerator,
        workers: int = 0,
        max_skipped: float = 0.1,
    ):
        self.settings = settings
        self.run = run
        self.crops = crops
        self.accelerator = accelerator
        self.workers = workers
        self.max_skipped = max_skipped
        optimizer = torch.optim.AdamW(
            [parameter for parameter in objective.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            betas=(settings.adam_beta1, settings.adam_beta2),
            eps=settings.adam_epsilon,
            weight_decay=settings.weight_decay,
        )
        self.objective, self.optimizer = accelerator.prepare(objective, optimizer)
        self.progress = Progress()
        self._unreadable: dict[str, str] = {}
        self._signal: int | None = None

    def train(self) -> Progress:
        """Train from the newest checkpoint (with `resume`) or from the start to the last update.

        Raises:
            InputError: too much of the corpus turned out unreadable, or the training diverged.
            Interrupted: SIGTERM or SIGINT arrived; a checkpoint was saved.
        """
        if self.settings.resume:
            self._go_on()
        main = self.accelerator.is_main_process
        metrics = MetricsFile(self.run.metrics, self.progress.step) if main else None
        bar = tqdm(
            total=self.settings.max_steps,
            initial=self.progress.step,
            desc="Training",
            unit="step",
            disable=not main,
            smoothing=0.05,
        )
        averages, reported = Averages(), (self.progress.audio_s, self.progress.wall_s)
        bad_in_a_row = 0
        self.objective.train()
        with bar, self._watch_signals():
            batches = iter(self._batches())
            while self.progress.step < self.settings.max_steps:
                started = time.perf_counter()
                finite, grad_norm = self._update(batches, averages)
                self.progress.step += 1
                self.progress.wall_s += time.perf_counter() - started
                self.progress.skipped_steps += not finite
                bad_in_a_row = 0 if finite else bad_in_a_row + 1
                self._stop_if_diverged(bad_in_a_row)
                last = self.progress.step == self.settings.max_steps
                if self.progress.step % self.settings.log_every == 0 or last:
                    report = self._report(averages, grad_norm, reported)
                    reported = (self.progress.audio_s, self.progress.wall_s)
                    self.accelerator.log(flatten_metrics(report), step=self.progress.step)
                    if metrics is not None:
                        metrics.write(report)
                        bar.set_postfix_str(_one_line(report), refresh=False)
                bar.update()
                stopping = self._asked_to_stop()
                if self.progress.step % self.settings.checkpoint_every == 0 or last or stopping:
                    state = {**vars(self.progress), **self._circumstances()}
                    self.run.save_checkpoint(self.accelerator, state, self.settings.keep_checkpoints)
                if stopping and not last:
                    break
        if self.progress.step < self.settings.max_steps:
            logger.warning(
                "Stopped at step %d by signal %d; a checkpoint is saved, go on with --training.resume",
                self.progress.step,
                self._signal or signal.SIGTERM,
            )
            raise Interrupted(128 + (self._signal or signal.SIGTERM))
        return self.progress

    def _circumstances(self) -> dict:
        """What must be the same when a run goes on, because every crop it reads depends on it."""
        return {"num_processes": self.accelerator.num_processes, "corpus": self.crops.fingerprint()}

    def _go_on(self) -> None:
        """Load the newest checkpoint.

        Raises:
            InputError: the corpus or the number of processes is another one now.
        """
        checkpoint = self.run.newest_checkpoint()
        if checkpoint is None:
            logger.warning("%s holds no checkpoint yet; starting from the first update", self.run.folder)
            return
        state = self.run.load_checkpoint(self.accelerator, checkpoint)
        now = self._circumstances()
        before = {name: state.pop(name) for name in now}
        if before["corpus"] != now["corpus"]:
            raise InputError(
                f"the usable tracks of {self.crops.corpus.title}, or their labels, are not those the run in {self.run.folder}"
                " was started with; restore them, or start a new run in another --output_dir."
            )
        if before["num_processes"] != now["num_processes"]:
            raise InputError(
                f"the run in {self.run.folder} was started with {before['num_processes']} processes, now there are"
                f" {now['num_processes']}; start as many, or a new run in another --output_dir."
            )
        self.progress = Progress(**state)
        logger.info("Resuming from %s", checkpoint)

    def _update(self, batches: Iterator[AudioBatch], averages: Averages) -> tuple[bool, torch.Tensor]:
        """One update: its batches, their gradients, the step. Returns whether the gradient was finite, and its norm."""
        settings, rank = self.settings, self.accelerator.process_index
        step = self.progress.step
        rate = settings.learning_rate * linear_warmup_decay(step, settings.warmup_steps, settings.max_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts, heard = settings.gradient_accumulation_steps, []
        for part in range(parts):
            number = step * parts + part
            waveforms, labels = self._take(next(batches))
            seed_torch(settings.seed, "dropout", number, rank)
            last = part == parts - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.objective):
                loss, logs = self.objective(waveforms, number, rank, labels)
                self.accelerator.backward(loss / parts)
            heard.append(logs)
            self.progress.audio_s += waveforms.numel() / self.crops.sampling_rate * self.accelerator.num_processes
        grad_norm = self.accelerator.clip_grad_norm_(self.objective.parameters(), settings.max_grad_norm)
        finite = bool(torch.isfinite(grad_norm))
        for logs in heard if finite else ():
            averages.add(logs)
        # float16's loss scaler leaves out such an update itself, and has to see it to lower its scale
        if finite or self.accelerator.scaler is not None:
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.accelerator.unwrap_model(self.objective).after_step(step)
        return finite, grad_norm

    def _batches(self):
        parts = self.settings.gradient_accumulation_steps
        numbers = BatchNumbers(
            self.settings.batch_size,
            start=self.progress.step * parts,
            stop=self.settings.max_steps * parts,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
        )
        return load_batches(self.crops, numbers, self.workers)

    def _take(self, batch: AudioBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Waveforms and labels of a batch on the device; what could not be read is written down."""
        for crop in batch.unreadable:
            self._note_unreadable(crop)
        if len(batch.waveforms) == 0:
            raise InputError(f"not one crop of a batch could be read; the reasons are listed in {self.run.skipped}.")
        device = self.accelerator.device
        labels = None if batch.labels is None else batch.labels.to(device, non_blocking=True)
        return batch.waveforms.to(device, non_blocking=True), labels

    def _note_unreadable(self, crop: UnreadableCrop) -> None:
        if crop.track in self._unreadable:
            return
        self._unreadable[crop.track] = crop.reason
        logger.warning("Left out a crop of %r: %s", crop.track, crop.reason)
        with Path(self.run.skipped).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"file": crop.track, "reason": WHILE_TRAINING + crop.reason}) + "\n")
        corpus = self.crops.corpus
        skipped, count = len(corpus.skipped) + len(self._unreadable), len(corpus.skipped) + len(corpus.tracks)
        if skipped > self.max_skipped * count:
            raise InputError(
                f"{skipped} of {count} tracks cannot be used, {len(self._unreadable)} of them became unreadable during training"
                f" (data.max_skipped is {self.max_skipped:.0%}); the reasons are listed in {self.run.skipped}."
            )

    def _report(self, averages: Averages, grad_norm: torch.Tensor, before: tuple[float, float]) -> dict:
        audio_s, wall_s = self.progress.audio_s - before[0], self.progress.wall_s - before[1]
        return {
            "step": self.progress.step,
            **averages.report(self.accelerator),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "grad_norm": float(grad_norm),
            "audio_hours": self.progress.audio_s / 3600,
            "audio_s_per_s": audio_s / wall_s,
            "skipped_steps": self.progress.skipped_steps,
        }

    def _stop_if_diverged(self, bad_in_a_row: int) -> None:
        if bad_in_a_row >= self.settings.max_bad_steps:
            raise InputError(
                f"{bad_in_a_row} updates in a row up to step {self.progress.step} had no finite gradient: the training has"
                " diverged. Start a new run with a lower training.learning_rate or a longer training.warmup_steps."
            )

    @contextlib.contextmanager
    def _watch_signals(self):
        def remember(number, _frame):
            self._signal = number

        before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked_to_stop(self) -> int:
        """The signal that any process received, 0 if none did: all processes must stop at the same update."""
        if self.accelerator.num_processes == 1:
            return self._signal or 0
        received = torch.tensor(self._signal or 0, device=self.accelerator.device)
        return int(self.accelerator.gather(received).max())


def _one_line(report: dict) -> str:
    accuracy = "/".join(f"{100 * value:.1f}" for value in report.get("code_accuracy", []))
    parts = [f"loss {report.get('loss', math.nan):.3f}"]
    if accuracy:
        parts.append(f"masked accuracy {accuracy} %")
    parts.append(f"{report['audio_s_per_s']:.1f} s audio/s")
    return ", ".join(parts)
