"""What a command shows while it works."""

import logging


def show_logs(speaks: bool = True) -> None:
    """Let what this package logs be seen, plain lines on standard error; safe to call again.

    transformers shows no bar for every file of weights any more: a command has bars of its own.

    Args:
        speaks: whether this is the process that tells how the work goes; the others tell of errors alone.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mert_hf").setLevel(logging.INFO if speaks else logging.ERROR)
