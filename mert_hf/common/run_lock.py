"""One run at a time in a folder."""

import json
import logging
import os
import socket
import threading
import time
import weakref
from pathlib import Path
from typing import NamedTuple

import psutil

from mert_hf.common.errors import InputError
from mert_hf.common.reading import parse_json

logger = logging.getLogger(__name__)

# A holder gives a sign of life every minute. Readings of clocks of several machines may differ by minutes.
TOUCH_S = 60
DEAD_AFTER_S = 15 * 60

_held: "weakref.WeakSet[RunLock]" = weakref.WeakSet()


class Holder(NamedTuple):
    """Who holds a lock, as its file says."""

    pid: int
    host: str


class RunLock:
    """A lock file that names its holder: host and process.

    The operating system gives the lock back when its holder dies, however it dies, so a dead run of this machine locks nobody
    out: processes that it has forked, such as readers of audio that outlive it by seconds, do not hold the lock. Of a run on
    another machine, which may not share its locks with this one, nobody here can tell; its holder is believed to live until it
    has not touched the file for a quarter of an hour. The same holds where files cannot be locked at all (Windows, some shared
    file systems), but for processes of this machine that are gone.

    filelock (4.3) has a lease with a sign of life too, but whoever finds that of a dead machine must watch it until it has run
    out, where here the file's age tells at once; and it takes the empty file that a finished run has left for a claim.

    Args:
        file: the lock file; it stays behind, empty, when the lock is given back.
    """

    def __init__(self, file: str | os.PathLike):
        self.file = Path(file)
        self._descriptor: int | None = None
        self._released: threading.Event | None = None

    def acquire(self) -> None:
        """Take the lock; taking it twice is no mistake.

        Raises:
            InputError: another run holds it.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            locked = self._lock(descriptor)
            self._judge_holder(descriptor, locked)
        except InputError:
            os.close(descriptor)
            raise
        _write(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        self._descriptor, self._released = descriptor, threading.Event()
        _held.add(self)
        threading.Thread(target=_touch, args=(self.file, self._released), name="run lock", daemon=True).start()

    def release(self) -> None:
        """Give the lock back, where it is held."""
        if self._descriptor is not None:
            self._released.set()
            _write(self._descriptor, "")
            self.leave_to_parent()

    def leave_to_parent(self) -> None:
        """Have nothing to do with a lock any more that the process which forked this one holds."""
        # the lock belongs to the opened file, which a fork shares: it is free when the last process has closed it
        os.close(self._descriptor)
        self._descriptor = None
        _held.discard(self)

    def _lock(self, descriptor: int) -> bool:
        """Ask the operating system; whether it knows such locks for this file."""
        try:
            import fcntl
        except ImportError:  # Windows
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(descriptor)
            who = f"process {holder.pid} on {holder.host}" if holder else "its process has not written its number yet"
            raise InputError(
                f"another run is writing into {self.file.parent}: {who}. Wait for it, stop it, or choose another --output_dir."
            ) from None
        except OSError as error:
            logger.warning("%s cannot be locked (%s): runs are kept apart by what stands in it", self.file, error.strerror)
            return False
        return True

    def _judge_holder(self, descriptor: int, locked: bool) -> None:
        """Refuse the lock where the file names a holder that may live."""
        holder = _read_holder(descriptor)
        if holder is None:
            return
        here = holder.host == socket.gethostname()
        if here and (locked or not _is_other_process(holder.pid)):
            return
        silent_s = time.time() - os.fstat(descriptor).st_mtime
        if silent_s > DEAD_AFTER_S:
            logger.warning(
                "Taking %s over: process %s on %s has given no sign of life for %d minutes",
                *(self.file.parent, holder.pid, holder.host, silent_s // 60),
            )
            return
        raise InputError(
            f"a run {'' if here else 'on another machine '}is writing into {self.file.parent}: process {holder.pid} on"
            f" {holder.host}. If it is dead, start again when it has been silent for {DEAD_AFTER_S // 60} minutes, or remove"
            f" {self.file}; else wait for it, or choose another --output_dir."
        )


def _touch(file: Path, released: threading.Event) -> None:
    while not released.wait(TOUCH_S):
        try:
            os.utime(file)
        except OSError as error:  # a file system that is away for a while must not end the run
            logger.warning("%s cannot be touched: %s", file, error.strerror)


def _is_other_process(pid: int) -> bool:
    """Whether a process of this machine may live that is not this one."""
    return pid != os.getpid() and psutil.pid_exists(pid)


def _write(descriptor: int, content: str) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content.encode())


def _read_holder(descriptor: int) -> Holder | None:
    """Nobody where nothing is written, or nothing that says who: its holder is just writing it, or it is damaged."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        content = parse_json(os.read(descriptor, 4096).decode(errors="replace"), "the lock")
    except InputError:
        return None
    pid, host = content.get("pid"), content.get("host")
    fits = isinstance(pid, int) and isinstance(host, str) and 0 < pid < 2**31
    return Holder(pid, host) if fits else None


def _leave_all_to_parent() -> None:
    for lock in list(_held):
        lock.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)
