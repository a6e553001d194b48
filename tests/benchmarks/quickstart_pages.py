"""What README shows of the quickstart: its run, its evaluation, a catalogue and a track; nothing of it is typed.

    mert-hf probe --model runs/quickstart --suite synthetic --seeds 1 --output results/quickstart
    python tests/benchmarks/quickstart_pages.py --run runs/quickstart --evaluation results/quickstart

Writes into `model_cards/quickstart`: `results.json` and pictures of the run; `evaluation.json` and its heat map; `search.txt`
(what the commands print), `inspection.png`, and `retrieval.json`, `.md` and `.png`.
"""

import argparse
import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from mert_hf import cli
from mert_hf.synthetic import generate_piece

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "model_cards" / "quickstart"
OF_RUN = ("results.json", "report/constant_q.png", "report/training_curves.png", "report/online_probe.png")
OF_EVALUATION = ("evaluation.json", "layer_heat_map.png")
# What is printed in the README, in this order; the last is looked at as a picture.
COMMANDS = (
    "embed runs/quickstart/synthetic_music -o catalogue --model runs/quickstart/model",
    "search catalogue 0 -k 3 --projection centre",
    "duplicates catalogue",
)


def write_medley(file: Path) -> None:
    """Three pieces of synthetic music, the first of which comes back: A B A C, 20 s each."""
    pieces = [generate_piece((7, number), 20.0).waveform for number in (0, 1, 0, 2)]
    soundfile.write(file, np.concatenate(pieces), 24000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/quickstart"), help="of the quickstart")
    parser.add_argument("--evaluation", type=Path, default=Path("results/quickstart"), help="of it, by mert-hf probe")
    arguments = parser.parse_args()
    run = arguments.run.resolve()
    for folder, names in ((run, OF_RUN), (arguments.evaluation, OF_EVALUATION)):
        for name in names:
            shutil.copy(folder / name, PLACE)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("runs").mkdir()
        Path("runs/quickstart").symlink_to(run)
        told = []
        for command in COMMANDS:
            with contextlib.redirect_stdout(io.StringIO()) as output:
                cli.main(command.split())
            told.append(f"$ mert-hf {command}\n{output.getvalue()}".replace(f"{folder}/", ""))
        (PLACE / "search.txt").write_text("\n".join(told))
        write_medley(Path("medley.flac"))
        cli.main(["inspect", "medley.flac", "--model", "runs/quickstart/model", "-o", "inspection.png"])
        shutil.copy("inspection.png", PLACE)
        cli.main(["retrieval", "--model", "runs/quickstart/model", "-o", "retrieval"])
        for made in Path("retrieval").glob("retrieval.*"):
            shutil.copy(made, PLACE / made.name)


if __name__ == "__main__":
    main()
