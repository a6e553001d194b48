"""A fine-tuned model on a folder: `classify`."""

import argparse
import sys
from pathlib import Path

from mert_hf.commands.base import Command
from mert_hf.common.errors import InputError
from mert_hf.common.logs import show_logs


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="FOLDER_OR_FILE", help="audio files, or folders of them")
    parser.add_argument("--model", required=True, help="folder of a run of finetune, such as runs/genres, or a repository")
    parser.add_argument("-o", "--output", type=Path, help="the .csv to write (default: standard output)")
    parser.add_argument("--clip_s", type=float, help="length of a clip in seconds (default: that of the training)")
    parser.add_argument(
        "--threshold", type=float, default=0.5, help="of several labels: least score that counts (default: 0.5)"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="clips at a time (default: 16)")
    parser.add_argument("--device", help="of torch, such as cpu or cuda:1 (default: the first GPU, or the CPU)")


def _classify(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from mert_hf.common.files import write_atomically
    from mert_hf.finetuning.classify import SongClassifier, to_csv

    if arguments.batch_size < 1:
        raise InputError(f"--batch_size {arguments.batch_size}: at least one clip is needed.")
    if arguments.output is not None and not arguments.output.parent.is_dir():
        raise InputError(f"--output {arguments.output}: there is no folder {arguments.output.parent}; make it first.")
    show_logs()
    classifier = SongClassifier(arguments.model, arguments.clip_s, arguments.batch_size, arguments.device)
    songs = list(tqdm(classifier.classify(arguments.sources), desc="Songs", unit="song"))
    unreadable = [song for song in songs if song.values is None]
    for song in unreadable:
        print(f"skipped {song.file}: {song.unreadable_because}", file=sys.stderr)
    table = to_csv(classifier, songs, arguments.threshold)
    if arguments.output is None:
        sys.stdout.write(table.decode("utf-8", "backslashreplace"))
    else:
        write_atomically(arguments.output, table)
        print(f"{arguments.output}: {len(songs) - len(unreadable)} songs, clips of {classifier.clip_s:g} s")
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(songs)} files could not be read; why is said above.")


CLASSIFY = Command("classify", "what a fine-tuned model says of your songs, as a table (CSV)", _arguments, _classify)
