"""Music to a catalogue of vectors: `embed`."""

import argparse
import sys

from mert_hf.commands.base import Command, add_model
from mert_hf.common.errors import InputError

# Exit code where the work is done and some tracks could not be.
SOME_FAILED = 3

DESCRIPTION = """\
Turns music into vectors, kept in Parquet files that pandas, DuckDB, datasets and `mert-hf search` read.

    mert-hf embed ~/Music -o catalogue                                # folders, files, patterns, playlists (.m3u)
    mert-hf embed --dataset user/songs --split train -o catalogue     # a dataset of the Hub or of a folder
    accelerate launch -m mert_hf embed ~/Music -o catalogue           # several GPUs or machines on one folder

Stopped or killed, the same line goes on where it was. Tracks that cannot be read are listed in failures.jsonl. Exit code 0: all
tracks have their vectors; 3: all but those that failed; 1: nothing was done, and a line says why. Under a launcher, which would
end all processes with the first that ends so, failed tracks are told by a line alone."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="audio file, folder, pattern or playlist")
    parser.add_argument("-o", "--output_dir", required=True, help="folder of the catalogue, which is made or gone on with")
    add_model(parser)
    parser.add_argument("--revision", help="commit, branch or tag of the repository")
    parser.add_argument(
        "--layers", help='such as 7, "0,7,12", all, or weights, "7:0.5,8:0.5" (default: 2 of 3, 7 of 12, 14 of 24)'
    )
    pools = ("mean", "mean_std", "second", "none")
    parser.add_argument(
        "--pool", choices=pools, default="mean", help="over time; none: all frames, a .npy a track (default: mean)"
    )
    parser.add_argument("--window_s", type=float, help="longest piece that passes as a whole (default: the model's, or 30)")
    parser.add_argument("--overlap_s", type=float, default=3.0, help="overlap of windows (default: 3)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16; auto measures (default: auto)")
    parser.add_argument("--batch_size", type=int, default=8, help="windows of a track at a time (default: 8)")
    rows = parser.add_argument_group("in place of sources")
    rows.add_argument("--dataset", help="dataset of the Hub, or folder of one, with a column of audio")
    rows.add_argument("--split", default="train", help="of the dataset (default: train)")
    rows.add_argument("--column", default="audio", help="of the dataset (default: audio)")
    rows.add_argument("--stream", action="store_true", help="read the dataset once through, without keeping it")
    hub = parser.add_argument_group("publish it")
    hub.add_argument("--push_to_hub", metavar="USER/NAME", help="then upload the catalogue as a dataset, with a card")
    hub.add_argument("--public", action="store_true", help="let everybody see it, if it is made now; otherwise only you do")
    hub.add_argument("--license", help="of the vectors (default: that of the model's weights, where it is known)")


def _run(arguments: argparse.Namespace) -> None:
    from mert_hf.catalogue import Rows, embed
    from mert_hf.catalogue.embedding import Process
    from mert_hf.catalogue.settings import parse_layers
    from mert_hf.common.logs import show_logs
    from mert_hf.common.threads import share_cores
    from mert_hf.publishing.hub import require_write_access

    if bool(arguments.sources) == bool(arguments.dataset):
        raise InputError("give either sources (files, folders, patterns, playlists) or --dataset.")
    process = Process.from_launcher()
    if arguments.push_to_hub and process.count > 1:
        raise InputError("--push_to_hub is for one process: give the same line once more, without the launcher.")
    if arguments.push_to_hub:
        require_write_access(arguments.push_to_hub)
    show_logs(process.number == 0)
    share_cores()
    found = arguments.sources
    if arguments.dataset:
        found = Rows(arguments.dataset, arguments.split, arguments.column, arguments.stream)
    done = embed(
        found,
        arguments.output_dir,
        arguments.model,
        None if arguments.layers is None else parse_layers(arguments.layers),
        None if arguments.pool == "none" else arguments.pool,
        window_s="context" if arguments.window_s is None else arguments.window_s,
        overlap_s=arguments.overlap_s,
        device=None if arguments.device == "auto" else arguments.device,
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
        revision=arguments.revision,
        process=process,
    )
    who = "" if process.count == 1 else f" (process {process.number + 1} of {process.count})"
    print(
        f"{arguments.output_dir}{who}: {done.new} tracks embedded, {done.audio_s / 3600:.2f} hours of audio,"
        f" {done.hours_an_hour:.1f} an hour; {done.known} were there"
    )
    if arguments.push_to_hub:
        from mert_hf.catalogue.publication import push_to_hub

        published = push_to_hub(arguments.output_dir, arguments.push_to_hub, not arguments.public, arguments.license)
        print(f"Published: {published.url}\n  commit {published.commit}, tag {published.tag}")
    if done.failed:
        print(f"{done.failed} tracks failed; the reasons are listed in {done.failures}", file=sys.stderr)
        if process.count == 1:
            raise SystemExit(SOME_FAILED)


EMBED = Command("embed", "music to vectors, kept in a folder that can be searched", _arguments, _run, DESCRIPTION)
