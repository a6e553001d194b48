"""The command `mert-hf`: convert what others published, export models, measure what can be measured on your music."""

import argparse
import sys
from collections.abc import Iterator, Sequence

from mert_hf.common.command_line import run_tool
from mert_hf.common.errors import InputError

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

    offset = commands.add_parser("code-offset", help="masked accuracy of a converted model if code 0 lies in row 0, or in 4")
    offset.add_argument("model", help="folder that `mert-hf convert` wrote")
    offset.add_argument("music", help="folder of music")
    offset.add_argument("--codec", default="facebook/encodec_24khz", help="the teacher (default: facebook/encodec_24khz)")
    offset.add_argument("--clips", type=int, default=20, help="clips of 5 s to measure on (default: 20)")
    offset.set_defaults(run=_report_code_offset)

    labels = commands.add_parser("import-labels", help="official manifest and labels to a folder for data.labels")
    labels.add_argument("manifest", help="the .tsv; its paths must be those below data.folder")
    labels.add_argument("labels", nargs="+", help="one file a codebook, text or .npy, in their order")
    labels.add_argument("--output_dir", required=True, help="folder to write")
    labels.add_argument("--dict", help="dict.LABEL.txt; without it the labels must be the codes themselves")
    labels.add_argument("--codebook_size", type=int, default=1024, help="codes of each codebook (default: 1024)")
    labels.add_argument("--sampling_rate", type=int, default=24000, help="of the samples in the manifest (default: 24000)")
    labels.add_argument("--frame_rate", type=float, default=75.0, help="labels per second (default: 75)")
    labels.add_argument("--teacher", default="imported labels", help="what made them, for the results")
    labels.set_defaults(run=_import_labels)

    export = commands.add_parser("export-onnx", help="a model to an ONNX file for batches and clips of any size")
    export.add_argument("model", help="folder or repository; a classifier is exported with its head")
    export.add_argument("file", help="the .onnx file to write")
    export.add_argument("--all_layers", action="store_true", help="a second output with the hidden states of all layers")
    export.set_defaults(run=_export_onnx)

    checkpoint = commands.add_parser("export-checkpoint", help="a checkpoint of a pre-training run to a Hugging Face folder")
    checkpoint.add_argument("run_folder", metavar="run", help="output_dir of the run")
    checkpoint.add_argument("output_dir", help="folder to write")
    checkpoint.add_argument("--step", type=int, help="updates the checkpoint has seen (default: those of the newest)")
    checkpoint.set_defaults(run=_export_checkpoint)

    _add_measurements(commands)

    def run() -> None:
        arguments = parser.parse_args(argv)
        arguments.run(arguments)

    run_tool(run, argv=argv)


def _add_measurements(commands) -> None:
    difference = commands.add_parser("window-difference", help="how much windows change a model's features, by layer")
    difference.add_argument("model", help="folder or repository")
    difference.add_argument("audio", help="an audio file of a minute or two; it passes through the model as a whole as well")
    difference.add_argument("--window_s", type=float, default=30.0, help="length of a window (default: 30)")
    difference.add_argument("--overlap_s", type=float, default=3.0, help="overlap of windows (default: 3)")
    difference.set_defaults(run=_report_window_differences)

    check = commands.add_parser(
        "check-features", help="whether features that you kept are those of a model; exit code 1 if not"
    )
    check.add_argument("model", help="folder or repository")
    check.add_argument("features", help=".npy with (frames, hidden) of one layer, or with (hidden,), their mean")
    check.add_argument("audio", help="the audio file that they are of")
    check.add_argument("--window_s", type=float, help="length of the windows that they were computed in (default: no windows)")
    check.set_defaults(run=_check_features)


def _convert(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.fairseq import convert_fairseq_checkpoint

    model = convert_fairseq_checkpoint(arguments.checkpoint, arguments.output_dir, arguments.code_offset)
    parameters = sum(parameter.numel() for parameter in model.mert.parameters())
    print(f"{arguments.output_dir}: {model.config.num_hidden_layers} layers, {parameters:,} parameters without heads")
    print(
        f"code_offset {arguments.code_offset} is an assumption; check it with: mert-hf code-offset {arguments.output_dir} MUSIC"
    )


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


def _convert_deezer(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.deezer import convert_deezer_checkpoint

    model = convert_deezer_checkpoint(arguments.checkpoint, arguments.output_dir)
    print(f"{arguments.output_dir}: {sum(parameter.numel() for parameter in model.parameters()):,} parameters")


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


def _export_onnx(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.onnx import export_onnx, load_for_export

    model, extractor = load_for_export(arguments.model)
    export_onnx(model, extractor, arguments.file, arguments.all_layers)
    scaled = "; the file scales each clip to zero mean and unit variance" if extractor.do_normalize else ""
    print(f"{arguments.file}: input_values (batch, samples) float32, mono, at {model.config.sample_rate} Hz{scaled}")


def _export_checkpoint(arguments: argparse.Namespace) -> None:
    from mert_hf.pretraining.checkpoint_export import export_checkpoint

    checkpoint = export_checkpoint(arguments.run_folder, arguments.output_dir, arguments.step)
    print(f"{arguments.output_dir}: the model of {checkpoint}")


def _report_window_differences(arguments: argparse.Namespace) -> None:
    from mert_hf.encoding.encoder import MusicEncoder
    from mert_hf.encoding.window_report import window_differences

    encoder = MusicEncoder(arguments.model)
    print("layer  difference of frames  cosine of means")
    for row in window_differences(encoder, arguments.audio, arguments.window_s, arguments.overlap_s):
        print(f"{row.layer:5d}  {100 * row.frames:18.2f} %  {row.mean_cosine:15.6f}")


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


def _check_features(arguments: argparse.Namespace) -> None:
    from mert_hf.encoding.encoder import MusicEncoder
    from mert_hf.encoding.feature_check import check_features, read_features

    kept = read_features(arguments.features)
    found = check_features(MusicEncoder(arguments.model), kept, arguments.audio, arguments.window_s)
    nearest = f"they come closest to layer {found.layer}, with a difference of {100 * found.difference:.2g} %"
    print(f"{arguments.features}: {found.verdict}; {nearest}")
    if found.verdict == "wrong":
        raise InputError(f"{arguments.features} does not hold features of {arguments.model}; compute them anew.")
