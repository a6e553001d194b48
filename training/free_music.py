"""Free music for training, from packages of Debian: what there is, under which licences, and a folder of it.

    python training/free_music.py list
    sudo python training/free_music.py install            # or --dry-run, which prints the line for apt-get
    python training/free_music.py link --output ~/free_music/games
    python training/free_music.py render --output ~/free_music/synthetic

The last renders music that the package composes, with its own sounds and with those of a free soundfont in turn.
`--weights_licence` says under which licence the model is to be published, and takes only the music that allows it. The
folder of `link` holds links, `SOURCES.csv` and `licences.json`, which a model card quotes: mert_hf/common/licence_terms.py
tells how the licence of weights follows from those of the music.
"""

import argparse
import os
import shlex
import subprocess

from mert_hf.common.command_line import ToolParser, run_tool
from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import WEIGHTS_LICENCES, require_weights_licence
from mert_hf.common.threads import count_cores
from mert_hf.data.free_music import MusicPackage, choose_packages
from mert_hf.data.free_music_folder import WIDEST, installed_version, link_music
from mert_hf.synthetic.corpus import CORPUS_RENDERERS, write_corpus

PIECE_S, RATE = 30.0, 24000


def list_packages(packages: list[MusicPackage], given: argparse.Namespace) -> None:
    """A line for each package, and what there is in all."""
    licence = given.weights_licence or WIDEST
    rows = [("package", "hours", f"for {licence}", "installed", "licences", "music of")]
    for package in packages:
        hours = (f"{package.hours():.2f}", f"{package.hours(licence):.2f}")
        version = installed_version(package.name) or "-"
        rows.append((package.name, *hours, version, ", ".join(package.licences), package.title))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    hours = {licence: sum(package.hours(licence) for package in packages) for licence in WEIGHTS_LICENCES}
    print("hours for weights under: " + ", ".join(f"{licence} {found:.1f}" for licence, found in hours.items()))


def install(packages: list[MusicPackage], given: argparse.Namespace) -> None:
    """Let apt-get install what is not there and holds music for the licence."""
    wanted = [package.name for package in packages if package.hours(given.weights_licence or WIDEST)]
    missing = [name for name in wanted if installed_version(name) is None]
    if not missing:
        print(f"installed already: {', '.join(wanted) or 'nothing is wanted'}")
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if given.dry_run:
        print(shlex.join(command))
        return
    if os.geteuid() != 0:
        raise InputError(f"only root may install packages; run: sudo {shlex.join(command)}")
    code = subprocess.run(command).returncode
    if code != 0:
        raise InputError(f"apt-get ended with {code}, see above; packages are those of Debian 12: apt-get update may help.")


def link(packages: list[MusicPackage], given: argparse.Namespace) -> None:
    """Make the folder, and say what is in it and what is not."""
    made = link_music(packages, given.output, given.weights_licence)
    reasons: dict[str, int] = {}
    for one in made.left_out:
        reasons[f"{one.package}: {one.reason}"] = reasons.get(f"{one.package}: {one.reason}", 0) + 1
    for reason, files in reasons.items():
        print(f"left out {files:3}  {reason}")
    print(f"{made.folder}: {len(made.sources)} tracks, {made.hours:.2f} hours; weights under {made.weights_licence}")
    print("who made them and under which licences: SOURCES.csv and licences.json there")


def render(packages: list[MusicPackage], given: argparse.Namespace) -> None:
    """Make music: pieces of 30 s, each with its labels; what is there already is kept."""
    write_corpus(given.output, given.pieces, PIECE_S, given.seed, RATE, given.renderer, count_cores())
    print(f"{given.output}: {given.pieces} pieces, {given.pieces * PIECE_S / 3600:.2f} hours")


def main() -> None:
    """Arguments to one of the four."""
    given = parse_arguments()
    given.run(choose_packages(given.packages), given)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = ToolParser(description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="list|install|link|render", parser_class=argparse.ArgumentParser)
    for name, run in (("list", list_packages), ("install", install), ("link", link)):
        part = parts.add_parser(name, help=run.__doc__)
        part.add_argument("packages", nargs="*", help="names of packages (default: all that are known)")
        part.add_argument("--weights_licence", help=f"take only what allows it (default: {WIDEST}, which most music allows)")
        part.set_defaults(run=run)
        if name == "install":
            part.add_argument("--dry-run", action="store_true", help="print the line for apt-get")
        if name == "link":
            part.add_argument("--output", required=True, help="folder to make")
    part = parts.add_parser("render", help=render.__doc__)
    part.add_argument("--output", required=True, help="folder to make")
    part.add_argument("--pieces", type=int, default=1800, help="how many (default: %(default)s, 15 hours)")
    part.add_argument("--renderer", choices=CORPUS_RENDERERS, default="both", help="both needs fluidsynth (default)")
    part.add_argument("--seed", type=int, default=1337, help="other pieces with another number (default: %(default)s)")
    part.set_defaults(run=render, packages=[], weights_licence=None)
    given = parser.parse_args()
    if given.weights_licence is not None:
        require_weights_licence(given.weights_licence)
    return given


if __name__ == "__main__":
    run_tool(main)
