"""How many cores a process may take."""

import os


def count_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores() -> None:
    """Let torch use this process's share of the cores; a launcher leaves one thread a process where it was told nothing."""
    import torch

    torch.set_num_threads(max(1, count_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
