"""Where files lie, which is nobody else's business; and streams on which no secret is shown."""

import os
import re
from pathlib import Path
from typing import Any, TextIO

from mert_hf.common.files import is_there
from mert_hf.models.redaction_mert import hide_secrets

# A path of two parts or more that begins at the root, at home or on a drive; not the path of a URL.
_PATH = re.compile(r"(?<![\w:/.~-])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\"`<>|:;,()\[\]{}]+){2,}[/\\]?")


def name_only(place: str | os.PathLike) -> str:
    """What may be published of a model or data set: the id of a repository, or the name of a file or folder of this machine."""
    text = os.fspath(place)
    if not (_is_path(text) or is_there(text)):
        return text
    parts = [part for part in re.split(r"[/\\]", text.rstrip("/\\")) if part not in ("", ".", "..", "~")]
    # the model of a run is called by the run
    return (
        parts[-2] if len(parts) > 1 and parts[-1] == "model" else parts[-1] if parts else Path(text).expanduser().resolve().name
    )


def hide_places(content: Any) -> Any:
    """Nested dictionaries and lists with every path of a machine in their texts cut to the name of what lies there."""
    if isinstance(content, dict):
        return {hide_places(name): hide_places(item) for name, item in content.items()}
    if isinstance(content, list):
        return [hide_places(item) for item in content]
    if not isinstance(content, str):
        return content
    if _is_path(content):
        return name_only(content)
    home = str(Path.home())
    hidden = re.sub(rf"{re.escape(home)}(?=[/\\]|$)", "~", content) if len(home) > 1 else content
    return _PATH.sub(lambda found: name_only(found.group()), hidden)


class HidingStream:
    """A text stream, such as stderr, on which no secret is shown."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what may be shown of it."""
        self._stream.write(hide_secrets(text))
        return len(text)

    def writelines(self, lines) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_path(text: str) -> bool:
    """Whether a text is nothing but a path of two parts or more."""
    return re.fullmatch(r"(?:~|\.\.?|[A-Za-z]:|file:/*)?(?:[/\\][^/\\\n]+){2,}[/\\]?", text) is not None
