"""Fine-tune MERT on labelled music: `mert-hf finetune`, where a launcher wants a script."""

from mert_hf.commands.finetune import main
from mert_hf.common.command_line import run_tool

if __name__ == "__main__":
    run_tool(main)
