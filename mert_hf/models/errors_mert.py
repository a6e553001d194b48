"""The errors of what a user gave, for the code that travels to the Hub and the package alike."""

from .redaction_mert import hide_secrets

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


class AudioError(InputError):
    """Audio that cannot be used; the message says why."""
