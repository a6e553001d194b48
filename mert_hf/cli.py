"""The command `mert-hf`, which is also `python -m mert_hf`: music into vectors, models published, judged and converted."""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from mert_hf.commands import COMMANDS, Command
from mert_hf.common.command_line import DEBUG, ToolParser, run_tool
from mert_hf.common.suggestions import suggest

# Packages whose versions a report of an error should tell.
VERSIONS = ("mert_hf", "torch", "transformers")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user ends it with one line and exit code 1, or 2 where there is no such command."""
    commands = {command.name: command for group in COMMANDS.values() for command in group}
    given = sys.argv[1:] if argv is None else argv
    name = next((argument for argument in given if not argument.startswith("-")), None)
    chosen = commands.get(name)

    def run() -> None:
        arguments = sys.argv[1:] if argv is None else list(argv)
        if name is not None and chosen is None:
            _parser(None).error(f"unknown command {name}{suggest(name, list(commands))}")
        if chosen is not None and chosen.main is not None:
            own = [argument for argument in arguments[arguments.index(name) + 1 :] if argument != DEBUG]
            chosen.main(own, f"mert-hf {name}")
            return
        parsed = _parser(chosen).parse_args(arguments)
        parsed.run(parsed)

    run_tool(run, chosen.after_stop if chosen else "give the same command again", argv)


class _Version(argparse.Action):
    """Prints the versions of this package and of what it stands on, none of which is imported for it."""

    def __init__(self, option_strings: Sequence[str], dest: str, **others):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **others)

    def __call__(self, parser, namespace, values, option_string=None):
        lines = [f"{name.replace('_', '-')} {importlib.metadata.version(name)}\n" for name in VERSIONS]
        sys.stdout.write("".join((*lines, f"python {sys.version.split()[0]}\n")))
        parser.exit()


def _parser(chosen: Command | None) -> argparse.ArgumentParser:
    """Of the command that was chosen: what others take is not asked for."""
    listed = [f"{title}:\n" + "\n".join(f"  {one.name:19}{one.help}" for one in group) for title, group in COMMANDS.items()]
    parser = ToolParser(
        prog="mert-hf",
        usage="mert-hf COMMAND ... (mert-hf COMMAND --help tells of its arguments)",
        description=__doc__,
        epilog="\n\n".join(listed),
    )
    parser.add_argument("--version", action=_Version, help="versions of this package, torch and transformers")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog="mert-hf")
    if chosen is not None:
        own = commands.add_parser(chosen.name, description=chosen.description or chosen.help)
        chosen.add_arguments(own)
        own.set_defaults(run=chosen.run)
    return parser
