"""What a command of `mert-hf` is."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass


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
    """

    name: str
    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    description: str | None = None
