"""Which frames are hidden from the encoder: seeded spans, the same number in every clip."""

from dataclasses import dataclass

import numpy as np
import torch

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import generator as make_generator
from mert_hf.common.settings import check_values, setting


@dataclass
class MaskingSettings:
    """Which frames are hidden (mask_prob and mask_length of the official recipe)."""

    probability: float = setting(0.8, "share of masked frames if spans never overlapped", above=0, most=1)
    span_frames: int = setting(5, "frames of a span", above=0, most=100_000)
    min_spans: int = setting(2, "fewest spans in a clip", above=0, most=100_000)
    masks: int = setting(
        1, "masks that each clip of an update is heard under; targets are computed once (data2vec 2.0: 8)", above=0, most=1000
    )

    def __post_init__(self):
        check_values(self, "masking")

    def draw(self, batch: int, frames: int, generator: np.random.Generator) -> torch.Tensor:
        """(batch, frames) bool, True where masked; see [`draw_span_mask`]."""
        return draw_span_mask(batch, frames, generator, self.probability, self.span_frames, self.min_spans)

    def require_room(self, frames: int) -> None:
        """Try it on the shortest clip there can be, so that a mistake does not end a run in the middle.

        Raises:
            InputError: `frames` too few for the spans.
        """
        try:
            self.draw(1, frames, make_generator(0, "trial"))
        except ValueError as error:
            raise InputError(f"masking: {error}") from None


def draw_span_mask(
    batch: int,
    frames: int,
    generator: np.random.Generator,
    probability: float = MaskingSettings.probability,
    span_frames: int = MaskingSettings.span_frames,
    min_spans: int = MaskingSettings.min_spans,
) -> torch.Tensor:
    """Draw the frames to mask, as fairseq's static spans do it (HuBERT, MERT).

    int(probability * frames / span_frames + U[0, 1)) spans start at different frames and may overlap; then every clip gives up
    random frames until all have as many as the one that has fewest. With the recipes' 0.8 and 5 frames a clip of 5 s has
    58.7 % of its frames masked on average, 54 % in a batch of 16 (mask_prob and mask_length of the official recipes).

    Args:
        batch: number of clips.
        frames: frames a clip.
        generator: source of all draws; see [`mert_hf.common.seeding.generator`].
        probability: masked share of the frames if spans never overlapped, within (0, 1].
        span_frames: length of a span (5 frames at 75 Hz: 67 ms).
        min_spans: fewest spans in a clip.

    Returns:
        (batch, frames) bool, True where masked.

    Raises:
        ValueError: a number out of range, or clips too short for the spans.
    """
    if not 0 < probability <= 1:
        raise ValueError(f"probability={probability} must lie within (0, 1].")
    if span_frames < 1 or min_spans < 1:
        raise ValueError(f"span_frames={span_frames} and min_spans={min_spans} must be 1 or more.")
    spans = max(int(probability * frames / span_frames + generator.random()), min_spans)
    starts = frames - span_frames
    if starts < spans:
        raise ValueError(
            f"clips of {frames} frames are too short for {spans} spans of {span_frames} frames; use longer clips or"
            " shorter spans."
        )
    mask = np.zeros((batch, frames), dtype=bool)
    offsets = np.arange(span_frames)
    for row in mask:
        row[generator.choice(starts, spans, replace=False)[:, None] + offsets] = True
    fewest = mask.sum(axis=1).min()
    for row in mask:
        masked = np.flatnonzero(row)
        row[generator.choice(masked, len(masked) - fewest, replace=False)] = False
    return torch.from_numpy(mask)
