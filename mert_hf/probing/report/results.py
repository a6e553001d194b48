"""What a probing came to: rows for `evaluation.json` and model cards, and a table beside the published numbers."""

import importlib.metadata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mert_hf.common.errors import InputError
from mert_hf.common.redaction import name_only
from mert_hf.probing.features.spectra import SPECTRAL_BASELINES
from mert_hf.tasks.base import Task, TaskData
from mert_hf.tasks.published import average_score

# Values of a measure that make a row where no table was published; their titles.
METRIC_TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "beat_f1": "beat F1 (70 ms)",
    "beat_f1_20ms": "beat F1 (20 ms)",
    "beat_f1_macro": "beat F1 (70 ms), macro",
    "beat_f1_macro_20ms": "beat F1 (20 ms), macro",
    "mean_average_precision": "mean average precision",
    "mean_average_precision_micro": "mean average precision, micro",
    "r2": "R2",
    "r2_arousal": "R2 arousal",
    "r2_valence": "R2 valence",
    "refined_accuracy": "refined accuracy",
    "roc_auc": "ROC-AUC",
    "roc_auc_micro": "ROC-AUC, micro",
    "sdr_vocals": "SDR vocals",
    "sdr_drums": "SDR drums",
    "sdr_bass": "SDR bass",
    "sdr_other": "SDR other",
}
DECIBELS = "sdr"
SPECTRA = tuple(kind.title for kind in SPECTRAL_BASELINES)
# micro averages belong to Deezer's protocol alone
MICRO_SUITES = ("deezer",)
# beside a published value: the tolerance that the papers name, and the mean over tracks of beat papers
BESIDE = ("beat_f1_macro", "beat_f1_20ms", "beat_f1_macro_20ms")
# of the published systems, those in the Markdown table; evaluation.json has them all
SHOWN_SYSTEMS = (
    "Jukebox-5B",
    "MULE",
    "music2vec-95M",
    "music2vec vanilla",
    "musicHuBERT k500 MFCC60",
    "MERT-v0",
    "MERT-v1-95M",
    "MERT-v1-330M",
    "MERT-v2-30s",
    "MERT-v2-FullSong",
)
PACKAGES = ("mert_hf", "torch", "transformers", "datasets", "numpy", "scikit-learn")


