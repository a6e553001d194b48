"""Numbers that move from one value to another over the updates, as functions of the update alone."""

import math


def cosine_ramp(step: int, steps: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at `steps` along half a cosine, and `end` from there on."""
    return end + (start - end) * (1 + math.cos(math.pi * min(step / steps, 1))) / 2 if steps > 0 else end


def linear_ramp(step: int, steps: int, start: float, end: float) -> float:
    """From `start` at step 0 to `end` at `steps` on a line, and `end` from there on."""
    return end + (start - end) * (1 - min(step / steps, 1)) if steps > 0 else end
