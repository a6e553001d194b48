"""What is said beside a name that is unknown: the names that may be meant."""

import difflib
from collections.abc import Iterable, Sequence

from mert_hf.common.errors import InputError

# What other programs call it -> what it may be called here, by its last part; see [`suggest_key`].
SYNONYMS = {
    "lr": ("learning_rate",),
    "bs": ("batch_size",),
    "batch": ("batch_size",),
    "per_device_train_batch_size": ("batch_size",),
    "grad_accum": ("gradient_accumulation_steps",),
    "accumulate": ("gradient_accumulation_steps",),
    "epochs": ("epochs", "max_steps"),
    "num_train_epochs": ("epochs", "max_steps"),
    "steps": ("max_steps", "epochs"),
    "iterations": ("max_steps", "epochs"),
    "out": ("output_dir",),
    "output": ("output_dir",),
    "outdir": ("output_dir",),
    "device": ("use_cpu",),
    "cpu": ("use_cpu",),
    "seed": ("seed",),
    "dataset": ("dataset",),
    "data": ("folder",),
    "music": ("folder",),
    "fp16": ("mixed_precision",),
    "bf16": ("mixed_precision",),
    "precision": ("mixed_precision",),
    "dtype": ("mixed_precision",),
    "num_workers": ("workers",),
    "wd": ("weight_decay",),
    "warmup": ("warmup_steps", "warmup_share"),
    "checkpoint": ("resume",),
    "continue": ("resume",),
    "pretrained": ("base", "init.model"),
    "model_name_or_path": ("base", "init.model"),
    "segment": ("crop_s", "clip_s"),
    "duration": ("crop_s", "clip_s"),
}
# Longer lists of what is known are not told in a line.
MOST_LISTED = 30


def suggest(name: str, known: Sequence[str]) -> str:
    """'; did you mean X?' where a known name is near, or the known names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}."


def suggest_key(name: str, known: Sequence[str], before: str = "") -> str:
    """The same of a dotted setting: what other programs call so, and what bears the name in another section, goes first.

    Args:
        before: what stands before a key where it is given, such as `--`.
    """
    last = name.rpartition(".")[2].replace("-", "_").lower()
    meant = [key for wanted in (last, *SYNONYMS.get(last, ())) for key in known if key == wanted or key.endswith(f".{wanted}")]
    ends = {key.rpartition(".")[2]: key for key in reversed(known)}
    near = meant or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    near = near or [ends[end] for end in difflib.get_close_matches(last, list(ends), n=3, cutoff=0.75)]
    if near or len(known) > MOST_LISTED:
        return suggest_any([before + key for key in near]) or "; --help all tells what there is."
    return suggest(name, known)


def suggest_option(given: str, options: Iterable[str]) -> str:
    """The same of an option of a command, '' where none is near."""
    options = [option for option in options if option.startswith("--")]
    name = given.split("=")[0].lstrip("-").replace("-", "_")
    meant = [option for wanted in SYNONYMS.get(name.lower(), ()) for option in options if option == f"--{wanted}"]
    return suggest_any(meant or difflib.get_close_matches(f"--{name}", options, n=3, cutoff=0.6))


def suggest_any(meant: Sequence[str]) -> str:
    """'; did you mean X or Y?', '' where there is none."""
    return f"; did you mean {' or '.join(dict.fromkeys(meant))}?" if meant else ""


def asked_for_help(arguments: Sequence[str], keys: Sequence[str], common: Sequence[str]) -> set[str] | None:
    """Keys whose help is wanted by `--help`, `--help SECTION` or `--help all`; None where none is asked for.

    Raises:
        InputError: there is no such section.
    """
    place = next((number for number, argument in enumerate(arguments) if argument in ("-h", "--help")), None)
    if place is None:
        return None
    section = arguments[place + 1] if place + 1 < len(arguments) and not arguments[place + 1].startswith("-") else None
    if section == "all" or (section is None and not common):
        return set(keys)
    if section is None:
        return set(common)
    found = {key for key in keys if key == section or key.startswith(f"{section}.")}
    if not found:
        raise InputError(f"there is no section {section!r} of settings" + suggest(section, _sections(keys)))
    return found


def list_sections(keys: Sequence[str]) -> str:
    """The last lines of a help that does not show everything."""
    return f"more settings: --help all, or --help SECTION, of {', '.join(_sections(keys))}"


def _sections(keys: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(key.rpartition(".")[0].partition(".")[0] for key in keys if "." in key))
