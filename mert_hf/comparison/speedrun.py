"""The speedrun: one training, stopped again and again to be judged, until it beats the best simple baseline.

The learning rate falls to 0 at the last update of the budget alone, so a model that is judged before then was never finished.
Three ways lead out of that. Runs of budgets 1, 2, 4 ... from the beginning are each finished, but cost twice the last one. A
rate that stays, with a branch for every judgement on which it falls, trains a fifth more for each. The moving average of the
weights costs nothing and gains much of what a falling rate does, though not all (Hägele et al., arXiv 2405.18392, on both). So
one run is judged by its average; a model before the last is rather worse than one that was finished there.
"""

import datetime
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState

from mert_hf.common.errors import InputError
from mert_hf.common.files import claim_folder, to_json, write_atomically
from mert_hf.common.machine import find_commit
from mert_hf.common.places import RECIPES
from mert_hf.common.reading import read_json, to_dataclass
from mert_hf.common.settings import flatten, parse_command_line, read_settings
from mert_hf.comparison.cells import REPORTS, cut_to_budget
from mert_hf.comparison.run import SuiteEvaluator, evaluate_model
from mert_hf.comparison.table import NOT_TOLD
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.run import pretrain
from mert_hf.pretraining.settings import RunSettings, pretrain_settings
from mert_hf.pretraining.setup import Setup

logger = logging.getLogger(__name__)

# Of the moving average where a recipe has none: over about 1,000 updates.
EMA_DECAY = 0.999
RUN, START, JUDGED, FEATURES = "run", "start", "judged", "features"


@dataclass(frozen=True)
class Judgement:
    """A model of the run, and what it came to. Times are in seconds, and those of all before it are in them."""

    step: int  # updates done
    audio_s: float  # heard
    training_s: float  # of the updates alone
    preparing_s: float  # of all else that a training does: music, corpus, teacher, validation, checkpoints, pictures
    judging_s: float  # of this model and those before it; the weights that the run begins with are not counted
    date: str  # of the day, in UTC
    commit: str  # of the code, or its version
    rows: list[dict[str, Any]]  # by `SuiteEvaluator.evaluate`


def read_run(recipe: str, given: Sequence[str]) -> tuple[RunSettings, dict[str, Any]]:
    """The settings of a recipe and of a command line (`--section.key value ...`), and those in which it leaves the recipe.

    Raises:
        InputError: as in `parse_command_line`; or what a speedrun does not do is asked for.
    """
    settings = parse_command_line(pretrain_settings(), RECIPES, "", ["--recipe", recipe, *given])
    if settings.push_to_hub is not None:
        raise InputError("a speedrun publishes nothing; leave push_to_hub out, and publish its run/model with mert-hf publish.")
    plain, own = flatten(read_settings(pretrain_settings(), recipe, RECIPES)), flatten(settings)
    changed = {name: value for name, value in own.items() if name not in NOT_TOLD and plain.get(name, ...) != value}
    if changed.get("training.ema_decay") == 0:
        raise InputError(
            "training.ema_decay=0: a speedrun judges the moving average of the weights; give more than 0, or leave it out."
        )
    return settings, changed


