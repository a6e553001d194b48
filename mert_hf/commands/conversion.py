"""Other people's checkpoints and labels, made ours: `convert`, `convert-deezer`, `code-offset`, `import-labels`."""

import argparse
import sys
from collections.abc import Iterator

from mert_hf.commands.base import Command
from mert_hf.common.errors import InputError

# Masked accuracy below which nothing is concluded; chance is 0.1 % with 1024 codes.
CLEARLY_ABOVE_CHANCE = 0.01


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="the .pt file; it is read without running anything it holds")
    parser.add_argument("output_dir", help="folder to write")
    parser.add_argument("--code_offset", type=int, default=4, help="row of code 0 in the label tables (default: 4)")


def _convert(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.fairseq import convert_fairseq_checkpoint

    model = convert_fairseq_checkpoint(arguments.checkpoint, arguments.output_dir, arguments.code_offset)
    parameters = sum(parameter.numel() for parameter in model.mert.parameters())
    print(f"{arguments.output_dir}: {model.config.num_hidden_layers} layers, {parameters:,} parameters without heads")
    print(
        f"code_offset {arguments.code_offset} is an assumption; check it with: mert-hf code-offset {arguments.output_dir} MUSIC"
    )


def _deezer_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", help="a .pt file of weights.zip; it is read without running anything it holds")
    parser.add_argument("output_dir", help="folder to write")


def _convert_deezer(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.deezer import convert_deezer_checkpoint

    model = convert_deezer_checkpoint(arguments.checkpoint, arguments.output_dir)
    print(f"{arguments.output_dir}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


def _offset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder that `mert-hf convert` wrote")
    parser.add_argument("music", help="folder of music")
    parser.add_argument("--codec", default="facebook/encodec_24khz", help="the teacher (default: facebook/encodec_24khz)")
    parser.add_argument("--clips", type=int, default=20, help="clips of 5 s to measure on (default: 20)")


def _report_code_offset(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.fairseq import measure_code_offset
    from mert_hf.encoding.loading import load_model
    from mert_hf.models.modeling_mert import MERTForPreTraining
    from mert_hf.teachers import CodecTeacher

    heads = "Give a folder that mert-hf convert wrote, which holds the pre-training heads."
    model = load_model(MERTForPreTraining, arguments.model, remedy=heads)
    if arguments.clips < 1:
        raise InputError(f"--clips {arguments.clips}: at least one clip is needed.")
    teacher = CodecTeacher.from_pretrained(arguments.codec, len(model.config.codebook_sizes))
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
    for number in range(count):
        crop = crops[number]
        if not isinstance(crop, UnreadableCrop):
            yield crop


def _label_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", help="the .tsv; its paths must be those below data.folder")
    parser.add_argument("labels", nargs="+", help="one file a codebook, text or .npy, in their order")
    parser.add_argument("--output_dir", required=True, help="folder to write")
    parser.add_argument("--dict", help="dict.LABEL.txt; without it the labels must be the codes themselves")
    parser.add_argument("--codebook_size", type=int, default=1024, help="codes of each codebook (default: 1024)")
    parser.add_argument("--sampling_rate", type=int, default=24000, help="of the samples in the manifest (default: 24000)")
    parser.add_argument("--frame_rate", type=float, default=75.0, help="labels per second (default: 75)")
    parser.add_argument("--teacher", default="imported labels", help="what made them, for the results")


def _import_labels(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.fairseq_labels import import_labels

    corpus = import_labels(
        arguments.manifest,
        arguments.labels,
        arguments.output_dir,
        arguments.codebook_size,
        arguments.dict,
        arguments.sampling_rate,
        arguments.frame_rate,
        arguments.teacher,
    )
    for track in corpus.skipped:
        print(f"left out {track.name}: {track.skipped_because}", file=sys.stderr)
    print(f"{arguments.output_dir}: labels of {len(corpus.tracks)} tracks, {corpus.duration_s / 3600:.2f} hours")
    print("They are raw codes: train with code_offset 0, or go on with a model whose code_offset is 4 as it is")


CONVERT = Command("convert", "a fairseq checkpoint (.pt) to a Hugging Face folder", _convert_arguments, _convert)
CONVERT_DEEZER = Command(
    "convert-deezer",
    "one of Deezer's multi-view checkpoints (.pt) to a Hugging Face folder",
    _deezer_arguments,
    _convert_deezer,
)
CODE_OFFSET = Command(
    "code-offset",
    "masked accuracy of a converted model if code 0 lies in row 0, or in 4",
    _offset_arguments,
    _report_code_offset,
)
IMPORT_LABELS = Command(
    "import-labels", "official manifest and labels to a folder for data.labels", _label_arguments, _import_labels
)
