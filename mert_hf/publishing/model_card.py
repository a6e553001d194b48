"""The page of a published model: written by a template from facts that a person states and numbers that files hold."""

import dataclasses
import difflib
import json
import os
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import TemplateError
from transformers import PreTrainedConfig, PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.common.licence_terms import may_follow
from mert_hf.common.reading import checker, parse_yaml, read_json, read_text, shown
from mert_hf.common.redaction import name_only
from mert_hf.encoding.licences import weights_licence
from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.models.configuration_mert2 import MERT2Config

# Pictures that a card shows where they lie beside the results, and what is written below them.
PICTURES = {
    "training_curves.png": "Losses and what else was watched in training",
    "confusion_matrix.png": "Which class of the test tracks was taken for which",
    "code_accuracy.png": "Masked accuracy of each codebook on held-out tracks, beside guessing",
    "constant_q.png": "The constant-Q spectrum of a held-out clip, and what the model predicts of its hidden frames",
    "code_usage.png": "How often each code occurs, and is predicted",
    "layer_heat_map.png": "How well each layer serves each task",
}

# What a page asks to be cited, by arXiv number; authors and title as arXiv lists them.
MERT_PAPER = "2306.00107"
CITATIONS = {
    MERT_PAPER: """@misc{li2023mert,
  title = {MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training},
  author = {Yizhi Li and Ruibin Yuan and Ge Zhang and Yinghao Ma and Xingran Chen and Hanzhi Yin and Chenghao Xiao and
    Chenghua Lin and Anton Ragni and Emmanouil Benetos and Norbert Gyenge and Roger Dannenberg and Ruibo Liu and Wenhu Chen and
    Gus Xia and Yemin Shi and Wenhao Huang and Zili Wang and Yike Guo and Jie Fu},
  year = {2023},
  eprint = {2306.00107},
  archivePrefix = {arXiv},
  primaryClass = {cs.SD},
}""",
    "2307.05161": """@misc{ma2023effectiveness,
  title = {On the Effectiveness of Speech Self-supervised Learning for Music},
  author = {Yinghao Ma and Ruibin Yuan and Yizhi Li and Ge Zhang and Xingran Chen and Hanzhi Yin and Chenghua Lin and
    Emmanouil Benetos and Anton Ragni and Norbert Gyenge and Ruibo Liu and Gus Xia and Roger Dannenberg and Yike Guo and
    Jie Fu},
  year = {2023},
  eprint = {2307.05161},
  archivePrefix = {arXiv},
}""",
    "2404.09177": """@misc{meseguerbrocal2024multiview,
  title = {An Experimental Comparison of Multi-view Self-supervised Methods for Music Tagging},
  author = {Gabriel Meseguer-Brocal and Dorian Desblancs and Romain Hennequin},
  year = {2024},
  eprint = {2404.09177},
  archivePrefix = {arXiv},
}""",
}
# Names of the encoders, as a page's first sentence calls them where nobody has written it.
ENCODERS = {MERTConfig.model_type: "MERT", MERT2Config.model_type: "MERT-v2"}
# Stands where nobody has said where mert_hf is cloned from.
CLONE_ADDRESS = "ADDRESS-OF-MERT_HF"


@dataclass
class CardFacts:
    """What a person states of a checkpoint; numbers have no place here, they are read from files."""

    title: str = ""  # heading of the page
    summary: str = ""  # first paragraph
    license: str | None = None  # identifier of the licence of the weights, as the Hub lists them (`cc-by-nc-4.0`)
    license_note: str = ""  # why it is that one
    training_data: str = ""  # what the model heard, and where it comes from
    datasets: list[str] = field(default_factory=list)  # ids of datasets of the Hub it was trained on
    base_model: str | None = None  # id of the repository the weights were made from
    recipe: str | None = None  # recipe of `training/recipes` that makes the model
    objective: str = ""  # what was predicted, in a sentence
    papers: list[str] = field(default_factory=list)  # arXiv numbers
    clone_address: str = CLONE_ADDRESS  # of the repository of mert_hf, as git takes it
    tags: list[str] = field(default_factory=list)  # further tags of the page
    limits: list[str] = field(default_factory=list)  # what the model cannot do, one item a line
    ethics: list[str] = field(default_factory=list)  # bias of the data, copyright


