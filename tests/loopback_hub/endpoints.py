"""The Hub's API: one small function an endpoint, from a request to a response.

Paths and fields are those that huggingface_hub 2.4 sends and reads (hf_api.py, _commit_api.py, lfs.py, file_download.py).
Not here, since no client of this project asks for it: pull requests, spaces, search, pages of long listings, and Xet. A client
with hf_xet uploads by Xet without asking the server, so it must be told HF_HUB_DISABLE_XET=1; its downloads need no word.
"""

import base64
import json

from loopback_hub import cards
from loopback_hub.repositories import Commit, File, Hub, HubError
from loopback_hub.routing import Request, Response, as_json, route

KIND = r"/api/(?P<kind>model|dataset|space)s/"
REPO = r"(?P<repo>[^/]+(?:/[^/]+)?)"


# ---- who


@route("GET", "/api/whoami-v2")
def whoami(hub: Hub, request: Request) -> Response:
    if request.user is None:
        raise HubError(401, "", "Invalid username or password.")
    token = {"type": "access_token", "accessToken": {"displayName": "tests", "role": request.user.role}}
    organizations = [{"type": "org", "name": name, "roleInOrg": "write"} for name in request.user.organizations]
    return as_json({"type": "user", "name": request.user.name, "auth": token, "orgs": organizations})


@route("GET", KIND + REPO + r"/auth-check(?P<write>/write)?")
def auth_check(hub: Hub, request: Request, kind: str, repo: str, write: str) -> Response:
    (hub.writable if write else hub.downloadable)(kind, repo, request.user)
    return as_json({})


# ---- repositories


def _named(request: Request) -> tuple[str, str, dict]:
    body = request.json()
    namespace = body.get("organization") or (request.user.name if request.user else "")
    return body.get("type") or "model", f"{namespace}/{body['name']}", body


def _page(request: Request, kind: str, repo: str) -> str:
    return f"{request.url}/{'' if kind == 'model' else kind + 's/'}{repo}"


@route("POST", "/api/repos/create")
def create_repository(hub: Hub, request: Request) -> Response:
    kind, repo, body = _named(request)
    hub.check_write(repo, request.user)
    page = _page(request, kind, repo)
    if (kind, repo) in hub.repositories:
        return as_json({"error": f"You already created this {kind} repo", "url": page}, 409)
    hub.create(kind, repo, private=body.get("visibility") == "private")
    return as_json({"url": page, "name": repo})


@route("DELETE", "/api/repos/delete")
def delete_repository(hub: Hub, request: Request) -> Response:
    kind, repo, _ = _named(request)
    hub.writable(kind, repo, request.user)
    del hub.repositories[kind, repo]
    return as_json({})


@route("PUT", KIND + REPO + "/settings")
def update_settings(hub: Hub, request: Request, kind: str, repo: str) -> Response:
    repository, body = hub.writable(kind, repo, request.user), request.json()
    repository.gated = bool(body.get("gated", repository.gated))
    repository.private = body.get("visibility", "private" if repository.private else "public") == "private"
    return as_json({"gated": repository.gated, "private": repository.private})


def _date(commit: Commit) -> str:
    return commit.date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _lfs(file: File, name_of_sha: str) -> dict:
    return {name_of_sha: file.sha256, "size": len(file.content), "pointerSize": len(file.pointer)}


def _sibling(path: str, file: File, with_blobs: bool) -> dict:
    blobs = {"size": len(file.content), "blobId": file.git_oid, **({"lfs": _lfs(file, "sha256")} if file.is_lfs else {})}
    return {"rfilename": path, **(blobs if with_blobs else {})}


@route("GET", KIND + REPO + "(?:/revision/(?P<revision>[^/]+))?")
def info(hub: Hub, request: Request, kind: str, repo: str, revision: str) -> Response:
    repository = hub.readable(kind, repo, request.user)
    commit = repository.at(revision or "main")
    readme = commit.files.get("README.md")
    card = (cards.metadata_of(readme.content.decode()) if readme else None) or {}
    license_tag = f"license:{card['license']}" if "license" in card else None
    tags = [card.get("library_name"), card.get("pipeline_tag"), *(card.get("tags") or []), license_tag]
    values = {
        "author": repo.split("/")[0],
        "sha": commit.oid,
        "lastModified": _date(commit),
        "createdAt": _date(repository.history(commit.oid)[-1]),
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [tag for tag in tags if tag],
        "siblings": [_sibling(path, file, "blobs" in request.query) for path, file in sorted(commit.files.items())],
        "usedStorage": sum(len(file.content) for file in commit.files.values()),
        **({"cardData": card} if card else {}),
        **{key: card[key] for key in ("pipeline_tag", "library_name") if kind == "model" and key in card},
    }
    if kind == "model" and "config.json" in commit.files:
        config = json.loads(commit.files["config.json"].content)
        values["config"] = {key: config[key] for key in ("architectures", "auto_map", "model_type") if key in config}
    if wanted := request.query.get("expand"):
        values = {key: value for key, value in values.items() if key in wanted}
    return as_json({"_id": repo, "id": repo, **({"modelId": repo} if kind == "model" else {}), **values})


