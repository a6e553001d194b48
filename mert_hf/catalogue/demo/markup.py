"""What the page shows, as HTML that holds all it needs: no file is left on the server for it, and no network is asked."""

import base64
import html
from pathlib import PurePath

from mert_hf.catalogue.demo.index import Neighbour
from mert_hf.catalogue.demo.listening import Listened
from mert_hf.catalogue.inspection.page import make_page

# The picture's page: as wide as it gets, and its height then (page.html and picture.py).
WIDEST_PX, SHAPE = 1060, 0.66


def show_message(message: str) -> str:
    """A line in place of results."""
    return f'<p id="message" role="alert"><bdi>{html.escape(message)}</bdi></p>'


def show(listened: Listened) -> str:
    """The results of a song: nearest pieces to be played, its vectors to be downloaded, its picture to be clicked into."""
    inspection = listened.inspection
    rows = "\n".join(_row(number, one) for number, one in enumerate(listened.neighbours, start=1))
    name = f"{PurePath(inspection.name).stem}.vectors.parquet"
    vectors = base64.b64encode(listened.vectors).decode()
    page = html.escape(make_page(inspection, listened.playable))
    return f"""
<h3>Nearest of the synthetic pieces</h3>
<div style="overflow-x: auto; margin-bottom: 0.8rem"><table id="nearest">
<thead><tr><th>cosine</th><th>piece</th><th>key</th><th>tempo</th><th>instruments</th><th>listen</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>
<p>By layer {inspection.layer} of <bdi>{html.escape(inspection.model)}</bdi>, averaged over the track, the mean of all pieces
taken away.</p>
<p><a id="vectors" download="{html.escape(name)}" href="data:application/vnd.apache.parquet;base64,{vectors}">Download the
vectors of the track and of every second of it</a> (Parquet)</p>
<h3>As the model hears it</h3>
<iframe id="picture" title="Picture of the track" sandbox="allow-scripts" srcdoc="{page}"
        style="width: 100%; max-width: {WIDEST_PX}px; aspect-ratio: {SHAPE}; border: 0"></iframe>
"""


def _row(number: int, neighbour: Neighbour) -> str:
    hit = neighbour.hit
    sound = base64.b64encode(neighbour.mp3).decode()
    cells = (
        f"{hit.score:.3f}",
        html.escape(PurePath(hit.name).stem),
        html.escape(neighbour.key),
        f"{neighbour.tempo_bpm:.0f} bpm",
        html.escape(", ".join(neighbour.instruments).replace("_", " ")),
        f'<audio controls preload="metadata" aria-label="neighbour {number}" src="data:audio/mpeg;base64,{sound}"></audio>',
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
