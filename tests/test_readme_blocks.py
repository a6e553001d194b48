"""Every Python block of the pages runs, and every line for the shell is one that its program takes."""

import os
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import make_tones

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForSequenceClassification, MERTModel, cli
from mert_hf.commands import COMMANDS
from mert_hf.common.places import FINETUNE_RECIPES, RECIPES
from mert_hf.common.settings import parse_command_line
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.pretraining.settings import pretrain_settings

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "training/README.md", "training/cells/README.md") + tuple(
    f"mert_hf/{room}/README.md" for room in ("catalogue", "encoding", "integrations", "tasks")
)
# what takes the settings of a recipe
SETTINGS = {
    "pretrain": (pretrain_settings, RECIPES),
    "prepare_labels": (pretrain_settings, RECIPES),
    "finetune": (lambda: FinetuneSettings, FINETUNE_RECIPES),
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


PYTHON = [(page, number) for page in PAGES for number in range(len(blocks(page, "python")))]
SHELL = [(page, line) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines() if line.strip()]


def make_config() -> MERTConfig:
    """Twelve layers, as MERT-v1-95M has, and small."""
    sizes = dict(hidden_size=32, num_hidden_layers=12, num_attention_heads=2, intermediate_size=64, conv_dim=[16] * 7)
    return MERTConfig(**sizes, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what the pages speak of: a model, songs, a fine-tuned run."""
    desk = tmp_path_factory.mktemp("desk")
    torch.manual_seed(0)
    MERTModel(make_config()).save_pretrained(desk / "model")
    MERTForSequenceClassification(make_config()).save_pretrained(desk / "runs" / "genres" / "model")
    for folder in (desk / "model", desk / "runs" / "genres" / "model"):
        MERTFeatureExtractor().save_pretrained(folder)
    for folder in ("Music", "more", "music"):
        (desk / folder).mkdir()
    songs = ["song.mp3", "one.mp3", "two.flac", "Music/a live.wav", "more/b.flac", "music/c.wav"]
    for number, name in enumerate(songs):
        soundfile.write(desk / name, make_tones(1.0 + 0.1 * number, 24000, number), 24000)
    (desk / "favourites.m3u8").write_text("one.mp3\n")
    (desk / "genres").mkdir()
    table = ["file_name,genre"]
    for number in range(12):
        soundfile.write(desk / "genres" / f"{number}.wav", make_tones(3.5, 24000, number), 24000)
        table.append(f"{number}.wav,{('jazz', 'rock')[number % 2]}")
    (desk / "genres" / "metadata.csv").write_text("\n".join(table) + "\n")
    return desk


@pytest.fixture
def at_the_desk(desk, tmp_path, monkeypatch):
    shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.setenv("HOME", str(tmp_path / "desk"))
    return tmp_path / "desk"


@pytest.mark.parametrize(("page", "number"), PYTHON, ids=[f"{page}-{number}" for page, number in PYTHON])
def test_python_runs_as_it_stands(page, number, at_the_desk):
    block = blocks(page, "python")[number]
    if '"gtzan_genre"' in block:
        pytest.skip("the block reads a dataset of the Hub; tests/probing read the same tasks from folders")
    if "sentence_transformers" in block:
        pytest.importorskip("sentence_transformers", reason='pip install "mert_hf[sentence-transformers]"')
    # the small model in place of the published one; what blocks before it have made
    code = re.sub(r'"m-a-p/MERT-v1-95M"', repr(str(at_the_desk / "model")), block)
    given = {"song": make_tones(1.0, 24000), "other": make_tones(0.5, 24000, 1), "np": np}
    if "song.mp3" in code and "duration_s > 60" in code:
        code = code.replace("duration_s > 60", "duration_s > 1")
    exec(compile(code, f"{page}, block {number}", "exec"), given)


def test_every_kind_of_line_is_known():
    assert len(SHELL) > 25 and len(PYTHON) > 12


@pytest.mark.parametrize(("page", "line"), SHELL, ids=[f"{page}-{number}" for number, (page, _) in enumerate(SHELL)])
def test_a_line_for_the_shell_is_taken(page, line, at_the_desk, monkeypatch):
    for command in line.split(" && "):
        words = [os.path.expanduser(word) for word in shlex.split(command, comments=True)]  # as a shell does
        take(words, monkeypatch)


def take(words: list[str], monkeypatch) -> None:
    """Give a program's words to what reads them, and do nothing else."""
    program, *words = words
    if program.startswith("--"):  # settings alone
        parse_command_line(pretrain_settings(), RECIPES, "", [program, *words])
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert words[:2] == ["install", "-e"] and words[2].removeprefix(".[").removesuffix("]") in {*extras, "."}
    elif program == "accelerate":
        assert words.pop(0) == "launch"
        while words[0].startswith("--"):
            if words.pop(0) == "--config_file":
                assert (ROOT / words.pop(0)).is_file()
        if words[0] == "-m":
            assert words.pop(1) == "mert_hf"
            take(["mert-hf", *words[1:]], monkeypatch)
        else:
            take(["python", *words], monkeypatch)
    elif program == "python":
        take_script(words, monkeypatch)
    elif program == "mert-hf":
        take_command(words)
    else:
        assert [program, *words] in (["pytest"], ["hf", "auth", "login"])


def take_command(words: list[str]) -> None:
    commands = {command.name: command for group in COMMANDS.values() for command in group}
    command = commands[words[0]]
    if command.main is None:
        cli._parser(command).parse_args(words)
    else:
        schema, recipes = SETTINGS[words[0]]
        parse_command_line(schema(), recipes, "", words[1:])


def take_script(words: list[str], monkeypatch) -> None:
    script = ROOT / words[0]
    if script.stem in SETTINGS:
        schema, recipes = SETTINGS[script.stem]
        parse_command_line(schema(), recipes, "", words[1:])
    elif script.stem == "probe":
        take_command(["probe", *words[1:]])
    else:
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(str(script))["parse_arguments"]()
