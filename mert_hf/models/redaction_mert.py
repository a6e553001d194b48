"""What must not be told: tokens and passwords, wherever a message, a log or a file would show them."""

import os
import re
from base64 import b64encode
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from huggingface_hub import constants

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


def hide_secrets(text: str) -> str:
    """The text with every secret replaced: tokens of the environment and the one that is stored, and whatever looks like one.

    Users and passwords in URLs, bearer tokens and values of a URL's query that are named like secrets go as well.
    """
    for secret in _known_secrets():
        text = text.replace(secret, HIDDEN)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


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
