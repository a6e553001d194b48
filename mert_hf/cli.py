"""The command `mert-hf`: convert official checkpoints and Deezer's, and find out how their labels were numbered."""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence

from mert_hf.errors import InputError

# Masked accuracy below which nothing is concluded; chance is 0.1 % with 1024 codes.
CLEARLY_ABOVE_CHANCE = 0.01


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command; a mistake of the user ends it with one line and exit code 1."""
    parser = argparse.ArgumentParser(prog="mert-hf", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="a fairseq checkpoint (.pt) to a Hugging Face folder")
    convert.add_argument("checkpoint", help="the .pt file; it is read without running anything it holds")
    convert.add_argument("output_dir", help="folder to write")
    convert.add_argument("--code_offset", type=int, default=4, help="row of code 0 in the label tables (default: 4)")
    convert.set_defaults(run=_convert)

    deezer = commands.add_parser("convert-deezer", help="one of Deezer's multi-view checkpoints (.pt) to a Hugging Face folder")
    deezer.add_argument("checkpoint", help="a .pt file of weights.zip; it is read without running anything it holds")
    deezer.add_argument("output_dir", help="folder to write")
    deezer.set_defaults(run=_convert_deezer)

    offset = commands.add_parser(
        "code-offset", help="masked accuracy of a converted model if code 0 lies in row 0, and if in row 4"
    )
    offset.add_argument("model", help="folder that `mert-hf convert` wrote")
    offset.add_argument("music", help="folder of music")
    offset.add_argument("--codec", default="facebook/encodec_24khz", help="the teacher (default: facebook/encodec_24khz)")
    offset.add_argument("--clips", type=int, default=20, help="clips of 5 s to measure on (default: 20)")
    offset.set_defaults(run=_report_code_offset)

    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except InputError as error:
        sys.exit(f"error: {error}")


def _convert(arguments: argparse.Namespace) -> None:
    from mert_hf.convert import convert_fairseq_checkpoint

    model = convert_fairseq_checkpoint(arguments.checkpoint, arguments.output_dir, arguments.code_offset)
    parameters = sum(parameter.numel() for parameter in model.mert.parameters())
    print(f"{arguments.output_dir}: {model.config.num_hidden_layers} layers, {parameters:,} parameters without heads")
    print(
        f"code_offset {arguments.code_offset} is an assumption; check it with: mert-hf code-offset {arguments.output_dir} MUSIC"
    )


def _convert_deezer(arguments: argparse.Namespace) -> None:
    from mert_hf.convert_deezer import convert_deezer_checkpoint

    model = convert_deezer_checkpoint(arguments.checkpoint, arguments.output_dir)
    print(f"{arguments.output_dir}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


def _report_code_offset(arguments: argparse.Namespace) -> None:
    from mert_hf.convert import measure_code_offset
    from mert_hf.modeling_mert import MERTForPreTraining
    from mert_hf.teachers.encodec import EncodecTeacher

    try:
        model, loaded = MERTForPreTraining.from_pretrained(arguments.model, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{arguments.model} cannot be loaded: {' '.join(str(error).split())}") from None
    if loaded["missing_keys"]:
        raise InputError(f"{arguments.model} holds no pre-training heads; give a folder that mert-hf convert wrote.")
    if arguments.clips < 1:
        raise InputError(f"--clips {arguments.clips}: at least one clip is needed.")
    teacher = EncodecTeacher.from_pretrained(arguments.codec)
    accuracy = measure_code_offset(model.eval(), teacher, _clips(arguments.music, model.config.sample_rate, arguments.clips))
    for offset, share in accuracy.items():
        print(f"code_offset {offset}: masked accuracy {100 * share:.2f} %")
    best, other = sorted(accuracy, key=accuracy.get, reverse=True)
    if accuracy[best] < max(2 * accuracy[other], CLEARLY_ABOVE_CHANCE):
        print("undecided: neither fits clearly; is this the teacher the model was trained with?")
    else:
        print(f"code_offset {best} fits; the model's configuration says {model.config.code_offset}")


def _clips(folder: str, sampling_rate: int, count: int) -> Iterator:
    from mert_hf.data.corpus import open_folder
    from mert_hf.data.crops import RandomCrops, UnreadableCrop

    corpus = open_folder(folder)
    for track in corpus.skipped:
        print(f"skipped {track.name}: {track.skipped_because}", file=sys.stderr)
    if not corpus.tracks:
        raise InputError(f"none of the {len(corpus.skipped)} tracks in {folder} can be used.")
    crops = RandomCrops(corpus, 5 * sampling_rate, sampling_rate)
    for number in itertools.islice(itertools.count(), count):
        crop = crops[number]
        if not isinstance(crop, UnreadableCrop):
            yield crop
