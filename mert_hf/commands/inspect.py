"""A track as a model hears it: `inspect`."""

import argparse
import os
import reprlib
from pathlib import Path

from mert_hf.commands.base import Command, add_model
from mert_hf.common.errors import InputError
from mert_hf.common.logs import show_logs
from mert_hf.common.packages import require_packages

ENDINGS = (".png", ".html", ".json")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("track", help="an audio file, of seconds or hours")
    add_model(parser)
    parser.add_argument(
        *("-o", "--output"),
        action="append",
        default=[],
        metavar="FILE",
        help="what to write: picture.png, page.html (the track can be played in it), sections.json; give it again for another",
    )
    parser.add_argument("--layer", type=int, help="of which similarity and borders are computed (default: 2 of 3, 7 of 12)")
    parser.add_argument(
        "--beats",
        metavar="MODEL",
        help='folder of a model with a label "beat" for every frame; or "onsets" for beats of the onsets alone (default: none)',
    )
    parser.add_argument("--device", help="such as cpu, cuda, mps (default: the fastest there is)")
    parser.add_argument("--window_s", type=float, help="length of a window (default: that of the model's training, or 30)")
    parser.add_argument("--overlap_s", type=float, default=3.0, help="overlap of windows (default: 3)")


def _inspect(arguments: argparse.Namespace) -> None:
    outputs = [_output(output) for output in arguments.output]

    from mert_hf.catalogue.inspection.analysis import inspect_track, read_track_info
    from mert_hf.catalogue.inspection.playable import choose_bit_rate
    from mert_hf.common.redaction import name_only
    from mert_hf.encoding.encoder import MusicEncoder

    # what may stand in the way is looked at before anything is computed
    endings = {output.suffix.lower() for output in outputs}
    if endings & {".png", ".html"}:
        require_packages("train", "matplotlib")
    duration_s = read_track_info(arguments.track).duration_s
    if ".html" in endings:
        choose_bit_rate(duration_s)
    show_logs()
    encoder = MusicEncoder(arguments.model, device=arguments.device)
    window_s = "context" if arguments.window_s is None else arguments.window_s
    found = inspect_track(
        encoder,
        arguments.track,
        arguments.layer,
        model_name=name_only(arguments.model),
        beats=arguments.beats,
        window_s=window_s,
        overlap_s=arguments.overlap_s,
    )
    _print_sections(found)
    for output in outputs:
        note = _write(found, arguments.track, output)
        print(f"wrote {output}{note}")


def _output(name: str) -> Path:
    """A place that can be written to."""
    output = Path(name)
    if output.suffix.lower() not in ENDINGS:
        raise InputError(f"-o {reprlib.repr(name)} ends in none of {', '.join(ENDINGS)}; give a name that does.")
    folder = output.parent
    if not folder.is_dir():
        raise InputError(f"-o {output} cannot be written: there is no folder {folder}; make it first.")
    if output.is_dir() or not os.access(folder, os.W_OK):
        reason = "it is a folder" if output.is_dir() else f"the folder {folder} may not be written to"
        raise InputError(f"-o {output} cannot be written: {reason}; give another place.")
    return output


def _write(found, track: str, output: Path) -> str:
    """Write what the ending of a name asks for; what is to be said of it."""
    ending = output.suffix.lower()
    if ending == ".json":
        from mert_hf.common.files import to_json, write_atomically

        write_atomically(output, to_json(found.to_dict(), indent=2) + "\n")
        return ""
    if ending == ".png":
        from mert_hf.catalogue.inspection.picture import write_picture

        write_picture(found, output)
        return ""
    from mert_hf.catalogue.inspection.page import write_page
    from mert_hf.catalogue.inspection.playable import MEGABYTE, make_playable

    playable = make_playable(track, progress=True)
    write_page(found, playable, output)
    size_mb = output.stat().st_size / MEGABYTE
    return f" ({size_mb:.1f} MB, the track in it {playable.note})"


def _print_sections(found) -> None:
    from mert_hf.catalogue.inspection.picture import format_time

    def clock(time_s: float) -> str:
        return format_time(time_s, found.duration_s, 1)

    count = len(found.sections)
    name = "".join(letter if letter.isprintable() else "?" for letter in found.name)
    print(f"{name}: {count} section{'s' if count > 1 else ''}, by layer {found.layer} of {found.model}")
    print(f"section  {'from':>9}  {'to':>9}  {'seconds':>8}")
    for number, section in enumerate(found.sections, start=1):
        seconds = section.end_s - section.start_s
        print(f"{number:7d}  {clock(section.start_s):>9}  {clock(section.end_s):>9}  {seconds:8.1f}")
    if found.beats is not None:
        print(f"{len(found.beats.times_s)} beats ({found.beats.source})")


INSPECT = Command(
    "inspect",
    "a track as a model hears it: sections, picture, page to click",
    _arguments,
    _inspect,
    "A track as a model hears it: a table of its sections, and as a picture or a page to click its mel spectrogram,\n"
    "self-similarity, novelty and feature energy by layer.",
)
