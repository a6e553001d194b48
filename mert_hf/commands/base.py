"""What a command of `mert-hf` is."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mert_hf.common.command_line import ToolParser
from mert_hf.encoding.released import DEFAULT_MODEL


@dataclass(frozen=True)
class Command:
    """One word after `mert-hf`.

    What it needs beside the standard library is imported when it runs, so that `mert-hf --help` answers at once.

    Attributes:
        name: the word.
        help: its line in the list of commands.
        add_arguments: describes its arguments to a parser.
        run: does it; what its user can mend is an `InputError`.
        description: above its arguments in its own help; `help` where there is none.
        main: in place of the two, where the arguments are settings of a recipe: takes them as they are, and the name for help.
        after_stop: what to do after it was stopped, or ran out of disk.
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    run: Callable[[argparse.Namespace], None] | None = None
    description: str | None = None
    main: Callable[[Sequence[str] | None, str | None], None] | None = None
    after_stop: str = "give the same command again"

    def main_of_script(self) -> None:
        """Run it with the arguments of the process, as a script that has nothing else to do."""
        parser = ToolParser(description=self.description or self.help)
        self.add_arguments(parser)
        self.run(parser.parse_args())


def add_model(parser: argparse.ArgumentParser, folder: str = "folder") -> None:
    """The option --model of a command that takes the default one where none is named.

    Args:
        folder: what a folder may be of, as help says it.
    """
    kinds = f"{folder}, model of `mert-hf list models` or repository"
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"{kinds} (default: {DEFAULT_MODEL}, which comes with mert_hf)")
