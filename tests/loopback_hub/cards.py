"""The checks of a card's metadata that the loopback Hub makes: the part of the real Hub's that its documentation names.

The real endpoint checks more (languages, settings of Spaces, pictures ...): a card that passes here may still be refused there.
Fields and forms: huggingface.co/docs/hub/model-cards and its specification modelcard.md; the messages are worded after those
that users quote.
"""

import re

import yaml

FRONT_MATTER = re.compile(r"^\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|$)", re.DOTALL)
REPO_ID = re.compile(r"^(?:[\w.-]{1,96}/)?[\w.-]{1,96}$")
LICENSES = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsl-1.0 cc
cc-by-2.0 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-2.0 creativeml-openrail-m
ecl-2.0 epl-2.0 eupl-1.1 gemma gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 llama2 llama3 mit mpl-2.0 ms-pl ncsa odbl
odc-by openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
""".split()  # noqa: SIM905 - of huggingface.co/docs/hub/repositories-licenses
PIPELINE_TAGS = """
any-to-any audio-classification audio-text-to-text audio-to-audio automatic-speech-recognition feature-extraction fill-mask
image-classification image-feature-extraction image-to-text other sentence-similarity text-classification text-generation
text-to-audio text-to-speech token-classification voice-activity-detection zero-shot-classification
""".split()  # noqa: SIM905 - those near to audio and text, of huggingface.co/tasks


def metadata_of(content: str) -> dict | None:
    """The metadata at the head of a card, None where there is none.

    Raises:
        ValueError: it is no YAML, or no mapping.
    """
    found = FRONT_MATTER.match(content)
    if found is None:
        return None
    try:
        metadata = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ValueError(f"Invalid YAML metadata: {error}") from error
    if metadata is not None and not isinstance(metadata, dict):
        raise ValueError('"value" must be of type object')
    return metadata


def check(content: str, repo_type: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card."""
    try:
        metadata = metadata_of(content)
    except ValueError as error:
        return [str(error)], []
    if not metadata:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = _license(metadata.get("license"))
    for key in ("tags", "datasets", "metrics", "base_model", "language"):
        errors += _strings(key, metadata.get(key), as_ids=key in ("datasets", "base_model"))
    for key in ("library_name", "pipeline_tag"):
        if not isinstance(metadata.get(key, ""), str):
            errors.append(f'"{key}" must be a string')
    warnings = []
    if repo_type == "model":
        errors += _model_index(metadata.get("model-index"))
        tag = metadata.get("pipeline_tag")
        if isinstance(tag, str) and tag not in PIPELINE_TAGS:
            warnings.append(f'The pipeline tag "{tag}" is not in the official list: {", ".join(PIPELINE_TAGS)}')
    return errors, warnings


def _license(value) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [] if all(item in LICENSES for item in values) else [f'"license" must be one of [{", ".join(LICENSES)}]']


def _strings(key: str, value, as_ids: bool) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        if key in ("tags", "metrics"):
            return [f'"{key}" must be an array']
        value = [value]
    errors = [f'"{key}[{i}]" must be a string' for i, item in enumerate(value) if not isinstance(item, str)]
    if as_ids:
        malformed = ((i, item) for i, item in enumerate(value) if isinstance(item, str) and not REPO_ID.match(item))
        errors += [f'"{key}[{i}]" with value "{item}" fails to match the required pattern' for i, item in malformed]
    return errors


def _model_index(index) -> list[str]:
    if index is None:
        return []
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        errors += _required(model, f"model-index[{i}]", {"name": str, "results": list})
        for j, result in enumerate(model.get("results") or [] if isinstance(model, dict) else []):
            place = f"model-index[{i}].results[{j}]"
            errors += _required(result, place, {"task": dict, "dataset": dict, "metrics": list})
            result = result if isinstance(result, dict) else {}
            errors += _required(result.get("task", {"type": ""}), f"{place}.task", {"type": str})
            errors += _required(result.get("dataset", {"type": "", "name": ""}), f"{place}.dataset", {"type": str, "name": str})
            for k, metric in enumerate(result.get("metrics") or []):
                errors += _required(metric, f"{place}.metrics[{k}]", {"type": str, "value": object})
    return errors


def _required(value, place: str, kinds: dict[str, type]) -> list[str]:
    if not isinstance(value, dict):
        return [f'"{place}" must be of type object']
    names = {str: "a string", list: "an array", dict: "of type object"}
    missing = [f'"{place}.{key}" is required' for key in kinds if value.get(key) is None]
    given = ((key, kind) for key, kind in kinds.items() if value.get(key) is not None)
    return missing + [f'"{place}.{key}" must be {names[kind]}' for key, kind in given if not isinstance(value[key], kind)]
