"""Fine-tune MERT on labelled music.

    python training/finetune.py --model.base m-a-p/MERT-v1-95M --data.folder ~/genres --output_dir runs/genres
    python training/finetune.py --model.base m-a-p/MERT-v1-95M --task gtzan_genre --output_dir runs/gtzan

The folder holds one sub-folder a label, or a metadata.csv or metadata.jsonl with the columns file_name and label (and, if you
like, split and group); folders train/ and test/ at its top are splits. A task brings its data, from the Hub or from
data.task_folder, its official splits and its measures. With neither, labelled synthetic music is rendered. The fine-tuned model
with its card, the test's results, the answer for every track and pictures end up in output_dir. A run that was killed goes on
with --training.resume. Of whole songs, --data.clips_per_track says how many clips of each are heard in an epoch.
"""

from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from mert_hf.common.command_line import run_tool
from mert_hf.common.logs import show_logs
from mert_hf.common.settings import parse_command_line
from mert_hf.finetuning.report import summarise
from mert_hf.finetuning.run import finetune
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings

RECIPES = Path(__file__).parent / "recipes" / "finetune"
TEMPLATE = Path(__file__).resolve().parents[1] / "model_cards" / "template.md"


def main() -> None:
    """Settings to labelled clips to a measured model."""
    settings = parse_command_line(FinetuneSettings, RECIPES, __doc__)
    show_logs()
    disable_progress_bar()  # of files that are read and written; the run has one bar
    with FinetuneFolder(settings.output_dir).hold() as run:
        done = finetune(settings, run, TEMPLATE)
    if done is not None:
        print(f"\n{summarise(done[-1], run)}")


if __name__ == "__main__":
    run_tool(main)
