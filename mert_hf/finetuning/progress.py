"""One bar for a whole fine-tuning run: how much of its work is done, and how the training goes."""

import math
import sys
from dataclasses import dataclass

from tqdm import tqdm
from transformers import TrainerCallback

# What a clip costs, in passes of the encoder: one forward, and about two more for the gradient of all its layers. A head alone,
# on features that are there, costs next to nothing.
FORWARD, FORWARD_AND_BACK, HEAD_ALONE = 1.0, 3.0, 0.01


@dataclass(frozen=True)
class Work:
    """What a run has to do.

    Attributes:
        epochs: of the run.
        training, validation, test: clips of an epoch, of a validation, of the test.
        to_hear: clips whose features are computed first; 0 where none are kept.
        frozen: whether training needs no gradient of the encoder.
    """

    epochs: float
    training: int
    validation: int
    test: int
    to_hear: int
    frozen: bool

    @property
    def clip(self) -> float:
        """Cost of measuring a clip."""
        return HEAD_ALONE if self.to_hear else FORWARD

    @property
    def epoch(self) -> float:
        """Cost of an epoch's training."""
        return self.training * (self.clip if self.frozen else FORWARD_AND_BACK)

    @property
    def total(self) -> float:
        """Cost of all: Trainer validates behind each epoch, and in the end both splits are measured once more."""
        measured = (math.ceil(self.epochs) + 1) * self.validation + self.test
        return self.to_hear + self.epochs * self.epoch + measured * self.clip


class Progress(TrainerCallback):
    """The bar, moved by Trainer, and by whoever computes features before it trains.

    Args:
        work: how long the bar is.
        monitor: the measure that chooses the epoch, which is shown with the losses.
        shown: whether this process shows the bar.
    """

    def __init__(self, work: Work, monitor: str, shown: bool):
        self._work, self._monitor = work, monitor
        # clips: with features, measured in finished passes over a split, and measured in the present pass
        self._heard, self._measured, self._measuring, self._epoch, self._training = 0, 0, 0, 0.0, False
        self._values: dict[str, float] = {}
        self._bar = tqdm(
            total=work.total,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            dynamic_ncols=True,
            miniters=0,
            mininterval=0.1 if sys.stderr.isatty() else 30,  # a log needs no picture of every moment
            disable=not shown,
        )

    def hear(self, clips: int) -> None:
        """So many more clips have features."""
        self._heard = min(self._heard + clips, self._work.to_hear)
        self._show(f"Hearing {self._work.to_hear} clips once")

    def finish(self) -> None:
        """All is done."""
        self._bar.set_description_str("Finished", refresh=False)
        self._bar.set_postfix_str("", refresh=False)
        self._bar.update(self._work.total - self._bar.n)

    def close(self) -> None:
        """The run ends, finished or not."""
        self._bar.close()

    def on_train_begin(self, args, state, control, **given) -> None:
        """Training begins, or goes on."""
        self._epoch, self._training = state.epoch or 0.0, True
        self._measured = math.floor(self._epoch) * self._work.validation
        for entry in state.log_history:
            self._take(entry)
        self._show_epoch()

    def on_step_end(self, args, state, control, **given) -> None:
        """An update is done."""
        self._epoch = state.epoch
        self._show_epoch()

    def on_prediction_step(self, args, state, control, **given) -> None:
        """A batch is measured."""
        self._measuring += args.eval_batch_size * args.world_size
        if self._training:
            self._show_epoch()
        else:
            self._show("Measuring")

    def on_log(self, args, state, control, logs=None, **given) -> None:
        """There are new losses or scores."""
        self._take(logs or {})

    def on_evaluate(self, args, state, control, **given) -> None:
        """The validation split is measured."""
        self._measured, self._measuring = self._measured + self._work.validation, 0

    def on_predict(self, args, state, control, metrics, **given) -> None:
        """A split is measured at the end."""
        self._measured, self._measuring = self._measured + self._measuring, 0

    def on_train_end(self, args, state, control, **given) -> None:
        """Training is over."""
        self._training = False

    def _take(self, logs: dict[str, float]) -> None:
        names = {"loss": "loss", "eval_loss": "validation loss", f"eval_{self._monitor}": self._monitor.replace("_", " ")}
        self._values |= {names[name]: value for name, value in logs.items() if name in names}

    def _show_epoch(self) -> None:
        last = math.ceil(self._work.epochs)
        self._show(f"Epoch {max(math.ceil(self._epoch), 1)} of {last}")

    def _show(self, what: str) -> None:
        work = self._work
        done = self._heard + self._epoch * work.epoch + (self._measured + self._measuring) * work.clip
        told = ", ".join(f"{name} {value:.3f}" for name, value in self._values.items())
        self._bar.set_description_str(what, refresh=False)
        self._bar.set_postfix_str(told, refresh=False)
        self._bar.update(max(min(done, work.total) - self._bar.n, 0.0))
