"""The training loop, for any objective and any number of processes."""

import contextlib
import logging
import math
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import InitVar, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from mert_hf.common.errors import InputError, TrainingFailedError
from mert_hf.common.reading import to_dataclass
from mert_hf.data.crops import AudioBatch, BatchRange, UnreadableCrop
from mert_hf.data.source import ClipSource
from mert_hf.engine.devices import require_same_everywhere
from mert_hf.engine.metrics import Averages, MetricsFile, flatten_metrics
from mert_hf.engine.ranks import RankWatch, signals_handled_by
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.settings import TrainingSettings
from mert_hf.engine.updates import Updater, name_loudest_clips
from mert_hf.engine.watchers import Observation, Watcher
from mert_hf.objectives import Objective

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands; saved with every checkpoint."""

    step: int = 0  # updates done
    audio_s: float = 0.0  # seconds of audio heard by all processes
    wall_s: float = 0.0  # seconds spent in training
    skipped_steps: int = 0  # updates left out, because their loss or gradient was not finite or they were spikes
    spike_steps: int = 0  # those of them that were spikes
    left_out_in_a_row: int = 0  # updates left out since the last one that was not


@dataclass
class Surroundings:
    """What a checkpoint's state holds beside the progress."""

    circumstances: dict[str, Any]  # what must be the same when the run goes on
    spike_guard: dict[str, Any]
    sources: list[Any]  # place of each process among its clips


class Interrupted(SystemExit):
    """The run was asked to stop (SIGTERM, Ctrl-C) and has saved a checkpoint; the exit code is 128 + the signal."""


