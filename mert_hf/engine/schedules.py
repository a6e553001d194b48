"""Schedules: numbers that are functions of the update alone, so that there is no state to save."""


def linear_warmup_decay(step: int, warmup_steps: int, max_steps: int) -> float:
    """Share of the peak learning rate at an update: rises from 0 over the warm-up, then falls to 0 at max_steps.

    fairseq's `polynomial_decay` with power 1, which the official recipes use.

    Args:
        step: number of updates done before this one, 0 to max_steps - 1.
        warmup_steps: updates of the rise.
        max_steps: updates of the run.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return max(max_steps - step, 0) / max(max_steps - warmup_steps, 1)
