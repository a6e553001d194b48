"""What can be measured of features: `window-difference`, `check-features`."""

import argparse

from mert_hf.commands.base import Command
from mert_hf.common.errors import InputError


def _difference_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or repository")
    parser.add_argument("audio", help="an audio file of a minute or two; it passes through the model as a whole as well")
    parser.add_argument("--window_s", type=float, default=30.0, help="length of a window (default: 30)")
    parser.add_argument("--overlap_s", type=float, default=3.0, help="overlap of windows (default: 3)")


def _report_window_differences(arguments: argparse.Namespace) -> None:
    from mert_hf.encoding.encoder import MusicEncoder
    from mert_hf.encoding.window_report import window_differences

    encoder = MusicEncoder(arguments.model)
    print("layer  difference of frames  cosine of means")
    for row in window_differences(encoder, arguments.audio, arguments.window_s, arguments.overlap_s):
        print(f"{row.layer:5d}  {100 * row.frames:18.2f} %  {row.mean_cosine:15.6f}")


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or repository")
    parser.add_argument("features", help=".npy with (frames, hidden) of one layer, or with (hidden,), their mean")
    parser.add_argument("audio", help="the audio file that they are of")
    parser.add_argument("--window_s", type=float, help="length of the windows that they were computed in (default: no windows)")


def _check_features(arguments: argparse.Namespace) -> None:
    from mert_hf.encoding.encoder import MusicEncoder
    from mert_hf.encoding.feature_check import check_features, read_features

    kept = read_features(arguments.features)
    found = check_features(MusicEncoder(arguments.model), kept, arguments.audio, arguments.window_s)
    nearest = f"they come closest to layer {found.layer}, with a difference of {100 * found.difference:.2g} %"
    print(f"{arguments.features}: {found.verdict}; {nearest}")
    if found.verdict == "wrong":
        raise InputError(f"{arguments.features} does not hold features of {arguments.model}; compute them anew.")


WINDOW_DIFFERENCE = Command(
    "window-difference",
    "how much windows change a model's features, by layer",
    _difference_arguments,
    _report_window_differences,
)
CHECK_FEATURES = Command(
    "check-features",
    "whether features that you kept are those of a model; exit code 1 if not",
    _check_arguments,
    _check_features,
)
