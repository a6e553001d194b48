"""Fine-tune MERT on labelled music.

    mert-hf finetune --data.folder ~/genres --output_dir runs/genres    # mert-small, which comes with mert_hf
    mert-hf finetune --model.base m-a-p/MERT-v1-95M --task gtzan_genre --output_dir runs/gtzan

The folder holds one sub-folder a label, or a metadata.csv or metadata.jsonl with the columns file_name and label (and, if you
like, split and group); folders train/ and test/ at its top are splits. A task brings its data, from the Hub or from
data.task_folder, its official splits and its measures. With neither, labelled synthetic music is rendered. The fine-tuned model
with its card, the test's results, the answer for every track and pictures end up in output_dir. A run that was killed goes on
with --training.resume. Of whole songs, --data.clips_per_track says how many clips of each are heard in an epoch.
"""

from collections.abc import Sequence

from mert_hf.commands.base import Command
from mert_hf.common.logs import show_logs
from mert_hf.common.places import CARDS, FINETUNE_RECIPES

# what `--help` shows of all settings
COMMON = (
    *("output_dir", "task", "model.base", "model.problem_type", "model.method"),
    *("data.folder", "data.clip_s", "data.clips_per_track"),
    *("training.epochs", "training.batch_size", "training.learning_rate", "training.mixed_precision", "training.seed"),
    *("training.resume", "training.use_cpu"),
)


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Settings to labelled clips to a measured model."""
    from mert_hf.common.settings import parse_command_line
    from mert_hf.finetuning.settings import FinetuneSettings

    settings = parse_command_line(FinetuneSettings, FINETUNE_RECIPES, __doc__, argv, prog, COMMON)
    # behind what help needs
    from mert_hf.finetuning.report import summarise
    from mert_hf.finetuning.run import finetune
    from mert_hf.finetuning.run_folder import FinetuneFolder

    show_logs()
    with FinetuneFolder(settings.output_dir).hold() as run:
        done = finetune(settings, run, CARDS / "template.md")
    if done is not None:
        print(f"\n{summarise(done[-1], run)}")


FINETUNE = Command("finetune", "fine-tune a model on labelled music", main=main)
