"""Schedules: numbers that are functions of the update alone, so that there is no state to save."""

from collections.abc import Callable

from mert_hf.common.ramps import cosine_ramp

# fairseq's `tri_stage` as in data2vec's `base_librispeech.yaml`: share of the updates in the fall, and the rate at both ends.
TRI_STAGE_FALL = 0.07
TRI_STAGE_ENDS = 0.01


def linear_warmup_decay(step: int, warmup_steps: int, max_steps: int) -> float:
    """Share of the peak learning rate at an update: rises from 0 over the warm-up, then falls to 0 at max_steps.

    fairseq's `polynomial_decay` with power 1, which the official recipes use, but one update ahead while it rises: update k has
    (k + 1) / W of the peak here and k / W there, where the first update moves nothing.

    Args:
        step: number of updates done before this one, 0 to max_steps - 1.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return max(max_steps - step, 0) / max(max_steps - warmup_steps, 1)


def cosine_warmup_decay(step: int, warmup_steps: int, max_steps: int) -> float:
    """Share of the peak at an update: rises on a line over the warm-up, then falls to 0 along half a cosine."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return cosine_ramp(step - warmup_steps, max_steps - warmup_steps, 1.0, 0.0)


def tri_stage(step: int, warmup_steps: int, max_steps: int) -> float:
    """Share of the peak at an update: rises on a line from 0.01, stays, and falls to 0.01 by equal factors in the last 7 %."""
    if step < warmup_steps:
        return TRI_STAGE_ENDS + (1 - TRI_STAGE_ENDS) * (step + 1) / warmup_steps
    fall_steps = TRI_STAGE_FALL * max_steps
    return TRI_STAGE_ENDS ** max(0.0, 1 - (max_steps - step) / fall_steps)


SCHEDULES: dict[str, Callable[[int, int, int], float]] = {
    "linear": linear_warmup_decay,
    "cosine": cosine_warmup_decay,
    "tri_stage": tri_stage,
}
