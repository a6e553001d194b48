"""What is done to the clips that a model hears in training: noise mixture (MERT, section 3.4), and another level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mert_hf.common.errors import InputError
from mert_hf.common.settings import check_values, require, setting


@dataclass
class MixtureSettings:
    """In-batch noise mixture (MERT, section 3.4)."""

    probability: float = setting(
        0.5,
        "probability that a clip is mixed with excerpts of others; 0 is off (the official code inverts its mixture_prob)",
        least=0,
        most=1,
    )
    min_excerpts: int = setting(1, "fewest excerpts in a mixed clip", least=1, most=1000)
    max_excerpts: int = setting(3, "most excerpts in a mixed clip", least=1, most=1000)
    min_s: float = setting(0.5, "shortest excerpt in seconds (12000 samples at 24 kHz)", above=0, most=3600)
    max_s: float = setting(1.0, "longest excerpt in seconds (95M: 24000 samples, 330M: 36000)", above=0, most=3600)
    min_snr_db: float | None = setting(
        None, "lowest level of a clip above its excerpt in dB; null keeps gain 1, as MERT", least=-200, most=200
    )
    max_snr_db: float | None = setting(None, "highest level of a clip above its excerpt in dB", least=-200, most=200)
    gain_db: float = setting(
        0.0, "each clip is heard louder or softer by up to so many dB, by the teachers as it is; 0 is off", least=0, most=60
    )

    def __post_init__(self):
        check_values(self, "mixture")
        for low, high in (("min_excerpts", "max_excerpts"), ("min_s", "max_s"), ("min_snr_db", "max_snr_db")):
            least, most = getattr(self, low), getattr(self, high)
            require(
                self.probability == 0 or least is None or most is None or least <= most,
                f"mixture.{low}={least} is more than mixture.{high}={most}.",
            )


@dataclass(frozen=True)
class Excerpt:
    """A piece of noise for one clip.

    Attributes:
        clip: index of the clip it is laid over.
        source: first sample in the line of all other clips of the batch, one behind the other in their order.
        position: first sample in the clip.
        length: number of samples.
        snr_db: level of the whole clip above the excerpt, in dB of mean power, to which the excerpt is scaled; None leaves it.
    """

    clip: int
    source: int
    position: int
    length: int
    snr_db: float | None = None


@dataclass(frozen=True)
class NoiseMixture:
    """How excerpts are drawn. Gain is 1, overlaps are allowed and nothing is renormalised, as in the official training.

    Attributes:
        probability: of mixing, for each clip. The official code inverts its `mixture_prob`: it mixes with 1 minus that. At the
            recipes' 0.5 the two are the same.
        min_excerpts, max_excerpts: number of excerpts laid over a mixed clip, drawn uniformly.
        min_samples, max_samples: length of an excerpt, drawn uniformly (95M: 12000 to 24000, 330M: 12000 to 36000).
        min_snr_db, max_snr_db: level of the clip above each excerpt, drawn uniformly; None keeps gain 1. Not part of MERT.
        gain_db: the level of each clip, mixed or not, is changed by a number of dB drawn uniformly from minus this to this. Not
            part of MERT.
    """

    probability: float = MixtureSettings.probability
    min_excerpts: int = MixtureSettings.min_excerpts
    max_excerpts: int = MixtureSettings.max_excerpts
    min_samples: int = 12000
    max_samples: int = 24000
    min_snr_db: float | None = None
    max_snr_db: float | None = None
    gain_db: float = 0.0

    @classmethod
    def from_settings(cls, settings: MixtureSettings, sampling_rate: int) -> "NoiseMixture":
        """The mixture of these settings at a rate; InputError where numbers do not go together."""
        lengths = (round(settings.min_s * sampling_rate), round(settings.max_s * sampling_rate))
        counts, levels = (settings.min_excerpts, settings.max_excerpts), (settings.min_snr_db, settings.max_snr_db)
        try:
            return cls(settings.probability, *counts, *lengths, *levels, settings.gain_db)
        except ValueError as error:
            raise InputError(str(error)) from None

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the mixture's probability={self.probability} must lie within [0, 1].")
        for low, high in (("min_excerpts", "max_excerpts"), ("min_samples", "max_samples")):
            if not 1 <= getattr(self, low) <= getattr(self, high):
                raise ValueError(f"{low}={getattr(self, low)} must be 1 or more and at most {high}={getattr(self, high)}.")
        levels = (self.min_snr_db, self.max_snr_db)
        if (None in levels and levels != (None, None)) or (None not in levels and levels[0] > levels[1]):
            raise ValueError(
                f"min_snr_db={levels[0]} and max_snr_db={levels[1]} must both be given, in order, or both be null."
            )
        if not self.gain_db >= 0:
            raise ValueError(f"gain_db={self.gain_db} must be 0 or more.")

    @property
    def changes_clips(self) -> bool:
        """Whether anything is heard otherwise than it is."""
        return self.probability > 0 or self.gain_db > 0

    def draw(self, batch: int, samples: int, generator: np.random.Generator) -> list[Excerpt]:
        """Draw the excerpts of `batch` clips of `samples` samples.

        Raises:
            ValueError: a batch of one clip, which has no other to mix in, or clips shorter than an excerpt.
        """
        if self.probability == 0:
            return []
        if batch < 2:
            raise ValueError("noise mixture needs 2 or more clips in a batch; use a larger batch or probability 0.")
        if samples < self.max_samples:
            raise ValueError(f"clips of {samples} samples are shorter than the longest excerpt, {self.max_samples}.")
        excerpts = []
        for clip in range(batch):
            if generator.random() >= self.probability:
                continue
            for _ in range(generator.integers(self.min_excerpts, self.max_excerpts + 1)):
                length = int(generator.integers(self.min_samples, self.max_samples + 1))
                source = int(generator.integers(0, (batch - 1) * samples - self.max_samples + 1))
                position = int(generator.integers(0, samples - length + 1))
                snr_db = None if self.min_snr_db is None else generator.uniform(self.min_snr_db, self.max_snr_db)
                excerpts.append(Excerpt(clip, source, position, length, snr_db))
        return excerpts

    def draw_gains(self, batch: int, generator: np.random.Generator) -> torch.Tensor:
        """(batch, 1) float32: the factor of each clip."""
        gains_db = generator.uniform(-self.gain_db, self.gain_db, (batch, 1))
        return torch.from_numpy(10 ** (gains_db / 20)).float()


def mix_in(waveforms: torch.Tensor, excerpts: Sequence[Excerpt]) -> torch.Tensor:
    """Lay excerpts of clean clips over a batch: (batch, samples) -> (batch, samples), the input is left as it is."""
    samples = waveforms.shape[1]
    line = waveforms.flatten()
    mixed = waveforms.clone()
    for excerpt in excerpts:
        # the line of the *other* clips: an excerpt may end in one clip's end and the next one's beginning
        gap = excerpt.clip * samples
        before = min(max(gap - excerpt.source, 0), excerpt.length)
        behind = excerpt.source + before + samples
        noise = torch.cat([line[excerpt.source : excerpt.source + before], line[behind : behind + excerpt.length - before]])
        if excerpt.snr_db is not None:
            noise = noise * _gain(waveforms[excerpt.clip], noise, excerpt.snr_db)
        mixed[excerpt.clip, excerpt.position : excerpt.position + excerpt.length] += noise
    return mixed


def _gain(clip: torch.Tensor, noise: torch.Tensor, snr_db: float) -> torch.Tensor:
    """Factor that puts the mean power of the noise `snr_db` below that of the clip; silent noise stays silent."""
    power = noise.square().mean()
    wanted = clip.square().mean() * 10 ** (-snr_db / 10)
    return torch.where(power > 0, wanted / power, 0).sqrt()