# ---- files


def _entry(path: str, file: File) -> dict:
    lfs = {"lfs": _lfs(file, "oid")} if file.is_lfs else {}
    return {"type": "file", "path": path, "oid": file.git_oid, "size": len(file.content), **lfs}


def _folders(commit: Commit) -> dict[str, dict]:
    parents = {"/".join(path.split("/")[:depth]) for path in commit.files for depth in range(1, path.count("/") + 1)}
    return {path: {"type": "directory", "path": path, "oid": commit.oid, "size": 0} for path in parents}


def _listing(commit: Commit, expand: bool) -> dict[str, dict]:
    entries = {**_folders(commit), **{path: _entry(path, file) for path, file in commit.files.items()}}
    if expand:
        last = {"id": commit.oid, "title": commit.title, "date": _date(commit)}
        entries = {path: {**entry, "lastCommit": last} for path, entry in entries.items()}
    return entries


def _flag(values: list[str] | None) -> bool:
    return bool(values) and values[0].lower() in ("1", "true")


@route("GET", KIND + REPO + "/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
def tree(hub: Hub, request: Request, kind: str, repo: str, revision: str, folder: str) -> Response:
    commit = hub.readable(kind, repo, request.user).at(revision)
    if folder and folder not in _folders(commit):
        raise HubError(404, "EntryNotFound", f"{folder} does not exist on {revision}", {"X-Repo-Commit": commit.oid})
    start, deep = folder + "/" if folder else "", _flag(request.query.get("recursive"))
    listing = sorted(_listing(commit, _flag(request.query.get("expand"))).items())
    inside = [entry for path, entry in listing if path.startswith(start) and (deep or "/" not in path[len(start) :])]
    return as_json(inside, headers={"X-Repo-Commit": commit.oid})


@route("POST", KIND + REPO + "/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: Hub, request: Request, kind: str, repo: str, revision: str) -> Response:
    commit = hub.readable(kind, repo, request.user).at(revision)
    listing = _listing(commit, _flag(request.query.get("expand")))
    return as_json([listing[path] for path in request.query.get("paths", []) if path in listing])


@route("GET HEAD", r"(?:/(?P<kind>dataset|space)s)?/(?!api/)" + REPO + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(hub: Hub, request: Request, kind: str, repo: str, revision: str, path: str) -> Response:
    repository = hub.downloadable(kind or "model", repo, request.user)
    commit, file = repository.file(revision, path)
    headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
    if not file.is_lfs:
        return Response(200, file.content, {"Content-Type": "text/plain; charset=utf-8", **headers})
    headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
    return Response(302, b"", {**headers, "Location": request.storage.address("download", repository, file.sha256)})


# ---- uploads and commits


@route("POST", KIND + REPO + "/preupload/(?P<revision>[^/]+)")
def preupload(hub: Hub, request: Request, kind: str, repo: str, revision: str) -> Response:
    repository = hub.writable(kind, repo, request.user)
    files = repository.at(revision).files

    def answer(wanted: dict) -> dict:
        path = wanted["path"]
        mode = "lfs" if repository.is_lfs(path, wanted["size"], revision) else "regular"
        known = {"oid": files[path].etag} if path in files else {}
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, **known}

    return as_json({"files": [answer(wanted) for wanted in request.json()["files"]]})


@route("POST", "/(?:(?P<kind>dataset|space)s/)?" + REPO + r"\.git/info/lfs/objects/batch")
def lfs_batch(hub: Hub, request: Request, kind: str, repo: str) -> Response:
    repository, objects = hub.writable(kind or "model", repo, request.user), []
    verify = {"href": f"{request.url}/api/{repository.type}s/{repo}/lfs-verify"}
    for wanted in request.json()["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        actions = {"upload": request.storage.upload_action(repository, oid, size), "verify": verify}
        objects.append({"oid": oid, "size": size, **({} if oid in repository.objects else {"actions": actions})})
    return as_json({"transfer": "basic", "objects": objects})


@route("POST", KIND + REPO + "/lfs-verify")
def lfs_verify(hub: Hub, request: Request, kind: str, repo: str) -> Response:
    repository, body = hub.writable(kind, repo, request.user), request.json()
    if len(repository.objects.get(body["oid"], b"")) != body["size"]:
        raise HubError(404, "", f"object {body['oid']} was not uploaded completely")
    return as_json({})


def _operation(line: bytes) -> dict:
    operation = json.loads(line)
    if operation["key"] == "file":
        operation["value"]["content"] = base64.b64decode(operation["value"]["content"], validate=True)
    return operation


@route("POST", KIND + REPO + "/commit/(?P<revision>[^/]+)")
def commit(hub: Hub, request: Request, kind: str, repo: str, revision: str) -> Response:
    repository = hub.writable(kind, repo, request.user)
    if _flag(request.query.get("create_pr")):
        raise HubError(403, "", "pull requests are disabled on this Hub")
    operations = [_operation(line) for line in request.body.splitlines()]
    for operation in operations:
        if operation["key"] == "file" and operation["value"]["path"] == "README.md":
            errors, _ = cards.check(operation["value"]["content"].decode(), kind)
            if errors:
                raise HubError(400, "", "Invalid metadata in README.md: " + "; ".join(errors))
    made = repository.apply(revision, request.user.name, operations)
    return as_json({"success": True, "commitOid": made.oid, "commitUrl": f"{_page(request, kind, repo)}/commit/{made.oid}"})


@route("GET", KIND + REPO + "/commits/(?P<revision>[^/]+)")
def commits(hub: Hub, request: Request, kind: str, repo: str, revision: str) -> Response:
    return as_json(
        [
            {"id": c.oid, "authors": [{"user": c.author}], "date": _date(c), "title": c.title, "message": c.message}
            for c in hub.readable(kind, repo, request.user).history(revision)
        ]
    )


@route("GET", KIND + REPO + "/refs")
def refs(hub: Hub, request: Request, kind: str, repo: str) -> Response:
    repository = hub.readable(kind, repo, request.user)

    def named(names: dict[str, str], folder: str) -> list[dict]:
        return [{"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": oid} for name, oid in names.items()]

    branches, tags = named(repository.branches, "heads"), named(repository.tags, "tags")
    return as_json({"branches": branches, "converts": [], "tags": tags, "pullRequests": []})


def _set_name(names: dict[str, str], name: str, oid: str) -> Response:
    if name in names:
        raise HubError(409, "", f"Reference already exists: {name}")
    names[name] = oid
    return as_json({})


def _remove_name(names: dict[str, str], name: str) -> Response:
    if names.pop(name, None) is None:
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {name}")
    return as_json({})


@route("POST", KIND + REPO + "/tag/(?P<revision>[^/]+)")
def create_tag(hub: Hub, request: Request, kind: str, repo: str, revision: str) -> Response:
    repository = hub.writable(kind, repo, request.user)
    return _set_name(repository.tags, request.json()["tag"], repository.at(revision).oid)


@route("DELETE", KIND + REPO + "/tag/(?P<name>[^/]+)")
def delete_tag(hub: Hub, request: Request, kind: str, repo: str, name: str) -> Response:
    return _remove_name(hub.writable(kind, repo, request.user).tags, name)


@route("POST", KIND + REPO + "/branch/(?P<name>[^/]+)")
def create_branch(hub: Hub, request: Request, kind: str, repo: str, name: str) -> Response:
    repository = hub.writable(kind, repo, request.user)
    return _set_name(repository.branches, name, repository.at(request.json().get("startingPoint", "main")).oid)


@route("DELETE", KIND + REPO + "/branch/(?P<name>[^/]+)")
def delete_branch(hub: Hub, request: Request, kind: str, repo: str, name: str) -> Response:
    return _remove_name(hub.writable(kind, repo, request.user).branches, name)


# ---- cards


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: Hub, request: Request) -> Response:
    body = request.json()
    errors, warnings = cards.check(body["content"], body["repoType"])
    status = 400 if errors else 200
    if request.accept.startswith("text/plain"):  # ModelCard.validate shows the answer as it is
        return Response(status, "\n".join(errors + warnings).encode(), {"Content-Type": "text/plain; charset=utf-8"})
    return as_json(
        {key: [{"message": text} for text in texts] for key, texts in (("errors", errors), ("warnings", warnings))}, status
    )
