"""Who may see, read and write what, and where tokens go."""

from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download, whoami
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

REPO = "ada/tones"
TOKENS = ("hf_writer", "hf_reader", "hf_other")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    return folder


def test_a_token_says_who_and_what(hub):
    assert [(whoami(token)["name"], whoami(token)["auth"]["accessToken"]["role"]) for token in TOKENS] == [
        ("ada", "write"),
        ("ada", "read"),
        ("eve", "write"),
    ]
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        whoami("hf_wrong")


def test_a_private_repository_exists_for_its_owner_alone(hub, folder):
    hub.add_repository(REPO, folder, private=True)
    for token in (None, "hf_other"):
        for read in (lambda t: hf_hub_download(REPO, "config.json", token=t), lambda t: HfApi(token=t).model_info(REPO)):
            with pytest.raises(RepositoryNotFoundError, match="private or gated"):
                read(token)
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header") as caught:
        hf_hub_download(REPO, "config.json", token="hf_wrong")
    assert not isinstance(caught.value, RepositoryNotFoundError)
    assert Path(hf_hub_download(REPO, "config.json", token="hf_reader")).read_text() == "{}"


def test_a_gated_repository_is_seen_by_all_and_read_by_some(hub, folder):
    hub.add_repository(REPO, folder, gated=True)
    assert HfApi().model_info(REPO).gated == "manual"
    with pytest.raises(GatedRepoError, match="Please log in"):
        hf_hub_download(REPO, "config.json")
    with pytest.raises(GatedRepoError, match="not in the authorized list"):
        hf_hub_download(REPO, "config.json", token="hf_other")
    hub.grant(REPO, "eve")
    assert Path(hf_hub_download(REPO, "config.json", token="hf_other")).read_text() == "{}"


@pytest.mark.parametrize("token", ["hf_reader", "hf_other", "hf_wrong", False])
def test_without_the_right_to_write_nothing_changes(hub, folder, token):
    before = hub.add_repository(REPO, folder)
    (folder / "config.json").write_text("changed")
    api = HfApi(token=token)
    for write in (
        lambda: api.upload_folder(repo_id=REPO, folder_path=folder),
        lambda: api.create_tag(REPO, tag="v1"),
        lambda: api.create_repo("ada/new"),
        lambda: api.update_repo_settings(REPO, private=True),
        lambda: api.delete_repo(REPO),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            write()
        assert caught.value.response.status_code in (401, 403)
    assert [c.oid for c in hub.commits(REPO)][0] == before
    assert (hub.tags(REPO), hub.is_private(REPO), hub.repositories()) == ({}, False, [REPO])


def test_the_token_goes_to_the_hub_and_nowhere_else(hub, folder, tmp_path):
    api = HfApi(token="hf_writer")
    api.create_repo("m-a-p/tones", private=True)
    api.upload_folder(repo_id="m-a-p/tones", folder_path=folder)
    snapshot_download("m-a-p/tones", token="hf_writer")
    ModelCard("---\nlicense: mit\n---\n").validate()
    at_storage = [request for request in hub.requests if request.host == "storage"]
    assert {request.endpoint for request in at_storage} == {"upload", "download"}
    assert not any("hf_writer" in str(request) for request in at_storage)
    assert any(request.headers.get("authorization") == "Bearer hf_writer" for request in hub.requests)
    assert not any(b"hf_writer" in request.body or "hf_writer" in request.path for request in hub.requests)
    assert not any("hf_writer" in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())
