"""What papers claim, asked again at the size of cells: training/claims.yaml names the cells that would tell."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.common.reading import read_yaml, to_dataclass
from mert_hf.common.suggestions import suggest
from mert_hf.comparison.table import Measured, interval_of, mean_draws, rows_by_column, values_of_seeds
from mert_hf.probing.report.results import number
from mert_hf.tasks import SUITES

# The one measure that is no column of a comparison: the loss of training at its end, of which less is better.
LOSS = "loss_end"
# Tasks that only claims of noise are judged by.
IN_NOISE = SUITES["synthetic_noise"]
CONFIRMED, CONTRARY, OPEN = "as the paper", "the contrary", "open"


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper, and the cells that ask the same.

    Attributes:
        says: what is claimed.
        paper: which, and its numbers.
        better: the cell that is better if the paper is right.
        worse: the cells beside it, each of which is compared.
        measures: columns of a comparison, of whose mean the difference is; none: all that both cells have, but those in noise.
            `loss_end` alone is the loss at the end of the training.
        more_than: columns on which the difference is said to be smaller: the claim is of how much larger it is on `measures`.
    """

    says: str
    paper: str
    better: str
    worse: list[str]
    measures: list[str] | None = None
    more_than: list[str] | None = None

    def cells(self) -> list[str]:
        """Names of the cells that it needs."""
        return [*self.worse, self.better]


def read_claims(file: str | os.PathLike, names: Sequence[str] = ()) -> dict[str, Claim]:
    """The claims of a YAML file by name, in its order.

    Args:
        names: only these; empty for all.

    Raises:
        InputError: no such claim, or the file does not hold claims.
    """
    found = {name: to_dataclass(Claim, content, f"{file}: {name}") for name, content in read_yaml(file).items()}
    for name in names:
        if name not in found:
            raise InputError(f"there is no claim {name!r}" + suggest(name, list(found)))
    return {name: claim for name, claim in found.items() if not names or name in names}


def cells_of(claims: Mapping[str, Claim]) -> list[str]:
    """Names of the cells that the claims need, each once."""
    return list(dict.fromkeys(name for claim in claims.values() for name in claim.cells()))


def tasks_named_by(claims: Mapping[str, Claim]) -> list[str]:
    """The tasks that measures of the claims are of, each once."""
    columns = [column for claim in claims.values() for column in [*(claim.measures or ()), *(claim.more_than or ())]]
    return list(dict.fromkeys(column.partition("/")[0] for column in columns if column != LOSS))


def judge_claims(claims: Mapping[str, Claim], cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every pair of cells of a claim that were both trained: the difference with its 95 % interval, and what it says.

    A difference is that of the better cell (if the paper is right) from the other, in points, as a mean over the measures (less
    that over `more_than`); of the loss it is how much lower it is. Trainings are paired by seed, test examples as well. Without
    an interval, as of the loss of a single training, the answer stays open.
    """
    measured = {cell.described["name"]: cell for cell in cells}
    found = []
    for name, claim in claims.items():
        for other in claim.worse:
            pair = measured.get(claim.better), measured.get(other)
            if None in pair:
                continue
            told = {"claim": name, "says": claim.says, "paper": claim.paper, "better": claim.better, "worse": other}
            told |= {"more_than": claim.more_than} if claim.more_than else {}
            failed = [cell.described["name"] for cell in pair if "failed" in cell.described]
            if failed:
                found.append(
                    {**told, "measures": claim.measures, "failed": failed, "answer": _answer_of_failure(failed, claim)}
                )
                continue
            measures, value = _difference(*pair, claim)
            if value is None:  # a comparison of some tasks goes on without it
                found.append({**told, "measures": measures, "not_judged": measures, "answer": OPEN})
                continue
            found.append({**told, "measures": measures, **value, "answer": _answer(value)})
    return found


def claims_table(judged: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of `judge_claims`: what is claimed, by whom, our difference, and what it says."""
    lines = [["claim", "paper", "cells", "of", "our difference", "answer"], ["---"] * 6]
    for one in judged:
        measures = one["measures"] or []
        of = "all measures" if len(measures) > 3 else ", ".join(map(_short, measures))
        of += f", more than of {', '.join(map(_short, one['more_than']))}" if one.get("more_than") else ""
        shown = "not judged on it" if "not_judged" in one else None
        shown = shown or (f"{' and '.join(one['failed'])} failed" if "failed" in one else number(one))
        lines.append([one["says"], one["paper"], f"{one['better']} beside {one['worse']}", of, shown, one["answer"]])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _difference(better: Measured, worse: Measured, claim: Claim) -> tuple[list[str], dict[str, Any] | None]:
    """The measures that count, and the difference; None where both cells were not judged on all of them."""
    if claim.measures == [LOSS]:
        losses = [_losses(cell.described) for cell in (worse, better)]
        return [LOSS], _with_interval(losses[0] - losses[1], np.zeros(1), 0)
    ours, theirs = rows_by_column(better.rows), rows_by_column(worse.rows)
    both = [column for column in ours if column in theirs]
    counted = claim.measures or [column for column in both if column.partition("/")[0] not in IN_NOISE]
    if not counted or not {*counted, *(claim.more_than or ())} <= {*both}:
        return counted, None

    def gain(columns: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        values = np.mean([values_of_seeds(ours[column]) - values_of_seeds(theirs[column]) for column in columns], axis=0)
        return values, np.mean([mean_draws(ours[column]) - mean_draws(theirs[column]) for column in columns], axis=0)

    values, draws = gain(counted)
    if claim.more_than:
        values, draws = (mine - others for mine, others in zip((values, draws), gain(claim.more_than), strict=True))
    return counted, _with_interval(values, draws, min(ours[column][0]["groups"] for column in counted))


def _with_interval(values: NDArray, draws: NDArray, examples: int) -> dict[str, Any]:
    told = {"value": float(values.mean()), "seeds": values.tolist()}
    if len(values) == 1 and len(draws) == 1:  # a loss has no test examples
        return {**told, "low": None, "high": None}
    low, high = interval_of(values, draws, examples)
    return {**told, "low": low, "high": high}


def _answer(value: Mapping[str, Any]) -> str:
    if value["low"] is not None and value["low"] > 0:
        return CONFIRMED
    return CONTRARY if value["high"] is not None and value["high"] < 0 else OPEN


def _answer_of_failure(failed: Sequence[str], claim: Claim) -> str:
    """A cell that could not be trained to its end has told something where steadiness is claimed, and else nothing."""
    if claim.measures != [LOSS] or len(failed) > 1:
        return OPEN
    return CONTRARY if failed == [claim.better] else CONFIRMED


def _losses(described: Mapping[str, Any]) -> NDArray[np.float64]:
    return np.array([run["loss_end"] for run in described.get("runs", [described])])


def _short(column: str) -> str:
    """The task of a column alone; of a task with several measures, with the measure."""
    task, _, metric = column.partition("/")
    if column == LOSS:
        return "loss"
    short = task.removeprefix("synthetic_").replace("_", " ")
    return f"{short} {metric.replace('_', ' ')}" if short.startswith(("tagging", "beat")) else short
