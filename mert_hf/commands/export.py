"""Models in other forms: `export-onnx`, `export-checkpoint`."""

import argparse

from mert_hf.commands.base import Command


def _onnx_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or repository; a classifier is exported with its head")
    parser.add_argument("file", help="the .onnx file to write")
    parser.add_argument(
        "--all_layers", action="store_true", help="a second output with the hidden states of all layers; MusicEncoder needs it"
    )
    parser.add_argument(
        "--mask", action="store_true", help="a second input that tells padding, so that clips of several lengths share a batch"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="of the weights (default: float32); for others, what they cost is measured and printed",
    )
    parser.add_argument(
        "--check",
        metavar="AUDIO",
        help="measure the loss on its first 30 s (default: synthetic music, 10 s, unless --dtype float32)",
    )


def _export_onnx(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from mert_hf.audio import read_audio
    from mert_hf.conversion.onnx import export_onnx, load_for_export
    from mert_hf.conversion.onnx_files import data_beside
    from mert_hf.conversion.onnx_loss import LONGEST_S, make_music, measure_loss

    model, extractor = load_for_export(arguments.model)
    rate, file = extractor.sampling_rate, Path(arguments.file)
    music = None  # read before anything is written
    if arguments.check is not None:
        music = read_audio(arguments.check, rate)[: round(LONGEST_S * rate)]
    elif arguments.dtype != "float32":
        music = make_music(rate)
    facts = export_onnx(model, extractor, file, arguments.all_layers, arguments.mask, arguments.dtype)
    scaled = "; the file scales each clip to zero mean and unit variance" if facts.normalises else ""
    print(f"{arguments.file}: input_values (batch, samples) float32, mono, at {model.config.sample_rate} Hz{scaled}")
    if arguments.mask:
        print(f"{arguments.file}: attention_mask (batch, samples) int64, 1 for audio and 0 for padding on the right")
    if data_beside(file).is_file():
        print(f"{arguments.file} and {data_beside(file).name} belong together: its weights are too large for one file of ONNX")
    if facts.licence is not None:
        print(f"{arguments.file}: the weights' licence is {facts.licence}")
    if arguments.dtype == "float16":
        print("CPUs have no kernels for most of float16: there onnxruntime computes in float32, half the size and no faster")
    if music is not None:
        seconds = f"{len(music) / rate:.0f} s of {'synthetic music' if arguments.check is None else arguments.check}"
        _print_loss(measure_loss(file, model, extractor, music), seconds)


def _print_loss(loss, music: str) -> None:
    print(f"beside the model in torch, float32, on {music}:")
    if loss.layers:
        print("layer  difference of frames  cosine of means")
    for row in loss.layers:
        print(f"{row.layer:5d}  {100 * row.frames:18.2f} %  {row.mean_cosine:15.6f}")
    if loss.logits is not None:
        print("logits: largest difference {:.3g}, of values up to {:.3g}".format(*loss.logits))
    if loss.warning is not None:
        print(f"warning: {loss.warning}")


def _checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", metavar="run", help="output_dir of the run")
    parser.add_argument("output_dir", help="folder to write")
    parser.add_argument("--step", type=int, help="updates the checkpoint has seen (default: those of the newest)")


def _export_checkpoint(arguments: argparse.Namespace) -> None:
    from mert_hf.pretraining.checkpoint_export import export_checkpoint

    checkpoint = export_checkpoint(arguments.run_folder, arguments.output_dir, arguments.step)
    print(f"{arguments.output_dir}: the model of {checkpoint}")


EXPORT_ONNX = Command("export-onnx", "a model to an ONNX file for batches and clips of any size", _onnx_arguments, _export_onnx)
EXPORT_CHECKPOINT = Command(
    "export-checkpoint",
    "a checkpoint of a pre-training run to a Hugging Face folder",
    _checkpoint_arguments,
    _export_checkpoint,
)
