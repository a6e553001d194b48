"""Pre-train MERT, or one of its rivals, on your music.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        -m mert_hf pretrain --recipe quickstart --data.folder ~/Music

Without data.folder, small synthetic music is rendered and trained on. The trained model, in Hugging Face
format, the metrics and a report with pictures end up in output_dir.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mert_hf.commands.base import Command
from mert_hf.common.command_line import leave_process_group
from mert_hf.common.places import CARDS, RECIPES

if TYPE_CHECKING:
    from mert_hf.engine.run_folder import RunFolder

# what `--help` shows of all settings
COMMON = (
    *("output_dir", "objective", "model", "init.model", "data.folder", "data.dataset", "data.crop_s", "data.labels"),
    *(
        "teacher.kind",
        "validation.share",
        "online_probe.every",
        "training.learning_rate",
        "training.max_steps",
        "training.batch_size",
    ),
    *("training.gradient_accumulation_steps", "training.mixed_precision", "training.seed", "training.resume", "push_to_hub"),
)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Settings to objects to a trained model."""
    from mert_hf.common.settings import parse_command_line
    from mert_hf.engine.run_folder import RunFolder
    from mert_hf.pretraining.publication import plan_publication
    from mert_hf.pretraining.run import pretrain
    from mert_hf.pretraining.settings import pretrain_settings
    from mert_hf.pretraining.setup import Setup

    settings = parse_command_line(pretrain_settings(), RECIPES, __doc__, argv, prog, COMMON)
    setup = Setup(settings)
    publication = plan_publication(settings, CARDS)
    with RunFolder(settings.output_dir).hold() as run:
        results = pretrain(settings, setup, run)
        leave_process_group()  # nobody waits while this process publishes
        if results is None:  # not the process that writes
            return
        _print_summary(results, run)
        if publication is not None:
            publication.publish(run)


def _print_summary(results: dict, run: "RunFolder") -> None:
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
    for name, probe in (results["online_probe"] or {}).items():
        values = " -> ".join("?" if probe[key] is None else f"{100 * probe[key]:.1f}" for key in ("start", "end"))
        print(f"Online probe: {name} {values} %, log-mel {100 * probe['log_mel']:.1f} %")
    print(f"Learnt from: {results['teacher']}")
    for file in (run.model, run.report, run.metrics, run.results):
        print(f"  {file}")


PRETRAIN = Command("pretrain", "pre-train a model on your music", main=main, after_stop="go on with --training.resume")
