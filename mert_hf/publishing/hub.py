"""Talking to the Hub: what is uploaded arrives in one commit or not at all, and every refusal is told in one line."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, DatasetCard, HfApi, ModelCard, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from mert_hf.common.errors import InputError
from mert_hf.models.redaction_mert import HIDDEN, hide_secrets

# Everything that talking to the Hub raises where the user, the network or the Hub is the reason. HTTPError is the base class of
# the client's own HTTP library, whichever that is.
HUB_ERRORS = (HTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled)

# What most errors leave behind.
NOTHING = "nothing was published"

# Kinds of files that are executed when they are read; in a repository they are a danger to whoever loads them.
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass
class Published:
    """What became of an upload."""

    url: str  # page of the repository
    commit: str  # hash of the one commit
    tag: str
    remaining_pickles: list[str]  # files of earlier commits that are still there and would be executed by whoever loads them


def require_repo_id(repo_id: str) -> None:
    """Refuse what is no `user/name`.

    Raises:
        InputError: with what a name may hold.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InputError(f"{repo_id!r} is no name of a repository: {error}") from None
    if repo_id.count("/") != 1:
        raise InputError(f"{repo_id!r} is no name of a repository; give it as user/name.")


def require_write_access(repo_id: str, token: str | None = None) -> None:
    """Find out before a long piece of work whether its result can be published.

    Raises:
        InputError: no token, one the Hub does not know or that may not write, a namespace that is not the user's, no network.
    """
    require_repo_id(repo_id)
    try:
        user = HfApi(token=token).whoami()
    except HUB_ERRORS as error:
        raise explain(error, repo_id, token) from None
    namespace = repo_id.partition("/")[0]
    names = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
    if namespace not in names:
        raise InputError(f"the token belongs to {user['name']}, who cannot publish as {namespace}; one of: {', '.join(names)}.")
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise InputError("the token may only read; make one that may write in your account's settings, and log in with it.")


def next_tag(repo_id: str, tag: str | None = None, token: str | None = None, repo_type: str = "model") -> str:
    """The tag a new revision gets: the one asked for, or v1, v2, ... after those that are there.

    Raises:
        InputError: the tag is there already: a tag that people pinned must not move.
    """
    api = HfApi(token=token)
    try:
        there = api.repo_exists(repo_id, repo_type=repo_type)
        tags = [ref.name for ref in api.list_repo_refs(repo_id, repo_type=repo_type).tags] if there else []
    except HUB_ERRORS as error:
        raise explain(error, repo_id, token) from None
    if tag in tags:
        raise InputError(f"{repo_id} already has the tag {tag}, which people may have pinned; choose another --tag.")
    numbers = [int(name[1:]) for name in tags if re.fullmatch(r"v\d+", name)]
    return tag or f"v{max(numbers, default=0) + 1}"


