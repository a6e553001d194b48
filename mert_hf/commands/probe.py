"""Judge a frozen model on music understanding tasks, layer by layer, beside baselines and published numbers.

    accelerate launch --quiet --config_file training/launch/one_device.yaml \\
        -m mert_hf probe --model runs/quickstart --suite synthetic --output results/quickstart

Any encoder that hears raw audio and that AutoModel loads can be judged: MERT, HuBERT, wav2vec2, WavLM, data2vec. The suites
"synthetic" and "synthetic_noise" (tested in noise) need no download; "marble" and "deezer" need their datasets, see --check. In
place of a suite, --folder is your own labelled music as `mert-hf finetune` takes it, in the same splits. What was done is kept:
run the same line again to go on. --beats adds a task to "synthetic": the probe learns beats of its pieces and finds those of
your recordings.
"""

import argparse
import dataclasses
import typing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mert_hf.commands.base import Command, add_model
from mert_hf.common.errors import InputError
from mert_hf.common.logs import show_logs
from mert_hf.common.packages import require_packages

if TYPE_CHECKING:
    from mert_hf.tasks import Task

# the random weights of the untrained encoder
UNTRAINED_SEED = 0
# what stands for the suite in the results of a labelled folder
FOLDER = "folder"


def _probe(arguments: argparse.Namespace) -> None:
    from mert_hf.common.threads import share_cores
    from mert_hf.probing.features.encoders import load_encoder
    from mert_hf.probing.features.extraction import Extraction
    from mert_hf.probing.features.spectra import spectral_baselines
    from mert_hf.probing.report.results import markdown_table, versions
    from mert_hf.probing.settings import ProbingSettings
    from mert_hf.probing.suite import RESULTS, TABLE, list_evaluations, load_suite, run_evaluations, suited, write_report

    if arguments.seeds < 1 or arguments.first_summed < 0 or arguments.batch_s <= 0:
        raise InputError("--seeds must be 1 or more, --first_summed 0 or more, --batch_s more than 0.")
    tasks = _choose_tasks(arguments)
    if arguments.check:
        _check(tasks, arguments.data)
        return
    if arguments.output is None:
        raise InputError("--output is needed, or --check alone.")
    versions()  # what is not installed is said before hours of work
    require_packages("train", "accelerate")
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    accelerator = Accelerator(kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=2))])
    show_logs(accelerator.is_main_process)
    if accelerator.device.type == "cpu":
        share_cores()
    model = load_encoder(arguments.model, arguments.revision, accelerator.device)
    untrained = load_encoder(arguments.model, arguments.revision, accelerator.device, UNTRAINED_SEED)
    # one process downloads or renders, the others read what it left
    with accelerator.main_process_first():
        arguments.output.mkdir(parents=True, exist_ok=True)
        loaded = suited(load_suite(tasks, arguments.data, arguments.pin), model)
    extraction = Extraction(
        arguments.cache / "features",
        arguments.dtype,
        arguments.batch_s,
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.wait_for_everyone,
    )
    settings = ProbingSettings(
        arguments.seeds, arguments.probe, arguments.first_summed, arguments.limited, str(accelerator.device)
    )
    evaluations = list_evaluations(
        loaded, model, [untrained, *spectral_baselines()], settings, extraction.dtype, arguments.output
    )
    run_evaluations(evaluations, extraction)
    if accelerator.is_main_process:
        results = write_report(evaluations, model, arguments.model, arguments.suite or FOLDER, arguments.output)
        print(f"\n{markdown_table(results)}\n  {arguments.output / TABLE}\n  {arguments.output / RESULTS}")


def _arguments(parser: argparse.ArgumentParser) -> None:
    from huggingface_hub import constants

    from mert_hf.synthetic.benchmark import RENDERERS
    from mert_hf.tasks import SUITES
    from mert_hf.tasks.labelled import LabelReading
    from mert_hf.tasks.labelled.reading import CLIP_S, SEED, ProblemType

    add_model(parser, "folder of a model or a run")
    parser.add_argument("--revision", help="commit, branch or tag of the model on the Hub")
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("--suite", choices=list(SUITES), help="which tasks")
    chosen.add_argument("--folder", type=Path, help="your labelled music: one sub-folder a label, or a table (see README)")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="only these tasks of the suite")
    parser.add_argument("--output", type=Path, help="folder of the results, such as results/my-model")
    parser.add_argument("--data", type=Path, help="folder that holds a folder for every dataset that is not on the Hub")
    parser.add_argument("--check", action="store_true", help="say what is missing where, and stop")
    parser.add_argument("--pin", type=Path, metavar="FILE", help="JSON of the datasets' commits: read if there, else written")
    parser.add_argument("--probe", choices=("mlp", "linear"), help="in place of the tasks' own probe")
    parser.add_argument("--seeds", type=int, default=3, help="of the probes (default: 3)")
    parser.add_argument("--first_summed", type=int, default=1, help="first layer of the weighted sum (default: 1, as MARBLE)")
    parser.add_argument("--limited", action="store_true", help="also learn from 1, 5, 10 and 20 %% of the training data")
    parser.add_argument("--renderer", choices=RENDERERS, default="builtin", help="of the synthetic suite (default: builtin)")
    parser.add_argument("--beats", type=Path, help="folder of tracks with .beats files, to be tested on after synthetic pieces")
    cache = Path(constants.HF_HOME) / "mert_hf"
    parser.add_argument("--cache", type=Path, default=cache, help=f"folder of features (default: {cache})")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16", help="of features on the disk")
    parser.add_argument("--batch_s", type=float, default=60.0, help="seconds of audio in a batch (default: 60)")
    labels = parser.add_argument_group("labels of --folder")
    problem_types = typing.get_args(ProblemType)
    labels.add_argument("--problem_type", choices=problem_types, help=f"one label, several, or numbers ({problem_types[0]})")
    for field in dataclasses.fields(LabelReading):
        labels.add_argument(f"--{field.name}", help=field.metadata["help"])
    labels.add_argument("--split_seed", type=int, help=f"of splits that are drawn (default: {SEED})")
    labels.add_argument("--clip_s", type=float, help=f"length of a clip in seconds (default: {CLIP_S:g})")


