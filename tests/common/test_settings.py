import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from mert_hf.common.errors import InputError
from mert_hf.common.settings import flatten, parse_command_line, section, setting, write_settings
from mert_hf.pretraining.settings import PretrainSettings


@dataclass
class Inner:
    steps: int = setting(10, "number of steps")
    rate: float = setting(0.5, "rate in 100 %")
    sizes: list[int] = setting([1, 2], "sizes")
    folder: str | None = setting(None, "folder")
    kind: Literal["a", "b", "no"] = setting("a", "kind")
    resume: bool = setting(False, "go on")

    def __post_init__(self):
        if self.steps <= 0:
            raise InputError(f"inner.steps={self.steps} must be positive.")


@dataclass
class Outer:
    model: dict[str, Any] = setting({}, "free fields")
    inner: Inner = section(Inner, "the inner part")


@pytest.fixture
def parse(tmp_path):
    (tmp_path / "base.yaml").write_text("inner:\n  steps: 20\n  rate: 1.0\nmodel:\n  size: 3\n")
    (tmp_path / "long.yaml").write_text("base: base\ninner:\n  steps: 500\n")
    return lambda *arguments: parse_command_line(Outer, tmp_path, "A test.", arguments)


def test_command_line_over_recipe_over_base_over_defaults(parse):
    settings = parse("--recipe", "long", "--inner.sizes", "[7, 8]", "--model.depth=2")
    assert settings == Outer({"size": 3, "depth": 2}, Inner(500, 1.0, [7, 8]))
    assert parse("--recipe", "long", "--inner.steps", "4").inner.steps == 4
    assert parse() == Outer()
    # given whole, a free dictionary is replaced; keys that are given beside it are set in the new one, wherever they stand
    assert parse("--recipe", "long", "--model", "{depth: 2}").model == {"depth": 2}
    assert parse("--recipe", "long", "--model", "{}").model == {}
    assert parse("--recipe", "long", "--model.width", "5", "--model", "{depth: 2}").model == {"depth": 2, "width": 5}


def test_features_of_a_recipe_can_be_replaced(tmp_path):
    recipes = Path(__file__).parents[2] / "training" / "recipes"
    whole = ("--teacher.features", "[mfcc]", "--teacher.feature_options", "{mfcc: {coefficients: 20}}")
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "base: mert_small\nteacher: {features: [mfcc], feature_options: {log_mel: null, mfcc: {coefficients: 20}}}\n"
    )
    for arguments in (("--recipe", "mert_small", *whole), ("--recipe", str(mine))):
        teacher = parse_command_line(PretrainSettings, recipes, "", arguments).teacher
        assert (teacher.features, teacher.feature_options) == (["mfcc"], {"mfcc": {"coefficients": 20}})


def test_values_are_taken_by_their_type(parse):
    inner = parse("--inner.rate", "1e-3", "--inner.folder", "[live]: 2020", "--inner.kind", "b", "--inner.resume").inner
    assert inner == Inner(rate=1e-3, folder="[live]: 2020", kind="b", resume=True)
    assert parse("--inner.kind", "no").inner.kind == "no"
    assert parse("--model.rate", "1e-3", "--model.on", "true").model == {"rate": 1e-3, "on": True}
    assert parse("--inner.resume", "false").inner.resume is False


def test_a_recipe_can_be_a_file(parse, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "mine.yaml"
    file.write_text("base: ../base.yaml\ninner:\n  rate: 2.0\n")
    assert parse("--recipe", str(file)).inner == Inner(steps=20, rate=2.0)
    file.write_text("base: long\n")  # a name that is not beside the file is one of the recipes
    assert parse("--recipe", str(file)).inner == Inner(steps=500, rate=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--inner.step", "3"], "unknown setting --inner.step; did you mean --inner.steps"),
        (["--inner.steps", "many"], r"--inner.steps many: .*Integer"),
        (["--inner.kind", "c"], r"--inner.kind c: .*\['a', 'b', 'no'\]"),
        (["--inner.steps", "-1"], "inner.steps=-1 must be positive"),
        (["--model.depth"], "--model.depth needs a value"),
        (["10"], "unexpected argument '10'"),
        (["--recipe", "lang"], "there is no recipe 'lang' .*did you mean long"),
    ],
)
def test_mistakes_are_named_with_what_would_be_right(parse, arguments, message):
    with pytest.raises(InputError, match=message):
        parse(*arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("inner:\n  step: 3\n", r"broken.yaml: Key 'step' not in 'Inner'.*steps.*\(inner.step\)"),
        ("iner:\n  steps: 3\n", "broken.yaml: Key 'iner' not in 'Outer'"),
        ("inner: [1\n", "not valid YAML"),
        ("- a\n", "must hold sections and keys"),
        ("base: broken\n", "its own base"),
        ("base: missing\n", "there is no recipe 'missing'"),
    ],
)
def test_mistakes_in_a_recipe_name_the_file(parse, tmp_path, content, message):
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        parse("--recipe", "broken")


