"""What is said beside a name that is unknown: the names that may be meant."""

import difflib
from collections.abc import Iterable, Sequence

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


def suggest(name: str, known: Sequence[str]) -> str:
    """'; did you mean X?' where a known name is near, or the known names."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(known)}."


def suggest_key(name: str, known: Sequence[str]) -> str:
    """The same of a dotted setting: what other programs call so, and what bears the name in another section, goes first."""
    last = name.rpartition(".")[2].replace("-", "_")
    meant = [key for wanted in (*SYNONYMS.get(last.lower(), ()), last) for key in known if _ends(key, wanted)]
    return suggest_any(meant) or suggest(name, known)


def suggest_option(given: str, options: Iterable[str]) -> str:
    """The same of an option of a command, '' where none is near."""
    options = [option for option in options if option.startswith("--")]
    name = given.split("=")[0].lstrip("-").replace("-", "_")
    meant = [option for wanted in SYNONYMS.get(name.lower(), ()) for option in options if option == f"--{wanted}"]
    return suggest_any(meant or difflib.get_close_matches(f"--{name}", options, n=3, cutoff=0.6))


def suggest_any(meant: Sequence[str]) -> str:
    """'; did you mean X or Y?', '' where there is none."""
    return f"; did you mean {' or '.join(dict.fromkeys(meant))}?" if meant else ""


def _ends(key: str, wanted: str) -> bool:
    return key == wanted or key.endswith(f".{wanted}")
