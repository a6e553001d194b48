"""From a trained model's folder to one that can be published: rewritten, given a card, checked as a stranger would use it."""

import itertools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from mert_hf import models
from mert_hf.common.errors import InputError
from mert_hf.common.files import to_json
from mert_hf.common.reading import read_json, shown
from mert_hf.common.redaction import hide_places
from mert_hf.common.seeding import generator
from mert_hf.encoding.loading import load_extractor, load_model, loading
from mert_hf.models.redaction_mert import hide_secrets
from mert_hf.models.remote_code_mert import AUTO_MAPS, CODE_FIELDS
from mert_hf.models.views_mert import input_dtype_of
from mert_hf.publishing.model_card import PICTURES, CardFacts, inherit_base, read_results, write_card

# What a published folder may hold: weights that are only numbers, settings, code that can be read, the page and its pictures.
ACCEPTED = (".safetensors", ".json", ".py", ".md", ".png")

# Largest difference between features of one model loaded in two ways. Equal code on equal weights gives 0; the margin is
# for another number of threads.
TOLERANCE = 1e-5

# Largest difference that weights in half precision may make: norm of the difference over the norm of the features about their
# mean over time. float16 keeps 11 bits, which moves a weight by 2^-12 of itself at most, and the features of small random
# models by 0.0009 to 0.0015 (measured).
HALF_TOLERANCE = 0.01

# How transformers writes a class in the code of another repository: user/repository--module.Class.
OTHER_CODE = re.compile(r"^\s*[^\s/]+(/[^\s/]+)?--[\w./-]+\s*$")

PNG_BEGINNING = b"\x89PNG\r\n\x1a\n"
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME")


@dataclass
class Staged:
    """A folder ready to be uploaded, and what was checked and found, a line each."""

    folder: Path
    checks: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[tuple[str, int]]:
        """Name and size in bytes of every file."""
        return sorted((file.name, file.stat().st_size) for file in self.folder.iterdir())


