"""One run at a time in a folder."""

import fcntl
import json
import logging
import os
import socket
import threading
import time
from pathlib import Path

from mert_hf.errors import InputError

logger = logging.getLogger(__name__)

# A holder gives a sign of life every minute. Readings of clocks of several machines may differ by minutes.
TOUCH_S = 60
DEAD_AFTER_S = 15 * 60


class RunLock:
    """A lock file that names its holder: host and process.

    The operating system gives the lock back when its holder dies, however it dies, so a dead run of this machine locks nobody
    out. Of a run on another machine, which may not share its locks with this one, nobody here can tell; its holder is believed
    to live until it has not touched the file for a quarter of an hour. The same holds where files cannot be locked at all, but
    for processes of this machine that are gone.

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
        descriptor, locked = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644), True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_holder(descriptor)
            os.close(descriptor)
            raise InputError(
                f"another run is writing into {self.file.parent}: process {holder.get('pid')} on {holder.get('host')}. Wait for"
                " it, stop it, or choose another --output_dir."
            ) from None
        except OSError as error:
            locked = False
            logger.warning("%s cannot be locked (%s): runs are kept apart by what stands in it", self.file, error.strerror)
        try:
            self._judge_holder(descriptor, locked)
        except InputError:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        self._descriptor, self._released = descriptor, threading.Event()
        threading.Thread(target=_touch, args=(self.file, self._released), name="run lock", daemon=True).start()

    def release(self) -> None:
        """Give the lock back, where it is held."""
        if self._descriptor is not None:
            self._released.set()
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _judge_holder(self, descriptor: int, locked: bool) -> None:
        """Refuse the lock where the file names a holder that may live."""
        holder = _read_holder(descriptor)
        if "host" not in holder:
            return
        here = holder["host"] == socket.gethostname()
        if here and (locked or not _is_other_process(holder["pid"])):
            return
        silent_s = time.time() - os.fstat(descriptor).st_mtime
        if silent_s > DEAD_AFTER_S:
            logger.warning(
                "Taking %s over: process %s on %s has given no sign of life for %d minutes",
                *(self.file.parent, holder["pid"], holder["host"], silent_s // 60),
            )
            return
        raise InputError(
            f"a run {'' if here else 'on another machine '}is writing into {self.file.parent}: process {holder['pid']} on"
            f" {holder['host']}. If it is dead, start again when it has been silent for {DEAD_AFTER_S // 60} minutes, or remove"
            f" {self.file}; else wait for it, or choose another --output_dir."
        )


def _touch(file: Path, released: threading.Event) -> None:
    """Be seen to live."""
    while not released.wait(TOUCH_S):
        try:
            os.utime(file)
        except OSError as error:  # a file system that is away for a while must not end the run
            logger.warning("%s cannot be touched: %s", file, error.strerror)


def _is_other_process(pid: int) -> bool:
    """Whether a process of this machine lives that is not this one."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is someone else's
        return True
    return True


def _read_holder(descriptor: int) -> dict:
    content = os.pread(descriptor, 4096, 0)
    try:
        return json.loads(content) if content else {}
    except ValueError:
        return {}  # its holder is just writing it
