"""A token is told nowhere: not by any command, not by what it writes, whoever echoes it and wherever it was given."""

import os
import subprocess
import sys

import pytest

from hub.client import ROOT, environment
from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.errors import InputError
from mert_hf.hub import upload

CANARY = "hf_canaryCanaryCanary"
REPO = "ada/tiny"
TRAINING = ROOT / "training"


@pytest.fixture
def model(tiny_config, tmp_path):
    folder = tmp_path / "model"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


def run(command, hub, home, **variables):
    """The command's process, all it said and all it wrote."""
    home.mkdir(exist_ok=True)
    own = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    paths = os.pathsep.join([str(ROOT / "tests" / "hub" / "clean_process"), str(ROOT)])
    own |= {"PYTHONPATH": paths, "HOME": str(home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        cwd=home,
        env={**own, **environment(hub, home), **variables},
        timeout=300,
    )
    written = b"".join(
        file.read_bytes()
        for file in home.rglob("*")
        if file.is_file() and file.name not in ("token", "stored_tokens", "given.yaml")
    )
    return ran, ran.stdout + ran.stderr, written


def commands(home, model):
    """Every tool, with arguments that fail early, most of them where the Hub is asked."""
    base = "nobody/nothing"
    cli = ("-c", "import sys; from mert_hf.cli import main; main(sys.argv[1:])")
    recipe = home / "given.yaml"
    recipe.write_text("output_dir: ${oc.env:HF_TOKEN}\ninit: {model: nobody/nothing}\n")
    yield "pretrain", (TRAINING / "pretrain.py", "--init.model", base, "--output_dir", home / "run")
    yield "recipe", (TRAINING / "pretrain.py", "--recipe", recipe)
    yield "override", (TRAINING / "pretrain.py", "--output_dir", "${oc.env:HF_TOKEN}")
    yield "given", (TRAINING / "pretrain.py", "--init.model", f"https://user:{CANARY}@host/x?token={CANARY}")
    yield "push", (TRAINING / "pretrain.py", "--push_to_hub", REPO, "--publish.license", "mit")
    yield "labels", (TRAINING / "prepare_labels.py", "--data.labels", home / "l", "--data.dataset", base)
    yield "finetune", (TRAINING / "finetune.py", "--model.base", base, "--output_dir", home / "tuned")
    yield "plan", (TRAINING / "plan.py", f"no-{CANARY}", "--recipe_gpus", "1")
    yield "probe", (TRAINING / "probe.py", "--suite", "synthetic", "--model", base, "--output", home / "probed")
    yield "compare", (TRAINING / "compare.py", "--budget", "1", "--output", home / "c", "--cells", f"{CANARY}")
    yield "publish", (TRAINING / "publish.py", model, REPO, "--license", "mit")
    yield "convert", (*cli, "convert", home / CANARY, home / "out")
    yield "deezer", (*cli, "convert-deezer", home / CANARY, home / "out")
    yield "offset", (*cli, "code-offset", base, home)
    yield "import", (*cli, "import-labels", home / CANARY, home / CANARY, "--output_dir", home / "out")
    yield "onnx", (*cli, "export-onnx", base, home / "x.onnx")
    yield "checkpoint", (*cli, "export-checkpoint", home / CANARY, home / "out")
    yield "windows", (*cli, "window-difference", base, home / "x.wav")


NAMES = (
    *("pretrain", "recipe", "override", "given", "push", "labels", "finetune", "plan", "probe", "compare", "publish"),
    *("convert", "deezer", "offset", "import", "onnx", "checkpoint", "windows"),
)


@pytest.mark.parametrize("name", NAMES)
def test_no_command_tells_the_token(hub, model, tmp_path, name):
    hub.echo_tokens()
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text(CANARY)
    endpoint = hub.url.replace("://", f"://user:{CANARY}@")
    command = dict(commands(home, model))[name]
    ran, said, written = run(command, hub, home, HF_TOKEN=CANARY, HUGGING_FACE_HUB_TOKEN=CANARY, HF_ENDPOINT=endpoint)
    assert ran.returncode != 0
    assert CANARY.encode() not in said, said.decode()[-3000:]
    assert CANARY.encode() not in written
    assert b"error: " in said and b"Traceback" not in said, said.decode()[-3000:]


@pytest.mark.parametrize(("endpoint", "status"), [("whoami", 418), ("commit", 418), ("whoami", 401), ("create_tag", 403)])
def test_a_server_that_echoes_a_token_is_not_repeated(hub, model, endpoint, status):
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    hub.echo_tokens()
    hub.fail_next(endpoint, status=status, times=9)
    with pytest.raises(InputError) as refused:
        upload(model, REPO, "message", token="hf_writer")
    assert "hf_writer" not in str(refused.value)
