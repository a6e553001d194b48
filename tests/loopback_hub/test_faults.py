"""Uploads that break: nothing half-published, and the next try succeeds."""

import pytest
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import get_session

REPO = "ada/tones"


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(token="hf_writer")


@pytest.fixture
def folder(tmp_path):
    """Two files for LFS of 200 000 bytes each and a small one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text('{"new": true}')
    for number in (1, 2):
        (folder / f"model-{number}.safetensors").write_bytes(bytes([number]) * 200_000)
    return folder


def upload(api, folder):
    return api.upload_folder(repo_id=REPO, folder_path=folder).oid


@pytest.fixture
def before(hub, tmp_path):
    """The repository as it was before the upload that breaks."""
    old = tmp_path / "old"
    old.mkdir()
    (old / "config.json").write_text('{"old": true}')
    return hub.add_repository(REPO, old)


def check_untouched(hub, before):
    assert hub.commits(REPO)[0].oid == before
    assert hub.files(REPO)["config.json"] == b'{"old": true}'
    assert HfApi().list_repo_files(REPO) == [".gitattributes", "config.json"]
    assert HfApi().model_info(REPO).sha == before
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(REPO, "model-1.safetensors")


@pytest.mark.parametrize("num_bytes", [0, 100_000, 300_000])
def test_an_upload_that_is_cut_leaves_all_as_it_was(hub, api, folder, before, num_bytes):
    """Cut at the start, in the middle of a file, and after one of two."""
    hub.cut_upload_after(num_bytes)
    with pytest.raises(RuntimeError, match=r"Error while uploading 'model-\d.safetensors'"):
        upload(api, folder)
    assert {request.status for request in hub.asked("upload")} <= {0, 200}
    assert len([request for request in hub.asked("upload") if request.status == 0]) >= 6  # the client tried again
    assert not hub.asked("commit")
    check_untouched(hub, before)
    hub.mend()
    after = upload(api, folder)
    assert hub.commits(REPO)[0].oid == after
    assert hub.commits(REPO)[1].oid == before
    assert hub.files(REPO)["model-2.safetensors"] == bytes([2]) * 200_000


def test_a_short_cut_is_healed_by_the_client(hub, api, folder, before, monkeypatch):
    hub.fail_next("upload", status=503, times=2)
    upload(api, folder)
    assert [request.status for request in hub.asked("upload")].count(503) == 2
    assert set(hub.files(REPO)) == {".gitattributes", "config.json", "model-1.safetensors", "model-2.safetensors"}


@pytest.mark.parametrize("endpoint", ["commit", "lfs_verify"])
def test_a_commit_that_fails_leaves_all_as_it_was(hub, api, folder, before, endpoint):
    """All weights have arrived, and none is to be seen."""
    hub.fail_next(endpoint, times=12)
    with pytest.raises((HfHubHTTPError, RuntimeError)):
        upload(api, folder)
    assert [request.status for request in hub.asked("upload")] == [200, 200]
    check_untouched(hub, before)
    hub.mend()
    upload(api, folder)
    assert len(hub.asked("upload")) == 2  # what has arrived is not sent again
    assert len(hub.commits(REPO)) == 3


def test_weights_that_are_not_those_of_their_name_are_refused(hub, api, before):
    repository = hub.state.repositories["model", REPO]
    answer = get_session().put(hub.storage.address("upload", repository, "0" * 64), content=b"other")
    assert answer.status_code == 400
    assert not repository.objects
