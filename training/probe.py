"""Judge a frozen model on music understanding tasks: `mert-hf probe`, where a launcher wants a script."""

from mert_hf.commands.probe import main
from mert_hf.common.command_line import run_tool

if __name__ == "__main__":
    run_tool(main)
