"""How a command-line tool ends, and what it never tells."""

import errno
import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from mert_hf.common.errors import FULL_DISK, InputError
from mert_hf.common.redaction import HidingStream
from mert_hf.models.redaction_mert import hide_secrets

# What the operating system says of a place that cannot be used as it was given.
WRONG_PLACE = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL),
)


def run_tool(
    main: Callable[[], None], after_full_disk: str = "give the same command again", argv: Sequence[str] | None = None
) -> None:
    """Run a tool. What its user can mend is told in one line, with exit code 1; everything else is a traceback.

    From then on the process shows no token and no password, in whatever it prints, logs or ends with.

    Args:
        after_full_disk: what to do when there is room on the disk again.
        argv: its arguments; those of the process by default.
    """
    hide_secrets_in_output()
    # what packages mean to change concerns those who develop with them
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        for argument in sys.argv[1:] if argv is None else argv:
            if "\0" in argument:
                raise InputError(f"{argument!r} holds a NUL, which no name can hold.")
        main()
        leave_process_group()
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno in FULL_DISK:
            where = f" ({error.filename})" if error.filename else ""
            sys.exit(f"error: the disk is full{where}; make room and {after_full_disk}.")
        if error.errno not in WRONG_PLACE or not _is_of_the_user(error.filename):
            raise
        sys.exit(f"error: {InputError(f'{error.filename} cannot be used: {error.strerror}; give another place, or mend it.')}")


def leave_process_group() -> None:
    """End what connects this process with others, if there is anything; safe to call again.

    The threads of a group that Python ends with are killed now and then, with the exit code of an abort.
    """
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def hide_secrets_in_output() -> None:
    """Let standard output, standard error and all loggers of this process show no secret."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, HidingStream):
            setattr(sys, name, HidingStream(stream))
    make = logging.getLogRecordFactory()
    if getattr(make, "hides_secrets", False):
        return

    # at the record, since handlers of other packages hold the streams as they were before
    def make_hiding(*args, **kwargs) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            record.msg, record.args = hide_secrets(record.getMessage()), ()
        except (TypeError, ValueError, KeyError):  # a message that does not fit its arguments: the handler tells of it
            record.args = hide_secrets(repr(record.args))
        if record.exc_info:
            record.exc_text = hide_secrets("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return record

    make_hiding.hides_secrets = True
    logging.setLogRecordFactory(make_hiding)


def _is_of_the_user(place: object) -> bool:
    """Whether a file is one of the user's, and not one of the program's, which would be missing by a defect."""
    if not isinstance(place, str | bytes) or not place:
        return False
    programs = (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[1])
    return not any(Path(str(place)).is_relative_to(program) for program in programs)
