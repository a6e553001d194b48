"""How tools end."""

import errno

import pytest

from mert_hf.command_line import run_tool
from mert_hf.errors import InputError


def fail_with(error):
    def tool():
        raise error

    return tool


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("give a folder."), "error: give a folder."),
        (OSError(errno.ENOSPC, "full", "runs/x"), "error: the disk is full (runs/x); make room and begin anew."),
        (OSError(errno.ENOSPC, "full"), "error: the disk is full; make room and begin anew."),
        (OSError(errno.EDQUOT, "quota", "x"), "error: the disk is full (x); make room and begin anew."),
        (OSError(errno.EFBIG, "limit", "x"), "error: the disk is full (x); make room and begin anew."),
    ],
)
def test_what_can_be_mended_is_told_in_a_line(error, line):
    with pytest.raises(SystemExit) as stopped:
        run_tool(fail_with(error), "begin anew")
    assert stopped.value.code == line


@pytest.mark.parametrize("error", [ValueError("a defect"), PermissionError(errno.EACCES, "closed"), KeyboardInterrupt()])
def test_the_rest_is_not_swallowed(error):
    with pytest.raises(type(error)) as raised:
        run_tool(fail_with(error))
    assert raised.value is error
