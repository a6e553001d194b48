"""Attacks with damaged and absurd input: what may come of it is a result, or one of the errors that are documented."""

import copy
import resource
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# An input that takes longer, or makes the process grow by more, is a finding too.
MOST_SECONDS = 5.0
MOST_BYTES = 500 * 2**20

# What stands where something else is meant: wrong kinds, absurd sizes, names that lead elsewhere.
HOSTILE = (
    *(None, True, False, 0, -1, 1, 3, 10**6, 2**31, 2**63 - 1, 10**30, -(10**18)),
    *(0.0, -0.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")),
    *("", " ", "\0", "a\nb", "../../x", "/etc/passwd", "..", "é\u2028\f", "x" * 100_000, "hf_" + "A" * 34, "${oc.env:HOME}"),
    *([], {}, [[]], [None], {"a": None}, [[[[[[[[[]]]]]]]]], [1, "2", None], list(range(1000))),
)


@dataclass
class Report:
    """What came of a family of attacks.

    Attributes:
        family: its name.
        seed: of all draws.
        outcomes: how often an input was taken, and how often refused by which error.
        findings: what must not happen, a text each, with the number of the input.
        slowest_s: longest time an input took.
    """

    family: str
    seed: int
    outcomes: Counter = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def line(self) -> str:
        """The report in a line."""
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.family:16s} seed {self.seed}: {self.outcomes.total():6d} inputs ({counts}); slowest {self.slowest_s:.2f} s;"
            f" {len(self.findings)} findings"
        )


def attack(
    family: str,
    strike: Callable[[np.random.Generator], Any],
    documented: tuple[type[BaseException], ...],
    inputs: int,
    seed: int,
    first: int = 0,
) -> Report:
    """Strike with so many inputs, each drawn from the seed and its own number, so that one alone can be repeated.

    Args:
        family: name of the attack.
        strike: makes one input of what it draws, and uses the package with it.
        documented: errors that may come of it; of these ValueError and the like stand for themselves, not for what is derived.
        inputs: how many.
        seed: of all draws.
        first: number of the first input.
    """
    report = Report(family, seed)
    for number in range(first, first + inputs):
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        try:
            strike(np.random.default_rng([seed, number]))
            report.outcomes["taken"] += 1
        except documented as error:
            report.outcomes[type(error).__name__] += 1
            if len(str(error)) > 2000:
                report.findings.append(f"{family} {number}: a message of {len(str(error))} characters: {str(error)[:300]}")
        except Exception as error:  # all others are what is looked for
            report.outcomes[type(error).__name__] += 1
            report.findings.append(f"{family} {number}: " + "".join(traceback.format_exception(error, limit=-4)))
        took, grown = time.perf_counter() - started, 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        report.slowest_s = max(report.slowest_s, took)
        if took > MOST_SECONDS:
            report.findings.append(f"{family} {number}: took {took:.1f} s")
        if grown > MOST_BYTES:
            report.findings.append(f"{family} {number}: the process grew by {grown / 2**20:.0f} MiB")
    return report


def damage_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Some bits flipped, a stretch cut out, doubled, zeroed or put in, the end cut off, or nothing left at all."""
    damaged = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        if not damaged:
            break
        place, length = int(rng.integers(len(damaged))), int(rng.integers(1, max(2, len(damaged) // 4)))
        kind = int(rng.integers(8))
        if kind <= 1:
            damaged[place] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del damaged[place : place + length]
        elif kind == 3:
            damaged[place:place] = damaged[place : place + length]
        elif kind == 4:
            damaged[place : place + length] = bytes(len(damaged[place : place + length]))
        elif kind == 5:
            damaged[place:place] = rng.bytes(min(length, 64))
        elif kind == 6:
            del damaged[place:]
        else:
            damaged[place] = int(rng.integers(256))
    return b"" if rng.random() < 0.01 else bytes(damaged)


def damage_values(rng: np.random.Generator, content: Any) -> Any:
    """A copy of nested dictionaries and lists in which one to three places hold something hostile, are gone, or are new."""
    damaged = copy.deepcopy(content)
    for _ in range(int(rng.integers(1, 4))):
        places = [(None, None), *_places(damaged)]
        holder, key = places[int(rng.integers(len(places)))] if rng.random() > 0.02 else places[0]
        value = copy.deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])
        if holder is None:
            if rng.random() < 0.05:
                damaged = value
            continue
        kind = rng.random()
        if kind < 0.7:
            holder[key] = value
        elif kind < 0.85:
            del holder[key]
        elif isinstance(holder, dict):
            holder[f"{key}_"] = value
        else:
            holder.insert(key, value)
    return damaged


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every holder and key in it."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, item in items for place in [(content, key), *_places(item)]]
