"""What an installation brings: the wheel, what the wheel needs, and what the extras add."""

import ast
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.small_runs import MODEL
from support.sounds import make_tones
from test_house import MODULES, PACKAGE, ROOT, SCRIPTS, imports

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel, MusicEncoder, cli
from mert_hf.encoding import released
from mert_hf.probing.report.results import PACKAGES

DISTRIBUTIONS = importlib.metadata.packages_distributions()
# rooms that say, when they are imported, which extra they need
ROOMS_OF_EXTRAS = ("engine", "pretraining", "finetuning", "comparison", "probing", "catalogue.retrieval")
# and single files that do
FILES_OF_EXTRAS = {
    "mert_hf.integrations.sentence_transformer": "sentence-transformers",
    "mert_hf.integrations.mteb_encoder": "mteb",
    "mert_hf.integrations.scikit_learn": "train",
}
# packages of extras, which must not be found where there are none
NOT_IN_THE_BASE = ("accelerate", "datasets", "evaluate", "nnAudio", "sklearn", "torchaudio", "torchcodec", "matplotlib", "peft")
NOT_IN_THE_BASE += ("sentence_transformers", "mteb")

IMPORT_ALL = """
import importlib, json, sys
report = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        report[name] = [type(error).__name__, str(error)]
print(json.dumps(report))
"""
EMBED = (
    f"NOT_HERE = {NOT_IN_THE_BASE}"
    + """
import importlib.util, json, sys
import mert_hf
from mert_hf import MusicEncoder
from transformers import pipeline
model, *songs = sys.argv[1:]
print(json.dumps({
    "found": [name for name in NOT_HERE if importlib.util.find_spec(name)],
    "encoder": MusicEncoder(model).encode(songs, layers=1).tolist(),
    "pipeline": pipeline("feature-extraction", model=model)(songs[0]),
}))
"""
)


