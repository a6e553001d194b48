"""One run at a time in a folder."""

import fcntl
import json
import logging
import os
import socket
from pathlib import Path

from mert_hf.errors import InputError

logger = logging.getLogger(__name__)


class RunLock:
    """A lock file that names its holder: host and process.

    The operating system gives the lock back when its holder dies, however it dies, so a dead run of this machine locks nobody
    out. Of a run on another machine nobody here can tell whether it lives; it is believed to until the file is removed.

    Args:
        file: the lock file; it stays behind, empty, when the lock is given back.
    """

    def __init__(self, file: str | os.PathLike):
        self.file = Path(file)
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; taking it twice is no mistake.

        Raises:
            InputError: another run holds it.
        """
        if self._descriptor is not None:
            return
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._read_holder(descriptor)
            os.close(descriptor)
            raise InputError(
                f"another run is writing into {self.file.parent}: process {holder.get('pid')} on {holder.get('host')}. Wait for"
                " it, stop it, or choose another --output_dir."
            ) from None
        except OSError as error:
            logger.warning(
                "%s cannot be locked (%s): make sure yourself that no other run writes there", self.file.parent, error.strerror
            )
        holder = self._read_holder(descriptor)
        if holder.get("host", socket.gethostname()) != socket.gethostname():
            os.close(descriptor)
            raise InputError(
                f"a run on another machine is writing into {self.file.parent}: process {holder.get('pid')} on"
                f" {holder['host']}. If it is dead, remove {self.file}; else wait for it, or choose another --output_dir."
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back, where it is held."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def _read_holder(self, descriptor: int) -> dict:
        content = os.pread(descriptor, 4096, 0)
        try:
            return json.loads(content) if content else {}
        except ValueError:
            return {}  # its holder is just writing it
