"""The page of a track: its picture, the track to be played, and a cursor that follows; one file that asks no network."""

import base64
import html
import io
import os
import re
from dataclasses import asdict
from pathlib import Path

from mert_hf.catalogue.inspection.analysis import Inspection
from mert_hf.catalogue.inspection.picture import draw_picture, format_time
from mert_hf.catalogue.inspection.playable import Playable
from mert_hf.common.files import open_atomically, to_json

TEMPLATE = Path(__file__).with_name("page.html")


def write_page(inspection: Inspection, playable: Playable, page: str | os.PathLike) -> None:
    """Write a track as an HTML file, which is there whole or not at all.

    Args:
        playable: the track; see [`make_playable`](playable.py).

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    content = make_page(inspection, playable)
    with open_atomically(page) as file:
        file.write(content.encode("utf-8", "replace"))


def make_page(inspection: Inspection, playable: Playable) -> str:
    """The HTML of a track."""
    picture = io.BytesIO()
    panels = draw_picture(inspection, picture)
    duration_s, sections = inspection.duration_s, inspection.sections
    data = {
        "duration_s": duration_s,
        "starts_s": [section.start_s for section in sections],
        "panels": {name: asdict(frame) for name, frame in panels.items()},
    }
    listed = [
        f'<li><button type="button">{number}: {format_time(section.start_s, duration_s, 1)} &ndash;'
        f" {format_time(section.end_s, duration_s, 1)}</button></li>"
        for number, section in enumerate(sections, start=1)
    ]
    length = format_time(duration_s, duration_s, 1) + (" s" if ":" not in format_time(duration_s, duration_s) else "")
    filled = {
        "title": html.escape(inspection.name),
        "length": length,
        "layer": str(inspection.layer),
        "model": html.escape(inspection.model),
        "audio": _data_url(playable.mime, playable.content),
        "sections": "\n".join(listed),
        "picture": _data_url("image/png", picture.getvalue()),
        "data": to_json(data).replace("<", "\\u003c"),  # nothing in it may end the script
    }
    # in one go, so that a title may hold {{audio}}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found.group(1)], TEMPLATE.read_text(encoding="utf-8"))


def _data_url(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
