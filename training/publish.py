"""Publish a trained model on the Hub: `mert-hf publish`, where one has a clone."""

from mert_hf.commands.publish import main
from mert_hf.common.command_line import run_tool

if __name__ == "__main__":
    run_tool(main)
