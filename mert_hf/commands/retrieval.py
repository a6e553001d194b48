"""Whether nearest-neighbour search with a model's vectors is any good: `retrieval`."""

import argparse

from mert_hf.commands.base import Command, add_model
from mert_hf.common.errors import InputError
from mert_hf.common.logs import show_logs

DESCRIPTION = """\
Whether nearest-neighbour search with a model's vectors is any good. Pieces of music, synthetic or your own, are changed as
music is (mp3, pitch, tempo, gain, noise, another recording, other instruments, another part), and each looks for itself among
all pieces, by every layer; beside the same architecture with random weights, a log-mel spectrum and chroma, by plain cosine
and after centring and whitening. Nothing is downloaded but a model of the Hub."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, "folder of a model or a run")
    parser.add_argument("-o", "--output", required=True, help="folder for retrieval.json, retrieval.md and retrieval.png")
    parser.add_argument("--pieces", type=int, default=100, help="how many; of --music at most so many (default: 100)")
    parser.add_argument("--music", help="folder of audio files to look among (default: synthetic pieces)")
    parser.add_argument("--layers", default="all", help='"all", or some, such as 3,7 (default: all)')
    parser.add_argument("--clip_s", type=float, default=10.0, help="length of a clip in seconds, 1 to 30 (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of pieces, noise and random weights (default: 0)")
    parser.add_argument("--revision", help="commit, branch or tag of the model on the Hub")
    parser.add_argument("--device", help="such as cpu or cuda (default: the fastest there is)")


def _run(arguments: argparse.Namespace) -> None:
    layers = _read_layers(arguments.layers)
    from pathlib import Path

    from mert_hf.catalogue.retrieval.benchmark import RetrievalSettings, run_retrieval
    from mert_hf.catalogue.retrieval.report import write_report
    from mert_hf.catalogue.retrieval.systems import load_systems
    from mert_hf.common.redaction import name_only
    from mert_hf.encoding.opening import find_device
    from mert_hf.probing.report.results import versions

    show_logs()
    settings = RetrievalSettings(arguments.pieces, arguments.music, arguments.clip_s, arguments.seed)
    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    model, systems = load_systems(arguments.model, layers, settings.seed, find_device(arguments.device), arguments.revision)
    about = {"model": name_only(arguments.model), "commit": model.commit, "weights": model.fingerprint["weights"]}
    results = run_retrieval(systems, model.sampling_rate, settings)
    table = write_report({**about, **results, "versions": versions()}, folder)
    print(f"recall@1 in percent; guessing finds {results['chance']['recall_at_1']:.1f}\n\n{table}\n{folder / 'retrieval.md'}")


def _read_layers(text: str) -> str | list[int]:
    if text == "all":
        return text
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise InputError(f'--layers {text} is unknown; give "all", or numbers with commas between them, such as 3,7.')
    return [int(part) for part in parts]


RETRIEVAL = Command(
    "retrieval", "whether nearest-neighbour search with a model's vectors is any good", _arguments, _run, DESCRIPTION
)