def read_facts(file: str | os.PathLike) -> CardFacts:
    """Read a facts file.

    Raises:
        InputError: there is none, it is no YAML, or holds a key that facts do not have.
    """
    try:
        stated = parse_yaml(read_text(file), str(file))
    except InputError as error:
        raise InputError(f"cannot read the facts of a model card (there is none, or it is no YAML): {error}") from None
    if not isinstance(stated, dict):
        raise InputError(f"{file} must hold keys such as title, license and training_data.")
    known = typing.get_type_hints(CardFacts)
    for key, value in stated.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            raise InputError(
                f"{file}: unknown fact {shown(key)}"
                + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}")
            )
        if not checker(known[key])(value)[0]:
            raise InputError(f"{file}: {key} must be {'a list' if known[key] == list[str] else 'a text'}; got {shown(value)}.")
    return CardFacts(**stated)


def find_facts(cards: Path, card: str | None = None, license: str | None = None, check: bool = True) -> CardFacts:
    """The facts of a card that is named or given as a file; none at all is allowed, the card is then bare.

    Args:
        cards: folder that holds `<name>/facts.yaml`.
        card: name or file.
        license: goes before that of the facts.
        check: whether a licence must be stated, and be one that the base's allows.

    Raises:
        InputError: no such card, or no licence that can be published under.
    """
    facts = CardFacts()
    if card is not None:
        named = cards / card / "facts.yaml"
        if not named.is_file() and not Path(card).is_file():
            names = ", ".join(sorted(file.parent.name for file in cards.glob("*/facts.yaml")))
            raise InputError(f"there is no card {card!r}; give one of {names}, or a YAML file.")
        facts = read_facts(named if named.is_file() else card)
    facts.license = license or facts.license
    if check:
        check_license(facts)
    return facts


def write_card(
    template: str | os.PathLike,
    facts: CardFacts,
    config: PreTrainedConfig,
    parameters: int,
    repo_id: str,
    results: dict[str, Any] | None = None,
    evaluation: dict[str, Any] | None = None,
    pictures: list[str] | tuple[str, ...] = (),
) -> ModelCard:
    """Fill the template.

    Args:
        template: Markdown with Jinja.
        config: of the model, for its sizes.
        parameters: how many the encoder has.
        repo_id: where the model will live, `user/name`; the name alone of a model that comes with the package.
        results: `results.json` of the training; numbers that are not there are left out of the page.
        evaluation: `results.json` of a probing run.
        pictures: names of the files of [`PICTURES`] that are uploaded along.

    Raises:
        InputError: no licence, or one that the licence of the original does not allow.
    """
    check_license(facts)
    return _fill(template, facts, config, parameters, repo_id, results, evaluation, pictures)


def write_own_card(
    template: str | os.PathLike, folder: Path, place: Path, model: PreTrainedModel, results: dict[str, Any]
) -> None:
    """Put the page of a model that was trained from another into its folder, before anybody publishes it.

    Its licence is that of the base, where that is known; nothing else is stated by a person yet.

    Args:
        folder: of the model, as it is being written.
        place: where it will lie, as the page's examples name it.
        results: `results.json` of the run.
    """
    licence = results["base_licence"]
    facts = inherit_base(CardFacts(title=place.parent.name, license=licence), results["base"], licence)
    parameters = sum(parameter.numel() for parameter in model.base_model.parameters())
    named = json.dumps(str(place), ensure_ascii=False)[1:-1]  # as it is written between quotes
    config = type(model.config).from_pretrained(folder)  # which names the code that lies beside it
    _fill(template, facts, config, parameters, named, results).save(folder / "README.md")


def _fill(template, facts, config, parameters, repo_id, results=None, evaluation=None, pictures=()) -> ModelCard:
    rows = (evaluation or {}).get("results", [])
    try:
        return _render(template, facts, config, parameters, repo_id, results or {}, rows, pictures)
    # whatever a template, or the metadata of a card, makes of values that are none
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, TemplateError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "no card can be written from results.json and evaluation.json, one of which is damaged, or from the facts:"
            f" {type(error).__name__} {error}"
        ) from None


