"""Transposition equivariance: of two crops of a track that were transposed, a model tells by how many semitones they differ.

The loss is that of STONE (arXiv 2407.07408, section 3) and S-KEY (arXiv 2501.12907), which extends it by the mode; the idea,
that a known transposition is all the label that pitch needs, is that of PESTO (arXiv 2309.02265). They shift the bins of a
constant-Q spectrum. The encoders here hear waveforms, so these are played faster or slower: tempo and timbre move along.
"""

from collections.abc import Sequence

import torch

from mert_hf.common.seeding import Draws
from mert_hf.models.code_head_mert import at_least_float32
from mert_hf.objectives.across_processes import gather
from mert_hf.objectives.base import Batch
from mert_hf.objectives.heads import Head
from mert_hf.objectives.health import Sign
from mert_hf.objectives.multiview import MultiView

PITCH_CLASSES = 12
HALF_OCTAVE = 6  # semitones; of what is further apart, pitch classes tell the way round


def transpose(waveforms: torch.Tensor, semitones: torch.Tensor, most: int) -> torch.Tensor:
    """Play clips faster (higher) or slower (lower), each by its own interval.

    All come out with the same length and with the band that is there after any transposition up to `most`: where a clip's band
    ends would tell by how much it was transposed.

    Args:
        waveforms: (batch, samples).
        semitones: (batch,) int64, within [-most, most]; above 0 is higher.
        most: largest transposition.

    Returns:
        (batch, samples / 2^(most / 12)), the middle of each clip.
    """
    samples = waveforms.shape[1]
    kept = int(samples / 2 ** (most / 12))
    spectra, clips = torch.fft.rfft(waveforms), []
    for spectrum, interval in zip(spectra, semitones.tolist(), strict=True):
        length = max(round(samples / 2 ** (interval / 12)), kept)
        # the same duration in other numbers of samples; bins keep their number, and so their place in the clip's own band
        highest = int(length / 2 / 2 ** (most / 12))
        clip = torch.fft.irfft(spectrum[: min(highest, samples // 2) + 1], n=length) * (length / samples)
        clips.append(clip[(length - kept) // 2 :][:kept])
    return torch.stack(clips)


def cross_power_loss(first: torch.Tensor, second: torch.Tensor, semitones: torch.Tensor, circle: int = 7) -> torch.Tensor:
    """How far the turn from one distribution over pitch classes to another is from the transposition (STONE, section 3.2).

    Each distribution is a point in the unit disk: the mean of its classes on a circle. The product of one point and the other's
    conjugate, their cross-power, is to be the point of the transposition: its angle says the interval, and its length of 1 asks
    both to be certain. Nothing says where a class lies: all may be turned by one angle.

    Args:
        first, second: (batch, 12) distributions.
        semitones: (batch,) by how many the second was transposed further than the first.
        circle: steps between neighbours on the circle: 7 for the circle of fifths, where keys that share most of their notes
            are neighbours, 1 for semitones.

    Returns:
        () mean squared distance, within [0, 4].
    """
    exact = [at_least_float32(values) for values in (first, second)]
    angles = 2 * torch.pi * circle / PITCH_CLASSES * torch.arange(PITCH_CLASSES, device=first.device, dtype=exact[0].dtype)
    (x1, y1), (x2, y2) = ((values @ angles.cos(), values @ angles.sin()) for values in exact)
    turn = 2 * torch.pi * circle / PITCH_CLASSES * semitones.to(exact[0].dtype)
    # second times the conjugate of first
    real, imaginary = x2 * x1 + y2 * y1, y2 * x1 - x2 * y1
    return ((real - turn.cos()).square() + (imaginary - turn.sin()).square()).mean()


class Transposition(MultiView):
    """Both crops of a track are transposed, each by its own draw; a head gives each a distribution over 12 classes.

    See [`MultiView`]. Alone it teaches tonality and nothing else; with `init.model` it goes on from what another objective has
    trained.

    Args:
        head: sizes of the layers of the head before its last, which has 12.
        circle: as in [`cross_power_loss`].
        most_semitones: crops are transposed by so many at most, up or down; 1 to 6.
    """

    signs = (Sign("certainty", "all classes are equally likely", "Lower training.learning_rate.", low=0.05),)

    def __init__(self, model, max_steps: int, head: Sequence[int] = (256,), circle: int = 7, most_semitones: int = HALF_OCTAVE):
        super().__init__(model, max_steps)
        if circle not in (1, 5, 7, 11):  # others do not pass through all classes
            raise ValueError(f"circle={circle} must be 7 (fifths), 5 (fourths), 1 or 11 (semitones).")
        if not 1 <= most_semitones <= HALF_OCTAVE:
            raise ValueError(f"most_semitones={most_semitones} must lie within 1 and {HALF_OCTAVE}.")
        self.head = Head(self.encoder.hidden_size, (*head, PITCH_CLASSES))
        self.circle, self.most_semitones = circle, most_semitones

    @classmethod
    def describe(cls, settings, teachers):
        return f"transposition: two crops of {settings.data.crop_s:g} s of a track, by how many semitones they differ"

    @torch.no_grad()
    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """Transposed views, and `semitones` (batch,) int64 by which the second is higher; also in `eval()`."""
        pairs = super().prepare(waveforms, draws, labels)["views"]
        most = self.most_semitones
        drawn = draws.for_batch("transposition").integers(-most, most + 1, (len(pairs), 2))
        semitones = torch.from_numpy(drawn)
        views = [transpose(view, semitones[:, number], most) for number, view in enumerate(pairs.unbind(1))]
        return {"views": torch.stack(views, 1), "semitones": (semitones[:, 1] - semitones[:, 0]).to(pairs.device)}

    def compare(self, views, embeddings, semitones):
        """As in [`MultiView`]; also how certain the distributions are, and how often the difference is told to the semitone."""
        logits = self.gather([self.head(embedding) for embedding in embeddings])
        first, second = (values.softmax(-1) for values in logits)
        semitones = gather(semitones.to(first.dtype)).round()
        with torch.no_grad():
            told = (second.argmax(-1) - first.argmax(-1) - semitones) % PITCH_CLASSES == 0
            certainty = torch.cat([first, second]).amax(-1).mean() - 1 / PITCH_CLASSES
        return cross_power_loss(first, second, semitones, self.circle), {
            "certainty": certainty,
            "semitone_accuracy": told.to(first.dtype).mean(),
        }