def test_written_settings_are_a_recipe_again(parse, tmp_path):
    settings = parse("--recipe", "long", "--model.depth", "2", "--inner.folder", "x: y")
    write_settings(settings, tmp_path / "resolved.yaml")
    assert parse("--recipe", str(tmp_path / "resolved.yaml")) == settings
    assert flatten(settings)["inner.steps"] == 500
    assert flatten(settings)["model.depth"] == 2


def test_help_lists_every_setting_with_its_default(parse, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--help")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("--inner.steps int", "number of steps (default: 10)", "rate in 100 % (default: 0.5)", "a|b|no", "base, long"):
        assert part in text


def test_a_batch_is_given_in_clips_or_in_seconds_but_never_in_both_unless_they_agree(tmp_path, capsys):
    recipes = Path(__file__).parents[2] / "training" / "recipes"

    def clips(*arguments):
        return parse_command_line(PretrainSettings, recipes, "A test.", [f"--{part}" for part in arguments]).training.batch_size

    assert PretrainSettings().training.batch_size == clips() == 16
    assert clips("training.batch_size=null") == 16
    assert clips("training.batch_size=3") == clips("recipe=mert_330m", "training.batch_size=3", "training.batch_s=null") == 3
    assert clips("recipe=mert_330m") == clips("recipe=mert_330m", "training.batch_size=7") == 7
    assert clips("recipe=mert_330m", "data.crop_s=3") == 12
    for given in (16, 3):
        with pytest.raises(
            InputError, match=rf"batch_size={given} and training.batch_s=37.5 \(which makes it 7\) are both given"
        ):
            clips("recipe=mert_330m", f"training.batch_size={given}")
    with pytest.raises(InputError, match="training.batch_size=0 must be positive"):
        clips("training.batch_size=0")
    # what is resolved stays, read again and with other fields in it
    settings = parse_command_line(PretrainSettings, recipes, "A test.", ["--recipe", "mert_330m"])
    write_settings(settings, tmp_path / "recipe.yaml")
    assert clips(f"recipe={tmp_path / 'recipe.yaml'}") == 7
    assert replace(settings, training=replace(settings.training, max_steps=5)).training.batch_size == 7
    with pytest.raises(SystemExit):
        clips("help")
    assert "null is what fits into batch_s, or 16 (default: None)" in " ".join(capsys.readouterr().out.split())


RECIPES = Path(__file__).parents[2] / "training" / "recipes"


@pytest.mark.parametrize("name", ["HF_TOKEN", "HOME"])
def test_nothing_is_looked_up_in_the_environment(parse, tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "hf_canary")
    (tmp_path / "asks.yaml").write_text(f"inner: {{folder: '${{oc.env:{name}}}'}}\n")
    for arguments in (
        ["--recipe", "asks"],
        ["--inner.folder", f"${{oc.env:{name}}}"],
        ["--model.x", f"${{oc.env:{name}}}"],
        ["--model", f"{{a: [{{b: '${{oc.env:{name}}}'}}]}}"],
    ):
        with pytest.raises(InputError, match=r"nothing is filled in for \$\{\.\.\.\}; write the value itself") as refused:
            parse(*arguments)
        assert "canary" not in str(refused.value)


@pytest.mark.parametrize("text", ["https://user:secret@host/x", "https://host/x?token=abc", "hf_" + "aB3" * 11, "hf_canary"])
def test_a_token_is_not_taken_for_a_setting(parse, tmp_path, monkeypatch, text):
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    (tmp_path / "tells.yaml").write_text(f"model: {{deep: [{{x: '{text}'}}]}}\n")
    for arguments in (["--recipe", "tells"], ["--inner.folder", text], ["--model.x", text]):
        with pytest.raises(InputError, match="holds a token or a password, which would be written into recipe.yaml") as refused:
            parse(*arguments)
        assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("inner: {steps: 1.5}\n", "inner.steps must be an Integer; got 1.5"),
        ("inner: {steps: true}\n", "inner.steps must be an Integer; got True"),
        ("inner: {steps: 99999999999999999999}\n", "beyond the whole numbers of 64 bits"),
        ("inner: {rate: .nan}\n", "inner.rate must be a number; got nan"),
        ("inner: {rate: .inf}\n", "inner.rate must be a number; got inf"),
        (f"inner: {{rate: {'9' * 400}}}\n", "inner.rate must be a number; got 999"),
        ("inner: {sizes: [1, x]}\n", "inner.sizes must be a list of Integers"),
        ("inner: {folder: 2020}\n", r"inner.folder must be a text \(in quotes where YAML would take it for something else\)"),
        ("inner: {resume: 1}\n", "inner.resume must be true or false; got 1"),
        ("inner: null\n", "inner is a section of settings and must hold keys; got None"),
        ("model: {x: .inf}\n", "model.x=inf must be a finite number"),
        ("model: {x: 2020-01-01}\n", "model.x must be a number, a text, a list or keys; got date"),
        ("model: {1: x}\n", "the key 1 must be a name"),
        ('model: {x: "a\\0b"}\n', "a character that no file can hold"),
        (f"model: {{x: {'y' * 5000}}}\n", "a text of 5000 characters; at most 4096"),
        ("inner: {steps: 1}\ninner: {rate: 2.0}\n", "the key 'inner' is given twice"),
        ("base: [long]\n", "base must be the name of a recipe, or a YAML file; got \\['long'\\]"),
        ("model: &m {x: *m}\n", "written with aliases"),
        ("model: &m {x: 1}\ninner: {<<: *m}\n", "keys are merged with <<"),
        ("model: " + "[" * 3000 + "\n", "not valid YAML"),
    ],
)
def test_absurd_values_are_told_in_a_line(parse, tmp_path, content, message):
    (tmp_path / "odd.yaml").write_text(content)
    with pytest.raises(InputError, match=message) as refused:
        parse("--recipe", "odd")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_a_bomb_of_aliases_is_refused_at_once(parse, tmp_path):
    lines = ["model:", "  a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  {name}: &{name} [{', '.join(['*' + below] * 9)}]" for below, name in zip("abcdefgh", "bcdefghi", strict=True)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    started = time.perf_counter()
    with pytest.raises(InputError, match="more than 100,000 values, written with aliases"):
        parse("--recipe", "bomb")
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a\0b", "x" * 5000, "/dev/null", "a.yaml"])
def test_what_is_no_recipe_is_told_in_a_line(parse, tmp_path, name):
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(InputError, match="there is no recipe"):
        parse("--recipe", name)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("teacher.codebook_sizes", "[1000000000]", "1000000000 must be 65536 or less"),
        ("teacher.codebook_sizes", "[]", "must hold 1 to 64 codebooks"),
        (
            "teacher.feature_options.mfcc",
            "{}",
            r"names 'mfcc', which is not among the features \['log_mel'.*; leave it out, or give null",
        ),
        ("teacher.feature_options.log_mel.bins", "1000000000", "bins=1000000000 must be 65536 or less"),
        ("training.batch_size", "1000000000000", "must be 1e\\+06 or less"),
        ("training.learning_rate", "1e300", "must be 100 or less"),
        ("training.seed", "-1", "training.seed=-1 must be 0 or more"),
        ("training.seed", "4294967296", "must be 4.29497e\\+09 or less"),
        ("training.weight_decay_end", "-0.1", "must be 0 or more"),
        ("data.crop_s", "1e30", "must be 3600 or less"),
        ("data.crop_s", "nan", "must be a number; got 'nan'"),
        ("data.max_skipped", "1.5", "must be 1 or less"),
        ("cqt.bins", "-3", "cqt.bins=-3 must be positive"),
        ("mixture.probability", "2", "must be 1 or less"),
        ("mixture.min_s", "2", r"mixture.min_s=2.0 is more than mixture.max_s=1.0"),
        ("data2vec.top_layers", "0", "data2vec.top_layers=0 must be positive"),
    ],
)
def test_a_run_that_could_not_go_is_refused(key, value, message):
    with pytest.raises(InputError, match=message):
        parse_command_line(PretrainSettings, RECIPES, "", [f"--{key}={value}"])


def test_settings_made_in_python_are_checked_as_well():
    with pytest.raises(InputError, match=r"training.learning_rate must be a number; got nan"):
        replace(PretrainSettings().training, learning_rate=float("nan"))
    with pytest.raises(InputError, match=r"training.batch_size must be an Integer or null; got '7'"):
        replace(PretrainSettings().training, batch_size="7")


def test_the_norm_of_gradients_may_have_no_end(tmp_path):
    settings = parse_command_line(PretrainSettings, RECIPES, "", ["--training.max_grad_norm", ".inf"])
    write_settings(settings, tmp_path / "again.yaml")
    again = parse_command_line(PretrainSettings, RECIPES, "", ["--recipe", str(tmp_path / "again.yaml")])
    assert again.training.max_grad_norm == settings.training.max_grad_norm == float("inf")