def stage(
    source: str | os.PathLike,
    staging: str | os.PathLike,
    repo_id: str,
    facts: CardFacts,
    template: Path,
    half: bool = False,
) -> Staged:
    """Write what will be published into `staging` and check it.

    Only what is named here gets there: weights as safetensors, configuration, feature extractor, code, card, pictures, results;
    never an optimizer's state or a pickle, whatever lies in the source. The code is this package's, and nothing names that of
    another repository; results and card name files and folders of this machine without their place.

    Args:
        source: folder of a run (which holds `model/`) or of a model.
        staging: an empty folder.
        repo_id: where it will be published, `user/name`; named in the card. A name alone is that of a released model.
        half: store weights in float16, half the size. They are loaded as float32 all the same, unless somebody asks for
            another type, and features must be those of before to within [`HALF_TOLERANCE`].

    Raises:
        InputError: the source is no model, or fails a check; the message names what.
    """
    model_folder, results_folder = _locate(Path(source).expanduser())
    staged = Staged(Path(staging))
    model = _load(model_folder)
    extractor = load_extractor(model_folder, trust_remote_code=False)
    for named in (vars(model.config), vars(extractor)):
        for field_name in CODE_FIELDS:  # ours are written when they are saved
            named.pop(field_name, None)
    _require_finite(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    staged.checks.append(f"weights: {parameters:,} numbers, all finite")

    noise = generator(0, "publishing trial").normal(0.0, 0.1, 2 * extractor.sampling_rate)
    waveform = noise.astype(np.float32)
    features = _features(model, extractor, waveform)
    try:
        model.save_pretrained(staged.folder, state_dict=_halve(model) if half else None)
        extractor.save_pretrained(staged.folder)
        pictures = _copy_results(results_folder, staged.folder)
    except OSError as error:
        raise InputError(f"{staged.folder} cannot be written: {error.strerror or error}.") from None
    _check_names_of_code(staged.folder)
    again = _features(_load(staged.folder), load_extractor(staged.folder), waveform)
    if half:
        staged.checks.append(f"saved in half precision, loaded again: features differ by {_require_near(features, again):.2g}")
    else:
        _require_equal(features, again, "after saving and loading")
        staged.checks.append("saved, loaded again: equal features")
    _check_without_package(staged.folder, waveform, again)
    staged.checks.append("loaded without mert_hf, from the files of the folder alone: equal features")

    results = read_results(staged.folder / "results.json") or {}
    card = write_card(
        template,
        inherit_base(facts, results.get("base"), results.get("base_licence")),
        model.config,
        sum(parameter.numel() for parameter in model.base_model.parameters()),
        repo_id,
        results,
        read_results(staged.folder / "evaluation.json"),
        pictures,
    )
    card.save(staged.folder / "README.md")
    staged.checks.append(f"card: licence {facts.license}, {len(str(card).splitlines())} lines")
    for name, _ in staged.files:
        if not name.endswith(ACCEPTED):
            raise InputError(f"{name} must not be published; a repository holds {', '.join(ACCEPTED)} alone.")
        if name.endswith(".py"):
            _require_own(staged.folder / name)
        if name.endswith((".json", ".md")):
            _require_publishable(staged.folder / name, model_folder)
    return staged


def _locate(source: Path) -> tuple[Path, Path]:
    """Where the model lies, and where its results do."""
    if not source.is_dir():
        raise InputError(f"there is no folder {source}; give the folder of a run, or of a model.")
    model = source / "model" if (source / "model" / "config.json").is_file() else source
    if not (model / "config.json").is_file():
        raise InputError(f"{source} holds no model: neither config.json nor model/config.json is there.")
    beside = [folder for folder in (source, source.parent) if (folder / "results.json").is_file()]
    return model, beside[0] if beside else source


def _load(folder: Path) -> PreTrainedModel:
    """The model with all its heads; weights that are missing are an error, not drawn at random."""
    with loading(str(folder), folder) as place:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    return load_model(_auto_class(config), folder, trust_remote_code=False).eval()


def _auto_class(config: PreTrainedConfig) -> type:
    architecture = (config.architectures or [""])[0]
    for name, reference in itertools.chain.from_iterable(auto_map.items() for auto_map in AUTO_MAPS):
        if reference.rpartition(".")[2] == architecture:
            return getattr(transformers, name)
    return AutoModel


def _require_finite(model: PreTrainedModel) -> None:
    broken = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    if broken:
        raise InputError(
            f"{len(broken)} tensors hold NaN or infinity, such as {broken[0]}: the training has diverged. Publish a model of an"
            " earlier checkpoint."
        )


@torch.no_grad()
def _features(model: PreTrainedModel, extractor, waveform: np.ndarray) -> np.ndarray:
    inputs = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    return model.base_model(inputs[extractor.model_input_names[0]].to(input_dtype_of(model)))[0].float().numpy()


def _require_equal(expected: np.ndarray, found: np.ndarray, when: str) -> None:
    difference = np.abs(expected - found).max() if expected.shape == found.shape else np.inf
    if not difference <= TOLERANCE:
        raise InputError(f"the model gives other features {when} (largest difference {difference:.3g}); it is not published.")


def _halve(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Weights in float16, what is no floating-point number as it is.

    Raises:
        InputError: a number is too large for it.
    """
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()}
    for name, tensor in halved.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} holds numbers beyond 65504, the largest of float16; publish it without --half.")
    return halved


def _require_near(expected: np.ndarray, found: np.ndarray) -> float:
    """The relative difference of features; InputError where it is more than half precision may make."""
    centre = expected.mean(-2, keepdims=True) if expected.ndim == 3 else 0.0  # (batch, hidden) of clips has no frames
    difference = float(np.linalg.norm(found - expected) / np.linalg.norm(expected - centre))
    if not difference <= HALF_TOLERANCE:
        raise InputError(
            f"features of the weights in half precision differ by {difference:.2g} of their norm, more than {HALF_TOLERANCE};"
            " publish it without --half."
        )
    return difference


def _copy_results(source: Path, staging: Path) -> list[str]:
    for name in ("results.json", "evaluation.json"):
        results = read_results(source / name)
        if results is not None:
            (staging / name).write_text(hide_secrets(to_json(hide_places(results), indent=1)) + "\n", encoding="utf-8")
    found = {file.name: file for folder in (source / "report", source) for file in folder.glob("*.png")}
    pictures = [name for name in PICTURES if name in found]
    for name in pictures:
        (staging / name).write_bytes(_picture_alone(found[name].read_bytes()))
    return pictures


def _picture_alone(content: bytes) -> bytes:
    """A PNG without its texts and its camera's notes, which may say where and by whom it was made."""
    if not content.startswith(PNG_BEGINNING):
        return content
    kept, place = [PNG_BEGINNING], len(PNG_BEGINNING)
    while place + 8 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in PNG_TEXTS:
            kept.append(content[place:end])
        place = end
    return b"".join(kept)


def _require_own(file: Path) -> None:
    own = Path(models.__file__).parent / file.name
    if not own.is_file() or file.read_bytes() != own.read_bytes():
        raise InputError(f"{file.name} is not the file of mert_hf that is installed; no other code is published.")


def _check_names_of_code(folder: Path) -> None:
    for file in sorted(folder.glob("*.json")):
        for reference in filter(OTHER_CODE.search, _texts(read_json(file, (dict, list)))):
            raise InputError(f"{file.name} names code of another repository, {shown(reference)}; it is not published.")


def _texts(content: Any) -> Iterator[str]:
    """All texts of nested dictionaries and lists, keys too."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for item in (*content, *content.values()):
            yield from _texts(item)
    elif isinstance(content, list):
        for item in content:
            yield from _texts(item)


def _require_publishable(file: Path, model_folder: Path) -> None:
    """Refuse a page or a list of values that tells a token, or where files of this machine lie."""
    text = file.read_text(encoding="utf-8")
    if hide_secrets(text) != text:
        raise InputError(f"{file.name} holds what looks like a token or a password; take it out of what it was made from.")
    for place in {str(Path.home()), str(model_folder.resolve().parent)} - {"/"}:
        if re.search(rf"{re.escape(place)}(?![\w.-])", text):
            raise InputError(
                f"{file.name} tells where files lie on this machine ({place}); take it out of what it was made from."
            )


def _check_without_package(folder: Path, waveform: np.ndarray, expected: np.ndarray) -> None:
    """Load the folder in a fresh process that cannot import this package, by all Auto classes it names and by pipeline."""
    script = Path(__file__).with_name("without_package.py")
    with tempfile.TemporaryDirectory() as scratch:
        np.save(Path(scratch) / "waveform.npy", waveform)
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": scratch, "CUDA_VISIBLE_DEVICES": ""}
        # -P: this script's folder, the package, stays off the path
        command = [sys.executable, "-P", str(script), str(folder.resolve()), scratch]
        ran = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True)
        if ran.returncode != 0:
            reason = next((line for line in reversed(ran.stderr.splitlines()) if line.strip()), "no message")
            raise InputError(f"the folder does not load without mert_hf: {reason}")
        for file in sorted(Path(scratch).glob("features_*.npy")):
            _require_equal(expected, np.load(file), f"without mert_hf, by {file.stem.removeprefix('features_')}")