def required(*extras: str) -> set[str]:
    """Names of the distributions that an installation with these extras brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][name] for name in extras)]
    named = [Requirement(line) for lines in lists for line in lines]
    nested = {name for one in named if one.name == project["name"] for name in one.extras}
    return {canonicalize_name(one.name) for one in named} | {"mert-hf"} | (required(*nested) if nested else set())


def is_brought(package: str, *extras: str) -> bool:
    """Whether Python has a package, or an installation with these extras brings it."""
    # a package that is not installed is called as its distribution
    owners = {canonicalize_name(owner) for owner in DISTRIBUTIONS.get(package, (package,))}
    return package in sys.stdlib_module_names or bool(owners & required(*extras))


def outside_names(file: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(file) if not name.startswith(".")}


def asked_for(file: Path) -> dict[str, str]:
    """The extra of each package that a file, or the room it lies in, asks for by `require_packages`."""
    rooms = [folder / "__init__.py" for folder in file.parents if folder.is_relative_to(PACKAGE)]
    found = {}
    for place in {file, *(room for room in rooms if room.is_file())}:
        for node in ast.walk(ast.parse(place.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "require_packages":
                extra, *names = (argument.value for argument in node.args)
                found |= dict.fromkeys(names, extra)
    return found


def test_the_extras_bring_what_the_commands_need():
    # of `train`, what is looked for where it is needed
    for extras, others in (
        (["train"], {"peft", "onnx", "onnxruntime", "sentence_transformers", "mteb", "usearch", "gradio"}),
        (["finetune", "onnx", "search", "sentence-transformers", "mteb", "demo"], set()),
    ):
        for file in MODULES + SCRIPTS:
            for name in outside_names(file) - others:
                assert is_brought(name, *extras), f"{file.name} imports {name}"
    # what a judging writes down
    assert {canonicalize_name(name) for name in PACKAGES} <= required("train")


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_what_the_base_does_not_bring_is_asked_for(file):
    """Whoever lacks a package is told the extra that brings it, not the name of a module."""
    asked = asked_for(file)
    for name in outside_names(file):
        assert is_brought(name) or name in asked, f"require_packages(..., {name!r}) is missing"
    for name, extra in asked.items():
        assert is_brought(name, extra), f"the extra {extra} does not bring {name}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: setuptools also packs what an older build left in build/, and would leave its own there."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in ("mert_hf", "model_cards", "training"):
        shutil.copytree(ROOT / part, folder / "copy" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "copy")
    # as a model that is released
    torch.manual_seed(0)
    trial = folder / "copy" / "model_cards" / "trial"
    MERTModel(MERTConfig(**MODEL)).half().save_pretrained(trial)
    MERTFeatureExtractor().save_pretrained(trial)
    for file in trial.glob("*.py"):
        file.unlink()
    (trial / "README.md").write_text("---\nlicense: mit\n---\n")
    (trial / "results.json").write_text("{}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", str(folder / "copy")]
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run([*pip, *options], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_holds_the_package_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"mert_hf", wheel.name.rsplit("-", 3)[0] + ".dist-info"}
    assert "mert_hf/py.typed" in names
    expected = {file.relative_to(ROOT).as_posix() for file in MODULES}
    assert {name for name in names if name.endswith(".py")} == expected
    # and what the commands read, from beside the package
    beside = {"training/recipes": "recipes", "model_cards": "model_cards"}
    files = {folder: [file.relative_to(ROOT / folder) for file in (ROOT / folder).rglob("*.yaml")] for folder in beside}
    wanted = {f"mert_hf/{beside[folder]}/{file.as_posix()}" for folder, found in files.items() for file in found}
    wanted |= {"mert_hf/model_cards/template.md", "mert_hf/py.typed", "mert_hf/catalogue/inspection/page.html"}
    models = [*released.released_models(), "trial"]
    wanted |= {f"mert_hf/model_cards/{name}/{file}" for name in models for file in (*released.NEEDED, "README.md")}
    assert {name for name in names if not name.endswith(".py") and ".dist-info/" not in name} == wanted


def closure(requirements: list[Requirement]) -> dict[str, importlib.metadata.Distribution]:
    """The installed distributions that requirements lead to, by name, as pip follows them."""
    found: dict[str, importlib.metadata.Distribution] = {}
    done, waiting = set(), [(one, "") for one in requirements]
    while waiting:
        one, extra = waiting.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        found.setdefault(name, importlib.metadata.distribution(one.name))
        for wanted in ({""} | one.extras) - {extra for of, extra in done if of == name}:
            done.add((name, wanted))
            waiting += [(Requirement(line), wanted) for line in found[name].requires or ()]
    return found


@pytest.fixture(scope="module")
def base_python(wheel, tmp_path_factory) -> Path:
    """The Python of an environment in which the wheel lies, and what it requires without extras; linked, not downloaded."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    (packages,) = folder.rglob("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    (metadata,) = importlib.metadata.distributions(path=[str(packages)])
    for distribution in closure([Requirement(line) for line in metadata.requires]).values():
        for top in {Path(file).parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def run_in(python: Path, code: str, *arguments: str) -> subprocess.CompletedProcess:
    kept = {name: os.environ[name] for name in ("HF_HUB_OFFLINE", "HF_MODULES_CACHE", "SYSTEMROOT") if name in os.environ}
    command = [str(python), "-c", code, *arguments]
    return subprocess.run(command, cwd=python.parent, env=kept, capture_output=True, text=True)


def test_the_base_alone_embeds_as_the_whole_installation_does(base_python, tiny_config, tmp_path):
    model = tmp_path / "model"
    MERTModel(tiny_config).save_pretrained(model)
    MERTFeatureExtractor().save_pretrained(model)
    songs = [str(tmp_path / name) for name in ("a.wav", "b.mp3", "c.flac")]
    for number, song in enumerate(songs):
        soundfile.write(song, make_tones(1.0 + number, 44100, number), 44100)  # to be resampled
    ran = run_in(base_python, EMBED, str(model), *songs)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["found"] == []
    np.testing.assert_allclose(told["encoder"], MusicEncoder(str(model)).encode(songs, layers=1), atol=1e-5)
    assert np.shape(told["pipeline"]) == (1, 74, tiny_config.hidden_size)


@pytest.mark.parametrize(("given", "name"), [("'trial', ", "trial"), ("", released.DEFAULT_MODEL)])
def test_a_released_model_is_found_where_there_is_no_clone(base_python, wheel, tmp_path, given, name):
    song = str(tmp_path / "a.wav")
    soundfile.write(song, make_tones(1.0, 24000), 24000)
    code = "import sys, mert_hf; print(mert_hf.MusicEncoder(GIVENdevice='cpu').encode(sys.argv[1], layers=1).tolist())"
    ran = run_in(base_python, code.replace("GIVEN", given), song)
    assert ran.returncode == 0, ran.stderr
    encoder = MusicEncoder(str(wheel.parent / "copy" / "model_cards" / name), device="cpu")
    np.testing.assert_allclose(json.loads(ran.stdout), encoder.encode(song, layers=1), atol=1e-5)


def test_without_extras_every_module_imports_or_names_the_extra(base_python):
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in MODULES]
    # `evaluate` reads the first as files, the second is a script
    names = [name for name in names if ".modules." not in name and not name.endswith(".without_package")]
    ran = run_in(base_python, IMPORT_ALL, *names)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    rooms = tuple(f"mert_hf.{room}." for room in ROOMS_OF_EXTRAS)
    refused = {name: "train" for name in names if f"{name}.".startswith(rooms)}
    refused |= FILES_OF_EXTRAS
    assert {name: told for name, told in report.items() if name not in refused} == {}
    for name, extra in refused.items():
        kind, message = report[name]
        assert kind == "MissingPackageError" and f'pip install "mert_hf[{extra}]"' in message, (name, message)


def test_a_command_that_needs_an_extra_says_so_in_a_line(base_python):
    code = "import sys; from mert_hf.cli import main; main(sys.argv[1:])"
    ran = run_in(base_python, code, "export-checkpoint", "run", "model")
    expected = 'error: accelerate, matplotlib are needed here and not installed: pip install "mert_hf[train]"\n'
    assert (ran.returncode, ran.stderr) == (1, expected)


@pytest.mark.parametrize("kind", ["models", "objectives", "teachers", "tasks", "recipes"])
def test_an_installed_wheel_lists_what_a_clone_lists(base_python, wheel, capsys, monkeypatch, kind):
    """Recipes, facts of model cards and released models lie beside the package in a clone, and inside it in the wheel."""
    monkeypatch.setattr(released, "CARDS", wheel.parent / "copy" / "model_cards")
    ran = run_in(base_python, "import sys; from mert_hf.cli import main; main(sys.argv[1:])", "list", kind)
    cli.main(["list", kind])
    assert (ran.returncode, ran.stderr, ran.stdout) == (0, "", capsys.readouterr().out)
