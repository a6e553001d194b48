"""The folder of a run: what lies where, checkpoints that are complete or absent, and the rule that a run is not overwritten."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError

from mert_hf.common.errors import InputError
from mert_hf.common.files import move_flushed, remove_folder
from mert_hf.common.reading import read_json, read_yaml
from mert_hf.common.run_lock import RunLock
from mert_hf.common.settings import flatten, write_settings
from mert_hf.engine.metrics import read_metrics
from mert_hf.engine.sealed import find_damage, is_sealed, seal
from mert_hf.engine.sharded import STUMBLES, require_plain_shards

logger = logging.getLogger(__name__)

# Settings that may differ between a run and its continuation: they change no number that is trained.
FREE_TO_CHANGE = (
    "output_dir",
    "push_to_hub",
    "publish.card",
    "publish.license",
    "publish.private",
    "publish.tag",
    "data.labels",  # so are the labels
    "validation.labels",
    "data.folder",  # the tracks themselves are compared, wherever they lie now
    "data.dataset",
    "data.workers",
    "data.check_threads",
    "data.synthetic_workers",
    "data.max_skipped",
    "training.resume",
    "training.log_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.keep_every",
    "training.tracker",
    "training.gradient_checkpointing",
    "validation.clips",
    "validation.every",
    "training.max_bad_steps",
    "training.rank_timeout_s",
    "online_probe.tasks",
    "online_probe.every",
    "online_probe.examples",
    "online_probe.data",
)

# What tells that a folder is kept for something else, although a recipe may lie there too.
OTHER_USES = {
    "labels.json": "labels",
    "labels.lock": "labels",
    "config.json": "a model",
    "music.json": "a comparison",
    "evaluation.md": "the results of probes",
}
# Files that people and launchers may put into a folder before a run begins there, and one that a killed run was writing.
LEFT_ALONE = (".log", ".out", ".err", ".txt", ".yaml", ".yml", ".partial")
FILES_NAMED = 3

CHANGES_NAMED = 6
# Settings of pre-training that there were not at first, and what runs did before.
FORMER = {
    "cqt.compression": "none",
    "cqt.log_level": 0.1,
    "cqt.mean_s": 0.0,
    "cqt.standardise": False,
    "data.synthetic_renderer": "builtin",
    "masking.masks": 1,
    "mixture.gain_db": 0.0,
    "teacher.projection_size": 16,
    "training.ema_decay": 0.0,
}
# Key of a checkpoint's state that says that the digests of its files belong to it.
SEALED = "sealed"


class RunFolder:
    """Names of the files of a run, and its checkpoints.

    Args:
        folder: made where it does not exist.

    Attributes:
        free_to_change: settings that may differ between a run and its continuation.
        former: settings that there were not at first, by their keys, and what runs did before.
        prefix: of the names of checkpoints, before the step.
    """

    free_to_change = FREE_TO_CHANGE
    former: dict[str, Any] = FORMER
    prefix = "step_"

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser()
        self.recipe = self.folder / "recipe.yaml"
        self.tracks = self.folder / "tracks.json"
        self.skipped = self.folder / "skipped.jsonl"
        self.teacher = self.folder / "teacher"
        self.checkpoints = self.folder / "checkpoints"
        self.metrics = self.folder / "metrics.jsonl"
        self.validation = self.seen_by("validation")
        self.online_probe = self.seen_by("online_probe")
        self.report = self.folder / "report"
        self.model = self.folder / "model"
        self.results = self.folder / "results.json"
        self.failure = self.folder / "failure.json"
        self.ranks = self.folder / "ranks"
        self._lock = RunLock(self.folder / "run.lock")

    def seen_by(self, name: str) -> Path:
        """File of what a watcher of this name has seen, a line a look."""
        return self.folder / f"{name}.jsonl"

    @contextmanager
    def hold(self) -> Iterator["RunFolder"]:
        """Give back in the end what `claim` takes."""
        try:
            yield self
        finally:
            self._lock.release()

    def claim(self, settings: Any, resume: bool) -> None:
        """Begin or continue a run here, keep other runs out, and write down its resolved recipe.

        A folder in which no update was done yet, because nothing lies there or something was wrong before, is taken anew, so
        that the command that goes on with a run may also be the one that begins it. What is no run is not touched: labels, for
        example, have a teacher too.

        Raises:
            InputError: another run lies here or is being written now, the run that is to be continued had other settings or is
                damaged, the folder is kept for something else, or cannot be written.
        """
        try:
            other = self._find_other_use()
            if other is not None:
                raise InputError(
                    f"output_dir {self.folder} holds {other}, and no run; give a folder that is new, empty or a run's own."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise InputError(f"output_dir {self.folder} cannot be written: {error.strerror}.") from None
        trained = self.newest_checkpoint() is not None or bool(read_metrics(self.metrics))
        if trained and not resume:
            raise InputError(
                f"{self.folder} already holds a run; continue it with --training.resume, or choose another --output_dir."
            )
        if trained:
            self.require_settings(settings)
        try:
            self.failure.unlink(missing_ok=True)  # of a run that goes on nobody knows how it ends
            self.clear_partial()
            if not trained:
                shutil.rmtree(self.teacher, ignore_errors=True)
                write_settings(settings, self.recipe)
        except OSError as error:
            raise InputError(f"output_dir {self.folder} cannot be written: {error.strerror}.") from None

    def _find_other_use(self) -> str | None:
        """What lies in the folder where that is no run, in a few words; None where it is one, or nothing yet."""
        if not self.folder.is_dir() or self.newest_checkpoint() is not None or self.metrics.is_file():
            return None
        names = {file.name for file in self.folder.iterdir()}
        for name, use in OTHER_USES.items():
            if name in names:
                return f"{use} ({name})"
        if self.recipe.name in names:
            return None
        expected = {self._lock.file.name, self.ranks.name}  # of a run that ended before it had written its recipe
        strange = sorted(
            name
            for name in names - expected
            if not name.startswith(".") and ((self.folder / name).is_dir() or not name.endswith(LEFT_ALONE))
        )
        if not strange:
            return None
        more = f" and {len(strange) - FILES_NAMED} more" if len(strange) > FILES_NAMED else ""
        return f"{', '.join(strange[:FILES_NAMED])}{more}"

    def require_settings(self, settings: Any) -> None:
        """Refuse to take the run that lies here for one of these settings.

        Raises:
            InputError: it was started with others; names them. Or what it was started with cannot be read.
        """
        now = flatten(settings)
        former = {key: value for key, value in self.former.items() if key in now}
        before = {**former, **flatten(read_yaml(self.recipe))}
        changed = [
            f"{key:.60} ({before.get(key)!r:.60} -> {now.get(key)!r:.60})"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key not in self.free_to_change
        ]
        if changed:
            if len(changed) > CHANGES_NAMED:
                changed[CHANGES_NAMED:] = [f"{len(changed) - CHANGES_NAMED} more"]
            raise InputError(
                f"the run in {self.folder} was started with other settings: {', '.join(changed)}. Give the same ones to"
                " continue it, or choose another --output_dir."
            )

    def checkpoint(self, step: int) -> Path:
        """Place of the checkpoint behind so many updates."""
        return self.checkpoints / f"step_{step:08d}"

    def list_checkpoints(self) -> list[Path]:
        """The checkpoints by their steps; unfinished ones do not count, nor what somebody has put beside them."""
        found = (re.fullmatch(rf"{self.prefix}([0-9]+)", file.name) for file in self.checkpoints.glob(f"{self.prefix}*"))
        places = {int(name[1]): self.checkpoint(int(name[1])) for name in found if name}
        return [place for _, place in sorted(places.items()) if place.is_dir()]

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint of the latest step, whole or not."""
        return next(reversed(self.list_checkpoints()), None)

    def newest_whole_checkpoint(self) -> Path | None:
        """The newest checkpoint that is as it was written; what is wrong with newer ones is said. None where there are none.

        Raises:
            InputError: there are some, and none is whole.
        """
        damaged = []
        for checkpoint in reversed(self.list_checkpoints()):
            damage = self.find_damage(checkpoint)
            if damage is None:
                if damaged:
                    logger.warning("Going on from %s instead, the newest checkpoint that is whole", checkpoint)
                return checkpoint
            damaged.append(f"{checkpoint} cannot be used: {damage}")
            logger.warning("%s", damaged[-1])
        if damaged:
            raise InputError(
                f"no checkpoint of {self.folder} is whole; {damaged[0]}. Bring one back from a copy, or start a new run in"
                " another --output_dir."
            )
        return None

    def find_damage(self, checkpoint: Path) -> str | None:
        """What is wrong with a checkpoint, in a line that names the file; None where it is as it was written.

        Of one that was saved before there were digests no more is seen than that its state can be read.
        """
        try:
            state = read_json(checkpoint / "state.json")
        except InputError as error:
            return str(error)
        if SEALED in state or is_sealed(checkpoint):
            damage = find_damage(checkpoint)
            if damage is not None:
                return damage
        if state.get("step") != _step(checkpoint):
            return f"state.json is damaged: it is of step {state.get('step')!r:.80}"
        return None

    def choose_checkpoint(self, accelerator: Accelerator) -> Path | None:
        """As [`RunFolder.newest_whole_checkpoint`], which one process looks for; all must call it and get the same.

        Raises:
            InputError: as there.
        """
        answer: list[Any] = [None, None]
        if accelerator.is_main_process:
            try:
                answer[0] = self.newest_whole_checkpoint()
            except InputError as error:
                answer[1] = str(error)
        checkpoint, refusal = broadcast_object_list(answer)
        if refusal is not None:
            raise InputError(refusal)
        return checkpoint

    def save_checkpoint(self, accelerator: Accelerator, state: dict[str, Any], keep: int, keep_every: int = 0) -> Path:
        """Write a checkpoint beside its place, force it to the disk and then move it there; remove old ones.

        Args:
                state: numbers to go on from; `step` names the checkpoint.
            keep_every: checkpoints of every so many steps are never removed; 0 removes them as well.

        Raises:
            InputError: a process could not write its part; the checkpoints before this one are as they were.
        """
        final = self.checkpoint(state["step"])
        partial = final.with_suffix(".partial")
        with self._all_or_none(accelerator, partial):
            if accelerator.is_main_process:
                self.clear_partial()
                partial.mkdir(parents=True)
        with self._all_or_none(accelerator, partial):
            accelerator.save_state(partial)
        with self._all_or_none(accelerator, partial):
            if accelerator.is_main_process:
                (partial / "state.json").write_text(json.dumps({**state, SEALED: True}), encoding="utf-8")
                seal(partial)
                remove_folder(final)
                move_flushed(partial, final)
                self._remove_old_checkpoints(state["step"], keep, keep_every)
        return final

    def clear_partial(self) -> None:
        """Remove what processes left that were killed while they wrote a checkpoint, or removed one."""
        for left in self.checkpoints.glob("*.partial"):
            shutil.rmtree(left)

    @contextmanager
    def _all_or_none(self, accelerator: Accelerator, partial: Path) -> Iterator[None]:
        """Where one process cannot write, all of them end, instead of waiting for it."""
        reason = None
        try:
            yield
        # torch says RuntimeError and safetensors SafetensorError where a disk is full
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        reasons = [said for said in gather_object([reason]) if said]
        if not reasons:
            return
        if accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        newest = self.newest_checkpoint()
        left = f"go on from {newest} with --training.resume" if newest else "there is no checkpoint before it"
        raise InputError(
            f"the checkpoint {partial.stem} cannot be written into {self.checkpoints}: {reasons[0]}. Make room there; {left}."
        )

    def _remove_old_checkpoints(self, newest: int, keep: int, keep_every: int) -> None:
        # those of later steps are of an attempt whose newest checkpoint was damaged: they push no whole one out
        reached = [(_step(found), found) for found in self.list_checkpoints() if _step(found) <= newest]
        for step, old in reached[:-keep]:
            if keep_every == 0 or step % keep_every:
                remove_folder(old)

    def load_checkpoint(self, accelerator: Accelerator, checkpoint: Path) -> dict[str, Any]:
        """Load a checkpoint into the accelerator's objects and return its state.

        Raises:
            InputError: it does not fit the model, would run something when it is loaded, or was saved before damage was looked
                for, and is damaged.
        """
        if not is_sealed(checkpoint):
            logger.info("%s was saved before checkpoints held digests: nothing tells whether it is whole", checkpoint)
        require_plain_shards(checkpoint)
        try:
            accelerator.load_state(checkpoint)
        # what is no weights makes torch and safetensors stumble in as many ways as there are such files
        except (*STUMBLES, SafetensorError) as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise InputError(
                f"{checkpoint} cannot be loaded: {said}. It is damaged or of another model; remove it to go on from the one"
                " before it."
            ) from None
        state = read_json(checkpoint / "state.json")
        state.pop(SEALED, None)
        return state


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))
