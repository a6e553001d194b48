"""A token is told nowhere: not by any command, not by what it writes, whoever echoes it and wherever it was given."""

import base64
import json
import os
import subprocess
import sys

import pytest
from loopback_hub.client import ROOT, environment

from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.publishing.hub import upload

CANARY = "hf_canaryCanaryCanary"
REPO = "ada/tiny"
TRAINING = ROOT / "training"


@pytest.fixture
def model(tiny_config, tmp_path):
    folder = tmp_path / "model"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


# Runs every command in a child of a process that has imported the packages already; all of them begin with nothing done.
EVERY_COMMAND = """
import json, os, runpy, sys, traceback
import accelerate, datasets, mert_hf, mert_hf.pretraining.run, mert_hf.finetuning.run, mert_hf.probing.suite
for name, command in json.load(open("commands.json")).items():
    child = os.fork()
    if child == 0:
        said = os.open(f"said_{name}", os.O_CREAT | os.O_WRONLY)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = command
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(0)
    os.waitpid(child, 0)
"""


def commands(home, model):
    """Every tool, with arguments that fail early, most of them where the Hub is asked."""
    base = "nobody/nothing"
    cli = (home / "mert_hf_command.py",)
    cli[0].write_text("import sys\nfrom mert_hf.cli import main\nmain(sys.argv[1:])\n")
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


def test_no_command_tells_the_token(hub, model, tmp_path):
    hub.echo_tokens()
    home = tmp_path / "home"
    home.mkdir()
    (home / "token").write_text(CANARY)
    given = {name: [str(part) for part in command] for name, command in commands(home, model)}
    (home / "commands.json").write_text(json.dumps(given))
    own = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    paths = os.pathsep.join([str(ROOT / "tests" / "loopback_hub" / "clean_process"), str(ROOT)])
    own |= {"PYTHONPATH": paths, "HOME": str(home), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    tokens = {"HF_TOKEN": CANARY, "HUGGING_FACE_HUB_TOKEN": CANARY}
    tokens["HF_ENDPOINT"] = hub.url.replace("://", f"://user:{CANARY}@")
    command = [sys.executable, "-c", EVERY_COMMAND]
    ran = subprocess.run(command, capture_output=True, cwd=home, env={**own, **environment(hub, home), **tokens}, timeout=300)
    assert ran.returncode == 0, ran.stderr.decode()
    secrets = (CANARY.encode(), base64.b64encode(f"user:{CANARY}".encode()))
    for name in given:
        said = (home / f"said_{name}").read_bytes()
        assert b"error: " in said and b"Traceback" not in said, f"{name}: {said.decode()[-3000:]}"
    for file in home.rglob("*"):
        if file.is_file() and file.name not in ("token", "commands.json"):
            assert not any(secret in file.read_bytes() for secret in secrets), file


@pytest.mark.parametrize(("endpoint", "status"), [("whoami", 418), ("commit", 418), ("whoami", 401), ("create_tag", 403)])
def test_a_server_that_echoes_a_token_is_not_repeated(hub, model, endpoint, status):
    (model / "README.md").write_text("---\nlicense: mit\n---\n")
    hub.echo_tokens()
    hub.fail_next(endpoint, status=status, times=9)
    with pytest.raises(InputError) as refused:
        upload(model, REPO, "message", token="hf_writer")
    assert "hf_writer" not in str(refused.value)
