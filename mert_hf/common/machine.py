"""On what something was measured, and with which code: for records. The name of the host is told to nobody."""

import platform
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mert_hf import __version__
from mert_hf.common.threads import count_cores

if TYPE_CHECKING:
    import torch

CLONE = Path(__file__).resolve().parents[2]
CPU_FACTS = Path("/proc/cpuinfo")  # of Linux
# of every commit the first digits, as many as tell it from all others in repositories of any size
COMMIT_DIGITS = 12
# rows and columns of the matrices that a CPU is timed with, and how often: milliseconds in all
TIMED_SIZE, TIMED_PRODUCTS = 128, 5


def describe_processors(device: "torch.device | str", processes: int = 1) -> dict[str, str]:
    """The model of the processor that computes, and how many there are, such as "2 cores" or "1 GPU".

    Args:
        device: of torch.
        processes: that compute together, each on a GPU of its own where there are GPUs.

    Returns:
        `machine` and `processors`.
    """
    import torch

    if torch.device(device).type == "cuda":
        counted = f"{processes} GPU" + ("s" if processes > 1 else "")
        return {"machine": torch.cuda.get_device_name(device), "processors": counted}
    cores = count_cores()
    return {"machine": _name_cpu(), "processors": f"{cores} core" + ("s" if cores > 1 else "")}


def _name_cpu() -> str:
    """The processor's model as the system names it; where it names none, the architecture."""
    if CPU_FACTS.is_file():
        facts = (line.partition(":") for line in CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines())
        named = next((value.strip() for name, _, value in facts if name.strip() == "model name"), "")
        if named:
            return named
    return platform.processor() or platform.machine()


def bfloat16_slowdown() -> float:
    """How many times as long as in float32 this CPU needs for a product of matrices in bfloat16.

    Below 1 where it has instructions for it (AVX512-BF16, AMX); else torch emulates them: 14 to 28 on an AVX2 processor, where
    an update of the recipe `small` took 19 s and not 1.
    """
    import torch

    fastest = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(TIMED_SIZE, TIMED_SIZE, dtype=dtype)
        taken = []
        for _ in range(1 + TIMED_PRODUCTS):  # the first makes its kernel
            started = time.perf_counter()
            torch.mm(matrix, matrix)
            taken.append(time.perf_counter() - started)
        fastest[dtype] = min(taken)
    return fastest[torch.bfloat16] / fastest[torch.float32]


def find_commit(folder: Path = CLONE) -> str:
    """The commit of the clone that the package lies in, with "+" where tracked files were changed since.

    Outside a repository, or where git is not installed or refuses to read it, the package's version, such as "mert_hf 0.1.0".

    Args:
        folder: top of the clone.
    """
    git = shutil.which("git")
    if git is not None and (folder / ".git").exists():
        commit = _ask(git, folder, "rev-parse", f"--short={COMMIT_DIGITS}", "HEAD")
        changed = _ask(git, folder, "status", "--porcelain", "--untracked-files=no")
        if commit:
            return commit + ("+" if changed else "")
    return f"mert_hf {__version__}"


def _ask(git: str, folder: Path, *arguments: str) -> str:
    answer = subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
