"""The error of everything a user gave that cannot be used."""


class InputError(ValueError):
    """A mistake in what the user gave. The message is complete: what was given, what is accepted, what to do.

    Command-line tools print it as one line instead of a traceback.
    """