def describe_run(recipe: str, settings: RunSettings, changed: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a run in results.

    Args:
        recipe: by name or file; of a file its name is told.
        settings: by `plan_run`.
        changed: those in which it leaves the recipe, by `read_run`.
    """
    data = settings.data
    music = data.dataset or ("synthetic" if data.folder is None else Path(data.folder).resolve().name)
    return {
        "recipe": Path(recipe).stem,
        # JSON has no infinity
        "settings": {name: str(value) if value in (math.inf, -math.inf) else value for name, value in changed.items()},
        "music": music,
        "seed": settings.training.seed,
        "updates": settings.training.max_steps,
        "ema_decay": settings.training.ema_decay,
    }


def plan_run(settings: RunSettings, budget_s: float | None, judgements: int, output: Path, processes: int = 1) -> RunSettings:
    """The run of a recipe in `output`, cut to the budget, with many checkpoints and a moving average of the weights.

    Args:
        budget_s: seconds of audio; None is what the recipe hears.
        judgements: of the whole budget.

    Raises:
        InputError: a recipe that trains nothing, a budget below one update, or more judgements than updates.
    """
    training = settings.training
    if training.max_steps == 0:
        raise InputError("training.max_steps is 0: nothing would be trained. Give another recipe, or more updates.")
    if training.ema_decay == 0:
        settings = replace(settings, training=replace(training, ema_decay=EMA_DECAY))
    if budget_s is None:
        budget_s = training.max_steps * settings.update_audio_s(processes)
    settings = cut_to_budget(settings, budget_s, processes, "the recipe")
    steps = settings.training.max_steps
    if judgements > steps:
        raise InputError(f"{judgements} judgements are more than the {steps} updates of the budget; ask for fewer.")
    often = max(1, steps // REPORTS)
    own = replace(settings.training, resume=True, tracker="none", checkpoint_every=often)
    return replace(settings, output_dir=str(output / RUN), training=own)


@dataclass(frozen=True)
class Speedrun:
    """A run and its judgements, kept in a folder: the same speedrun goes on where it was stopped.

    All processes call its methods.
    """

    settings: RunSettings  # by `plan_run`
    judgements: int  # of the whole budget, one at its end
    evaluator: SuiteEvaluator
    output: Path

    @property
    def steps(self) -> list[int]:
        """Updates behind which a model is judged: 0, then evenly up to the last."""
        most = self.settings.training.max_steps
        return [round(most * place / self.judgements) for place in range(self.judgements + 1)]

    def claim(self, machine: Mapping[str, str]) -> None:
        """Take the folder, or see that this speedrun is the one that lies there.

        Args:
            machine: by `describe_processors`; seconds of two machines add up to nothing.

        Raises:
            InputError: it is another one, or the folder is kept for something else.
        """
        run, state = RunFolder(self.settings.output_dir), PartialState()
        if run.recipe.is_file():
            run.require_settings(self.settings)
        state.wait_for_everyone()  # nobody writes before everybody has looked
        facts = {
            "tasks": sorted(data.task.name for data in self.evaluator.loaded),
            "judgements": self.judgements,
            "seeds": self.evaluator.settings.seeds,
            **machine,
        }
        if state.is_main_process:
            changed = claim_folder(self.output / "judging.json", facts)
            if changed:
                told = ", ".join(f"{name} ({there} -> {here})" for name, (there, here) in changed.items())
                raise InputError(
                    f"the speedrun in {self.output} was begun with other {told}. Give the same, or another --output_dir."
                )
            with run.hold():
                run.claim(self.settings, resume=True)
        state.wait_for_everyone()

    def reach(self, step: int, before: Judgement | None) -> Judgement:
        """Train up to an update of `steps` and judge what is there, or find that it is judged.

        Args:
            before: the judgement at the step before; None at step 0.

        Raises:
            InputError, TrainingFailedError, Interrupted: as in `pretrain`.
        """
        folder = self.output / JUDGED / f"step_{step:08d}"
        file = folder / "judgement.json"
        if file.is_file():
            return to_dataclass(Judgement, read_json(file), str(file))
        started = time.perf_counter()
        if before is None:
            model, audio_s, training_s, preparing_s = self._write_start(), 0.0, 0.0, 0.0
        else:
            results, trained_now_s = self._train(step)
            model, audio_s, training_s = Path(self.settings.output_dir), 3600 * results["audio_hours"], results["training_s"]
            preparing_s = before.preparing_s + max(0.0, time.perf_counter() - started - trained_now_s)
        own = replace(self.evaluator, extraction=replace(self.evaluator.extraction, folder=self.output / FEATURES))
        judged = evaluate_model(model, folder, own)
        judging_s = 0.0 if before is None else before.judging_s + judged["judged_s"]
        state, today = PartialState(), datetime.datetime.now(datetime.UTC).date().isoformat()
        if state.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            times = (step, audio_s, training_s, preparing_s, judging_s)
            write_atomically(file, to_json(asdict(Judgement(*times, today, find_commit(), judged["rows"]))))
            shutil.rmtree(self.output / FEATURES, ignore_errors=True)  # of a model that is not judged again
        state.wait_for_everyone()
        return to_dataclass(Judgement, read_json(file), str(file))

    def _write_start(self) -> Path:
        """The weights that the run begins with, as a model."""
        folder, state = self.output / START, PartialState()
        if state.is_main_process:
            setup = Setup(self.settings)
            setup.build_model().save_pretrained(folder)
            setup.make_extractor().save_pretrained(folder)
        state.wait_for_everyone()
        return folder

    def _train(self, step: int) -> tuple[dict[str, Any], float]:
        """Returns the run's `results.json`, and how many of its seconds of updates were spent just now."""
        run, state = RunFolder(self.settings.output_dir), PartialState()
        begun = run.newest_whole_checkpoint()
        before_s = 0.0 if begun is None else read_json(begun / "state.json")["wall_s"]
        state.wait_for_everyone()  # nobody writes before everybody has looked
        with run.hold():
            pretrain(self.settings, Setup(self.settings), run, until=step)
        state.wait_for_everyone()
        results = read_json(run.results)
        return results, results["training_s"] - before_s
