"""Which objective suits your music? Train many on the same audio for the same budget, and judge them all alike.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        training/compare.py --budget 10000 --music ~/Music --output results/comparison

A cell is a recipe of training/cells, or a YAML file of yours; --cells names some of them, --claims those that ask what a
paper says (training/claims.yaml). Each is trained on the budget (seconds of audio), then probed on the synthetic suite.
Stopped at any moment, the same line goes on where it was.
"""

import argparse
import logging
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator, PartialState
from accelerate.utils import parse_flag_from_env
from huggingface_hub import constants

from mert_hf.common.command_line import run_tool
from mert_hf.common.errors import InputError, TrainingFailedError
from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.logs import show_logs
from mert_hf.common.threads import share_cores
from mert_hf.comparison.cells import Cell, Music, cell_names, read_cells
from mert_hf.comparison.claims import cells_of, claims_table, judge_claims, read_claims, tasks_named_by
from mert_hf.comparison.plots import plot_claims, plot_comparison, plot_differences
from mert_hf.comparison.run import SuiteEvaluator, evaluate_cell, train_cell
from mert_hf.comparison.table import Measured, compile_results, describe_cell, describe_failure, markdown_table
from mert_hf.engine.trainer import Interrupted
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import spectral_baselines
from mert_hf.probing.settings import ProbingSettings
from mert_hf.probing.suite import load_suite
from mert_hf.synthetic import write_corpus
from mert_hf.tasks import SUITES, TASKS

CELLS, CLAIMS = Path(__file__).parent / "cells", Path(__file__).parent / "claims.yaml"
SUITE, NOISE_SUITE = "synthetic", "synthetic_noise"
# the music of the quickstart
PIECES, PIECE_S, SAMPLING_RATE = 120, 30.0, 24000

logger = logging.getLogger("mert_hf.compare")


def main() -> None:
    """Cells to models to a table."""
    arguments = parse_arguments()
    # the others wait while one renders or judges
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(days=2))
    folder = arguments.music or arguments.output / "synthetic_music"
    music = Music(folder, arguments.min_track_s, arguments.held_out)
    claims = read_claims(CLAIMS, arguments.claims or ())
    chosen = arguments.cells if arguments.claims is None else [*arguments.cells, *cells_of(claims)]
    cells = read_cells(
        list(dict.fromkeys(chosen)), CELLS, arguments.output, arguments.budget, arguments.seed, music, state.num_processes
    )
    accelerator = Accelerator(mixed_precision=cells[0].settings.training.mixed_precision)
    show_logs(accelerator.is_main_process)
    if accelerator.device.type == "cpu":
        share_cores()
    with accelerator.main_process_first():
        arguments.output.mkdir(parents=True, exist_ok=True)
        if arguments.music is None:
            write_corpus(folder, PIECES, PIECE_S, arguments.seed, SAMPLING_RATE)
        if accelerator.is_main_process:
            music.claim(arguments.output)
        asked = () if arguments.claims is None else tasks_named_by(claims)
        tasks = dict.fromkeys(arguments.tasks or (*SUITES[SUITE], *asked))
        loaded = load_suite([TASKS[name] for name in tasks], arguments.cache, None)
    extraction = Extraction(
        arguments.cache / "features",
        arguments.dtype,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        barrier=accelerator.wait_for_everyone,
    )
    settings = ProbingSettings(seeds=arguments.seeds, head=arguments.probe, device=str(accelerator.device))
    evaluator = SuiteEvaluator(loaded, SUITE, extraction, settings)
    spectrum, *others = spectral_baselines()
    baselines = evaluator.evaluate(spectrum, arguments.output / "baselines", others, baselines=True)
    circumstances = {
        "budget_s": arguments.budget,
        "music": "synthetic, rendered by the package" if arguments.music is None else arguments.music.resolve().name,
        "seed": arguments.seed,
        "training_seeds": arguments.training_seeds,
        "probe_seeds": arguments.seeds,
        "probe": arguments.probe,
        "min_track_s": music.min_track_s,
        "held_out": music.held_out,
        "processes": state.num_processes,
    }
    described = []
    for place, cell in enumerate(cells):
        logger.info("\nCell %d of %d: %s", place + 1, len(cells), cell.name)
        described.append(run_cell(cell, evaluator, arguments.training_seeds))
        if accelerator.is_main_process:  # after every cell, so that one can look while the others run
            results = compile_results(described, baselines, circumstances)
            write_report({**results, "claims": judge_claims(claims, described)}, arguments.output)
    failed = [cell.described["name"] for cell in described if "failed" in cell.described]
    if failed and accelerator.is_main_process:
        raise InputError(f"{len(failed)} of {len(cells)} cells could not be trained: {', '.join(failed)}; why is said above.")


