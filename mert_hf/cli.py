"""The command `mert-hf`, which is also `python -m mert_hf`: music into vectors, models published, judged and converted."""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from mert_hf.commands import COMMANDS
from mert_hf.common.command_line import ToolParser, run_tool
from mert_hf.common.suggestions import suggest

# Packages whose versions a report of an error should tell.
VERSIONS = ("mert_hf", "torch", "transformers")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user ends it with one line and exit code 1, or 2 where there is no such command."""

    def run() -> None:
        given = sys.argv[1:] if argv is None else list(argv)
        parser, names = _parser(), [command.name for group in COMMANDS.values() for command in group]
        chosen = next((argument for argument in given if not argument.startswith("-")), None)
        if chosen is not None and chosen not in names:
            parser.error(f"unknown command {chosen}{suggest(chosen, names)}")
        arguments = parser.parse_args(given)
        arguments.run(arguments)

    run_tool(run, argv=argv)


class _Version(argparse.Action):
    """Prints the versions of this package and of what it stands on, none of which is imported for it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **others):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **others)

    def __call__(self, parser, namespace, values, option_string=None):
        lines = [f"{name.replace('_', '-')} {importlib.metadata.version(name)}\n" for name in VERSIONS]
        sys.stdout.write("".join((*lines, f"python {sys.version.split()[0]}\n")))
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    listed = [f"{title}:\n" + "\n".join(f"  {one.name:19}{one.help}" for one in group) for title, group in COMMANDS.items()]
    parser = ToolParser(
        prog="mert-hf",
        usage="mert-hf COMMAND ... (mert-hf COMMAND --help tells of its arguments)",
        description=__doc__,
        epilog="\n\n".join(listed),
    )
    parser.add_argument("--version", action=_Version, help="versions of this package, torch and transformers")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="mert-hf")
    for group in COMMANDS.values():
        for command in group:
            own = commands.add_parser(command.name, description=command.description or command.help)
            command.add_arguments(own)
            own.set_defaults(run=command.run)
    return parser
