"""Models in other forms: `export-onnx`, `export-checkpoint`."""

import argparse

from mert_hf.commands.base import Command


def _onnx_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="folder or repository; a classifier is exported with its head")
    parser.add_argument("file", help="the .onnx file to write")
    parser.add_argument("--all_layers", action="store_true", help="a second output with the hidden states of all layers")


def _export_onnx(arguments: argparse.Namespace) -> None:
    from mert_hf.conversion.onnx import export_onnx, load_for_export

    model, extractor = load_for_export(arguments.model)
    export_onnx(model, extractor, arguments.file, arguments.all_layers)
    scaled = "; the file scales each clip to zero mean and unit variance" if extractor.do_normalize else ""
    print(f"{arguments.file}: input_values (batch, samples) float32, mono, at {model.config.sample_rate} Hz{scaled}")


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
