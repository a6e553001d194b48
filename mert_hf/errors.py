"""The errors that are told in a line: what a user gave cannot be used, or a training cannot go on."""

import errno

from mert_hf.redaction import hide_secrets

# What the operating system says where there is no room: the disk is full, a quota is used up, a file may not grow further.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Longest message; what is longer repeats something endless that was given.
MOST_CHARACTERS = 1500


class InputError(ValueError):
    """A mistake in what the user gave. The message is complete: what was given, what is accepted, what to do.

    Command-line tools print it as one line instead of a traceback. Whatever it is made from, it is one line, and holds no
    token and no password.
    """

    def __init__(self, message: object = ""):
        line = " ".join(part.strip() for part in hide_secrets(str(message)).splitlines())
        super().__init__(line if len(line) <= MOST_CHARACTERS else f"{line[:MOST_CHARACTERS]}...")


class TrainingFailedError(InputError):
    """A training that diverged or collapsed. All processes raise it at the same update."""
