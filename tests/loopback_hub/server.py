"""A Hugging Face Hub on loopback: `HubServer` starts it, fills it, breaks it on demand and tells what was asked of it.

Two hosts, as in the real one: the Hub itself, which asks for tokens, and a storage host (another port, hence another origin),
to which large files are uploaded and from which they are downloaded by address alone. A token that reaches the storage host is
a leak; `HubServer.requests` holds every request with its headers so that a test can look.
"""

import hashlib
import json
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from loopback_hub import endpoints  # noqa: F401 - fills the table of routing.py
from loopback_hub.repositories import Commit, File, Hub, HubError, Repository, User
from loopback_hub.routing import Request, Response, Storage, as_json, find

CHUNK_BYTES = 64 * 1024


@dataclass
class Logged:
    """One request. Its `endpoint` is the function's name in endpoints.py; at the storage "upload", "complete" or "download"."""

    host: str  # "hub" or "storage"
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    endpoint: str = "unknown"
    body: bytes = field(default=b"", repr=False)
    status: int = 0  # 0: no answer was sent


class ConnectionCutError(Exception):
    """The connection is to end here, without an answer."""


class HubServer:
    """The Hub and its storage host, running while the `with` block runs.

    Attributes:
        url: what HF_ENDPOINT is to be.
        requests: every request so far, oldest first.
    """

    def __init__(self, multipart_above: int = 5 * 10**9):
        self.state = Hub()
        self.requests: list[Logged] = []
        self._failures: Counter[tuple[str, int]] = Counter()
        self._upload_budget: int | None = None  # bytes that uploads may still send before every one is cut
        self.echoes = False
        self._parts: dict[tuple[str, str], dict[int, bytes]] = {}
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (HubHandler, StorageHandler)]
        self.url, storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        self.storage = Storage(storage_url, multipart_above)
        for server in self._servers:
            server.daemon_threads, server.block_on_close, server.hub = True, False, self

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    # ---- filling it

    def add_user(self, name: str, token: str, role: str = "write", organizations: tuple[str, ...] = ()) -> None:
        """A user who comes with this token; `role` is the token's, "read" or "write". One user may have several tokens."""
        self.state.users[token] = User(name, role, tuple(organizations))

    def add_repository(
        self, repo_id: str, folder=None, *, private: bool = False, gated: bool = False, repo_type: str = "model"
    ) -> str:
        """A repository whose second commit holds all files of a folder (the first, as on the Hub, .gitattributes alone).

        Returns the name of the last commit.
        """
        with self.state.lock:
            repository = self.state.create(repo_type, repo_id, private)
            repository.gated = gated
        if folder is None:
            return repository.branches["main"]
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}
        return self.commit(repo_id, files, "Upload folder", repo_type=repo_type)

    def commit(self, repo_id: str, files: dict[str, bytes | None], title: str = "Update", *, repo_type: str = "model") -> str:
        """Commit files to main as somebody else would, None for a deleted one; returns the name of the commit."""
        with self.state.lock:
            repository = self._repository(repo_id, repo_type)
            content = dict(repository.at("main").files)
            for path, data in files.items():
                if data is None:
                    del content[path]
                else:
                    content[path] = File(data, repository.is_lfs(path, len(data)))
                    repository.objects |= {content[path].sha256: data} if content[path].is_lfs else {}
            return repository.commit("main", repo_id.split("/")[0], title, content).oid

    def grant(self, repo_id: str, user: str, *, repo_type: str = "model") -> None:
        """Let a user into a gated repository."""
        self._repository(repo_id, repo_type).granted.add(user)

    # ---- looking into it

    def _repository(self, repo_id: str, repo_type: str) -> Repository:
        return self.state.repositories[repo_type, repo_id]

    def repositories(self, repo_type: str = "model") -> list[str]:
        return sorted(repo_id for kind, repo_id in self.state.repositories if kind == repo_type)

    def is_private(self, repo_id: str, *, repo_type: str = "model") -> bool:
        return self._repository(repo_id, repo_type).private

    def files(self, repo_id: str, revision: str = "main", *, repo_type: str = "model") -> dict[str, bytes]:
        """Path → content of all files at a branch, tag or commit."""
        return {path: file.content for path, file in self._repository(repo_id, repo_type).at(revision).files.items()}

    def commits(self, repo_id: str, revision: str = "main", *, repo_type: str = "model") -> list[Commit]:
        """Newest first; each has oid, parent, title, message, author, date and files."""
        return self._repository(repo_id, repo_type).history(revision)

    def tags(self, repo_id: str, *, repo_type: str = "model") -> dict[str, str]:
        """Name of the tag → name of the commit."""
        return dict(self._repository(repo_id, repo_type).tags)

    def branches(self, repo_id: str, *, repo_type: str = "model") -> dict[str, str]:
        return dict(self._repository(repo_id, repo_type).branches)

    def asked(self, endpoint: str) -> list[Logged]:
        """The requests to one endpoint, oldest first."""
        return [logged for logged in list(self.requests) if logged.endpoint == endpoint]

    # ---- breaking it

    def fail_next(self, endpoint: str, status: int = 500, times: int = 1) -> None:
        """Answer the next requests to an endpoint with an error, before anything is done."""
        self._failures[endpoint, status] += times

    def cut_upload_after(self, num_bytes: int) -> None:
        """Let uploads send so many bytes, all together, then cut their connections: again and again until `mend`."""
        self._upload_budget = num_bytes

    def echo_tokens(self) -> None:
        """From now on, repeat in every error the token that came with the request."""
        self.echoes = True

    def mend(self) -> None:
        """End all faults."""
        self.echoes = False
        self._upload_budget = None
        self._failures.clear()

    def check_failure(self, endpoint: str) -> None:
        """Raise the error that `fail_next` ordered, if any."""
        with self.state.lock:
            for (name, status), times in self._failures.items():
                if name == endpoint and times > 0:
                    self._failures[name, status] -= 1
                    raise HubError(status, "", "Internal Error - We're working hard to fix this as soon as possible!")

    def take_upload(self, num_bytes: int) -> int:
        """How many of these bytes may pass."""
        with self.state.lock:
            if self._upload_budget is None:
                return num_bytes
            passed = min(num_bytes, self._upload_budget)
            self._upload_budget -= passed
            return passed

    # ---- storage

    def store(self, repository: Repository, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise HubError(400, "", "the content is not that of its name")
        repository.objects[oid] = content

    def store_part(self, repository: Repository, oid: str, number: int, content: bytes) -> None:
        self._parts.setdefault((repository.id, oid), {})[number] = content

    def join_parts(self, repository: Repository, oid: str, numbers: list[int]) -> None:
        parts = self._parts.get((repository.id, oid), {})
        if missing := [number for number in numbers if number not in parts]:
            raise HubError(400, "", f"part {missing[0]} was not uploaded")
        self.store(repository, oid, b"".join(parts[number] for number in numbers))
        del self._parts[repository.id, oid]


class Handler(BaseHTTPRequestHandler):
    """What both hosts share: reading, logging, answering."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    host: str

    def answer(self, logged: Logged) -> Response:
        raise NotImplementedError

    def handle_any(self) -> None:
        hub = self.server.hub
        headers = {name.lower(): value for name, value in self.headers.items()}
        logged = Logged(self.host, self.command, self.path, headers)
        hub.requests.append(logged)
        try:
            response = self.answer(logged)
        except HubError as error:
            if hub.echoes:
                error.message += f" (you sent {headers.get('authorization')})"
            code = {"X-Error-Code": error.code} if error.code else {}
            response = as_json(
                {"error": error.message}, error.status, {"X-Error-Message": error.message, **code, **error.headers}
            )
        except ConnectionCutError:
            # closed with a reset rather than politely, as a network that is gone
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        logged.status = response.status
        self.send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - names of http.server

    def read_body(self) -> bytes:
        expected = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(expected)
        if len(body) < expected:
            raise ConnectionCutError
        return body

    def send(self, response: Response) -> None:
        status, body, headers = response.status, response.body, dict(response.headers)
        asked = self.headers.get("Range", "")
        if status == 200 and asked.startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = (int(first), int(last or len(body) - 1)) if first else (max(0, len(body) - int(last)), len(body) - 1)
            end = min(end, len(body) - 1)
            inside = start <= end
            status, headers["Content-Range"] = (
                (206, f"bytes {start}-{end}/{len(body)}") if inside else (416, f"bytes */{len(body)}")
            )
            body = body[start : end + 1] if inside else b""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n" + (b"" if self.command == "HEAD" else body))  # one packet for small answers
        self.flush_headers()

    def log_message(self, *args) -> None:
        """Nothing on the screen: `HubServer.requests` is the log."""


class HubHandler(Handler):
    """The Hub itself."""

    host = "hub"

    def answer(self, logged: Logged) -> Response:
        hub, address = self.server.hub, urlsplit(self.path)
        logged.body = self.read_body()
        endpoint, parts = find(self.command, address.path)
        if endpoint is None:
            # loud, so that a client's new habit is seen; 501 is not among the statuses that clients try again
            raise HubError(501, "", f"the loopback Hub has no endpoint {self.command} {address.path}")
        logged.endpoint = endpoint.__name__
        hub.check_failure(logged.endpoint)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        query = parse_qs(address.query)
        if self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            query |= parse_qs(logged.body.decode())
        with hub.state.lock:
            user = hub.state.user_of(token)
            accept = self.headers.get("Accept", "")
            request = Request(self.command, address.path, query, logged.body, user, accept, hub.url, hub.storage)
            return endpoint(hub.state, request, **parts)


class StorageHandler(Handler):
    """Large files, by address alone."""

    host = "storage"

    def answer(self, logged: Logged) -> Response:
        hub, address = self.server.hub, urlsplit(self.path)
        action, kind, repo, oid = address.path.strip("/").split("/")
        logged.endpoint = action
        content = self.receive() if action == "upload" else self.read_body()
        hub.check_failure(action)
        repository = hub.state.repositories[kind, unquote(repo)]
        with hub.state.lock:
            if action == "upload" and (part := parse_qs(address.query).get("part")):
                hub.store_part(repository, oid, int(part[0]), content)
            elif action == "upload":
                hub.store(repository, oid, content)
            elif action == "complete":
                hub.join_parts(repository, oid, [part["partNumber"] for part in json.loads(content)["parts"]])
            elif action == "download":
                return Response(200, repository.objects[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})
        return Response(200, b"", {"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    def receive(self) -> bytes:
        """The body of an upload, as far as the network holds."""
        expected, received = int(self.headers["Content-Length"]), bytearray()
        while len(received) < expected:
            chunk = self.rfile.read(min(CHUNK_BYTES, expected - len(received)))
            passed = self.server.hub.take_upload(len(chunk))
            received += chunk[:passed]
            if not chunk or passed < len(chunk):
                raise ConnectionCutError
        return bytes(received)
