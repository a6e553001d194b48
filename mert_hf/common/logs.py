"""What a script logs while it works."""

import logging


def show_logs(speaks: bool = True) -> None:
    """Let what this package logs be seen, plain lines on standard error; safe to call again.

    Args:
        speaks: whether this is the process that tells how the work goes; the others tell of errors alone.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("mert_hf").setLevel(logging.INFO if speaks else logging.ERROR)