def result_rows(
    data: TaskData, suite: str, evaluated: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One row a value that tables print, shares in percent.

    `learning_rate` and `epoch` are those of the first seed's probe on the chosen layer, `summed_layers` and `layer_shares`
    those of the weighted sum.

    Args:
        data: the task.
        suite: that it was run in.
        evaluated: of the model, by `evaluate_encoder`.
        baselines: of others by their title, by `evaluate_encoder` or `evaluate_baseline`.
    """
    task = data.task
    published = task.published
    # of data from two places, each is named
    origin = " and ".join(map(name_only, data.origin.split(" and ")))
    rows = []
    for name in row_values(task, suite, evaluated["values"]):
        scale = unit_scale(name)
        rows.append(
            {
                "task": task.name,
                "title": task.title,
                "dataset": {
                    "id": origin if data.revisions else None,
                    "name": origin,
                    "split": "test",
                    "revision": ", ".join(data.revisions.values()) or data.fingerprint[:12],
                },
                "revisions": dict(data.revisions),
                "metric": name,
                "metric_title": METRIC_TITLES.get(name, name),
                "unit": "dB" if scale == 1.0 else "%",
                **_scaled(evaluated["values"][name], scale),
                "layer": evaluated["layer"],
                "probe": evaluated["probe"],
                "protocol": evaluated["protocol"],
                "learning_rate": evaluated.get("learning_rates", {}).get(evaluated["layer"]),
                "epoch": evaluated.get("epochs", {}).get(evaluated["layer"]),
                "summed_layers": evaluated.get("summed_layers", []),
                "layer_shares": evaluated.get("layer_shares"),
                "layers": {head: scale * values[name] for head, values in evaluated["layers"].items()},
                "baselines": {
                    title: _scaled(found["values"][name], scale) | {"layer": found.get("layer")}
                    for title, found in baselines.items()
                },
                "best_baseline": best_baseline(baselines),
                "published": {system: values[name] for system, values in published.items() if name in values},
                "left_out": dict(evaluated["left_out"]),
                "notes": list(evaluated["notes"]),
            }
        )
        if "limited" in evaluated and name == task.monitor:
            rows[-1]["limited"] = {
                share: {"mean": scale * found["mean"], "std": scale * found["std"], "examples": found["examples"]}
                for share, found in evaluated["limited"].items()
            }
    return rows


def unit_scale(value: str) -> float:
    """By which a value is multiplied in tables: shares are told in percent, ratios in decibels as they are."""
    return 1.0 if value.startswith(DECIBELS) else 100.0


def best_baseline(baselines: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Of the spectra, that which is best on the validation split, where all are judged by the same; None without any.

    Random weights are no baseline, but what a model began with; rules of textbooks learn nothing and have no validation.
    """
    found = {title: one["validation"] for title, one in baselines.items() if title in SPECTRA and "validation" in one}
    return max(found, key=found.get) if found else None


def row_values(task: Task, suite: str, values: Collection[str]) -> list[str]:
    """Of the values of a task, those that make rows: the published ones and those beside them, or those of its measures."""
    printed = {name for system in task.published.values() for name in system}
    found = []
    for name in values:
        micro = name.endswith("_micro")
        published = bool(printed) and suite not in MICRO_SUITES
        wanted = name in printed or name in BESIDE if published else name in METRIC_TITLES
        # of keys, the refined accuracy is the measure of record
        hidden = (micro and suite not in MICRO_SUITES) or (name == "accuracy" and "refined_accuracy" in values)
        hidden |= "macro" in name and not published
        hidden |= name == "balanced_accuracy" != task.monitor
        if wanted and not hidden:
            found.append(name)
    return found


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on; InputError where one of them is not installed."""
    try:
        return {name: importlib.metadata.version(name) for name in PACKAGES}
    except importlib.metadata.PackageNotFoundError as missing:
        raise InputError(f'judging needs {missing.name}: pip install "mert_hf[train]"') from None


def averages(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The papers' average of the model ("this model") and of every published system that has all the same values.

    Only rows with published numbers count; values of a task are averaged first. Empty where nothing was published.
    """
    counted = [row for row in rows if row["published"]]
    if not counted:
        return {}
    found = {"this model": _average(counted, lambda row: row["value"])}
    for system in dict.fromkeys(name for row in counted for name in row["published"]):
        if all(system in row["published"] for row in counted):
            found[system] = _average(counted, lambda row, system=system: row["published"][system])
    return found


def markdown_table(results: Mapping[str, Any]) -> str:
    """The results as a table: one line a value, with 95 % intervals; then baselines, then published systems.

    The best baseline is the spectrum that is best on the validation split, whatever it comes to on the test split.
    """
    rows = results["results"]
    baselines = list(dict.fromkeys(title for row in rows for title in row["baselines"]))
    systems = [system for system in SHOWN_SYSTEMS if any(system in row["published"] for row in rows)]
    has_best = any(row.get("best_baseline") for row in rows)  # older results name none
    beside = ["best baseline"] if has_best else []
    head = ["task", "measure", "layer", results["title"], *beside, *baselines, *systems]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        cells = [row["title"], row["metric_title"], row["layer"], number(row)]
        if has_best:
            best = row.get("best_baseline")
            cells.append(f"{row['baselines'][best]['value']:.1f}, {best}" if best else "")
        cells += [number(row["baselines"][title]) if title in row["baselines"] else "" for title in baselines]
        cells += [f"{row['published'][system]:.1f}" if system in row["published"] else "" for system in systems]
        lines.append(cells)
    mean = averages(rows)
    if mean:
        tasks = len({row["task"] for row in rows if row["published"]})
        cells = [f"average of {tasks} tasks", "", "", f"{mean['this model']:.1f}", *[""] * (len(beside) + len(baselines))]
        lines.append(cells + [f"{mean[system]:.1f}" if system in mean else "" for system in systems])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def number(found: Mapping[str, Any]) -> str:
    """A value and its interval, such as "41.2 (38.0 to 44.1)"; with mean ± deviation of resampled halves where there are."""
    text = f"{found['value']:.1f}"
    if found.get("low") is not None:
        text += f" ({found['low']:.1f} to {found['high']:.1f})"
    if found.get("resampled_mean") is not None:
        text += f"; halves {found['resampled_mean']:.1f} ± {found['resampled_std']:.1f}"
    return text


def _average(rows: Sequence[Mapping[str, Any]], value) -> float:
    by_task: dict[str, dict[str, float]] = {}
    for row in rows:
        by_task.setdefault(row["task"], {})[row["metric"]] = value(row)
    return average_score(by_task)


def _scaled(value: Mapping[str, Any], scale: float) -> dict[str, Any]:
    told = {name: found for name, found in value.items() if name not in ("seeds", "draws", "groups")}
    scaled = {name: None if found is None else scale * found for name, found in told.items()}
    return scaled | {"seeds": [scale * found for found in value["seeds"]]}