def upload(
    folder: str | os.PathLike,
    repo_id: str,
    message: str,
    tag: str | None = None,
    private: bool = False,
    token: str | None = None,
    repo_type: str = "model",
) -> Published:
    """Upload a folder in one commit and tag it.

    Nothing of it can be seen before the commit. Where the upload fails, the repository is as it was: an existing one at its old
    revision, a new one empty. Only the tag comes after the commit; where that fails, the error says that the model is there.

    Args:
        folder: what to upload, all of it.
        repo_id: `user/name`; made where it does not exist.
        tag: see [`next_tag`].
        private: whether a repository that is made can be seen by its owner alone. An existing one keeps its setting.
        token: of the user; by default the one they logged in with.
        repo_type: "model" or "dataset".

    Raises:
        InputError: the Hub or the network refuses; the message says what to do.
    """
    require_write_access(repo_id, token)
    tag = next_tag(repo_id, tag, token, repo_type)
    api, kind = HfApi(token=token), {"repo_type": repo_type}
    try:
        {"model": ModelCard, "dataset": DatasetCard}[repo_type].load(Path(folder) / "README.md").validate()
        url = api.create_repo(repo_id, private=private, exist_ok=True, **kind)
        before = api.repo_info(repo_id, **kind)
    except HUB_ERRORS as error:
        raise explain(error, repo_id, token) from None
    except ValueError as error:
        raise InputError(f"the Hub does not accept the card: {' '.join(str(error).split())}") from None
    # not upload_folder, which may make several commits of a large folder
    places = sorted(file for file in Path(folder).rglob("*") if file.is_file())
    files = [CommitOperationAdd(file.relative_to(folder).as_posix(), file) for file in places]
    try:
        commit = api.create_commit(repo_id, files, commit_message=message, parent_commit=before.sha, **kind).oid
    except HUB_ERRORS as error:
        raise explain(error, repo_id, token, _find_outcome(api, repo_id, before.sha, repo_type)) from None
    except RuntimeError as error:  # of the storage behind the Hub
        raise InputError(f"the upload to {repo_id} broke off; nothing was published, try again: {error}") from None
    try:
        api.create_tag(repo_id, tag=tag, revision=commit, **kind)
    except HUB_ERRORS as error:
        raise InputError(
            f"the {repo_type} is published as commit {commit} of {repo_id}, but the Hub did not confirm its tag {tag}"
            f" ({_reason(error, token)}); set it, unless it is there: hf repos tag create {repo_id} {tag} --revision {commit}"
            f"{'' if repo_type == 'model' else f' --type {repo_type}'}"
        ) from None
    # files that were there before stay there
    names = [file.rfilename for file in before.siblings or ()]
    return Published(hide_secrets(str(url)), commit, tag, [name for name in names if name.endswith(PICKLES)])


def _find_outcome(api: HfApi, repo_id: str, before: str, repo_type: str) -> str:
    """What a commit that was not confirmed has left behind."""
    try:
        unchanged = api.repo_info(repo_id, repo_type=repo_type).sha == before
    except HUB_ERRORS:
        return "whether anything was published is not known: look at its page"
    return NOTHING if unchanged else "its newest commit is another now, this one or somebody else's: look at its page"


def _reason(error: Exception, token: str | None) -> str:
    """What the Hub or the network says, without a token."""
    reason = (error.server_message or "no reason given") if isinstance(error, HfHubHTTPError) else type(error).__name__
    return reason.replace(token, HIDDEN) if token else reason  # one that was given as an argument, not by the environment


def explain(error: Exception, repo_id: str, token: str | None = None, outcome: str = NOTHING) -> InputError:
    """Say in one line what the Hub's or the network's refusal means and what to do; no token is ever in it."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    if isinstance(error, LocalTokenNotFoundError):
        return InputError(f"no token of the Hub was found; {log_in}.")
    if isinstance(error, OfflineModeIsEnabled):
        return InputError("HF_HUB_OFFLINE is set, so the Hub is not asked; unset it to publish.")
    if isinstance(error, HTTPError) and status is None:
        return InputError(f"the Hub at {constants.ENDPOINT} cannot be reached ({_reason(error, token)}); {outcome}. Try again.")
    if isinstance(error, HFValidationError):
        return InputError(f"{repo_id!r} is no name of a repository; give it as user/name.")
    if isinstance(error, GatedRepoError):
        return InputError(f"{repo_id} is gated: ask for access on its page, then {log_in}.")
    if isinstance(error, RepositoryNotFoundError):
        return InputError(
            f"there is no repository {repo_id}, or it is private and your token cannot see it; mend the name, or {log_in}."
        )
    if status == 401:
        return InputError(f"the Hub does not accept your token; {log_in}.")
    if status == 403:
        return InputError(f"your token may not write to {repo_id}; make one that may, and log in with it.")
    if status in (409, 412):
        return InputError(f"{repo_id} changed while the upload ran; nothing was published. Look at it, then try again.")
    return InputError(f"the Hub answered {status} for {repo_id}; {outcome}: {_reason(error, token)}")
