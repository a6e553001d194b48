"""What must not be told: tokens and passwords, wherever a message, a log or a file would show them; and where files lie."""

import os
import re
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, urlsplit

from huggingface_hub import constants

from mert_hf.files import is_there

HIDDEN = "[hidden]"

# Environment variables that hold a secret, by the end of their name (HF_TOKEN, HUGGING_FACE_HUB_TOKEN, WANDB_API_KEY).
_SECRET_NAMES = ("TOKEN", "API_KEY", "ACCESS_KEY", "SECRET", "SECRET_KEY", "PASSWORD")
# Shorter values are no secrets, and would hide ordinary words.
_SHORTEST_SECRET = 6
# What looks like a secret, whoever's it is. Tokens of the Hub are hf_ and 34 letters and digits.
_PATTERNS = (
    (re.compile(r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{16,}"), HIDDEN),
    (re.compile(r"(?<=://)[^/\s@'\"<>]+@"), f"{HIDDEN}@"),  # user:password@ in a URL
    (re.compile(r"(?i)(?<=\bbearer\s)(?=\S*[\d_])[A-Za-z0-9._~+/=-]{6,}"), HIDDEN),
    (
        re.compile(
            r"(?i)([?&][^=&\s'\"]*(?:token|key|secret|signature|sig|password|passwd|auth|credential)[^=&\s'\"]*=)[^&\s'\"<>]+"
        ),
        rf"\1{HIDDEN}",
    ),
)
# A path of two parts or more that begins at the root, at home or on a drive; not the path of a URL.
_PATH = re.compile(r"(?<![\w:/.~-])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\"`<>|:;,()\[\]{}]+){2,}[/\\]?")


def hide_secrets(text: str) -> str:
    """The text with every secret replaced: tokens of the environment and the one that is stored, and whatever looks like one.

    Users and passwords in URLs, bearer tokens and values of a URL's query that are named like secrets go as well.
    """
    for secret in _known_secrets():
        text = text.replace(secret, HIDDEN)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


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


def _known_secrets() -> list[str]:
    """Longest first, so that none is left in part."""
    found = set()
    for name, value in os.environ.items():
        if name.upper().endswith(_SECRET_NAMES):
            found.add(value.strip())
        elif "://" in value and "@" in value:
            found |= _in_url(value)
    for file in (constants.HF_TOKEN_PATH, constants.HF_STORED_TOKENS_PATH):
        try:
            found |= _stored(file, Path(file).stat().st_mtime_ns)
        except OSError:  # nobody logged in here
            continue
    found |= {quote(secret, safe="") for secret in found}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def _in_url(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        if parts.password:  # and as HTTP sends it
            return {parts.password, b64encode(f"{parts.username}:{parts.password}".encode()).decode("ascii")}
        return {parts.username} if parts.username else set()  # a user alone is a token
    except ValueError:
        return set()


@cache
def _stored(file: str, modified: int) -> set[str]:
    """Tokens in a file of the Hub's client: the token alone, or lines of `hf_token = ...`."""
    text = Path(file).read_text(encoding="utf-8", errors="replace")
    return {line.rpartition("=")[2].strip() for line in text.splitlines() if not line.startswith("[")} - {""}
