"""The command `mert-hf`, which is also `python -m mert_hf`: music into vectors, models published, judged and converted."""

import argparse
from collections.abc import Sequence

from mert_hf.commands import COMMANDS
from mert_hf.common.command_line import run_tool


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user ends it with one line and exit code 1."""

    def run() -> None:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)

    run_tool(run, argv=argv)


def _parser() -> argparse.ArgumentParser:
    listed = [f"{title}:\n" + "\n".join(f"  {one.name:19}{one.help}" for one in group) for title, group in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="mert-hf",
        usage="mert-hf COMMAND ... (mert-hf COMMAND --help tells of its arguments)",
        description=__doc__,
        epilog="\n\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="mert-hf")
    for group in COMMANDS.values():
        for command in group:
            own = commands.add_parser(
                command.name,
                description=command.description or command.help,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            command.add_arguments(own)
            own.set_defaults(run=command.run)
    return parser
