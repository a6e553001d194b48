"""What points the clients at the loopback Hub is complete, and a fresh process is as clean as it says."""

import json
import os
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi
from transformers import AutoConfig

from loopback_hub.client import pointed_at, run_with_hub
from loopback_hub.server import HubServer

CLIENTS = ("huggingface_hub", "transformers", "datasets")


def test_no_copy_of_the_endpoint_or_the_cache_is_left(hub):
    old_home = os.path.join(huggingface_hub.constants.default_home, "huggingface")
    left, seen = [], 0
    for place, module in list(sys.modules.items()):
        if place.split(".")[0] not in CLIENTS:
            continue
        for name, value in list(vars(module).items()):
            text = str(value) if isinstance(value, str | Path) else ""
            is_template = text.startswith("https://huggingface.co") and "{" in text
            is_old = is_template or text == "https://huggingface.co" or text.startswith(old_home)
            if (is_old and "DEFAULT" not in name) or (isinstance(value, HfApi) and value.endpoint != hub.url):
                left.append(f"{place}.{name} = {text or value}")
            seen += text == hub.url or isinstance(value, HfApi)
    assert left == []
    assert seen >= 4


def test_this_process_knows_the_hub(hub):
    assert hub.url == huggingface_hub.constants.ENDPOINT
    assert huggingface_hub.is_offline_mode() is False
    assert os.environ["HF_ENDPOINT"] == hub.url


def test_without_the_fixture_it_is_offline_again():
    """Runs after a test with the fixture, which has put everything back."""
    assert huggingface_hub.constants.ENDPOINT == "https://huggingface.co"
    assert huggingface_hub.is_offline_mode() is True
    assert "HF_ENDPOINT" not in os.environ


CONFIGURATION = """
from transformers import PreTrainedConfig

class RemoteConfig(PreTrainedConfig):
    model_type = "remote"
    answer = {answer}
"""


def test_remote_code_of_another_hub_and_of_an_older_commit_is_forgotten(hub, tmp_path):
    def answer(server, home, code) -> int:
        with pointed_at(server, home):
            server.commit("ada/remote", {"config.json": config, "configuration.py": CONFIGURATION.format(answer=code).encode()})
            return AutoConfig.from_pretrained("ada/remote", trust_remote_code=True).answer

    config = json.dumps({"model_type": "remote", "auto_map": {"AutoConfig": "configuration.RemoteConfig"}}).encode()
    hub.add_repository("ada/remote")
    assert answer(hub, tmp_path / "one", 1) == 1
    assert answer(hub, tmp_path / "one", 2) == 2
    with HubServer() as other:
        other.add_repository("ada/remote")
        assert answer(other, tmp_path / "two", 3) == 3
    assert not [name for name in sys.modules if name.startswith("transformers_modules")]
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        AutoConfig.from_pretrained("ada/remote")


REPORT = """
import os, socket, sys
import huggingface_hub.constants
print(huggingface_hub.constants.ENDPOINT, huggingface_hub.constants.HF_HUB_CACHE, huggingface_hub.get_token())
try:
    import mert_hf.common.errors
    print("here", os.path.dirname(mert_hf.__file__))
except ImportError as error:
    print("absent:", error)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=1)
except OSError as error:
    print(error)
print(sys.argv[1:])
"""


def test_a_process_knows_this_hub_alone_and_not_the_package(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_process")
    ran = run_with_hub(REPORT, hub, tmp_path / "cache", without_package=True, arguments=("a",))
    assert ran.returncode == 0, ran.stderr
    first, package, network, arguments = ran.stdout.splitlines()
    assert first == f"{hub.url} {tmp_path / 'cache' / 'hub'} None"
    assert package == "absent: No module named 'mert_hf' (kept out by the test)"
    assert network.startswith("tests have no network")
    assert arguments == "['a']"


WHO = """
import importlib.util
import huggingface_hub
print(importlib.util.find_spec("mert_hf").origin, huggingface_hub.whoami()["name"])
"""


def test_a_process_with_a_token_has_this_copy_of_the_package(hub, tmp_path):
    script = tmp_path / "who.py"
    script.write_text(WHO)
    ran = run_with_hub(script, hub, tmp_path / "cache", token="hf_reader")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [str(Path(__file__).parents[2] / "mert_hf" / "__init__.py"), "ada"]
