"""How fast the training targets and the code loss are, beside references written here from the formulas.

    python tests/benchmarks/benchmark_targets.py

Both sides run in turn in this process; medians are printed, and how far the results lie apart. Memory is measured in a process
of its own for each side.
"""

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mert_hf import MERTConfig
from mert_hf.models.code_head_mert import MERTCodeHead
from mert_hf.synthetic import generate_piece
from mert_hf.teachers import CQTTeacher


def medians_s(first, second, runs: int) -> tuple[float, float]:
    """Median seconds of two functions, called in turn after one call each."""
    times = ([], [])
    for run in range(runs + 1):
        for function, kept in ((first, times[0]), (second, times[1])):
            started = time.perf_counter()
            function()
            if run:
                kept.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def exact_constant_q(clips: torch.Tensor, **numbers) -> torch.Tensor:
    """nnAudio's spectrum in float64, which both sides are measured against: (batch, samples) -> (batch, frames, bins)."""
    return CQTTeacher(backend="nnaudio", **numbers).transform.double()(clips.double())


@torch.no_grad()
def benchmark_constant_q(runs: int) -> None:
    """The constant-Q spectrum of 4 clips of 5 s at the paper's numbers, against nnAudio."""
    pieces = [generate_piece(seed, duration_s=5.0).waveform for seed in range(4)]
    clips = torch.from_numpy(np.stack(pieces))
    judge = CQTTeacher(backend="nnaudio")
    exact = exact_constant_q(clips)
    for tolerance in (1e-3, 1e-4):
        teacher = CQTTeacher(tolerance=tolerance)
        error = float((teacher(clips).double() - exact).norm() / exact.norm())
        fast, slow = medians_s(lambda teacher=teacher: teacher(clips), lambda: judge(clips), runs)
        print(
            f"constant-Q, tolerance {tolerance:g}: {1e3 * fast:.1f} ms, nnAudio {1e3 * slow:.1f} ms, {slow / fast:.0f} times"
            f" faster, relative error {error:.1e}"
        )


def peak_mib() -> float:
    """The most memory this process has held. The kernel's `ru_maxrss` would count that of the process it was started from."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def memory_mib(backend: str, answer) -> None:
    """Answer with the most memory that one call takes, its kernels included; to be run in a process of its own."""
    clips = torch.randn(4, 120000, generator=torch.Generator().manual_seed(0))
    CQTTeacher(bins=12, bins_per_octave=12, backend=backend)(clips[:, :24000])  # loads what has nothing to do with the size
    before = peak_mib()
    CQTTeacher(backend=backend)(clips)
    answer.put(peak_mib() - before)


def benchmark_constant_q_memory() -> None:
    """Peak memory of the same spectrum, each in a fresh process (on Linux)."""
    context, peaks = multiprocessing.get_context("spawn"), []
    for backend in ("torch", "nnaudio"):
        answer = context.Queue()
        process = context.Process(target=memory_mib, args=(backend, answer))
        process.start()
        peaks.append(answer.get())
        process.join()
    fast, slow = peaks
    print(f"constant-Q, memory: {fast:.0f} MiB, nnAudio {slow:.0f} MiB, {slow / fast:.0f} times less")


def expanded_code_loss(frames: torch.Tensor, labels: torch.Tensor, head: MERTCodeHead) -> torch.Tensor:
    """The official formula as it is written: every code beside every frame, cosine similarity, positive first."""
    books = len(head.codebook_sizes)
    projected = head.projection(frames).chunk(books, dim=-1)
    tables = head.code_embeddings.split(head.codebook_sizes)
    total = frames.new_zeros(())
    for book in range(books):
        targets = torch.cat([tables[book][labels[:, book]][None], tables[book][:, None].expand(-1, len(frames), -1)])
        logits = F.cosine_similarity(projected[book].float(), targets.float(), dim=-1).T / head.temperatures()[book]
        repeated = torch.zeros_like(logits, dtype=torch.bool)
        repeated[torch.arange(len(frames)), labels[:, book] + 1] = True
        logits = logits.masked_fill(repeated, -torch.inf)
        total = total + F.cross_entropy(logits, torch.zeros_like(labels[:, book]))
    return total


def benchmark_code_loss(runs: int) -> None:
    """Loss and gradient of 852 masked frames (4 clips of 5 s) against 8 codebooks of 1024 codes, 95M sizes."""
    torch.manual_seed(0)
    head = MERTCodeHead(MERTConfig())
    frames, labels = torch.randn(852, 768), torch.randint(0, 1024, (852, 8))
    difference = abs(float(head.loss(frames, labels)[0].detach() / expanded_code_loss(frames, labels, head).detach()) - 1)
    fast, slow = medians_s(
        lambda: head.loss(frames, labels)[0].backward(), lambda: expanded_code_loss(frames, labels, head).backward(), runs
    )
    print(
        f"code loss with gradient: {1e3 * fast:.1f} ms, expanded formula {1e3 * slow:.0f} ms, {slow / fast:.0f} times faster,"
        f" relative difference {difference:.1e}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each side")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    benchmark_constant_q(arguments.runs)
    benchmark_constant_q_memory()
    benchmark_code_loss(min(arguments.runs, 3))
