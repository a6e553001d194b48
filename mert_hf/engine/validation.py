"""Validation: the objective on clips of tracks that are not trained on, the same clips and masks every time."""

import itertools
import logging
import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.data.crops import AudioBatch, BatchRange
from mert_hf.data.source import ClipSource
from mert_hf.engine.updates import Updater, name_loudest_clips
from mert_hf.engine.watchers import Observation, Watcher

logger = logging.getLogger(__name__)


@dataclass
class Validation(Observation):
    """What a validation came to."""

    # what the objective counted, such as how often each code occurs, added up over all clips; on the CPU
    counts: dict[str, torch.Tensor]


class Validator(Watcher):
    """Runs an objective over the first clips of a source: nothing mixed in, no dropout, masks drawn from the seed.

    Args:
        source: clips of other tracks than those of the training.
        clips: how many; rounded up to full batches on all processes.
        every: updates between two validations while training.
    """

    name = "validation"

    def __init__(self, source: ClipSource, clips: int, batch_size: int, seed: int, accelerator: Accelerator, every: int = 1000):
        self.source, self.every = source, every
        self.seed = seed
        self.accelerator = accelerator
        batches = math.ceil(clips / (batch_size * accelerator.num_processes))
        self.place = BatchRange(batch_size, 0, batches, accelerator.process_index, accelerator.num_processes)

    @torch.no_grad()
    def run(self, updater: Updater) -> Validation:
        """Validate; all processes must call it at the same update.

        Raises:
            InputError: none of a batch's clips could be read.
        """
        objective, plain = updater.objective, updater.plain_objective
        objective.eval()
        read = [self._take(batch) for batch in itertools.islice(self.source.batches(self.place), self.place.stop)]
        batches = [
            updater.prepare(batch, Draws(self.seed, batch=number, rank=self.place.rank)) for number, batch in enumerate(read)
        ]
        totals = updater.count([plain.count(batch) for batch in batches])
        added: dict[str, torch.Tensor] = {}
        for batch in batches:
            logs = objective(batch, totals)[1]
            added = {name: added[name] + value if name in added else value for name, value in logs.items()}
        objective.train()
        added = {name: self.accelerator.reduce(value) for name, value in added.items()}
        report = {name: value.tolist() for name, value in plain.summarise(added).items()}
        if not math.isfinite(report["loss"]):
            logger.warning(
                "The loss of a validation is not finite; the loudest of its clips are of: %s", name_loudest_clips(read)
            )
        return Validation(report, {name: value.cpu() for name, value in added.items() if name.endswith("_counts")})

    def _take(self, batch: AudioBatch) -> AudioBatch:
        if len(batch.waveforms) == 0:
            track = batch.unreadable[0]
            raise InputError(f"not one clip of a validation batch could be read; {track.track!r}: {track.reason}.")
        return batch
