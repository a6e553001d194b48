"""One process prepares what the others then read: they wait for it as long as it lives, open to signals."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator

from mert_hf.common.errors import InputError
from mert_hf.engine.ranks import EXIT_HUNG, leave, signals_handled_by

logger = logging.getLogger(__name__)

LIVES, READY, FAILED = 0, 1, 2
# Seconds between two signs of life of the process that prepares, and between two looks for them.
BEAT_S, LOOK_S = 5.0, 0.1
# The operating system of a machine that is gone notices it never; the signs of life do.
NEVER = timedelta(days=365)


@contextlib.contextmanager
def main_process_first(accelerator: Accelerator, limit_s: float) -> Iterator[None]:
    """The first process does something alone, then the others do it. All must enter it.

    Unlike a collective the waiting ends at a signal (exit code 128 and its number), when the first process fails, and when it
    has given no sign of life for `limit_s` (exit code 75); otherwise it may take days.

    Raises:
        InputError: the first process has failed, which says why itself.
    """
    if accelerator.num_processes == 1:
        yield
        return
    group = dist.new_group(backend="gloo", timeout=NEVER)
    if accelerator.is_main_process:
        with _showing_life(group):
            yield
        return
    with signals_handled_by(_end):
        _wait(group, limit_s)
    yield


@contextlib.contextmanager
def _showing_life(group) -> Iterator[None]:
    done, outcome = threading.Event(), FAILED
    showing = threading.Thread(target=_show_life, args=(group, done), name="signs of life", daemon=True)
    showing.start()
    try:
        yield
        outcome = READY
    finally:
        done.set()
        showing.join()
        _tell(group, outcome)


def _show_life(group, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        _tell(group, LIVES)


def _tell(group, outcome: int) -> None:
    try:
        dist.broadcast(torch.tensor([outcome]), src=0, group=group)
    except RuntimeError as error:  # those that have ended need not know
        logger.warning("A process that waited for this one is gone (%s)", " ".join(str(error).split())[:200])


def _wait(group, limit_s: float) -> None:
    outcome = torch.tensor([LIVES])
    while outcome.item() == LIVES:
        heard, since = dist.broadcast(outcome, src=0, group=group, async_op=True), time.monotonic()
        while not heard.is_completed():
            time.sleep(LOOK_S)
            if time.monotonic() - since > limit_s:
                logger.error("Process 0, which prepares, has given no sign of life for %.0f s; this one ends.", limit_s)
                leave(EXIT_HUNG)
        try:
            heard.wait()
        except RuntimeError:
            outcome = torch.tensor([FAILED])
    if outcome.item() == FAILED:
        raise InputError("process 0, which prepares what all others read, has failed; it says why.")


def _end(number: int, _frame) -> None:
    logger.error("Ended by signal %d while process 0 prepared.", number)
    leave(128 + number)
