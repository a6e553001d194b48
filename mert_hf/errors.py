"""The errors that are told in a line: what a user gave cannot be used, or a training cannot go on."""

import errno

# What the operating system says where there is no room: the disk is full, a quota is used up, a file may not grow further.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InputError(ValueError):
    """A mistake in what the user gave. The message is complete: what was given, what is accepted, what to do.

    Command-line tools print it as one line instead of a traceback.
    """


class TrainingFailedError(InputError):
    """A training that diverged or collapsed. All processes raise it at the same update."""