def run_cell(cell: Cell, evaluator: SuiteEvaluator, training_seeds: int) -> Measured:
    """Train and evaluate, once a seed; a training that diverges or collapses is a finding, and the other cells go on."""
    trained, judged, runs = [], [], cell.with_seeds(training_seeds)
    seeds = [run.settings.training.seed for run in runs]
    for run, seed in zip(runs, seeds, strict=True):
        try:
            trained.append(train_cell(run))
        except TrainingFailedError as failure:
            logger.warning("%s failed with seed %d: %s", cell.name, seed, failure)
            return describe_failure(cell, str(failure) if training_seeds == 1 else f"seed {seed}: {failure}")
        except Interrupted:
            logger.warning("The same line goes on from there.")
            raise
        judged.append(evaluate_cell(run, evaluator))
        logger.info("Judged in %.0f s", judged[-1]["judged_s"])
    return describe_cell(cell, trained, judged, seeds)


def write_report(results: dict, output: Path) -> None:
    """`results.json`, the tables and the pictures."""
    write_atomically(output / "results.json", to_json(results, indent=1) + "\n")
    told = markdown_table(results) + ("\n" + claims_table(results["claims"]) if results["claims"] else "")
    write_atomically(output / "comparison.md", told)
    seeds = results["training_seeds"]
    trainings = "one training each" if seeds == 1 else f"{seeds} trainings each"
    over = "over test examples" if seeds == 1 else "over trainings and test examples"
    title = f"{results['budget_s']:g} s of audio a cell ({results['music']}), {trainings}; 95 % {over}"
    plot_comparison(results, title, output / "comparison.png")
    if results["claims"]:
        plot_claims(results["claims"], f"What papers say, asked of {title}", output / "claims.png")
    title = f"What {results['budget_s']:g} s of audio change, beside random weights, in points"
    told = f"{trainings}; bold where the 95 % interval {over} excludes 0"
    plot_differences(results, f"{title}\n{told}", output / "differences.png")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(cell_names(CELLS))
    parser.add_argument("--budget", type=float, required=True, help="seconds of audio each cell is trained on")
    parser.add_argument(
        "--cells",
        nargs="+",
        default=[],
        metavar="CELL",
        help=f"only these, in this order (default: all): YAML files, or {names}",
    )
    parser.add_argument(
        "--claims",
        nargs="*",
        metavar="CLAIM",
        help=f"add the cells of these claims, of all if none is named: {', '.join(read_claims(CLAIMS))}",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the comparison, such as results/comparison")
    parser.add_argument("--music", type=Path, metavar="FOLDER", help="music to train on (default: an hour of synthetic music)")
    parser.add_argument("--min_track_s", type=float, default=8.0, help="shorter tracks are left out of all cells (default: 8)")
    parser.add_argument(
        "--held_out", type=float, default=0.05, help="share of the tracks that is not trained on (default: 0.05)"
    )
    parser.add_argument("--seed", type=int, default=1337, help="of everything drawn in training (default: 1337)")
    parser.add_argument(
        "--training_seeds", type=int, default=1, help="trainings of every cell, with --seed and those that follow (default: 1)"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=[*SUITES[SUITE], *SUITES[NOISE_SUITE]],
        help="only these (default: all but those in noise, and what the claims ask of)",
    )
    parser.add_argument("--seeds", type=int, default=1, help="of the probes (default: 1)")
    parser.add_argument("--probe", choices=("mlp", "linear"), help="in place of the tasks' own probe; linear is quickest")
    cache = Path(constants.HF_HOME) / "mert_hf"
    parser.add_argument(
        "--cache", type=Path, default=cache, help=f"folder of the tasks' music and of features (default: {cache})"
    )
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="of features on the disk")
    arguments = parser.parse_args()
    if arguments.budget <= 0 or arguments.seeds < 1 or arguments.training_seeds < 1 or arguments.seed < 0:
        raise InputError("--budget must be more than 0, --seeds and --training_seeds 1 or more, --seed 0 or more.")
    if arguments.music is not None and not arguments.music.is_dir():
        raise InputError(f"--music {arguments.music} is no folder.")
    return arguments


if __name__ == "__main__":
    run_tool(main)
