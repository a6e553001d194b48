import logging
import sys

import pytest

from mert_hf.common.command_line import hide_secrets_in_output
from mert_hf.common.errors import InputError
from mert_hf.common.redaction import HidingStream, hide_places, name_only
from mert_hf.models.redaction_mert import HIDDEN, hide_secrets

CANARY = "hf_canary"


@pytest.fixture(params=["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "HTTPS_PROXY", "stored", "stored_tokens"])
def canary(request, monkeypatch, tmp_path):
    """A secret of this machine, wherever one may be kept."""
    if request.param == "HTTPS_PROXY":
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:{CANARY}@proxy.example:8080")
    elif request.param.startswith("stored"):
        file = tmp_path / request.param
        file.write_text(f"{CANARY}\n" if request.param == "stored" else f"[mine]\nhf_token = {CANARY}\n")
        name = "HF_TOKEN_PATH" if request.param == "stored" else "HF_STORED_TOKENS_PATH"
        monkeypatch.setattr("huggingface_hub.constants." + name, str(file))
    else:
        monkeypatch.setenv(request.param, CANARY)
    return CANARY


def test_what_is_secret_here_is_told_by_no_error(canary):
    error = InputError(f"the server says: {canary} is wrong\nand so is that")
    assert str(error) == f"the server says: {HIDDEN} is wrong and so is that"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hf_" + "aB3" * 11 + "x", HIDDEN),
        ("https://user:hf_canary@huggingface.co/x", f"https://{HIDDEN}@huggingface.co/x"),
        ("https://hf_canary@host/x and more", f"https://{HIDDEN}@host/x and more"),
        ("https://host/x?a=1&token=hf_canary&b=2", f"https://host/x?a=1&token={HIDDEN}&b=2"),
        ("s3: ?X-Amz-Signature=abc&X-Amz-Credential=def", f"s3: ?X-Amz-Signature={HIDDEN}&X-Amz-Credential={HIDDEN}"),
        ("Authorization: Bearer hf_canary", f"Authorization: Bearer {HIDDEN}"),
        ("hf_hub_download of mert_hf, HF_HUB_OFFLINE and hf_transfer", None),
        ("me@example.com wrote https://host/x?page=2", None),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(text, shown):
    assert hide_secrets(text) == (text if shown is None else shown)


def test_streams_and_loggers_hide_it_too(canary, monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    factory = logging.getLogRecordFactory()
    try:
        hide_secrets_in_output()
        hide_secrets_in_output()
        assert isinstance(sys.stderr, HidingStream) and not isinstance(sys.stderr._stream, HidingStream)
        sys.stdout.write(f"printed {canary}")
        sys.stderr.writelines(["printed", canary])
        try:
            raise RuntimeError(canary)
        except RuntimeError:
            logging.getLogger("anything").exception("logged %s", canary)
    finally:
        logging.setLogRecordFactory(factory)
    captured = capsys.readouterr()
    for text in (captured.out, captured.err, caplog.text):
        assert canary not in text and HIDDEN in text
    assert "RuntimeError: [hidden]" in caplog.text


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("m-a-p/MERT-v1-95M", "m-a-p/MERT-v1-95M"),
        ("/home/ada/runs/night/model", "night"),
        ("/home/ada/My Music/gtzan/", "gtzan"),
        ("~/runs/night", "night"),
        ("../runs/night/model", "night"),
        ("C:\\Users\\ada\\gtzan", "gtzan"),
    ],
)
def test_a_place_is_told_by_its_name(place, name):
    assert name_only(place) == name


def test_a_folder_that_is_there_is_no_repository(tmp_path, monkeypatch):
    (tmp_path / "data" / "gtzan").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert name_only("data/gtzan") == "gtzan" and name_only("data/other") == "data/other"


def test_places_are_taken_out_of_all_texts():
    told = {"/a/b": ["/home/ada/x.wav", "k-means of /srv/music/mine, 8 codes", 7], "url": "https://host/a/b", "id": "user/name"}
    assert hide_places(told) == {"b": ["x.wav", "k-means of mine, 8 codes", 7], "url": "https://host/a/b", "id": "user/name"}
    assert hide_places(["and/or", "km/h", "1/2", "/k/"]) == ["and/or", "km/h", "1/2", "/k/"]
