"""The error of what a user gave, for the code that travels to the Hub and the package alike."""


class InputError(ValueError):
    """A mistake in what the user gave. The message is complete: what was given, what is accepted, what to do.

    Command-line tools print it as one line instead of a traceback.
    """


class AudioError(InputError):
    """Audio that cannot be used; the message says why."""
