"""What a speedrun came to: `speedrun.json`, from which its table and its picture are made, and the line of its record."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mert_hf.common.errors import InputError
from mert_hf.common.files import write_atomically
from mert_hf.common.reading import read_text
from mert_hf.comparison.speedrun import Judgement
from mert_hf.comparison.table import Rows, compile_results
from mert_hf.probing.report.intervals import percentiles
from mert_hf.probing.report.results import SPECTRA, number

KEPT = ("value", "low", "high", "std", "seeds", "layer")
TIMES = ("training_s", "preparing_s", "judging_s", "audio_s")
# columns of training/speedrun.csv by what they hold; the measures behind them
RECORD = (
    *("date", "commit", "machine", "processors", "recipe", "settings", "music", "seed"),
    *("updates", "audio_s", "training_s", "total_s", "beaten", "wanted"),
)
MEASURES = {
    "pitch": "synthetic_pitch/accuracy",
    "instrument": "synthetic_instrument/accuracy",
    "key": "synthetic_key/refined_accuracy",
    "chord": "synthetic_chord/accuracy",
    "beat_70_ms": "synthetic_beat/beat_f1",
    "beat_20_ms": "synthetic_beat/beat_f1_20ms",
    "tempo": "synthetic_tempo/r2",
    "tagging_roc_auc": "synthetic_tagging/roc_auc",
    "tagging_map": "synthetic_tagging/mean_average_precision",
}


def compile_speedrun(
    judged: Sequence[Judgement], baselines: Mapping[str, Rows], wanted: int, circumstances: Mapping[str, Any]
) -> dict[str, Any]:
    """`speedrun.json`: what is to be beaten of every measure, and every judgement beside it.

    To be beaten is the highest of the spectrum that is best on the validation split and of all rules of textbooks and guesses,
    which learn nothing that could be chosen by validation. `beaten` are measures whose value lies above that; `clearly_beaten`
    those of them whose difference has a 95 % interval, over test examples, above 0. The weights that the run begins with are
    judged for comparison: they end no speedrun.

    Args:
        judged: in their order; the first is of the weights that the run begins with.
        baselines: rows by title, by `SuiteEvaluator.evaluate`.
        wanted: measures that are to be beaten.
        circumstances: recipe, machine and whatever else is to be told.
    """
    told = compile_results([], baselines, {})
    best, draws = told["best_baselines"], {title: _by_column(rows) for title, rows in baselines.items()}
    bars = {}
    for column in told["columns"]:
        rivals = [title for title, rows in draws.items() if column in rows and (title not in SPECTRA or title == best[column])]
        name = max(rivals, key=lambda title, column=column: draws[title][column]["value"])
        bars[column] = {"name": name, **{key: draws[name][column][key] for key in ("value", "low", "high")}}
    described = [_describe(one, {column: draws[bar["name"]][column] for column, bar in bars.items()}) for one in judged]
    done = next((place for place, one in enumerate(described) if place and len(one["beaten"]) >= wanted), None)
    return {
        **circumstances,
        "wanted": wanted,
        "columns": told["columns"],
        "to_beat": bars,
        "judgements": described,
        "beats": done is not None,
        "baselines": told["baselines"],
        "best_baselines": best,
        "versions": told["versions"],
    }


def _describe(judgement: Judgement, bars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    rows = _by_column(judgement.rows)
    differences = {}
    for column, bar in bars.items():
        if column in rows:  # an encoder of few frames a second has no beats
            low, high = percentiles(np.subtract(rows[column]["draws"], bar["draws"]))
            differences[column] = {"value": rows[column]["value"] - bar["value"], "low": low, "high": high}
    beaten = [column for column, found in differences.items() if found["value"] > 0]
    times = {name: getattr(judgement, name) for name in TIMES}
    return {
        "step": judgement.step,
        **times,
        "total_s": judgement.training_s + judgement.preparing_s + judgement.judging_s,
        "date": judgement.date,
        "commit": judgement.commit,
        "values": {column: {name: row[name] for name in KEPT} for column, row in rows.items()},
        "differences": differences,
        "beaten": beaten,
        "clearly_beaten": [column for column in beaten if differences[column]["low"] > 0],
    }


def _by_column(rows: Rows) -> dict[str, Mapping[str, Any]]:
    return {f"{row['task']}/{row['metric']}": row for row in rows}


def speedrun_table(results: Mapping[str, Any]) -> str:
    """What came of it in sentences; one line a judgement, values with 95 % intervals, then what is to be beaten.

    Bold is what lies above that, with a star where the interval of the difference excludes 0.
    """
    columns = results["columns"]
    head = ["updates", "audio (s)", "training (s)", "all (s)", "beaten", *columns.values()]
    lines = [head, ["---"] * len(head)]
    for one in results["judgements"]:
        first = [f"{one['step']}", *(f"{one[name]:.0f}" for name in ("audio_s", "training_s", "total_s"))]
        lines.append([*first, f"{len(one['beaten'])} of {len(columns)}", *(_cell(one, column) for column in columns)])
    bars = results["to_beat"]
    lines.append(["*to be beaten*", *[""] * 4, *(f"{number(bars[column])}, {bars[column]['name']}" for column in columns)])
    return describe_outcome(results) + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _cell(judgement: Mapping[str, Any], column: str) -> str:
    if column not in judgement["values"]:
        return ""
    text = number({name: judgement["values"][column][name] for name in ("value", "low", "high")})
    star = "\\*" if column in judgement["clearly_beaten"] else ""
    return f"**{text}**{star}" if column in judgement["beaten"] else text


def describe_outcome(results: Mapping[str, Any]) -> str:
    """How long it took, or how far it came; what was counted, and what the numbers are of."""
    last, count = results["judgements"][-1], len(results["columns"])
    where = f"{results['machine']}, {results['processors']}"
    spent = (
        f"{last['training_s']:.0f} s of training on {last['audio_s']:.0f} s of audio ({last['total_s']:.0f} s with preparing"
        f" and judging; {where}; {last['commit']})"
    )
    beaten = f"{len(last['beaten'])} of {count} measures"
    if results["beats"]:
        first = f"{results['recipe']} beats the best simple baseline on {beaten} after {spent}."
    else:
        ended = "at the end of" if last["step"] == results["updates"] else "so far, after"
        first = f"{results['recipe']} beats the best simple baseline on {beaten}, not on {results['wanted']}, {ended} {spent}."
    lucky = ", and stopped at the first that is good enough: its values are rather those of a lucky moment" * results["beats"]
    return (
        f"{first} One training (seed {results['seed']}), {len(results['judgements']) - 1} judgements{lucky}. Intervals of 95 %"
        " are over test examples."
    )


def record_line(results: Mapping[str, Any]) -> dict[str, str]:
    """The line of the record, by column; a measure that was not judged is empty."""
    last = results["judgements"][-1]
    line: dict[str, Any] = {name: last.get(name, results.get(name)) for name in RECORD}
    line |= {"updates": last["step"], "beaten": len(last["beaten"])}
    line["settings"] = " ".join(f"{name}={value}" for name, value in results["settings"].items())
    line |= {name: f"{last[name]:.0f}" for name in ("audio_s", "training_s", "total_s")}
    for name, column in MEASURES.items():
        line[name] = f"{last['values'][column]['value']:.1f}" if column in last["values"] else ""
    return {name: str(value) for name, value in line.items()}


def add_record(results: Mapping[str, Any], file: str | os.PathLike) -> bool:
    """Append a speedrun to the record, a CSV that is made where there is none; one that stands there already is left alone.

    Returns:
        Whether it is new.

    Raises:
        InputError: the file is another table.
    """
    file, columns, line = Path(file), [*RECORD, *MEASURES], record_line(results)
    known: list[dict[str, str]] = []
    if file.is_file():
        reader = csv.DictReader(io.StringIO(read_text(file)))
        known = list(reader)
        if reader.fieldnames != columns:
            raise InputError(f"{file} is no record of speedruns: its columns must be {','.join(columns)}.")
    if line in known:
        return False
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*known, line])
    write_atomically(file, text.getvalue())
    return True
