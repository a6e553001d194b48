"""How fast a catalogue is filled and searched; writes `tests/benchmarks/catalogue.json`, which the README's tables come from.

    python tests/benchmarks/benchmark_catalogue.py embed      # some minutes: models of MERT's sizes with random weights
    python tests/benchmarks/benchmark_catalogue.py search     # half an hour, most of it for the graph of a million vectors
    python tests/benchmarks/benchmark_catalogue.py start      # how long commands take to answer

Every model embeds in a process of its own, which does nothing else, so that the peak is its own.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).with_name("catalogue.json")
# Music that is embedded: so many pieces of so many seconds, stereo, 44.1 kHz, as mp3.
PIECES, PIECE_S = 2, 90.0
MODELS = {"MERT-v1-95M": "mert_95m", "MERT-v1-330M": "mert_330m", "MERT-v2-30s": "mert2_30s"}
# Vectors that are searched: so many latent numbers, the k-th with variance 1 / k, turned into so many dimensions, and noise.
# Vectors of models have a few dozen directions that matter; of white noise in 768 no graph finds the neighbours.
LATENT, NOISE, DIMENSIONS, QUERIES = 64, 0.02, 768, 100


def write_music(folder: Path) -> None:
    import numpy as np
    import soundfile

    from mert_hf.synthetic import generate_piece

    for number in range(PIECES):
        piece = generate_piece(number, PIECE_S, 44100).waveform
        soundfile.write(folder / f"{number}.mp3", np.stack([piece, 0.5 * piece], axis=1), 44100)


def save_model(size: str, folder: Path) -> None:
    import torch

    from mert_hf import MERT2Config, MERT2Model, MERTConfig, MERTFeatureExtractor, MERTModel

    torch.manual_seed(0)
    config = getattr(MERT2Config if size.startswith("mert2") else MERTConfig, size)()
    model = (MERT2Model if size.startswith("mert2") else MERTModel)(config)
    model.save_pretrained(folder)
    MERTFeatureExtractor.for_model(MERTFeatureExtractor(), config).save_pretrained(folder)


def embed_once(music: str, model: str, dtype: str) -> None:
    """What the process that is measured does; prints its figures."""
    from mert_hf.catalogue import embed
    from mert_hf.common.threads import share_cores

    share_cores()
    with tempfile.TemporaryDirectory() as folder:
        done = embed([music], Path(folder) / "out", model, dtype=dtype, progress=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"hours_an_hour": done.hours_an_hour, "peak_gb": peak}))


def measure_embedding() -> list[dict]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        music = Path(folder) / "music"
        music.mkdir()
        write_music(music)
        for name, size in MODELS.items():
            save_model(size, Path(folder) / size)
            for dtype in ("float32", "bfloat16"):
                command = [sys.executable, __file__, "embed_once", str(music), str(Path(folder) / size), dtype]
                figures = json.loads(
                    subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
                )
                found.append({"model": name, "dtype": dtype, **figures})
                print(found[-1], flush=True)
    return found


def measure_search(counts: list[int]) -> list[dict]:
    import numpy as np

    from mert_hf.catalogue.nearest import build_graph, open_graph, search_exactly, search_graph

    random = np.random.default_rng(0)
    spread = (1 / np.sqrt(np.arange(1, LATENT + 1)) / np.sqrt(DIMENSIONS)).astype(np.float32)
    turn = spread[:, None] * random.standard_normal((LATENT, DIMENSIONS), np.float32)

    def draw(count: int) -> np.ndarray:
        found = random.standard_normal((count, LATENT), np.float32) @ turn
        found += NOISE * random.standard_normal((count, DIMENSIONS), np.float32) / np.float32(np.sqrt(DIMENSIONS))
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "units.npy"
            np.save(file, np.concatenate([draw(min(50_000, count - start)) for start in range(0, count, 50_000)]))
            units, queries = np.load(file, mmap_mode="r"), draw(QUERIES)
            started = time.perf_counter()
            build_graph(units, Path(folder) / "graph.usearch")
            built_s = time.perf_counter() - started
            graph = open_graph(Path(folder) / "graph.usearch")
            times, kept = {"exact": [], "graph": []}, {"exact": [], "graph": []}
            for query in queries:
                for method, search in (("exact", search_exactly), ("graph", search_graph)):
                    started = time.perf_counter()
                    rows, _ = search(*(units,) if method == "exact" else (graph, units), query[None], 10)
                    times[method].append(time.perf_counter() - started)
                    kept[method].append(set(rows[0].tolist()))
            recall = statistics.mean(len(one & other) / 10 for one, other in zip(kept["exact"], kept["graph"], strict=True))
            size = (Path(folder) / "graph.usearch").stat().st_size / 1e9
            medians = {f"{method}_ms": 1e3 * statistics.median(taken) for method, taken in times.items()}
            found.append({"vectors": count, **medians, "recall_at_10": recall, "built_s": built_s, "graph_gb": size})
            print(found[-1], flush=True)
    return found


def measure_start() -> dict:
    """Median seconds of five starts each."""
    commands = {
        "python -c pass": ["-c", "pass"],
        "import mert_hf": ["-c", "import mert_hf"],
        "from transformers import HubertModel, pipeline": ["-c", "from transformers import HubertModel, pipeline"],
        "from mert_hf import MERTModel": ["-c", "from mert_hf import MERTModel"],
        "mert-hf --help": ["-m", "mert_hf", "--help"],
        "mert-hf embed --help": ["-m", "mert_hf", "embed", "--help"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in taken.items()}


def embedding_table(results: dict) -> str:
    """What the README shows of `embed`."""
    lines = ["| model | computed in | hours of audio an hour | and core | peak memory |", "| --- | --- | --- | --- | --- |"]
    cores = results["machine"]["cores"]
    for row in results["embed"]:
        hours = row["hours_an_hour"]
        lines.append(f"| {row['model']} | {row['dtype']} | {hours:.1f} | {hours / cores:.1f} | {row['peak_gb']:.1f} GB |")
    return "\n".join(lines)


def search_table(results: dict) -> str:
    """What the README shows of `search`."""
    lines = ["| tracks | exact, a query | graph, a query | recall@10 of the graph | building it | its size |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for row in results["search"]:
        times = f"{row['exact_ms']:.1f} ms | {row['graph_ms']:.1f} ms"
        built = f"{row['built_s'] / 60:.1f} minutes | {row['graph_gb']:.2f} GB"
        lines.append(f"| {row['vectors']:,} | {times} | {row['recall_at_10']:.3f} | {built} |")
    return "\n".join(lines)


# What a plan assumes: the length of a track, the price of a core and hour, and bytes of a row beside its vector of 768 numbers.
TRACK_MINUTES, CORE_HOUR_PRICE, ROW_BYTES = 4, 0.04, 250


def plan_table(results: dict) -> str:
    """What a million tracks and a hundred million come to, from what was measured."""
    (embedding,) = (row for row in results["embed"] if (row["model"], row["dtype"]) == ("MERT-v1-95M", "float32"))
    searched = max(results["search"], key=lambda row: row["vectors"])
    lines = ["| | 1 million | 100 million |", "| --- | --- | --- |"]
    counts = (1_000_000, 100_000_000)

    def add(title: str, values) -> None:
        lines.append(f"| {title} | {' | '.join(values)} |")

    hours = [count * TRACK_MINUTES / 60 for count in counts]
    cores = [one / (embedding["hours_an_hour"] / results["machine"]["cores"]) for one in hours]
    share = [count / searched["vectors"] for count in counts]
    add(f"music, at {TRACK_MINUTES} minutes a track", (f"{one:,.0f} hours" for one in hours))
    add("MERT-v1-95M in float32, as measured", (f"{one:,.0f} core hours" for one in cores))
    add(f"that at {CORE_HOUR_PRICE} a core hour", (f"{one * CORE_HOUR_PRICE:,.0f}" for one in cores))
    add("rows with one vector", (f"{count * (4 * 768 + ROW_BYTES) / 1e9:,.1f} GB" for count in counts))
    add("exact search, a query", (f"{searched['exact_ms'] * one / 1e3:,.2f} s" for one in share))
    add("graph of neighbours", (f"{searched['graph_gb'] * one:,.1f} GB" for one in share))
    add("building it on these cores", (f"{searched['built_s'] * one / 3600:,.1f} hours" for one in share))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("embed", "search", "start", "embed_once"))
    parser.add_argument("rest", nargs="*", help="of search: numbers of vectors (default: 10000 1000000)")
    arguments = parser.parse_args()
    if arguments.what == "embed_once":
        embed_once(*arguments.rest)
        return
    measure = {
        "embed": measure_embedding,
        "search": lambda: measure_search([int(count) for count in arguments.rest] or [10_000, 1_000_000]),
        "start": measure_start,
    }
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[arguments.what] = measure[arguments.what]()
    results["machine"] = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
