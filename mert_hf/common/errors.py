"""The errors that are told in a line: what a user gave cannot be used, or a training cannot go on."""

import errno

from mert_hf.models.errors_mert import AudioError, InputError

# What the operating system says where there is no room: the disk is full, a quota is used up, a file may not grow further.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TrainingFailedError(InputError):
    """A training that diverged or collapsed. All processes raise it at the same update."""


class MissingPackageError(InputError, ImportError):
    """A package of an extra is not installed; the message says how to install it."""


__all__ = ["FULL_DISK", "AudioError", "InputError", "MissingPackageError", "TrainingFailedError"]
