"""In-batch noise mixture of the official code: its recorded draws, replayed."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mert_hf.common.seeding import generator
from mert_hf.objectives.mixture import Excerpt, NoiseMixture, mix_in

GOLDEN = Path(__file__).parent / "golden" / "fairseq_noise_mix"
META = json.loads((GOLDEN / "meta.json").read_text())
TENSORS = load_file(GOLDEN / "golden.safetensors")


def replay(draws, batch, samples, probability):
    """The official order of draws: for each clip one for whether, then count, all starts, all lengths, places one by one.

    It mixes where the draw lies *above* mixture_prob.
    """
    rest = iter(draws)
    excerpts = []
    for clip in range(batch):
        kind, _, (value,) = next(rest)
        assert kind == "rand"
        if value <= probability:
            continue
        (count,), starts, lengths = (next(rest)[2] for _ in range(3))
        for start, length in zip(starts, lengths, strict=True):
            _, (low, high), (position,) = next(rest)
            assert (low, high) == (0, samples - length + 1)
            excerpts.append(Excerpt(clip, start, position, length))
        assert len(starts) == count
    assert next(rest, None) is None
    return excerpts


@pytest.mark.parametrize("name", ["p25", "p50", "p75_vol", "always"])
def test_replayed_draws_give_the_official_mixture(name):
    case, batch = META["cases"][name], TENSORS["batch"]
    probability, *_, volume = case["settings"]
    excerpts = replay(case["draws"], *batch.shape, probability)
    mixed = mix_in(batch, excerpts)
    if volume != 1:  # an option of the official code that no recipe uses; what is added is linear in it
        mixed = batch + volume * (mixed - batch)
        torch.testing.assert_close(mixed, TENSORS[f"out.{name}"], rtol=0, atol=1e-7)
    else:
        assert torch.equal(mixed, TENSORS[f"out.{name}"])
    assert [not torch.equal(*pair) for pair in zip(mixed, batch, strict=True)] == case["changed"]


def test_a_single_clip_against_the_others():
    draws = META["cases"]["single_call"]["draws"]
    batch, expected = TENSORS["batch"], TENSORS["out.single_call"]
    (_, starts), (_, lengths) = ((draw[1], draw[2]) for draw in draws[1:3])
    positions = [draw[2][0] for draw in draws[3:]]
    matches = []
    for clip in range(len(batch)):
        excerpts = [Excerpt(clip, *draw) for draw in zip(starts, positions, lengths, strict=True)]
        matches.append(torch.equal(mix_in(batch, excerpts)[clip], expected))
    assert sum(matches) == 1


@pytest.mark.parametrize(
    ("name", "message"), [("too_long", "shorter than the longest excerpt"), ("batch_of_one", "2 or more clips")]
)
def test_where_the_official_code_silently_leaves_the_batch_clean_there_is_an_error(name, message):
    case, batch = META["cases"][name], TENSORS["batch"]
    assert not any(case["changed"])
    _, shortest, longest, fewest, most, _ = case["settings"]
    with pytest.raises(ValueError, match=message):
        NoiseMixture(1.0, fewest, most, shortest, longest).draw(len(case["changed"]), batch.shape[1], generator(0, "mixture"))
