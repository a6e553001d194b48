"""Publish a trained model on the Hub: checked first, then uploaded in one commit.

    mert-hf publish runs/quickstart user/my-mert --card quickstart --private

Log in before with `hf auth login`. With --dry-run everything is checked and shown, and nothing leaves this machine.

    mert-hf publish runs/small --to-folder model_cards/mert-small --card mert-small --half

writes a folder in place of a repository, and asks no Hub. In model_cards the model is found by the folder's name from then on.
"""

import argparse
import tempfile

from mert_hf.commands.base import Command
from mert_hf.common.errors import InputError
from mert_hf.common.logs import show_logs
from mert_hf.common.places import CARDS


def _publish(arguments: argparse.Namespace) -> None:
    if (arguments.repo_id is None) == (arguments.to_folder is None):
        raise InputError("give either user/name, where to publish on the Hub, or --to-folder.")
    if arguments.to_folder is None:
        _upload(arguments)
        return
    if arguments.tag or arguments.private:
        raise InputError("--tag and --private are of the Hub; leave them out with --to-folder.")
    from mert_hf.encoding.released import LARGEST_BYTES
    from mert_hf.publishing.release import release

    facts = _read_facts(arguments)
    show_logs()
    print(f"Checking {arguments.folder}", flush=True)
    template, write = CARDS / "template.md", not arguments.dry_run
    released = release(arguments.folder, arguments.to_folder, facts, template, arguments.half, write)
    _tell(released, f"In {released.folder}:")
    if sum(size for _, size in released.files) > LARGEST_BYTES:
        print(f"  More than {LARGEST_BYTES / 1e6:.0f} MB: too large to come with the package.")
    if arguments.dry_run:
        print("Dry run: nothing was written.")


def _read_facts(arguments: argparse.Namespace):
    from mert_hf.publishing.model_card import find_facts
    from mert_hf.publishing.music_credits import credit_music

    if arguments.music is None:
        return find_facts(CARDS, arguments.card, arguments.license)
    return credit_music(find_facts(CARDS, arguments.card, arguments.license, check=False), arguments.music)


def _tell(staged, title: str) -> None:
    for check in staged.checks:
        print(f"  {check}")
    print(title)
    for name, size in staged.files:
        print(f"  {name:28} {size / 1e6:10.3f} MB")


def _upload(arguments: argparse.Namespace) -> None:
    from mert_hf.publishing.hub import require_repo_id, require_write_access, upload
    from mert_hf.publishing.staging import stage

    require_repo_id(arguments.repo_id)
    facts = _read_facts(arguments)
    if not arguments.dry_run:
        require_write_access(arguments.repo_id)
    show_logs()
    with tempfile.TemporaryDirectory() as staging:
        print(f"Checking {arguments.folder}", flush=True)
        staged = stage(arguments.folder, staging, arguments.repo_id, facts, CARDS / "template.md", arguments.half)
        _tell(staged, "To upload:")
        if arguments.dry_run:
            print("Dry run: nothing was uploaded, and the Hub was not asked whether it accepts the card.")
            return
        published = upload(staging, arguments.repo_id, arguments.message, arguments.tag, arguments.private)
    print(f"Published: {published.url}\n  commit {published.commit}, tag {published.tag}")
    if published.remaining_pickles:
        print(f"  Still there, and run when they are read: {', '.join(published.remaining_pickles)}; delete them.")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", help="folder of a run, such as runs/quickstart, or of a model")
    parser.add_argument("repo_id", nargs="?", help="where to publish: user/name")
    parser.add_argument("--to-folder", metavar="FOLDER", help="write it there, in place of publishing it")
    half = "weights in float16, half the size; they are loaded as float32 all the same"
    parser.add_argument("--half", action="store_true", help=half)
    names = ", ".join(sorted(file.parent.name for file in CARDS.glob("*/facts.yaml")))
    parser.add_argument("--card", help=f"facts of the model card: {names}, or a YAML file like them")
    parser.add_argument("--license", help="licence of the weights, such as cc-by-nc-4.0; goes before that of the card")
    music = "licences.json of a folder of training/free_music.py: names the music and its authors, and a licence they allow"
    parser.add_argument("--music", metavar="FILE", help=music)
    parser.add_argument("--tag", help="tag of the revision (default: v1, v2, ...)")
    parser.add_argument("--message", default="Publish a model", help="message of the commit")
    parser.add_argument("--private", action="store_true", help="only you can see the repository, if it is made now")
    parser.add_argument("--dry-run", action="store_true", help="check and show everything, upload nothing")


PUBLISH = Command("publish", "a trained model to the Hub or to a folder, checked first", _arguments, _publish, __doc__)
main = PUBLISH.main_of_script
