"""How a command-line tool reads its arguments and how it ends, and what it never tells."""

import argparse
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from mert_hf.common.errors import FULL_DISK, InputError
from mert_hf.common.redaction import HidingStream
from mert_hf.common.suggestions import suggest_option
from mert_hf.models.redaction_mert import hide_secrets

# What the operating system says of a place that cannot be used as it was given.
WRONG_PLACE = (
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EROFS),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENXIO, errno.EINVAL),
)


DEBUG = "--debug"
# What shells say of a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


class ToolParser(argparse.ArgumentParser):
    """A parser that names the options that may be meant where one is unknown, and knows `--debug`; see [`run_tool`]."""

    def __init__(self, **options):
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})
        # taken out by `run_tool` where it begins with the arguments of the process; here for `--help`
        self.add_argument(DEBUG, action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")

    def parse_known_args(self, args=None, namespace=None):
        """Nothing is left over: what is unknown is an error of the command that it was given to."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            what = "option" if unknown[0].startswith("-") else "argument"
            self.error(f"unknown {what} {unknown[0]}{suggest_option(unknown[0], known)}")
        return namespace, unknown


def run_tool(
    main: Callable[[], None], after_full_disk: str = "give the same command again", argv: Sequence[str] | None = None
) -> None:
    """Run a tool. What its user can mend is told in one line, with exit code 1; everything else is a traceback.

    With `--debug` among the arguments there is a traceback of every error. Ctrl-C ends the tool with a line, and exit code 130.
    From then on the process shows no token and no password, in whatever it prints, logs or ends with.

    Args:
        after_full_disk: what to do when there is room on the disk again.
        argv: its arguments; those of the process by default, of which `--debug` is then taken out.
    """
    hide_secrets_in_output()
    # what packages mean to change concerns those who develop with them
    warnings.filterwarnings("ignore", category=FutureWarning)
    given = sys.argv[1:] if argv is None else argv
    debug = DEBUG in given
    if argv is None:
        sys.argv[1:] = [argument for argument in given if argument != DEBUG]
    try:
        for argument in given:
            if "\0" in argument:
                raise InputError(f"{argument!r} holds a NUL, which no name can hold.")
        main()
        leave_process_group()
    except KeyboardInterrupt:
        if debug:
            raise
        if int(os.environ.get("RANK", 0)) == 0:  # of several processes, one speaks
            sys.stderr.write(f"\ninterrupted; {after_full_disk}.\n")
        sys.exit(INTERRUPTED)
    except (InputError, OSError) as error:
        line = _in_a_line(error, after_full_disk)
        if debug or line is None:
            raise
        sys.exit(f"error: {line}")


def _in_a_line(error: InputError | OSError, after_full_disk: str) -> str | None:
    """What is said of an error that the user can mend; None of a defect."""
    if isinstance(error, InputError):
        return str(error)
    if error.errno in FULL_DISK:
        where = f" ({error.filename})" if error.filename else ""
        return f"the disk is full{where}; make room and {after_full_disk}."
    if error.errno not in WRONG_PLACE or not _is_of_the_user(error.filename):
        return None
    return str(InputError(f"{error.filename} cannot be used: {error.strerror}; give another place, or mend it."))


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
