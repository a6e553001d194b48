"""What a speedrun came to: what is to be beaten, which judgement ends it, its table and the line of its record."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from support.judged_rows import make_row, make_rows

from mert_hf.common.errors import InputError
from mert_hf.comparison.speedrun import EMA_DECAY, Judgement, Speedrun, describe_run, plan_run, read_run
from mert_hf.comparison.speedrun_results import MEASURES, RECORD, add_record, compile_speedrun, record_line, speedrun_table

PITCH, CHORD = "synthetic_pitch/accuracy", "synthetic_chord/accuracy"
CIRCUMSTANCES = {
    "recipe": "small",
    "settings": {"training.learning_rate": 0.002},
    "music": "synthetic",
    "seed": 1337,
    "updates": 20,
    "machine": "A processor",
    "processors": "2 cores",
}


def baselines() -> dict:
    """Of pitch the best spectrum by validation is not that by test; of chords a guess is better than all spectra."""
    return {
        "log-mel mean + std": make_rows({"synthetic_pitch": 60.0, "synthetic_chord": 20.0}, validation=0.7),
        "chroma mean + std": make_rows({"synthetic_pitch": 90.0, "synthetic_chord": 25.0}, validation=0.6),
        "majority": make_rows({"synthetic_pitch": 10.0, "synthetic_chord": 40.0}),
    }


def judgement(step: int, pitch: float, chord: float, spread: float = 1.0) -> Judgement:
    times = {"audio_s": 32.0 * step, "training_s": 2.0 * step, "preparing_s": 7.0, "judging_s": 5.0 * step}
    rows = make_rows({"synthetic_pitch": pitch, "synthetic_chord": chord}, spread=spread)
    return Judgement(step, **times, date="2026-01-02", commit="0123456789ab", rows=rows)


def compiled(*judged, wanted: int = 2) -> dict:
    return compile_speedrun(judged, baselines(), wanted, CIRCUMSTANCES)


def test_to_be_beaten_is_the_spectrum_that_validation_chose_or_the_rule_above_it():
    results = compiled(judgement(0, 0.0, 0.0))
    assert {column: (bar["name"], bar["value"]) for column, bar in results["to_beat"].items()} == {
        PITCH: ("log-mel mean + std", 60.0),
        CHORD: ("majority", 40.0),
    }


def test_a_judgement_ends_the_speedrun_where_enough_values_lie_above():
    start, one, both = judgement(0, 99.0, 99.0), judgement(10, 61.0, 40.0), judgement(20, 60.5, 43.0, spread=4.0)
    assert not compiled(start)["beats"]  # nothing was trained
    results = compiled(start, one)
    assert results["judgements"][1]["beaten"] == [PITCH] and not results["beats"]  # as high is not above
    assert compiled(start, one, wanted=1)["beats"]
    results = compiled(start, one, both)
    last = results["judgements"][2]
    assert results["beats"] and last["beaten"] == [PITCH, CHORD]
    assert last["differences"][CHORD]["value"] == pytest.approx(3.0)
    # draws of both are paired: the n-th differ by 3 + (4 - 1) * (n / 10 - 1)
    assert last["differences"][CHORD]["low"] == pytest.approx(3 + 3 * -0.95)
    assert last["clearly_beaten"] == [CHORD]
    assert last["total_s"] == 40.0 + 7.0 + 100.0


def test_the_table_says_what_was_counted_and_marks_what_is_beaten():
    told, _, head, _, *lines = speedrun_table(compiled(judgement(0, 5.0, 5.0), judgement(20, 70.0, 30.0))).splitlines()
    assert told.startswith(
        "small beats the best simple baseline on 1 of 2 measures, not on 2, at the end of 40 s of training on 640 s of audio"
        " (147 s with preparing and judging; A processor, 2 cores; 0123456789ab)."
    )
    assert head.startswith("| updates | audio (s) | training (s) | all (s) | beaten | pitch, accuracy (%) |")
    assert lines[0].startswith("| 0 | 0 | 0 | 7 | 0 of 2 | 5.0 (4.0 to 6.0) |")
    assert lines[1] == "| 20 | 640 | 40 | 147 | 1 of 2 | **70.0 (69.0 to 71.0)**\\* | 30.0 (29.0 to 31.0) |"
    assert lines[2].endswith("| 60.0 (59.0 to 61.0), log-mel mean + std | 40.0 (39.0 to 41.0), majority |")
    assert speedrun_table(compiled(judgement(0, 5.0, 5.0), judgement(10, 70.0, 50.0))).startswith("small beats the best simple")
    unfinished = speedrun_table(compiled(judgement(0, 5.0, 5.0), judgement(10, 7.0, 5.0)))
    assert ", not on 2, so far, after 20 s of training" in unfinished


def test_the_record_has_the_nine_measures_of_the_suite():
    training = Path(__file__).parents[2] / "training"
    compared = json.loads((training / "cells" / "results.json").read_text(encoding="utf-8"))
    assert set(MEASURES.values()) == set(compared["columns"]) and len(MEASURES) == 9
    assert all(name.split("_")[0] in column for name, column in MEASURES.items())
    with (training / "speedrun.csv").open(encoding="utf-8") as file:
        assert next(csv.reader(file)) == [*RECORD, *MEASURES]


def test_a_line_is_added_to_the_record_once(tmp_path):
    file, results = tmp_path / "speedrun.csv", compiled(judgement(0, 5.0, 5.0), judgement(20, 70.04, 45.0))
    assert add_record(results, file) and not add_record(results, file)
    other = compiled(judgement(0, 5.0, 5.0), judgement(20, 71.0, 45.0))
    assert add_record(other, file)
    with file.open(encoding="utf-8") as opened:
        first, second = csv.DictReader(opened)
    assert first["pitch"] == "70.0" and second["pitch"] == "71.0" and first["chord"] == "45.0" and first["tempo"] == ""
    told = ("date", "commit", "machine", "processors", "recipe", "settings", "music", "updates", "beaten", "wanted")
    assert [first[name] for name in told] == [
        *("2026-01-02", "0123456789ab", "A processor", "2 cores", "small", "training.learning_rate=0.002", "synthetic"),
        *("20", "2", "2"),
    ]
    assert [first[name] for name in ("audio_s", "training_s", "total_s")] == ["640", "40", "147"]
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is no record of speedruns: its columns must be date,commit"):
        add_record(results, file)
    assert file.read_text() == "a,b\n1,2\n"


def test_a_measure_that_an_encoder_lacks_is_left_out():
    rows = {
        **baselines(),
        "log-mel mean + std": [*baselines()["log-mel mean + std"], make_row("synthetic_beat", "beat_f1", 1.0, 1.0)],
    }
    results = compile_speedrun([judgement(0, 1.0, 1.0), judgement(20, 70.0, 45.0)], rows, 2, CIRCUMSTANCES)
    assert "synthetic_beat/beat_f1" in results["to_beat"] and results["beats"]
    assert speedrun_table(results).splitlines()[5].endswith("|  |") and record_line(results)["beat_70_ms"] == ""


def test_the_run_of_a_recipe_is_cut_to_the_budget_and_averages_its_weights(tmp_path):
    settings, changed = read_run("small", ["--training.learning_rate", "2e-3", "--data.folder", "somewhere/songs"])
    assert changed == {"training.learning_rate": 2e-3}  # no place of this machine
    run = plan_run(settings, 4800.0, 4, tmp_path)
    assert run.training.max_steps == 100 and run.training.ema_decay == EMA_DECAY and run.training.resume
    assert run.training.checkpoint_every == 2
    assert Path(run.output_dir) == tmp_path / "run"
    assert Speedrun(run, 3, None, tmp_path).steps == [0, 33, 67, 100]
    assert plan_run(settings, None, 1, tmp_path).training.max_steps == settings.training.max_steps
    averaging = replace(settings, training=replace(settings.training, ema_decay=0.9))
    assert plan_run(averaging, 4800.0, 4, tmp_path).training.ema_decay == 0.9
    told = describe_run("recipes/small.yaml", run, {"training.max_grad_norm": math.inf})
    assert told["recipe"] == "small" and told["music"] == "songs" and told["settings"] == {"training.max_grad_norm": "inf"}


@pytest.mark.parametrize(
    ("given", "budget_s", "message"),
    [
        (["--training.max_steps", "0"], None, "training.max_steps is 0: nothing would be trained"),
        ([], 5.0, "a budget of 5 s is less than an update of the recipe, which hears 48 s"),
        ([], 480.0, "11 judgements are more than the 10 updates of the budget"),
        (["--training.ema_decay", "0"], None, "training.ema_decay=0: a speedrun judges the moving average of the weights"),
        (["--push_to_hub", "me/mine"], None, "a speedrun publishes nothing; leave push_to_hub out"),
    ],
)
def test_what_cannot_be_run_is_refused(given, budget_s, message, tmp_path):
    with pytest.raises(InputError, match=message):
        plan_run(read_run("small", given)[0], budget_s, 11, tmp_path)
