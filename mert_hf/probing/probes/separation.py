"""Source separation (MUSDB18): a network that masks the mixture's spectrum, on the weighted sum of frozen layers.

From the papers: the backbone is frozen, the probe is a three-layer LSTM of 512 (MARBLE's paper). Everything else is listed in
`mert_hf/tasks/musdb18.py` as ours.
"""

from pathlib import Path

import numpy as np
import torch

from mert_hf.common.errors import InputError
from mert_hf.probing.features.spectra import SpectralBaseline
from mert_hf.probing.metrics import TaskScores
from mert_hf.probing.probes.bank import WEIGHTED_SUM
from mert_hf.probing.probes.base import EQUAL_SHARES, LEAST_FRAME_RATE, TaskProbe, TaskScorer, TrainedProbes
from mert_hf.probing.probes.baselines import SAMPLING_RATE
from mert_hf.probing.probes.mask_network import separate_tracks, share_of_mixture
from mert_hf.probing.probes.separation_training import train_separation_probe
from mert_hf.tasks.base import TaskData
from mert_hf.tasks.sources import digest

# folder of trained networks in the cache of features
KEPT = "separation"


class SeparationScorer(TaskScorer):
    """Medians over the songs of the test split from the SDR of each; see [`TaskScorer`].

    The audio of all songs would be tens of gigabytes: what is scored here are the parts of which the measure is made.
    """

    def __init__(self, data: TaskData):
        super().__init__(data)
        self.groups = len(data.splits["test"])

    def __call__(self, predictions, chosen=None):
        """See [`TaskScorer`]; `predictions` are the SDR of every song by its name."""
        tracks = predictions
        if chosen is not None:
            songs = [*predictions]
            tracks = {f"{songs[place]} ({number})": predictions[songs[place]] for number, place in enumerate(chosen)}
        scores = self.metrics["sdr"].over_tracks(tracks, self.data.labels)
        return TaskScores(scores.values, {"sdr": dict(scores.per_class)}, scores.left_out)


class SeparationProbe(TaskProbe):
    """A network that masks all stems, with the learning rate of the protocol (MARBLE's for one run); see [`TaskProbe`]."""

    least_frame_rate = LEAST_FRAME_RATE
    notes = ("one learning rate, that of the protocol", EQUAL_SHARES)

    def __init__(self, encoder, data, extraction, settings):
        super().__init__(encoder, data, extraction, settings)
        self.summed = self.summed or (0,)
        self.scorer = SeparationScorer(data)
        self._model = {**encoder.fingerprint, "summed_layers": [*self.summed]}

    @classmethod
    def require_suitable(cls, settings, encoder, task):
        super().require_suitable(settings, encoder, task)
        asked = [f"--{name}" for name, given in (("probe", settings.head), ("limited", settings.limited)) if given]
        if asked:
            raise InputError(
                f"{task.name} has an LSTM as its probe and one run on all songs: {' and '.join(asked)} cannot be held; leave"
                " out the one or the other, with --tasks."
            )

    @classmethod
    def suits(cls, encoder):
        """See [`TaskProbe`]; an LSTM on a spectrum is a separator in its own right, not a baseline."""
        return super().suits(encoder) and not isinstance(encoder, SpectralBaseline)

    @classmethod
    def test_scorer(cls, data):
        return SeparationScorer(data)

    @classmethod
    def baselines(cls, data):
        """See [`TaskProbe`]: a share of the mixture for every source, at 24 kHz."""
        return {f"mixture / {len(data.labels)}": lambda data: share_of_mixture(data, "test", SAMPLING_RATE)}

    def checkpoint(self, seed: int) -> Path:
        """The file in which a network is kept, by what it is trained on."""
        depends = [self._model, self.data.fingerprint, self.data.task.protocol.described(), self.encoder.sampling_rate]
        return self.extraction.folder / KEPT / f"{digest(depends)[:20]}_{seed}.safetensors"

    def train(self):
        """See [`TaskProbe`]. Every epoch of hours of training is kept, so that a killed run goes on."""
        data, rate, device = self.data, self.encoder.sampling_rate, self.settings.device
        hop_samples = round(rate / self.encoder.frame_rate)
        (self.extraction.folder / KEPT).mkdir(parents=True, exist_ok=True)
        trained, answers = [], []
        for seed in range(self.settings.seeds):
            file = self.checkpoint(seed)
            trained.append(train_separation_probe(self._embed, data, rate, hop_samples, None, seed, device, file, self._model))
            answers.append([separate_tracks(self._embed, trained[-1].network, data, "test", rate, device)])
        return TrainedProbes(
            (WEIGHTED_SUM,),
            np.zeros((len(trained), 1)),  # there is nothing to choose from
            answers,
            {WEIGHTED_SUM: data.task.protocol.learning_rate},
            {WEIGHTED_SUM: trained[0].best_epoch},
            trained[0].network.layer_weights.detach().softmax(dim=0).tolist(),
        )

    def _embed(self, waveforms: torch.Tensor) -> torch.Tensor:
        return self.encoder(waveforms)[:, list(self.summed)]
