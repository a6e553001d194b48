"""How a command-line tool ends."""

import sys
import warnings
from collections.abc import Callable

from mert_hf.errors import FULL_DISK, InputError


def run_tool(main: Callable[[], None], after_full_disk: str = "give the same command again") -> None:
    """Run a tool. What its user can mend is told in one line, with exit code 1; everything else is a traceback.

    Args:
        main: the tool.
        after_full_disk: what to do when there is room on the disk again.
    """
    # what packages mean to change concerns those who develop with them
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        where = f" ({error.filename})" if error.filename else ""
        sys.exit(f"error: the disk is full{where}; make room and {after_full_disk}.")
