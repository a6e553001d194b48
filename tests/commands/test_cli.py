"""`mert-hf` as a whole: what it costs to ask for help, what it says of mistakes, and how it ends."""

import ast
import os
import signal
import subprocess
import sys
import time

import pytest

from mert_hf import __version__, cli
from mert_hf.commands import COMMANDS
from mert_hf.common.errors import InputError

EVERY = [command for group in COMMANDS.values() for command in group]
NAMES = [command.name for command in EVERY]
# Help of the others tells their settings, which are those of the library behind them.
LIGHT = ["", *(command.name for command in EVERY if command.main is None)]
HEAVY = ("torch", "transformers", "accelerate", "datasets", "jinja2", "sklearn", "matplotlib")

LOADED_BY_HELP = f"""
import sys
from mert_hf.cli import main
loaded = {{}}
for name in sys.argv[1:]:
    try:
        main([name, "--help"] if name else ["--help"])
    except SystemExit as stopped:
        loaded[name] = (stopped.code, [package for package in {HEAVY} if package in sys.modules])
print("\\n" + repr(loaded))
"""


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_help_loads_nothing_that_takes_long():
    ran = subprocess.run([sys.executable, "-c", LOADED_BY_HELP, *LIGHT], capture_output=True, text=True, check=True)
    assert ast.literal_eval(ran.stdout.splitlines()[-1]) == dict.fromkeys(LIGHT, (0, []))
    for name in NAMES:
        assert f"\n  {name} " in ran.stdout


def test_versions_are_told_without_loading_what_they_are_of():
    code = "import sys\nfrom mert_hf.cli import main\ntry: main(['--version'])\nfinally: assert 'torch' not in sys.modules"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = dict(line.split(" ", 1) for line in ran.stdout.splitlines())
    import torch
    import transformers

    assert told["mert-hf"] == __version__
    assert (told["torch"].split("+")[0], told["transformers"]) == (torch.__version__.split("+")[0], transformers.__version__)
    assert told["python"] == sys.version.split()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["conver", "a", "b"], "unknown command conver; did you mean convert or convert-deezer?"),
        (["xyz"], "unknown command xyz; known: "),
        (["convert", "a", "b", "--code-ofset", "3"], "unknown option --code-ofset; did you mean --code_offset?"),
        (["convert", "a", "b", "c"], "unknown argument c"),
        (["export-onnx", "a"], "the following arguments are required: file"),
        ([], "the following arguments are required: COMMAND"),
        (["--zzz"], "COMMAND"),
    ],
)
def test_a_mistake_in_the_words_is_told_with_what_may_be_meant(capsys, arguments, said):
    lines = refused(capsys, *arguments)
    assert said in lines.splitlines()[-1]
    assert "Traceback" not in lines


def test_debug_stands_anywhere(tmp_path):
    missing = ["convert", str(tmp_path / "none.pt"), str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"^error: .*none\.pt does not exist"):
        cli.main(missing)
    for arguments in (["--debug", *missing], [*missing, "--debug"]):
        with pytest.raises(InputError, match="does not exist"):
            cli.main(arguments)


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_ctrl_c_in_a_process_ends_in_a_line():
    code = (
        "import time\nfrom mert_hf.common.command_line import run_tool\n"
        "def main():\n    print('running', flush=True)\n    time.sleep(60)\nrun_tool(main)"
    )
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "running\n"
    time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=30)
    assert (started.returncode, said) == (130, "\ninterrupted; give the same command again.\n")