@dataclass(eq=False, repr=False)
class Trainer:
    """Runs an objective over clips until `max_steps`, or until an update before it.

    Everything random is a function of the seed and of the batch's number, so a run that was stopped and resumed ends as one
    that was not.
    """

    objective: InitVar[Objective]
    source: ClipSource
    settings: TrainingSettings
    run: RunFolder
    accelerator: Accelerator
    workers: int = 0  # processes that read audio
    max_skipped: float = 0.1  # share of tracks that may turn out unreadable
    watchers: Sequence[Watcher] = ()  # look at what is trained, in this order; behind the last update whoever calls `look`
    until: int | None = None  # the last update of now, where it is not `max_steps`, by which schedules go all the same

    def __post_init__(self, objective: Objective):
        self.updater = Updater(objective, self.settings, self.accelerator)
        self.watch = RankWatch(self.accelerator, self.run.ranks, self.settings.rank_timeout_s)
        self.progress = Progress()
        self._end = self.settings.max_steps if self.until is None else min(self.until, self.settings.max_steps)
        self._unreadable: dict[str, str] = {}
        self._signal: int | None = None

    def train(self) -> Progress:
        """Train from the newest checkpoint (with `resume`) or from the start to the last update.

        Raises:
            InputError: too much of the audio turned out unreadable, or is not the same for all processes; or the newest
                checkpoint is of an update behind `until`.
            TrainingFailedError: the training diverged or collapsed.
            Interrupted: SIGTERM or SIGINT arrived; a checkpoint was saved.
        """
        with self.watch.during("the beginning"):
            return self._train()

    def _train(self) -> Progress:
        for source in [self.source, *(watcher.source for watcher in self.watchers if watcher.source is not None)]:
            require_same_everywhere(source.circumstances(self.workers), source.title)
        if self.settings.resume:
            self._go_on()
        main, settings = self.accelerator.is_main_process, self.settings
        metrics = MetricsFile(self.run.metrics, self.progress.step) if main else None
        done, total = self.progress.step, self._end
        if done > total:
            raise InputError(f"the run in {self.run.folder} has done {done} updates already, and cannot end at {total}.")
        bar = tqdm(total=total, initial=done, desc="Training", unit="step", disable=not main, smoothing=0.05)
        averages, reported = Averages(), (self.progress.audio_s, self.progress.wall_s)
        self.updater.objective.train()
        if 0 == done < total:
            self.look([watcher for watcher in self.watchers if watcher.at_beginning])
        with bar, signals_handled_by(self._remember_signal), contextlib.closing(self._read()) as batches:
            while self.progress.step < total:
                grad_norm = self._advance(batches, averages)
                step = self.progress.step
                last = step == total
                if step % settings.log_every == 0 or last:
                    report = self._report(averages, grad_norm, reported)
                    reported = (self.progress.audio_s, self.progress.wall_s)
                    self.accelerator.log(flatten_metrics(report), step=step)
                    if metrics is not None:
                        metrics.write(report)
                        bar.set_postfix_str(_one_line(report), refresh=False)
                bar.update()
                if not last:
                    self.look([watcher for watcher in self.watchers if step % watcher.every == 0])
                stopping = self._asked_to_stop()
                if step % settings.checkpoint_every == 0 or last or stopping:
                    self._save()
                if stopping and not last:
                    break
        if self.progress.step < total:
            by, reached = self._signal or signal.SIGTERM, self.progress.step
            logger.warning("Stopped at step %d by signal %d; a checkpoint is saved, go on with --training.resume", reached, by)
            raise Interrupted(128 + by)
        return self.progress

    def look(self, watchers: Sequence[Watcher] | None = None) -> dict[str, Observation]:
        """Have some watchers, all by default, look now, and write down what they see; all processes must call it.

        With `training.ema_decay` they see the moving average of the weights, as it would be saved.

        Returns:
            What was seen, by the names of the watchers.
        """
        seen = {}
        for watcher in self.watchers if watchers is None else watchers:
            with self.watch.during(watcher.name.replace("_", " ")), self.updater.averaged():
                seen[watcher.name] = watcher.run(self.updater)
            report = {"audio_hours": self.progress.audio_s / 3600, **seen[watcher.name].report}
            named = {f"{watcher.name}/{name}": value for name, value in flatten_metrics(report).items()}
            self.accelerator.log(named, step=self.progress.step)
            if self.accelerator.is_main_process:
                file = MetricsFile(self.run.seen_by(watcher.name), self.progress.step - 1)
                file.write({"step": self.progress.step, **report})
        return seen

    def save_model(self) -> None:
        """Write the model to publish into the run's folder; all processes must call it."""
        with self.watch.during("writing the model"):
            self.updater.save_model(self.run.model)

    def _advance(self, batches: Iterator[AudioBatch], averages: Averages) -> float:
        """Do the next update and note what came of it; returns the norm of its gradient."""
        progress, started = self.progress, time.perf_counter()
        self.watch.mark(f"update {progress.step + 1}")
        parts = [self._take(next(batches)) for _ in range(self.settings.gradient_accumulation_steps)]
        update = self.updater.update(parts, progress.step)
        progress.step += 1
        progress.wall_s += time.perf_counter() - started
        heard = sum(part.waveforms.numel() for part in parts) / self.source.sampling_rate
        progress.audio_s += heard * self.accelerator.num_processes
        for part in parts:
            self.source.remember(part)
        if update.left_out is None:
            averages.add(update.logs)
            progress.left_out_in_a_row = 0
        else:
            progress.skipped_steps += 1
            progress.spike_steps += "spike" in update.left_out
            progress.left_out_in_a_row += 1
            logger.warning(
                "Left out update %d: %s (norm %g); the loudest of its clips are of: %s",
                *(progress.step, update.left_out, update.grad_norm, name_loudest_clips(parts)),
            )
            self._stop_if_diverged(update.left_out)
        return update.grad_norm

    def _save(self) -> None:
        """A checkpoint of everything the next update depends on."""
        sources = gather_object([self.source.state_dict()])
        surroundings = Surroundings(self._circumstances(), self.updater.guard.state_dict(), sources)
        state = {**vars(self.progress), **vars(surroundings)}
        with self.watch.during("saving a checkpoint"):
            self.run.save_checkpoint(self.accelerator, state, self.settings.keep_checkpoints, self.settings.keep_every)

    def _circumstances(self) -> dict:
        """What must be the same when a run goes on, because every clip it hears depends on it."""
        return {"num_processes": self.accelerator.num_processes, **self.source.circumstances(self.workers)}

    def _go_on(self) -> None:
        """Load the newest checkpoint that is whole; refused where the corpus, its labels or the processes are others now."""
        checkpoint = self.run.choose_checkpoint(self.accelerator)
        if checkpoint is None:
            logger.warning("%s holds no checkpoint yet; starting from the first update", self.run.folder)
            return
        state = self.run.load_checkpoint(self.accelerator, checkpoint)
        where = str(checkpoint / "state.json")
        rest = {field.name: state.pop(field.name, None) for field in fields(Surroundings)}
        surroundings, progress = to_dataclass(Surroundings, rest, where), to_dataclass(Progress, state, where)
        now, before = self._circumstances(), surroundings.circumstances
        if before.get("num_processes") != now["num_processes"] or len(surroundings.sources) != now["num_processes"]:
            raise InputError(
                f"the run in {self.run.folder} was started with {before.get('num_processes')} processes, now there are"
                f" {now['num_processes']}; start as many, or a new run in another --output_dir."
            )
        changed = [
            name + ("" if name in now and name in before else " (there were none)" if name in now else " (there are none now)")
            for name in dict.fromkeys([*now, *before])  # what is known of only one of them was given or taken away
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise InputError(
                f"the {' and the '.join(changed)} of {self.source.title} are not those the run in {self.run.folder} was started"
                " with; restore them, or start a new run in another --output_dir."
            )
        self.updater.guard.load_state_dict(surroundings.spike_guard)
        self.source.load_state_dict(surroundings.sources[self.accelerator.process_index])
        self.progress = progress
        logger.info("Resuming from %s", checkpoint)

    def _read(self) -> Iterator[AudioBatch]:
        """The batches of the updates that are left. Who closes it, or meets its error, has no readers any more.

        They do not hear SIGTERM, by which Python would end them: a run that is told to stop needs them for its last update.
        Only an iterator that nothing refers to ends them, not even the frames of an error on its way out.
        """
        parts, accelerator = self.settings.gradient_accumulation_steps, self.accelerator
        place = BatchRange(
            self.settings.batch_size,
            start=self.progress.step * parts,
            stop=self._end * parts,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            workers=self.workers,
        )
        try:
            yield from self.source.batches(place)
        finally:
            error = sys.exception()
            if error is not None:
                traceback.clear_frames(error.__traceback__)

    def _take(self, batch: AudioBatch) -> AudioBatch:
        """A batch with at least one clip; what could not be read is written down."""
        for crop in batch.unreadable:
            self._note_unreadable(crop)
        if len(batch.waveforms) == 0:
            raise InputError(f"not one crop of a batch could be read; the reasons are listed in {self.run.skipped}.")
        return batch

    def _note_unreadable(self, crop: UnreadableCrop) -> None:
        if crop.track in self._unreadable:
            return
        self._unreadable[crop.track] = crop.reason
        logger.warning("Left out a crop of %r: %s", crop.track, crop.reason)
        with Path(self.run.skipped).open("a", encoding="utf-8") as file:
            file.write(crop.line())
        count, skipped = self.source.num_known()
        skipped += len(self._unreadable)
        if skipped > self.max_skipped * count:
            raise InputError(
                f"{skipped} of {count} tracks cannot be used, {len(self._unreadable)} of them became unreadable during training"
                f" (data.max_skipped is {self.max_skipped:.0%}); the reasons are listed in {self.run.skipped}."
            )

    def _report(self, averages: Averages, grad_norm: float, before: tuple[float, float]) -> dict:
        audio_s, wall_s = self.progress.audio_s - before[0], self.progress.wall_s - before[1]
        state = self.updater.plain_objective.state()
        return {
            "step": self.progress.step,
            **averages.report(self.accelerator),
            **{name: value.tolist() for name, value in state.items()},
            "learning_rate": self.updater.rate(self.progress.step - 1),
            "grad_norm": grad_norm,
            "audio_hours": self.progress.audio_s / 3600,
            "audio_s_per_s": audio_s / wall_s,
            "skipped_steps": self.progress.skipped_steps,
            "spike_steps": self.progress.spike_steps,
        }

    def _stop_if_diverged(self, reason: str) -> None:
        if self.progress.left_out_in_a_row >= self.settings.max_bad_steps:
            raise TrainingFailedError(
                f"{self.progress.left_out_in_a_row} updates in a row up to step {self.progress.step} were left out, the last"
                f" for {reason}: the training has diverged. Start a new run with a lower training.learning_rate or a longer"
                " training.warmup_steps."
            )

    def _remember_signal(self, number: int, _frame) -> None:
        self._signal = number

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
