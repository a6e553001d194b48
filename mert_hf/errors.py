"""The errors that are told in a line: what a user gave cannot be used, or a training cannot go on."""


class InputError(ValueError):
    """A mistake in what the user gave. The message is complete: what was given, what is accepted, what to do.

    Command-line tools print it as one line instead of a traceback.
    """


class TrainingFailedError(InputError):
    """A training that diverged or collapsed. All processes raise it at the same update."""
