"""What the loopback Hub holds: users, repositories, commits and uploaded objects, in memory and without any HTTP.

A commit is a complete, immutable list of files; a branch is a name for one. Nothing but a commit makes a file visible: an
object that was uploaded and never committed lies in `Repository.objects` and is shown by nothing.
"""

import fnmatch
import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

LARGE_BYTES = 10 * 1024**2  # the Hub refuses larger files outside LFS
GIT_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.arrow", "*.bin", "*.ckpt", "*.npz", "*.onnx", "*.parquet", "*.pt", "*.safetensors", "*.zip")
)


class HubError(Exception):
    """A refusal of the Hub: the status, its machine-readable code ("" where the Hub sends none) and a message."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers or {}


@dataclass(frozen=True)
class User:
    name: str
    role: str  # of the token: "read" or "write"
    organizations: tuple[str, ...] = ()

    def owns(self, repo_id: str) -> bool:
        return repo_id.split("/")[0] in (self.name, *self.organizations)


@dataclass(frozen=True)
class File:
    content: bytes
    is_lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git itself stores for an LFS file."""
        size = len(self.content)
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n".encode()

    @property
    def git_oid(self) -> str:
        stored = self.pointer if self.is_lfs else self.content
        return hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.is_lfs else self.git_oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    message: str
    author: str
    date: datetime
    files: dict[str, File]


@dataclass
class Repository:
    id: str
    type: str = "model"
    private: bool = False
    gated: bool = False
    granted: set[str] = field(default_factory=set)  # users with access to a gated repository
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)  # uploaded by LFS, by sha256; committed or not

    def at(self, revision: str) -> Commit:
        """The commit that a branch, a tag or the (at least 7) first digits of a commit's name stand for."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        oid = self.branches.get(revision) or self.tags.get(revision)
        if oid is None and len(revision) >= 7:
            oid = next((oid for oid in self.commits if oid.startswith(revision)), None)
        if oid is None:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return self.commits[oid]

    def file(self, revision: str, path: str) -> tuple[Commit, File]:
        commit = self.at(revision)
        if path not in commit.files:
            raise HubError(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit.oid})
        return commit, commit.files[path]

    def is_lfs(self, path: str, size: int, revision: str = "main") -> bool:
        """Whether .gitattributes or its size make this file one for LFS."""
        attributes = self.at(revision).files.get(".gitattributes")
        rules = attributes.content.decode().splitlines() if attributes else []
        patterns = [rule.split()[0] for rule in rules if "filter=lfs" in rule]
        return size > LARGE_BYTES or any(fnmatch.fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in patterns)

    def commit(self, branch: str, author: str, title: str, files: dict[str, File], message: str = "") -> Commit:
        """Make `files` the complete content of a branch."""
        parent = self.branches.get(branch)
        content = "".join(f"{path}\0{file.git_oid}\n" for path, file in sorted(files.items()))
        oid = hashlib.sha1(f"{self.id}\n{parent}\n{len(self.commits)}\n{title}\n{content}".encode()).hexdigest()
        commit = Commit(oid, parent, title, message, author, datetime.now(UTC), dict(files))
        self.commits[oid] = commit
        self.branches[branch] = oid
        return commit

    def history(self, revision: str) -> list[Commit]:
        """The commit and those before it, newest first."""
        commits = [self.at(revision)]
        while commits[-1].parent:
            commits.append(self.commits[commits[-1].parent])
        return commits

    def apply(self, branch: str, author: str, lines: Iterable[dict]) -> Commit:
        """Turn the lines of a commit request into one commit, or raise and change nothing."""
        if branch not in self.branches:
            raise HubError(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        head = self.at(branch)
        files, header = dict(head.files), {}
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                header = value
            elif key == "file":
                files[value["path"]] = File(value["content"], is_lfs=False)
            elif key == "lfsFile":
                if value["oid"] not in self.objects:
                    raise HubError(400, "", f"an LFS pointer points to a file that does not exist: {value['path']}")
                files[value["path"]] = File(self.objects[value["oid"]], is_lfs=True)
            elif key == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise HubError(404, "EntryNotFound", "A file with this name doesn't exist")
            elif key == "deletedFolder":
                files = {path: file for path, file in files.items() if not path.startswith(value["path"].rstrip("/") + "/")}
            else:
                raise HubError(400, "", f"unknown operation {key}")
        if not head.oid.startswith(header.get("parentCommit") or ""):
            raise HubError(412, "", "A commit has happened since. Please refresh and try again.")
        return self.commit(branch, author, header["summary"], files, header.get("description", ""))


class Hub:
    """Users and repositories, and who may do what with them."""

    def __init__(self):
        self.users: dict[str, User] = {}  # by token
        self.repositories: dict[tuple[str, str], Repository] = {}  # by type and id
        self.lock = threading.RLock()

    def user_of(self, token: str | None) -> User | None:
        if token is not None and token not in self.users:
            raise HubError(401, "", "Invalid credentials in Authorization header")
        return self.users.get(token)

    def readable(self, repo_type: str, repo_id: str, user: User | None) -> Repository:
        """The repository, if this user may know of it; to all others it does not exist."""
        repository = self.repositories.get((repo_type, repo_id))
        if repository is None or (repository.private and not (user and user.owns(repo_id))):
            if user is None:
                # without a token the Hub does not say which of the two it is. The client knows this 401 by its https address;
                # on loopback, without https, only the code makes it RepositoryNotFoundError
                raise HubError(401, "RepoNotFound", "Invalid username or password.")
            raise HubError(404, "RepoNotFound", "Repository not found")
        return repository

    def downloadable(self, repo_type: str, repo_id: str, user: User | None) -> Repository:
        """The repository, if this user may also have its files."""
        repository = self.readable(repo_type, repo_id, user)
        if repository.gated and not (user and (user.owns(repo_id) or user.name in repository.granted)):
            restricted = f"Access to {repo_type} {repo_id} is restricted"
            if user is None:
                raise HubError(401, "GatedRepo", f"{restricted}. You must be authenticated to access it. Please log in.")
            raise HubError(403, "GatedRepo", f"{restricted} and you are not in the authorized list.")
        return repository

    def writable(self, repo_type: str, repo_id: str, user: User | None) -> Repository:
        repository = self.readable(repo_type, repo_id, user)
        self.check_write(repo_id, user)
        return repository

    def check_write(self, repo_id: str, user: User | None) -> None:
        if user is None:
            raise HubError(401, "", "Invalid username or password.")
        if user.role != "write" or not user.owns(repo_id):
            namespace = repo_id.split("/")[0]
            raise HubError(403, "", f"You don't have the rights to write under the namespace {namespace} with this token")

    def create(self, repo_type: str, repo_id: str, private: bool) -> Repository:
        repository = Repository(repo_id, repo_type, private)
        files = {".gitattributes": File(GIT_ATTRIBUTES.encode(), is_lfs=False)}
        repository.commit("main", repo_id.split("/")[0], "initial commit", files)
        self.repositories[repo_type, repo_id] = repository
        return repository
