"""How tools end."""

import errno
import sys
from pathlib import Path

import pytest
import torch

import mert_hf
from mert_hf import cli
from mert_hf.common.command_line import run_tool
from mert_hf.common.errors import InputError


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


@pytest.mark.parametrize("error", [ValueError("a defect"), PermissionError(errno.EACCES, "closed")])
def test_the_rest_is_not_swallowed(error):
    with pytest.raises(type(error)) as raised:
        run_tool(fail_with(error))
    assert raised.value is error


def test_ctrl_c_ends_in_a_line_with_the_exit_code_of_shells(capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        run_tool(fail_with(KeyboardInterrupt()), "begin anew", argv=[])
    assert (stopped.value.code, capsys.readouterr().err) == (130, "\ninterrupted; begin anew.\n")
    monkeypatch.setenv("RANK", "1")  # of several processes, one speaks
    with pytest.raises(SystemExit):
        run_tool(fail_with(KeyboardInterrupt()), argv=[])
    assert capsys.readouterr().err == ""


def test_debug_shows_where_an_error_comes_from(monkeypatch):
    for error in (InputError("give a folder."), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised:
            run_tool(fail_with(error), argv=["--debug"])
        assert raised.value is error
    seen = []
    monkeypatch.setattr("sys.argv", ["tool", "a", "--debug", "b"])
    run_tool(lambda: seen.extend(sys.argv))
    assert seen == ["tool", "a", "b"]


@pytest.mark.parametrize("kind", [errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.EROFS])
def test_a_place_that_cannot_be_used_is_told_in_a_line(tmp_path, kind):
    with pytest.raises(SystemExit) as stopped:
        run_tool(fail_with(OSError(kind, "says the system", str(tmp_path / "music"))))
    assert stopped.value.code == f"error: {tmp_path / 'music'} cannot be used: says the system; give another place, or mend it."


def test_a_file_of_the_program_that_is_missing_is_a_defect():
    missing = FileNotFoundError(errno.ENOENT, "not there", str(Path(mert_hf.__file__).parent / "part.json"))
    with pytest.raises(FileNotFoundError):
        run_tool(fail_with(missing))


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "a\0b", "{out}"],
        ["convert", "{folder}", "{out}"],
        ["convert", "{long}", "{out}"],
        ["convert-deezer", "{folder}", "{out}"],
        ["export-checkpoint", "{file}", "{out}"],
        ["export-checkpoint", "{folder}", "{file}"],
        ["import-labels", "{folder}", "{file}", "--output_dir", "{out}"],
        ["import-labels", "{file}", "{long}", "--output_dir", "{out}"],
        ["export-onnx", "{file}", "{out}"],
        ["export-onnx", "{long}", "{out}"],
        ["window-difference", "{folder}", "{file}"],
        ["code-offset", "{file}", "{folder}"],
        ["code-offset", "{folder}", "{long}"],
    ],
)
def test_odd_places_given_to_the_command_end_in_a_line(tmp_path, arguments):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"\x80odd")
    places = {name: str(tmp_path / name) for name in ("folder", "file", "out")} | {"long": "x" * 5000}
    with pytest.raises(SystemExit) as stopped:
        cli.main([argument.format(**places) for argument in arguments])
    assert str(stopped.value.code).startswith("error: ") and "\n" not in stopped.value.code


def test_a_tool_leaves_its_process_group(tmp_path):
    """Python kills the threads of a group that it ends with now and then, which aborts the process."""

    def main():
        torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)

    run_tool(main)
    assert not torch.distributed.is_initialized()
    run_tool(lambda: None)
