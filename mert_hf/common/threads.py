"""How many cores a process may take, and work that goes on beside other work."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T, R = TypeVar("T"), TypeVar("R")


def count_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores() -> None:
    """Let torch use this process's share of the cores; a launcher leaves one thread a process where it was told nothing."""
    import torch

    torch.set_num_threads(max(1, count_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


def map_ahead(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Results in the order of the items, each begun before it is asked for; so many more than asked for are held, no more.

    Who stops in between waits for those that are begun alone. Items are drawn in the caller's thread.
    """
    pool = ThreadPoolExecutor(threads)
    begun: deque[Future[R]] = deque()
    try:
        items = iter(items)
        begun.extend(pool.submit(function, item) for item in itertools.islice(items, threads))
        while begun:
            result = begun.popleft().result()
            begun.extend(pool.submit(function, item) for item in itertools.islice(items, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
