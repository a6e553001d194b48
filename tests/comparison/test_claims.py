"""What a comparison says of the claims of papers, against differences worked out by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mert_hf.common.errors import InputError
from mert_hf.comparison.claims import Claim, cells_of, claims_table, judge_claims, read_claims, tasks_named_by
from mert_hf.comparison.plots import plot_claims
from mert_hf.comparison.table import Measured

CLAIMS = Path(__file__).parents[2] / "training" / "claims.yaml"
KEY, PITCH = ("synthetic_key", "refined_accuracy"), ("synthetic_pitch", "accuracy")


def make_cell(name: str, values: dict, losses=(3.0, 3.1, 2.9), spread: float = 1.0) -> Measured:
    """A cell with the values of three trainings by measure, and draws about their mean that other cells share."""
    rows = []
    for place in range(len(losses)):
        draws = {measure: np.random.default_rng(number).normal(0, spread, 200) for number, measure in enumerate(values)}
        rows.append(
            [
                {
                    "task": task,
                    "metric": metric,
                    "value": several[place],
                    "draws": (several[place] + draws[task, metric]).tolist(),
                    "groups": 100,
                }
                for (task, metric), several in values.items()
            ]
        )
    return Measured({"name": name, "loss_end": losses[0], "runs": [{"loss_end": loss} for loss in losses]}, rows)


@pytest.mark.parametrize(
    ("lift", "answer"), [([5.0, 6.0, 7.0], "as the paper"), ([-5, -6, -7], "the contrary"), ([-5.0, 6.0, 0.0], "open")]
)
def test_a_difference_is_paired_by_seed_and_example(lift, answer):
    """Its interval is that of a mean of three with Student's t (4.303 at 95 %): the examples' draws are shared and cancel."""
    base = {KEY: [50.0, 60.0, 40.0], PITCH: [90.0, 80.0, 85.0]}
    lifted = {measure: [value + more for value, more in zip(values, lift, strict=True)] for measure, values in base.items()}
    claim = Claim("it lifts", "a paper", "with", ["without"])
    (found,) = judge_claims({"lift": claim}, [make_cell("with", lifted), make_cell("without", base)])
    assert found["value"] == pytest.approx(np.mean(lift))
    assert found["seeds"] == pytest.approx(lift)
    reach = 4.303 * np.std(lift, ddof=1) / np.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((np.mean(lift) - reach, np.mean(lift) + reach), rel=1e-3)
    assert found["answer"] == answer
    assert found["measures"] == ["synthetic_key/refined_accuracy", "synthetic_pitch/accuracy"]


def test_only_the_measures_of_the_claim_count_and_cells_that_are_not_there_are_left_out():
    claim = Claim("key", "a paper", "with", ["without", "elsewhere"], ["synthetic_key/refined_accuracy"])
    cells = [
        make_cell("with", {KEY: [9.0, 9, 9], PITCH: [0.0, 0, 0]}),
        make_cell("without", {KEY: [1.0, 2, 3], PITCH: [9.0, 9, 9]}),
    ]
    (found,) = judge_claims({"key": claim}, cells)
    assert found["value"] == pytest.approx(7.0)
    assert judge_claims({"key": claim}, cells[:1]) == []
    # a comparison of other tasks goes on, and says so
    (found,) = judge_claims({"key": claim}, [make_cell("with", {PITCH: [0.0, 0, 0]}), cells[1]])
    assert (found["not_judged"], found["answer"]) == (["synthetic_key/refined_accuracy"], "open")
    assert "| key | not judged on it | open |" in claims_table([found])


def test_a_gain_that_is_larger_in_noise_and_what_is_in_noise_does_not_count_elsewhere():
    clean, noisy = PITCH, ("synthetic_pitch_noise", "accuracy")
    columns = ["synthetic_pitch/accuracy"], ["synthetic_pitch_noise/accuracy"]
    cells = [
        make_cell("mixed", {clean: [92.0, 93, 94], noisy: [60.0, 62, 64]}),
        make_cell("plain", {clean: [90.0, 91, 92], noisy: [50.0, 50, 50]}),
    ]
    more = Claim("more in noise", "a paper", "mixed", ["plain"], columns[1], columns[0])
    (found,) = judge_claims({"noise": more}, cells)
    assert found["seeds"] == pytest.approx([8, 10, 12])  # 10, 12, 14 in noise, and 2 without
    assert "| pitch noise, more than of pitch |" in claims_table([found])
    (found,) = judge_claims({"all": Claim("it helps", "a paper", "mixed", ["plain"])}, cells)
    assert (found["measures"], found["value"]) == (columns[0], pytest.approx(2))
    assert tasks_named_by({"noise": more}) == ["synthetic_pitch_noise", "synthetic_pitch"]
    (found,) = judge_claims({"noise": more}, [make_cell("mixed", {noisy: [1.0, 1, 1]}), cells[1]])
    assert found["answer"] == "open" and "not_judged" in found


def test_a_lower_loss_is_the_better_one_and_a_failed_training_has_told_enough():
    claim = Claim("steadier", "a paper", "deepnorm", ["post_ln"], ["loss_end"])
    steady, shaky = make_cell("deepnorm", {}, (3.0, 3.1, 2.9)), make_cell("post_ln", {}, (4.0, 4.2, 4.1))
    (found,) = judge_claims({"steady": claim}, [steady, shaky])
    assert (found["value"], found["answer"]) == (pytest.approx(1.1), "as the paper")
    (alone,) = judge_claims({"steady": claim}, [make_cell("deepnorm", {}, (3.0,)), make_cell("post_ln", {}, (4.0,))])
    assert (alone["value"], alone["low"], alone["answer"]) == (1.0, None, "open")  # of one training nothing is known
    failed = Measured({"name": "post_ln", "failed": "diverged", "values": {}})
    (found,) = judge_claims({"steady": claim}, [steady, failed])
    assert (found["failed"], found["answer"]) == (["post_ln"], "as the paper")
    failed = Measured({"name": "deepnorm", "failed": "diverged", "values": {}})
    (found,) = judge_claims({"steady": claim}, [failed, shaky])
    assert found["answer"] == "the contrary"
    json.dumps(found, allow_nan=False)
    assert "| steadier | a paper | deepnorm beside post_ln | loss | deepnorm failed | the contrary |" in claims_table([found])


def test_the_table_shows_every_claim_in_a_line():
    cells = [make_cell("with", {KEY: [9.0, 9, 9]}), make_cell("without", {KEY: [1.0, 2, 3]})]
    judged = judge_claims({"key": Claim("it lifts key", "MERT", "with", ["without"])}, cells)
    assert claims_table(judged).splitlines()[2] == (
        "| it lifts key | MERT | with beside without | key | 7.0 (4.5 to 9.5) | as the paper |"
    )


def test_the_picture_has_a_line_a_pair_and_losses_apart(tmp_path):
    pair = [make_cell("with", {KEY: [9.0, 8, 9]}), make_cell("without", {KEY: [1.0, 2, 3]}, (4.0, 4.2, 4.1))]
    points, loss = (Claim("better", "a paper", "with", ["without"], of) for of in (None, ["loss_end"]))
    failed = Claim("failed", "a paper", "with", ["gone"])
    cells = [*pair, Measured({"name": "gone", "failed": "diverged", "values": {}})]
    heights = {}
    for name, claims in (("none", {}), ("one", {"a": points}), ("two", {"a": points, "b": loss}), ("failed", {"f": failed})):
        plot_claims(judge_claims(claims, cells), "a title", tmp_path / f"{name}.png")
        heights[name] = Image.open(tmp_path / f"{name}.png").height
    assert heights["none"] == heights["failed"] == heights["one"] < heights["two"]


def test_the_claims_of_the_repository_are_read_and_chosen_by_name(tmp_path):
    claims = read_claims(CLAIMS, ["constant_q", "contrastive"])
    assert list(claims) == ["constant_q", "contrastive"]
    assert cells_of(claims)[:2] == ["small_timbre", "small_timbre_cqt"]
    assert len(cells_of(claims)) == 7
    with pytest.raises(InputError, match="there is no claim 'constantq'; did you mean constant_q"):
        read_claims(CLAIMS, ["constantq"])
    (tmp_path / "claims.yaml").write_text("one: {says: it, paper: P, better: a}\n")
    with pytest.raises(InputError, match="one.*worse"):
        read_claims(tmp_path / "claims.yaml")
