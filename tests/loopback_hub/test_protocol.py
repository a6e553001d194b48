"""The real client against the loopback Hub: repositories, uploads, downloads, caches, revisions, names."""

import hashlib
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, hf_hub_download, hf_hub_url, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import get_session
from safetensors.torch import save

from loopback_hub.server import HubServer

REPO = "ada/tones"
WEIGHTS = save({"weight": torch.arange(1000.0)})


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(token="hf_writer")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "notes").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "mert_model"}')
    (folder / "notes" / "é b.txt").write_text("a file with blanks and accents in its name")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


@pytest.fixture
def published(hub, api, folder):
    """A repository with the folder, and the commit of the upload."""
    api.create_repo(REPO)
    return api.upload_folder(repo_id=REPO, folder_path=folder, commit_message="First").oid


def test_a_folder_goes_up_and_comes_down_again(hub, api, folder, published, tmp_path):
    names = [".gitattributes", "config.json", "model.safetensors", "notes/é b.txt"]
    assert sorted(api.list_repo_files(REPO)) == names
    local = snapshot_download(REPO, cache_dir=tmp_path / "cache")
    for name in names[1:]:
        assert (tmp_path / "cache" / local / name).read_bytes() == (folder / name).read_bytes()
    assert hub.files(REPO)["model.safetensors"] == WEIGHTS
    # the weights by LFS to the storage host, text inside the commit
    assert [r.endpoint for r in hub.requests if r.host == "storage"] == ["upload", "download"]
    (commit,) = hub.asked("commit")
    assert b'"key": "lfsFile"' in commit.body
    assert commit.body.count(b'"key": "file"') == 2
    told = [(commit.commit_id, commit.title, commit.authors) for commit in api.list_repo_commits(REPO)]
    assert told == [(commit.oid, commit.title, [commit.author]) for commit in hub.commits(REPO)]
    assert [title for _, title, _ in told] == ["First", "initial commit"]
    assert hub.commits(REPO)[0].oid == published


def test_listings_tell_sizes_and_hashes(hub, api, published):
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    tree = {entry.path: entry for entry in api.list_repo_tree(REPO, recursive=True, expand=True)}
    assert set(tree) == {".gitattributes", "config.json", "model.safetensors", "notes", "notes/é b.txt"}
    assert (tree["model.safetensors"].size, tree["model.safetensors"].lfs.sha256) == (len(WEIGHTS), sha256)
    assert tree["config.json"].last_commit.oid == published
    assert [entry.path for entry in api.list_repo_tree(REPO, "notes")] == ["notes/é b.txt"]
    assert [entry.path for entry in api.get_paths_info(REPO, ["config.json", "absent"])] == ["config.json"]
    info = api.model_info(REPO, files_metadata=True)
    assert (info.sha, info.private, info.gated, info.config) == (published, False, False, {"model_type": "mert_model"})
    assert {s.rfilename: s.size for s in info.siblings}["model.safetensors"] == len(WEIGHTS)
    # git's own names, as `git hash-object` gives them
    blob = b'{"model_type": "mert_model"}'
    assert tree["config.json"].blob_id == hashlib.sha1(b"blob %d\0" % len(blob) + blob).hexdigest()
    only = api.model_info(REPO, expand=["sha", "author"])
    assert (only.sha, only.author, only.siblings) == (published, "ada", None)


def test_what_is_in_the_cache_is_not_fetched_again(hub, published, tmp_path):
    def fetch(name: str) -> list[str]:
        hub.requests.clear()
        hf_hub_download(REPO, name, cache_dir=tmp_path / "cache")
        return [r.method for r in hub.requests]

    for name in ("config.json", "model.safetensors"):
        assert fetch(name) == ["HEAD", "GET"]
        assert fetch(name) == ["HEAD"]  # the ETag is the same
    hub.commit(REPO, {"config.json": b"{}"})
    assert fetch("config.json") == ["HEAD", "GET"]
    assert fetch("model.safetensors") == ["HEAD"]  # in another commit, with the same content