def _choose_tasks(arguments: argparse.Namespace) -> list["Task"]:
    """The tasks of the suite, or those named; or the labelled folder."""
    from mert_hf.tasks import TASKS, tasks_of
    from mert_hf.tasks.labelled import LabelReading
    from mert_hf.tasks.real_beats import REAL_BEAT, real_beats
    from mert_hf.tasks.synthetic import with_renderer

    ours = ("problem_type", "split_seed", "clip_s", *(field.name for field in dataclasses.fields(LabelReading)))
    given = {name: getattr(arguments, name) for name in ours if getattr(arguments, name) is not None}
    if arguments.renderer != "builtin" and arguments.suite not in ("synthetic", "synthetic_noise"):
        raise InputError("--renderer belongs to --suite synthetic and synthetic_noise.")
    if arguments.beats is not None and arguments.suite != "synthetic":
        raise InputError("--beats belongs to --suite synthetic: its pieces are what the probe learns from.")
    if arguments.folder is not None:
        return [_folder_task(arguments, given)]
    if given:
        raise InputError(f"--{next(iter(given))} belongs to --folder.")
    tasks = tasks_of(arguments.suite)
    if arguments.renderer != "builtin":
        tasks = [with_renderer(task, arguments.renderer) for task in tasks]
    if arguments.beats is not None:
        tasks.append(real_beats(arguments.beats, arguments.renderer))
    elif REAL_BEAT in (arguments.tasks or ()):
        raise InputError(f"task {REAL_BEAT!r} needs --beats, a folder of tracks with .beats files.")
    names = [task.name for task in tasks]
    for name in arguments.tasks or ():
        if name not in names:
            where = "is no task of this suite" if name in TASKS else "is unknown"
            raise InputError(f"task {name!r} {where}; tasks of {arguments.suite}: {', '.join(names)}.")
    if arguments.tasks:
        # a folder of beats asks for its task by itself
        tasks = [task for task in tasks if task.name in (*arguments.tasks, REAL_BEAT)]
    return tasks


def _folder_task(arguments: argparse.Namespace, given: dict[str, Any]) -> "Task":
    """The labelled folder as a task, read as is given."""
    from mert_hf.common.settings import read_settings
    from mert_hf.tasks.labelled import LabelledFolder, LabelReading, labelled_task
    from mert_hf.tasks.labelled.reading import CLIP_S, SEED

    for name in ("tasks", "data", "pin"):
        if getattr(arguments, name) is not None:
            raise InputError(f"--{name} belongs to --suite; the labelled music is in --folder {arguments.folder}.")
    if not arguments.folder.expanduser().is_dir():
        raise InputError(f"--folder {arguments.folder} is no folder; give one of labelled music.")
    clip_s = given.pop("clip_s", CLIP_S)
    if not 0 < clip_s <= 3600:
        raise InputError(f"--clip_s {clip_s:g} must lie within (0, 3600].")
    if arguments.output is not None and not arguments.check:
        given |= {"index": arguments.output / "tracks.json", "report": arguments.output / "skipped.jsonl"}
    given["seed"] = given.pop("split_seed", SEED)
    reading = {field.name: given.pop(field.name) for field in dataclasses.fields(LabelReading) if field.name in given}
    source = LabelledFolder(arguments.folder, reading=read_settings(LabelReading, None, "", reading), **given)
    return labelled_task(source, clip_s)


def _check(tasks: list, data: Path | None) -> None:
    """Print what every task lacks."""
    lacking = 0
    for task in tasks:
        found = task.check(data)
        lacking += bool(found.problems)
        if found.problems:
            print("\n    ".join((f"{task.name}:", *found.problems)))
        else:
            print(f"{task.name}: ready" + (f", but: {'; '.join(found.notes)}" if found.notes else ""))
    if lacking:
        raise InputError(f"{lacking} of {len(tasks)} tasks cannot be run yet.")


PROBE = Command("probe", "how good a model's features are, layer by layer", _arguments, _probe, __doc__)
main = PROBE.main_of_script
