"""Requests, responses, the table of endpoints, and the addresses of the storage host."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, unquote

from loopback_hub.repositories import Repository, User


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    user: User | None  # None: nobody is logged in
    accept: str
    url: str  # of the Hub
    storage: "Storage"

    def json(self) -> dict:
        return json.loads(self.body or b"{}")


@dataclass
class Response:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Storage:
    """Addresses of the storage host, to which files go and from which they come without a token."""

    def __init__(self, url: str, multipart_above: int):
        self.url, self.multipart_above = url, multipart_above

    def address(self, action: str, repository: Repository, oid: str, part: str = "") -> str:
        return f"{self.url}/{action}/{repository.type}/{quote(repository.id, safe='')}/{oid}{part}"

    def upload_action(self, repository: Repository, oid: str, size: int) -> dict:
        """What an LFS batch answers for a file that is to come: one address, or one for each part and one to end with."""
        if size <= self.multipart_above:
            return {"href": self.address("upload", repository, oid)}
        numbers = range(1, -(-size // self.multipart_above) + 1)
        parts = {str(number): self.address("upload", repository, oid, f"?part={number}") for number in numbers}
        return {
            "href": self.address("complete", repository, oid),
            "header": {"chunk_size": str(self.multipart_above), **parts},
        }


Endpoint = Callable[..., Response]
ROUTES: list[tuple[str, re.Pattern, Endpoint]] = []


def route(methods: str, pattern: str):
    def register(endpoint: Endpoint) -> Endpoint:
        ROUTES.extend((method, re.compile(pattern), endpoint) for method in methods.split())
        return endpoint

    return register


def find(method: str, path: str) -> tuple[Endpoint | None, dict[str, str]]:
    """The endpoint for a raw path and the unquoted parts of the path."""
    for known, pattern, endpoint in ROUTES:
        if known == method and (found := pattern.fullmatch(path)):
            return endpoint, {name: unquote(part or "") for name, part in found.groupdict().items()}
    return None, {}


def as_json(value, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8", **(headers or {})})
