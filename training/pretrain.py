"""Pre-train MERT, or one of its rivals, on your music.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        training/pretrain.py --recipe quickstart --data.folder ~/Music

Without data.folder, small synthetic music is rendered and trained on. The trained model, in Hugging Face
format, the metrics and a report with pictures end up in output_dir.
"""

from pathlib import Path

from mert_hf.common.command_line import leave_process_group, run_tool
from mert_hf.common.settings import parse_command_line
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.publication import plan_publication
from mert_hf.pretraining.run import pretrain
from mert_hf.pretraining.settings import pretrain_settings
from mert_hf.pretraining.setup import Setup

RECIPES = Path(__file__).parent / "recipes"
CARDS = Path(__file__).resolve().parents[1] / "model_cards"


def main() -> None:
    """Settings to objects to a trained model."""
    settings = parse_command_line(pretrain_settings(), RECIPES, __doc__)
    setup = Setup(settings)
    publication = plan_publication(settings, CARDS)
    with RunFolder(settings.output_dir).hold() as run:
        results = pretrain(settings, setup, run)
        leave_process_group()  # nobody waits while this process publishes
        if results is None:  # not the process that writes
            return
        print_summary(results, run)
        if publication is not None:
            publication.publish(run)


def print_summary(results: dict, run: RunFolder) -> None:
    """What came of the run, and where it lies."""
    if results["loss_end"] is not None:
        hours = results["audio_hours"]
        print(f"\nLoss {results['loss_start']:.3f} -> {results['loss_end']:.3f} after {hours:.2f} hours of audio")
    validation = results["validation"]
    if validation is None:
        print("No validation: nothing was held out (validation.share, validation.folder)")
    else:
        accuracy = "/".join(f"{100 * share:.1f}" for share in validation.get("code_accuracy", []))
        print(f"Validation: loss {validation['loss']:.3f}" + (f", masked accuracy {accuracy} %" if accuracy else ""))
    print(f"Learnt from: {results['teacher']}")
    for file in (run.model, run.report, run.metrics, run.results):
        print(f"  {file}")


if __name__ == "__main__":
    run_tool(main, "go on with --training.resume")