def test_revisions_and_names_of_commits(hub, api, published, tmp_path):
    api.create_tag(REPO, tag="v1.0", tag_message="as in the paper")
    api.create_branch(REPO, branch="long-training")
    newer = api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=REPO).oid

    def content(revision: str) -> bytes:
        path = hf_hub_download(REPO, "config.json", revision=revision, cache_dir=tmp_path / "cache")
        return Path(path).read_bytes()

    assert content("main") == content(newer) == b"{}"
    assert content("v1.0") == content(published) == content("long-training") == b'{"model_type": "mert_model"}'
    refs = api.list_repo_refs(REPO)
    assert {tag.name: tag.target_commit for tag in refs.tags} == hub.tags(REPO) == {"v1.0": published}
    assert {branch.name for branch in refs.branches} == {"main", "long-training"}
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="v1.0")
    api.create_tag(REPO, tag="v1.0", exist_ok=True)
    assert hub.tags(REPO) == {"v1.0": published}
    api.delete_tag(REPO, tag="v1.0")
    with pytest.raises(RevisionNotFoundError):
        api.delete_tag(REPO, tag="v1.0")


def test_an_unchanged_folder_makes_no_commit_and_a_changed_one_one(hub, api, folder, published):
    api.upload_folder(repo_id=REPO, folder_path=folder)
    assert len(hub.commits(REPO)) == 2
    (folder / "config.json").write_text("{}")
    (folder / "notes" / "é b.txt").unlink()
    api.upload_folder(repo_id=REPO, folder_path=folder, delete_patterns="notes/*")
    assert set(hub.files(REPO)) == {".gitattributes", "config.json", "model.safetensors"}
    assert len(hub.commits(REPO)) == 3
    assert len(hub.asked("upload")) == 1  # the weights lie there already


def test_a_commit_on_another_parent_is_refused(hub, api, published):
    hub.commit(REPO, {"config.json": b"{}"}, "by somebody else")
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.upload_file(path_or_fileobj=b"mine", path_in_repo="config.json", repo_id=REPO, parent_commit=published)
    assert hub.files(REPO)["config.json"] == b"{}"


def test_large_files_go_up_in_parts(monkeypatch, hub, api):
    hub.storage.multipart_above = 1000
    api.create_repo(REPO)
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="model.safetensors", repo_id=REPO)
    assert len(hub.asked("upload")) == -(-len(WEIGHTS) // 1000)
    assert len(hub.asked("complete")) == 1
    assert hub.files(REPO)["model.safetensors"] == WEIGHTS


def test_a_range_of_a_file(hub, published):
    for name in ("config.json", "model.safetensors"):
        whole = hub.files(REPO)[name]
        for asked, expected in {"bytes=2-5": whole[2:6], "bytes=10-": whole[10:], "bytes=-3": whole[-3:]}.items():
            answer = get_session().get(hf_hub_url(REPO, name), headers={"Range": asked})
            assert (answer.status_code, answer.content) == (206, expected)
        assert get_session().get(hf_hub_url(REPO, name), headers={"Range": "bytes=99999-"}).status_code == 416


def test_missing_things_raise_the_errors_of_the_client(hub, published):
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "config.json", revision="v9")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "absent.json")
    for token in (None, "hf_writer"):
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("ada/absent", "config.json", token=token)
        with pytest.raises(RepositoryNotFoundError):
            HfApi(token=token).model_info("ada/absent")


def test_repositories_are_made_once_changed_and_removed(hub, api):
    assert api.create_repo("tones").repo_id == REPO  # in the namespace of the token
    with pytest.raises(HfHubHTTPError, match="You already created this model repo"):
        api.create_repo(REPO)
    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    api.update_repo_settings(REPO, private=True)
    assert hub.is_private(REPO)
    api.create_repo(REPO, repo_type="dataset")  # of the same name, and another thing
    assert not hub.is_private(REPO, repo_type="dataset")
    api.delete_repo(REPO)
    assert (hub.repositories(), hub.repositories("dataset")) == ([], [REPO])


def test_two_servers_do_not_know_each_other(hub, published):
    with HubServer() as other:
        assert not other.state.repositories
        with pytest.raises(RepositoryNotFoundError):
            HfApi(endpoint=other.url).model_info(REPO)


def test_what_the_server_does_not_know_is_said(hub):
    answer = get_session().get(f"{hub.url}/api/spaces-of-tomorrow")
    assert (answer.status_code, hub.requests[-1].endpoint) == (501, "unknown")
    assert "no endpoint GET /api/spaces-of-tomorrow" in answer.text
