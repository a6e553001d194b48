"""How long until a model beats what needs no training? One run, judged again and again, until it does.

    accelerate launch --quiet --config_file training/launch/one_device.yaml training/speedrun.py --output_dir runs/speedrun

The recipe is `small` unless --recipe names another; any setting of `mert-hf pretrain` may be given as well, such as
--training.learning_rate 2e-3. Stopped at any moment, the same line goes on where it was. The learning rate falls to 0
at the end of the budget; before it, the moving average of the weights is judged (training.ema_decay).
"""

import argparse
import logging
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator, PartialState
from accelerate.utils import parse_flag_from_env
from huggingface_hub import constants

from mert_hf.common.command_line import run_tool
from mert_hf.common.errors import InputError
from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.logs import show_logs
from mert_hf.common.machine import describe_processors
from mert_hf.common.suggestions import suggest_option
from mert_hf.common.threads import share_cores
from mert_hf.comparison.plots import plot_speedrun
from mert_hf.comparison.run import SuiteEvaluator
from mert_hf.comparison.speedrun import Speedrun, describe_run, plan_run, read_run
from mert_hf.comparison.speedrun_results import add_record, compile_speedrun, describe_outcome, speedrun_table
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import spectral_baselines
from mert_hf.probing.settings import ProbingSettings
from mert_hf.probing.suite import load_suite
from mert_hf.tasks import SUITES, TASKS

SUITE, RECORD = "synthetic", Path(__file__).parent / "speedrun.csv"
# of the nine measures of the suite
MEASURES = 5

logger = logging.getLogger("mert_hf.speedrun")


def main() -> None:
    """A recipe to a model that is good enough, and how long that took."""
    arguments, given = parse_arguments()
    # the others wait while one renders or judges
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"), timeout=timedelta(days=2))
    recipe, changed = read_run(arguments.recipe, given)
    settings = plan_run(recipe, arguments.budget, arguments.judgements, arguments.output_dir, state.num_processes)
    accelerator = Accelerator(mixed_precision=settings.training.mixed_precision)
    show_logs(accelerator.is_main_process)
    if accelerator.device.type == "cpu":
        share_cores()
    with accelerator.main_process_first():
        loaded = load_suite([TASKS[name] for name in arguments.tasks], arguments.cache, None)
    place = (accelerator.process_index, accelerator.num_processes, accelerator.wait_for_everyone)
    extraction = Extraction(arguments.cache / "features", "float16", 60.0, *place)
    evaluator = SuiteEvaluator(
        loaded, SUITE, extraction, ProbingSettings(seeds=arguments.seeds, device=str(accelerator.device))
    )
    speedrun = Speedrun(settings, arguments.judgements, evaluator, arguments.output_dir)
    machine = describe_processors(accelerator.device, accelerator.num_processes)
    speedrun.claim(machine)
    spectrum, *others = spectral_baselines()
    baselines = evaluator.evaluate(spectrum, arguments.output_dir / "baselines", others, baselines=True)
    measures = {f"{row['task']}/{row['metric']}" for rows in baselines.values() for row in rows}
    wanted = min(MEASURES, len(measures)) if arguments.measures is None else arguments.measures
    if wanted > len(measures):
        raise InputError(f"--measures {wanted} are more than the {len(measures)} that these tasks have.")
    circumstances = describe_run(arguments.recipe, settings, changed) | {"probe_seeds": arguments.seeds} | machine
    judged = []
    for step in speedrun.steps:
        judged.append(speedrun.reach(step, judged[-1] if judged else None))
        results = compile_speedrun(judged, baselines, wanted, circumstances)
        if accelerator.is_main_process:
            write_report(results, arguments.output_dir)
        last = results["judgements"][-1]
        told = (len(last["beaten"]), len(measures), last["step"], last["audio_s"], last["training_s"])
        logger.info("%d of %d measures beaten after %d updates: %.0f s of audio, %.0f s of training", *told)
        if results["beats"]:
            break
    if accelerator.is_main_process:
        print_outcome(results, arguments.output_dir)
        if arguments.record is not None:
            new = add_record(results, arguments.record)
            print(f"  {arguments.record}: {'a new line' if new else 'it stands there already'}")


def write_report(results: dict, output: Path) -> None:
    """`speedrun.json`, the table and the picture."""
    write_atomically(output / "speedrun.json", to_json(results, indent=1) + "\n")
    write_atomically(output / "speedrun.md", speedrun_table(results))
    plot_speedrun(results, output / "speedrun.png")


def print_outcome(results: dict, output: Path) -> None:
    """What came of it, measure by measure, and where everything lies."""
    print(f"\n{describe_outcome(results)}\n")
    first, last = results["judgements"][0]["values"], results["judgements"][-1]
    for column, label in results["columns"].items():
        if column in last["values"]:
            bar, mark = results["to_beat"][column], "+" if column in last["beaten"] else " "
            ends = f"{first[column]['value']:6.1f} -> {last['values'][column]['value']:6.1f}"
            print(f"  {mark} {label:40} {ends}   to beat: {bar['value']:6.1f} ({bar['name']})")
    print()
    for name in ("speedrun.json", "speedrun.md", "speedrun.png", "run/model"):
        print(f"  {output / name}")


def parse_arguments() -> tuple[argparse.Namespace, list[str]]:
    """The command line: what is ours, and the settings that are left over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--recipe", default="small", help="a recipe by name, or a YAML file (default: small)")
    parser.add_argument("--output_dir", type=Path, required=True, help="folder of the speedrun, such as runs/speedrun")
    parser.add_argument("--budget", type=float, help="most seconds of audio to train on (default: what the recipe hears)")
    parser.add_argument("--judgements", type=int, default=8, help="how often the model is judged in the budget (default: 8)")
    parser.add_argument(
        "--measures", type=int, help=f"so many are to be beaten (default: {MEASURES}, or all where --tasks has fewer)"
    )
    tasks = SUITES[SUITE]
    parser.add_argument("--tasks", nargs="+", default=tasks, choices=tasks, help="only these (default: all)")
    parser.add_argument("--seeds", type=int, default=1, help="of the probes (default: 1)")
    cache = Path(constants.HF_HOME) / "mert_hf"
    parser.add_argument(
        "--cache", type=Path, default=cache, help=f"folder of the tasks' music and of spectra (default: {cache})"
    )
    parser.add_argument(
        "--record", type=Path, nargs="?", const=RECORD, metavar="CSV", help=f"add a line to a record (default: {RECORD.name})"
    )
    arguments, given = parser.parse_known_args()
    options = [option for action in parser._actions for option in action.option_strings]
    for argument in given:
        if argument.startswith("--") and "." not in argument and (near := suggest_option(argument, options)):
            raise InputError(f"unknown option {argument}{near}")
    counts = (arguments.judgements, arguments.measures, arguments.seeds)
    if any(count is not None and count < 1 for count in counts) or (arguments.budget is not None and not arguments.budget > 0):
        raise InputError("--budget must be more than 0; --judgements, --measures and --seeds 1 or more.")
    if arguments.record is not None and len(arguments.tasks) < len(tasks):
        raise InputError("--record is of the whole suite; leave out --tasks.")
    return arguments, given


if __name__ == "__main__":
    run_tool(main)
