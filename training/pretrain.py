"""Pre-train MERT, or one of its rivals, on your music: `mert-hf pretrain`, where a launcher wants a script."""

from mert_hf.commands.pretrain import main
from mert_hf.common.command_line import run_tool

if __name__ == "__main__":
    run_tool(main, "go on with --training.resume")
