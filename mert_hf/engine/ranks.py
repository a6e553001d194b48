"""Processes that wait for each other: how long, open to signals, and with a line that names the one that hangs."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_json

logger = logging.getLogger(__name__)

# Exit code of a process that has waited for another one in vain: in sysexits.h, a failure that may be gone the next time.
EXIT_HUNG = 75
# Seconds between two signs of life, and how many may be missing before a process is taken for one that hangs.
BEAT_S = 1.0
SILENT_BEATS = 6
# Writing a checkpoint may keep Python from giving any for longer; nothing is to end it before it is done.
SILENT_BEATS_BESIDE_UPDATES = 60
# A process that is told to stop finishes its update: so many times the longest yet are waited for, or so many seconds.
LAST_UPDATES = 3
LAST_UPDATE_S = 10.0
# Where the main thread of a process waits for the others: it is not the one that hangs.
COLLECTIVES = ("torch/distributed/", "torch/autograd/graph.py", "accelerate/utils/operations.py")


class RankWatch:
    """Watches from a thread whether this process gets on: its main thread may wait in a collective, deaf to every signal.

    Where it does not get on within the limit, or not soon after it was told to stop, the process ends with a line that names
    those it waits for, and with the exit code 75, or 143 where it was told to stop. Each process says what it does in a file
    of its own, once a second.

    Args:
        accelerator: the processes; one alone waits for nobody and is not watched.
        folder: of the files, which all processes see.
        limit_s: longest time between two marks.
    """

    def __init__(self, accelerator: Accelerator, folder: str | os.PathLike, limit_s: float):
        self.folder = Path(folder)
        self.limit_s = limit_s
        self._rank, self._world = accelerator.process_index, accelerator.num_processes
        self._doing, self._since, self._marks, self._longest_s = "", time.monotonic(), 0, 0.0
        self._told_at: float | None = None

    @contextlib.contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Watch while something is done; what is done inside of it is watched in its place."""
        outer = self._doing
        self.mark(doing)
        try:
            with contextlib.nullcontext() if outer or self._world == 1 else self._watched():
                yield
        finally:
            self.mark(outer)

    def mark(self, doing: str) -> None:
        """Say what this process does from now on; an update is called "update" and its number."""
        now = time.monotonic()
        if self._updating:
            self._longest_s = max(self._longest_s, now - self._since)
        self._doing, self._since, self._marks = doing, now, self._marks + 1

    @property
    def _updating(self) -> bool:
        return self._doing.startswith("update")

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        ended = threading.Event()
        self.folder.mkdir(parents=True, exist_ok=True)
        watching = threading.Thread(target=self._watch, args=(ended,), name="ranks", daemon=True)
        with self._hear_signals():
            watching.start()
            try:
                yield
            finally:
                ended.set()
                watching.join()
                self._file(self._rank).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # others are still there
                    self.folder.rmdir()

    @contextlib.contextmanager
    def _hear_signals(self) -> Iterator[None]:
        """Python runs its handlers in the main thread, when that comes back from a collective; a byte is written at once."""
        heard, told = socket.socketpair()
        told.setblocking(False)
        before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
        listening = threading.Thread(target=self._listen, args=(heard,), name="signals", daemon=True)
        listening.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            told.shutdown(socket.SHUT_RDWR)  # closing it ends nothing while readers, which are forks, hold it too
            told.close()
            listening.join()
            heard.close()

    def _listen(self, heard: socket.socket) -> None:
        while numbers := heard.recv(64):
            if self._told_at is None and {signal.SIGTERM, signal.SIGINT} & set(numbers):
                self._told_at = time.monotonic()

    def _watch(self, ended: threading.Event) -> None:
        seen: dict[int, tuple[dict[str, Any], int]] = {}
        self._beat(0.0)
        while not ended.wait(BEAT_S):
            now, since = time.monotonic(), self._since
            self._beat(now - since)
            overdue_s = now - since - self.limit_s
            stopping_s = 0.0 if self._told_at is None else now - max(self._told_at, since)
            if overdue_s <= 0 and stopping_s <= BEAT_S:
                seen = {}
                continue
            self._look(seen)
            enough = SILENT_BEATS if self._updating or overdue_s > 0 else SILENT_BEATS_BESIDE_UPDATES
            silent = [rank for rank, (_, beats) in seen.items() if beats >= enough]
            # what is no update, such as a checkpoint, is finished when a signal arrives, however long it takes
            late = self._updating and stopping_s > max(LAST_UPDATE_S, LAST_UPDATES * self._longest_s)
            if (silent or late or overdue_s > SILENT_BEATS * BEAT_S + BEAT_S) and self._since == since:
                self._end(silent, stopping_s > 0, now - since)

    def _beat(self, waited_s: float, ends: bool = False) -> None:
        waits, place = _find_main_thread()
        said = {"host": socket.gethostname(), "pid": os.getpid(), "doing": self._doing, "waited_s": waited_s, "ends": ends}
        try:
            self._file(self._rank).write_text(json.dumps({**said, "marks": self._marks, "waits": waits, "place": place}))
        except OSError as error:  # a file system that is away for a while must not end the run
            logger.warning("%s cannot be written: %s", self._file(self._rank), error.strerror)

    def _look(self, seen: dict[int, tuple[dict[str, Any], int]]) -> None:
        """Note what the others say, and for how many beats each has said the same."""
        for rank, said in self._read_others().items():
            before, beats = seen.get(rank, ({}, 0))
            seen[rank] = (said, beats + 1 if said == before else 0)

    def _read_others(self) -> dict[int, dict[str, Any]]:
        """What is known of the processes that have not ended for the same reason."""
        others = {}
        for rank in range(self._world):
            if rank == self._rank:
                continue
            try:
                said = read_json(self._file(rank))
            except InputError:  # it is just being written, or was never seen by this machine
                continue
            if not said.get("ends"):
                others[rank] = said
        return others

    def _end(self, silent: list[int], told: bool, waited_s: float) -> None:
        others = self._read_others()
        behind = [rank for rank, said in others.items() if said.get("marks", 0) < self._marks]
        busy = [rank for rank, said in others.items() if not said.get("waits")]
        who = "; ".join(_describe(rank, others.get(rank, {}), rank in silent) for rank in silent or behind or busy or others)
        why = "told to stop" if told else f"training.rank_timeout_s={self.limit_s:g} is over"
        logger.error(
            "Process %d on %s ends (%s) after %.0f s in %s; it waits for %s. Go on with --training.resume.",
            *(self._rank, socket.gethostname(), why, waited_s, self._doing, who or "others, of which nothing is known"),
        )
        self._beat(waited_s, ends=True)
        leave(128 + signal.SIGTERM if told else EXIT_HUNG)

    def _file(self, rank: int) -> Path:
        return self.folder / f"{rank}.json"


@contextlib.contextmanager
def signals_handled_by(handler: Callable) -> Iterator[None]:
    """Have SIGTERM and SIGINT (Ctrl-C) call a handler, and whatever they called before again behind it."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def leave(code: int) -> None:
    """End this process from whichever thread; its main thread is in a collective that no exception reaches."""
    logging.shutdown()
    os._exit(code)


def _find_main_thread() -> tuple[bool, str]:
    """Whether the main thread is in a collective, and the innermost line of this package that it is at."""
    frame, waits, place = sys._current_frames().get(threading.main_thread().ident), False, ""
    while frame is not None:
        file = frame.f_code.co_filename.replace(os.sep, "/")
        waits = waits or any(part in file for part in COLLECTIVES)
        if not place and "/mert_hf/" in file:
            place = f"{file.rpartition('/mert_hf/')[2]}:{frame.f_lineno}"
        frame = frame.f_back
    return waits, place


def _describe(rank: int, said: dict[str, Any], silent: bool) -> str:
    since = "without a sign of life" if silent else f"for {said.get('waited_s', 0):.0f} s"
    place = f" ({said['place']})" if said.get("place") else ""
    return f"process {rank} (number {said.get('pid')} on {said.get('host')}), in {said.get('doing')}{place} {since}"
