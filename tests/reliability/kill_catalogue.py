"""Kills `mert-hf embed` at random moments, starts it again each time, and compares the end with that of a run left alone.

    python tests/reliability/kill_catalogue.py ~/Music --model runs/quickstart/model --kills 10

Rows must be the same, and vectors the same bytes. A short form of it runs in tests/catalogue/test_embedding.py.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.catalogues import read_rows, vectors_of


def start(music: str, folder: Path, model: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "mert_hf", "embed", music, "-o", str(folder), "--model", model, "--dtype", "float32"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("music", help="folder of some dozen tracks")
    parser.add_argument("--model", required=True, help="folder or repository")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place) / "whole", Path(place) / "killed"
        started = time.monotonic()
        assert start(given.music, whole, given.model).wait() in (0, 3)
        took_s, expected = time.monotonic() - started, read_rows(whole)
        for number in range(given.kills):
            journal = killed / "journal-00000"
            before = journal.stat().st_size if journal.exists() else 0
            process = start(given.music, killed, given.model)
            # after its first row, at any moment of a tenth of the work
            while process.poll() is None and (not journal.exists() or journal.stat().st_size <= before):
                time.sleep(0.001)
            time.sleep(chance.uniform(0, took_s / given.kills / 2))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            there = len(read_rows(killed)) if (killed / "data").is_dir() else 0
            said = f"{there} rows in shards, {journal.stat().st_size if journal.exists() else 0} bytes in the journal"
            print(f"kill {number + 1}: exit code {process.wait()}, {said}", flush=True)
        assert start(given.music, killed, given.model).wait() in (0, 3)
        found = read_rows(killed)
        assert set(found) == set(expected), set(found) ^ set(expected)
        columns = [name for name in next(iter(expected.values())) if name.startswith(("vector", "layer_"))]
        assert all(vectors_of(found, column) == vectors_of(expected, column) for column in columns)
        assert found == expected
        print(f"{len(found)} rows, the same as of a run that was left alone ({took_s:.0f} s), bytes of vectors included")


if __name__ == "__main__":
    main()
