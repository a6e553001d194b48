"""What a retrieval came to, as files: all numbers, a table, a picture."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mert_hf.catalogue.projection import KINDS
from mert_hf.catalogue.retrieval.benchmark import ALL
from mert_hf.common.figures import DOTS_PER_INCH, new_figure
from mert_hf.common.files import to_json, write_atomically

RESULTS, TABLE, PICTURE = "retrieval.json", "retrieval.md", "retrieval.png"
PROJECTED = {"none": "plain", "centre": "centred", "whiten": "whitened"}
COLUMNS = 4


def write_report(results: Mapping[str, Any], folder: str | os.PathLike) -> str:
    """Write `retrieval.json`, `retrieval.md` and `retrieval.png`, each wholly or not at all; gives the first table."""
    folder = Path(folder)
    write_atomically(folder / RESULTS, to_json(results, indent=1) + "\n")
    table = recall_table(results)
    write_atomically(folder / TABLE, markdown(results))
    picture = io.BytesIO()
    draw(results, picture)
    write_atomically(folder / PICTURE, picture.getvalue())
    return table


def markdown(results: Mapping[str, Any]) -> str:
    """The tables, what they tell, and how every query is made."""
    model = results["systems"][0]
    made = "\n".join(f"* {one['title']}: {one['made']}." for one in results["disturbances"].values())
    return f"""# Retrieval: {model["title"]}

The gallery: {results["pieces"]} clips of {results["clip_s"]:g} s, {results["what"]}. A query is one of them, changed, and looks
for itself by the highest cosine.

## Recall@1

Queries whose nearest neighbour is their own piece, in percent, with 95 % intervals over pieces. Guessing finds
{results["chance"]["recall_at_1"]:.1f}. An interval of one number means that all pieces here gave it; others may not.

{recall_table(results)}
Rows of a model are of layer {model["fixed_layer"]}, which was named before anything was measured. "chosen": the layer,
pooling and comparison that did best on every second piece (mean average precision over all queries), told of the other pieces,
and the reverse; where the halves chose differently, both are named.

## Mean average precision

One clip of the gallery is right for each query, so that this is the mean of one over its place (reciprocal rank), in percent.
Guessing comes to {results["chance"]["map"]:.1f}.

{_table(results, "map", with_interval=False)}
## By layer, mean over time

Cosines of two different pieces (± their deviation), of a piece and the nearest other one, of a query and its own piece; and
recall@1 over all queries. Where the first cosine is near 1, nearly all of a vector is the same for all music.

{_layers_table(results)}
"centred": the mean of the gallery is subtracted from vectors of length 1; "whitened": every principal direction is divided by
its spread as well, the covariance being shrunk by {results["whitening_shrinkage"]:g} towards the identity. Both are fitted on
the gallery alone. Fewer pieces than a vector has numbers are set equally far apart by whitening, whatever they are: its cosines
of two pieces tell nothing then, and a larger catalogue is whitened otherwise.

## How queries are made

{made}
"""


def recall_table(results: Mapping[str, Any]) -> str:
    """Recall@1 with intervals, in Markdown: a line for every system and projection."""
    return _table(results, "recall_at_1", with_interval=True)


def fixed_rows(results: Mapping[str, Any], system: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of a system, the rows of the layer and pooling that were named beforehand, by projection."""
    wanted = (system["title"], system["fixed_layer"], system["fixed_pooling"])
    return [row for row in results["rows"] if (row["system"], row["layer"], row["pooling"]) == wanted]


def _table(results: Mapping[str, Any], measure: str, with_interval: bool) -> str:
    titles = [ALL, *(one["title"] for one in results["disturbances"].values())]
    lines = [["vectors", "layer, pooling, comparison", *titles], ["---"] * (len(titles) + 2)]
    for number, (system, chosen) in enumerate(zip(results["systems"], results["chosen"], strict=True)):
        # the model's own name leads; what it stands beside is set apart
        title = system["title"] if not number else f"*{system['title']}*"
        told = " / ".join(dict.fromkeys(map(_setting, chosen["settings"])))
        rows = [(_setting(row), row) for row in fixed_rows(results, system)]
        for setting, row in (*rows, (f"chosen: {told}", chosen)):
            values = (row[measure][name] for name in (ALL, *results["disturbances"]))
            lines.append([title, setting, *(_number(value, with_interval) for value in values)])
    return _lines(lines)


def _setting(row: Mapping[str, Any]) -> str:
    return f"{row['layer']}, {row['pooling']}, {PROJECTED[row['projection']]}"


def _number(value: Mapping[str, float], with_interval: bool) -> str:
    text = f"{value['value']:.0f}"
    return f"{text} ({value['low']:.0f}–{value['high']:.0f})" if with_interval else text


