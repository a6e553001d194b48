"""What is said beside an unknown name, and which settings a help shows."""

import pytest

from mert_hf.commands import finetune, pretrain
from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten, parse_command_line, read_settings
from mert_hf.common.suggestions import SYNONYMS, suggest_key, suggest_option
from mert_hf.finetuning.settings import FinetuneSettings
from mert_hf.pretraining.settings import pretrain_settings

SCHEMAS = {"pretrain": pretrain_settings(), "finetune": FinetuneSettings}
KEYS = {name: list(flatten(schema())) for name, schema in SCHEMAS.items()}


def test_synonyms_lead_to_settings_that_exist():
    ends = {key.rpartition(".")[2] for keys in KEYS.values() for key in keys}
    for word, meant in SYNONYMS.items():
        assert set(meant) & (ends | set(KEYS["pretrain"])), word
        assert any(suggest_key(word, keys, "--").startswith("; did you mean --") for keys in KEYS.values()), word


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [
        ("pretrain", "lr", "--training.learning_rate"),
        ("pretrain", "bs", "--training.batch_size"),
        ("pretrain", "epochs", "--training.max_steps"),
        ("finetune", "steps", "--training.epochs"),
        ("finetune", "epoch", "--training.epochs"),
        ("finetune", "training.lr", "--training.learning_rate"),
        ("pretrain", "out", "--output_dir"),
        ("finetune", "device", "--training.use_cpu"),
        ("pretrain", "seed", "--training.seed"),
        ("pretrain", "dataset", "--data.dataset"),
        ("pretrain", "bf16", "--training.mixed_precision"),
        ("pretrain", "training.crop_s", "--data.crop_s"),
    ],
)
def test_what_others_call_so_is_found(tmp_path, command, given, meant):
    with pytest.raises(InputError) as refused:
        parse_command_line(SCHEMAS[command], tmp_path, "", [f"--{given}", "3"])
    assert str(refused.value) == f"unknown setting --{given}; did you mean {meant}?"


def test_recipes_get_the_same_suggestions(tmp_path):
    (tmp_path / "mine.yaml").write_text("training: {lr: 1.0e-3}\n")
    with pytest.raises(InputError, match="Key 'lr' not in .*; did you mean learning_rate"):
        read_settings(FinetuneSettings, "mine", tmp_path)


def test_what_is_like_nothing_is_told_where_to_look():
    assert suggest_key("zzzz", KEYS["pretrain"], "--") == "; --help all tells what there is."
    assert suggest_option("--clip-s", ["-h", "--clip_s", "--model"]) == "; did you mean --clip_s?"
    assert suggest_option("--zzzz", ["--clip_s"]) == ""


@pytest.mark.parametrize(("command", "common"), [("pretrain", pretrain.COMMON), ("finetune", finetune.COMMON)])
def test_help_shows_what_is_asked_for(capsys, tmp_path, command, common):
    def shown(*arguments: str) -> set[str]:
        with pytest.raises(SystemExit) as stopped:
            parse_command_line(SCHEMAS[command], tmp_path, "", ["--recipe", "none", *arguments], "mert-hf", common)
        assert stopped.value.code == 0
        told = capsys.readouterr().out
        assert told.rstrip().splitlines()[-1].startswith("more settings: --help all, or --help SECTION, of ")
        return {word[2:] for line in told.splitlines() for word in line.split()[:1] if line.startswith("  --")} - {"recipe"}

    every = {key for key in KEYS[command] if not key.startswith("teacher.feature_options.")}
    assert shown("--help") == set(common) and 10 <= len(common) <= 20
    assert shown("-h", "training") == {key for key in every if key.startswith("training.")}
    assert shown("--help", "all") >= every
    assert shown("--help", "--training.resume") == set(common)
    with pytest.raises(InputError, match="there is no section 'trainin' of settings; did you mean training"):
        shown("--help", "trainin")
