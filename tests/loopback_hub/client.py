"""Pointing the real client at a `HubServer`: in a fresh process, or in this one.

huggingface_hub, transformers and datasets read HF_ENDPOINT, HF_HUB_OFFLINE and HF_HOME once, at import, and copy what they
read. A fresh process is therefore the plain truth, and `run_with_hub` gives one; `pointed_at` changes every copy in this
process (test_client.py looks for others), which saves the seconds in which transformers is imported.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import datasets
import fsspec
import huggingface_hub
import pytest
import transformers
from huggingface_hub.cli import auth as hub_cli_auth
from huggingface_hub.utils import _cache_assets, _cache_manager, _git_credential, _http, close_session
from transformers import dynamic_module_utils
from transformers.utils import hub as transformers_hub

from loopback_hub.server import HubServer

ROOT = Path(__file__).parents[2]


def environment(hub: HubServer, home: Path, token: str | None = None) -> dict[str, str]:
    """The variables with which a client uses this Hub, and nothing outside `home`."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # with hf_xet the client uploads by Xet without asking the server
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "DISABLE_SAFETENSORS_CONVERSION": "1",  # else transformers sends .bin repositories, and the token, to a Space
        **({"HF_TOKEN": token} if token else {}),
    }


def run_with_hub(
    code: str | Path,
    hub: HubServer,
    cache: Path,
    token: str | None = None,
    without_package: bool = False,
    arguments: tuple[str, ...] = (),
) -> subprocess.CompletedProcess:
    """Run Python code, or a script, in a fresh process that knows this Hub, this cache (HF_HOME) and no other.

    Nothing of this process's environment is passed on but PATH and TMPDIR; the working folder is the cache. The process has no
    network but loopback and waits at most 20 ms before it tries again.

    Args:
        code: a string of Python, or the path of a script.
        token: HF_TOKEN of the process; None for a user who is not logged in.
        without_package: `import mert_hf` raises ModuleNotFoundError, as on a machine without it.
        arguments: sys.argv[1:].

    Returns:
        The finished process with its output as text; its `returncode` is not checked.
    """
    cache.mkdir(parents=True, exist_ok=True)
    paths = [str(Path(__file__).parent / "clean_process"), *([] if without_package else [str(ROOT)])]
    own = {
        "PYTHONPATH": os.pathsep.join(paths),
        "HOME": str(cache),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **({"KEEP_OUT_PACKAGE": "mert_hf"} if without_package else {}),
        **{name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ},
    }
    program = [str(code)] if isinstance(code, Path) else ["-c", code]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        capture_output=True,
        text=True,
        cwd=cache,
        env={**own, **environment(hub, cache, token)},
        timeout=300,
    )


@contextmanager
def pointed_at(hub: HubServer, home: Path) -> Iterator[None]:
    """Make the clients in this process, and the processes that it starts, use this Hub, with all caches below `home`.

    Nobody is logged in: tests pass `token=` or set HF_TOKEN. May be nested: one with another `home` is another machine.
    """
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN_PATH"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(hub, home).items():
            monkeypatch.setenv(name, value)
        _patch_huggingface_hub(hub, home, monkeypatch)
        _patch_transformers(home, monkeypatch)
        _patch_datasets(hub, home, monkeypatch)
        _forget()
        yield
    _forget()


def _forget() -> None:
    """Drop what the clients remember of another Hub: connections, listings and imported remote code."""
    close_session()
    fsspec.get_filesystem_class("hf").clear_instance_cache()
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers_modules"]:
        del sys.modules[name]


def _patch_huggingface_hub(hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = huggingface_hub.constants
    values = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_URL_HOSTS": constants.HF_URL_HOSTS | {"127.0.0.1"},
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HOME": str(home),
        "default_cache_path": str(home / "hub"),
        "default_assets_cache_path": str(home / "assets"),
        "default_xet_cache_path": str(home / "xet"),
        "HF_HUB_CACHE": str(home / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HUGGINGFACE_ASSETS_CACHE": str(home / "assets"),
        "HF_XET_CACHE": str(home / "xet"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "CHECK_FOR_UPDATE_DONE_PATH": str(home / ".check_for_update_done"),
        "CHECK_FOR_SKILL_UPDATE_DONE_PATH": str(home / ".check_for_skill_update_done"),
        "AGENT_HARNESSES_PATH": str(home / ".agent_harnesses.json"),
    }
    for name, value in values.items():
        assert hasattr(constants, name)
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)  # behind huggingface_hub.upload_folder and the like
    monkeypatch.setattr(hub_cli_auth, "ENDPOINT", hub.url)
    monkeypatch.setattr(_git_credential, "ENDPOINT", hub.url)
    monkeypatch.setattr(_cache_manager, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(_cache_assets, "HF_ASSETS_CACHE", str(home / "assets"))
    monkeypatch.setattr(_http, "_HUB_ORIGINS", _http._HUB_ORIGINS | {_http._url_origin(hub.url)})
    waits = {**vars(time), "sleep": lambda seconds: time.sleep(min(seconds, 0.02))}  # else up to 23 s for an upload that fails
    monkeypatch.setattr(_http, "time", SimpleNamespace(**waits))


def _patch_transformers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers_hub, "_hf_api", None)  # made at the first use, with the endpoint of that moment
    modules = str(home / "modules")
    for module in (transformers_hub, transformers.utils, dynamic_module_utils):
        monkeypatch.setattr(module, "HF_MODULES_CACHE", modules)
    monkeypatch.setattr(sys, "path", list(sys.path))  # remote code puts the folder of its modules there


def _patch_datasets(hub: HubServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "HF_ENDPOINT": hub.url,
        "HUB_DATASETS_URL": hub.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_OFFLINE": False,
        "HF_CACHE_HOME": str(home),
        "HF_DATASETS_CACHE": home / "datasets",
        "HF_MODULES_CACHE": home / "modules",
        "DOWNLOADED_DATASETS_PATH": home / "datasets" / "downloads",
        "EXTRACTED_DATASETS_PATH": home / "datasets" / "downloads" / "extracted",
    }
    for name, value in values.items():
        assert hasattr(datasets.config, name)
        monkeypatch.setattr(datasets.config, name, value)