def _render(template, facts, config, parameters, repo_id, results, rows, pictures) -> ModelCard:
    name, base = repo_id.rpartition("/")[2], str(results.get("base") or "")
    released = name == repo_id
    classifies = (config.architectures or [""])[0].endswith("ForSequenceClassification")
    # of a model that nobody has stated anything of, the paper is that of its encoder
    papers = facts.papers or ([MERT_PAPER] if config.model_type == MERTConfig.model_type else [])
    task = "audio-classification" if classifies else "feature-extraction"
    data = ModelCardData(
        license=facts.license,
        library_name="transformers",
        pipeline_tag=task,
        tags=sorted({"music", "audio", config.model_type, *facts.tags, *(f"arxiv:{paper}" for paper in papers)}),
        datasets=facts.datasets or None,
        base_model=facts.base_model,
        model_name=name if rows else None,
        eval_results=[_eval_result(row) for row in rows] or None,
        ignore_metadata_errors=False,
    )
    return ModelCard.from_template(
        data,
        template_path=os.fspath(template),
        facts=facts,
        papers=papers,
        base="" if "/" in base else base,  # a folder's name has no slash; a repository is among the facts
        encoder=ENCODERS.get(config.model_type, config.model_type),
        citations=[CITATIONS[paper] for paper in papers if paper in CITATIONS],
        title=facts.title or name,
        task=task,
        config=config,
        released=released,
        custom_code=bool(getattr(config, "auto_map", None)) and not released,
        parameters=parameters,
        repo_id=repo_id,
        results=results,
        evaluation=rows,
        rivals=_rivals(rows),
        pictures={picture: PICTURES[picture] for picture in pictures},
    )


def check_license(facts: CardFacts) -> None:
    """Refuse weights without a licence, and a licence that the original's does not allow.

    Raises:
        InputError: with what to do.
    """
    if not facts.license:
        raise InputError("no licence is stated for the weights; state one in the facts of the card, or with --license.")
    if facts.base_model:
        _check_allowed(facts.base_model, weights_licence(facts.base_model), facts.license)


def inherit_base(facts: CardFacts, base: str | None, base_licence: str | None) -> CardFacts:
    """The facts of what was trained from other weights: those are named on the page, and their licence holds on.

    Args:
        base: model that the training began with; None where it began with fresh weights.
        base_licence: of that model, where it is known.

    Raises:
        InputError: a licence that the base's does not allow.
    """
    if base is None:
        return facts
    if not isinstance(base, str) or not isinstance(base_licence, str | None):
        raise InputError("results.json is damaged: base and base_licence must be texts.")
    _check_allowed(base, base_licence, facts.license)
    # a folder's name has no slash
    published = facts.base_model or (base if "/" in name_only(base) else None)
    return dataclasses.replace(facts, base_model=published)


def read_results(file: Path) -> dict[str, Any] | None:
    """The results a file holds, None where there is no such file; InputError where it is no JSON."""
    try:
        return read_json(file) if file.is_file() else None
    except InputError as error:
        raise InputError(f"{file} is no JSON of results: {error}") from None


def _check_allowed(base: str, base_licence: str | None, license: str | None) -> None:
    if base_licence and not may_follow(base_licence, license):
        raise InputError(
            f"the weights come from {base}, which is under {base_licence}; what is made of them cannot be published under"
            f" {license}. State {base_licence}."
        )


def _eval_result(row: dict[str, Any]) -> EvalResult:
    dataset = row["dataset"]
    return EvalResult(
        task_type="audio-classification",
        task_name=row["title"],
        dataset_type=dataset.get("id") or dataset["name"],
        dataset_name=dataset["name"],
        dataset_split=dataset.get("split"),
        dataset_revision=dataset.get("revision"),
        metric_type=row["metric"],
        metric_name=row.get("metric_title"),
        metric_value=row["value"],
    )


def _rivals(rows: list[dict[str, Any]]) -> list[str]:
    """Baselines, then systems with a published number in any row, in the order in which they appear."""
    named = [[system for row in rows for system in row.get(kind, {})] for kind in ("baselines", "published")]
    return list(dict.fromkeys(named[0] + named[1]))
