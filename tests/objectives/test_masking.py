import numpy as np
import pytest
import torch

from mert_hf.common.seeding import generator
from mert_hf.objectives.masking import draw_span_mask


def test_every_clip_has_as_many_masked_frames():
    for step in range(20):
        mask = draw_span_mask(8, 374, generator(0, "mask", step))
        assert mask.shape == (8, 374)
        assert mask.dtype == torch.bool
        assert len(set(mask.sum(1).tolist())) == 1


def test_share_of_masked_frames_follows_from_the_spans():
    """59.8 spans of 5 frames on average, started without replacement: a frame is missed by all of them with 0.413."""
    missed = np.prod([1 - (0.8 * 374 / 5) / (369 - back) for back in range(5)])
    single = np.mean([draw_span_mask(1, 374, generator(1, "mask", step)).float().mean() for step in range(200)])
    assert single == pytest.approx(1 - missed, abs=0.01)
    batch = np.mean([draw_span_mask(16, 374, generator(1, "mask", step)).float().mean() for step in range(50)])
    assert 0.5 < batch < single  # all clips give up frames down to the one that has fewest


def test_masked_frames_come_in_spans():
    mask = draw_span_mask(1, 400, generator(2, "mask"), probability=0.3)[0]
    # a single clip gives up no frames, so every run of masked frames is 5 long or longer
    edges = torch.diff(torch.nn.functional.pad(mask.int(), (1, 1)))
    runs = (edges == -1).nonzero() - (edges == 1).nonzero()
    assert runs.min() >= 5
    assert int(mask.sum()) <= 0.3 * 400 + 5


def test_draws_are_a_function_of_the_generator():
    first, again, other = (draw_span_mask(4, 100, generator(0, "mask", step)) for step in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probability": 0.0}, "probability=0.0"),
        ({"probability": 1.5}, "probability=1.5"),
        ({"span_frames": 0}, "span_frames=0"),
        ({"frames": 6}, "clips of 6 frames are too short"),
    ],
)
def test_refuses_what_cannot_be_masked(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_span_mask(**{"batch": 2, "frames": 100, "generator": generator(0, "mask"), **arguments})