def _layers_table(results: Mapping[str, Any]) -> str:
    head = ["vectors", "layer"]
    for kind in KINDS:
        head += [f"{PROJECTED[kind]}: two pieces", "nearest other", "query and own", "recall@1"]
    lines = [head, ["---"] * len(head)]
    for system in results["systems"]:
        for layer in system["layers"]:
            line = [system["title"], layer]
            for row in (_row(results, system["title"], layer, kind) for kind in KINDS):
                own = sum(row["own_cosines"].values()) / len(row["own_cosines"])
                line += [f"{row['random_cosine']:.3f} ± {row['random_cosine_std']:.3f}", f"{row['nearest_cosine']:.3f}"]
                line += [f"{own:.3f}", f"{row['recall_at_1'][ALL]['value']:.0f}"]
            lines.append(line)
    return _lines(lines)


def _row(results: Mapping[str, Any], title: str, layer: str, kind: str) -> Mapping[str, Any]:
    """Of the mean over time."""
    wanted = (title, layer, "mean", kind)
    return next(row for row in results["rows"] if (row["system"], row["layer"], row["pooling"], row["projection"]) == wanted)


def _lines(lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def draw(results: Mapping[str, Any], picture: io.BytesIO) -> None:
    """Draw recall@1 over the layers: a panel for each disturbance and one for all; in the last, the cosines of two pieces."""
    names = [*results["disturbances"], ALL]
    rows = -(-(len(names) + 1) // COLUMNS)
    what = f"{results['pieces']} {results['what']}, {results['clip_s']:g} s"
    title = f"{results['systems'][0]['title']}: queries whose nearest neighbour is their own piece (%); {what}"
    title += "\nmean over time, of spectra mean and standard deviation; shaded: 95 % interval of the plain cosine"
    figure, panels = new_figure(title, rows, COLUMNS, (3.0 * COLUMNS, 2.4 * rows + 1.0))
    panels = list(panels)
    for panel in panels[len(names) + 1 :]:
        panel.set_visible(False)
    for panel, name in zip(panels, names, strict=False):
        _draw_recall(panel, results, name)
        told = "mean of all" if name == ALL else results["disturbances"][name]["title"]
        panel.set(title=told, ylim=(-3, 103), yticks=(0, 25, 50, 75, 100))
    _draw_cosines(panels[len(names)], results)
    for panel in panels[: len(names) + 1]:
        panel.grid(alpha=0.3)
        layers = results["systems"][0]["layers"]
        panel.set_xticks(range(len(layers))[:: max(1, len(layers) // 6)], layers[:: max(1, len(layers) // 6)])
    for panel in panels[len(names) + 1 - COLUMNS : len(names) + 1]:
        panel.set_xlabel("layer")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize="medium")
    figure.savefig(picture, format="png", dpi=DOTS_PER_INCH)


def _draw_recall(panel, results: Mapping[str, Any], name: str) -> None:
    model, untrained, *spectra = results["systems"]
    styles = {
        (model["title"], "none"): ("C0", "-", "o"),
        (model["title"], "centre"): ("C0", "--", "s"),
        (model["title"], "whiten"): ("C1", "-", "^"),
        (untrained["title"], "none"): ("0.45", "-", "o"),
        (untrained["title"], "whiten"): ("0.45", "--", "^"),
    }
    for (title, kind), (colour, line, mark) in styles.items():
        found = [_row(results, title, layer, kind)["recall_at_1"][name] for layer in model["layers"]]
        label = f"{title}, {PROJECTED[kind]}"
        values = [one["value"] for one in found]
        panel.plot(values, color=colour, linestyle=line, marker=mark, markersize=3.5, linewidth=1.5, label=label)
        if kind == "none" and title == model["title"]:
            panel.fill_between(
                range(len(found)), [one["low"] for one in found], [one["high"] for one in found], color=colour, alpha=0.15
            )
    for system, colour in zip(spectra, ("C2", "C3"), strict=True):
        for row in fixed_rows(results, system):
            if row["projection"] != "centre":
                label = f"{system['title']}, {PROJECTED[row['projection']]}"
                line = "-" if row["projection"] == "whiten" else ":"
                panel.axhline(row["recall_at_1"][name]["value"], color=colour, linestyle=line, linewidth=1.3, label=label)
    panel.axhline(results["chance"]["recall_at_1"], color="black", linewidth=0.8, label="guessing")


def _draw_cosines(panel, results: Mapping[str, Any]) -> None:
    model, untrained, *_ = results["systems"]
    for title, colour in ((model["title"], "C0"), (untrained["title"], "0.45")):
        cosines = [_row(results, title, layer, "none")["random_cosine"] for layer in model["layers"]]
        panel.plot(cosines, color=colour, marker="o", markersize=3.5, linewidth=1.5)
    panel.set(title="cosine of two different pieces", ylim=(-0.05, 1.05))
