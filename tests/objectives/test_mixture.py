import pytest
import torch

from mert_hf.common.seeding import generator
from mert_hf.objectives.mixture import Excerpt, NoiseMixture, mix_in


def test_excerpts_of_the_other_clips_are_added():
    """Against the definition: the other clips behind one another in a line, a piece of it added to the clip."""
    waveforms = torch.randn(4, 1000)
    excerpts = [Excerpt(1, 900, 50, 300), Excerpt(1, 0, 0, 100), Excerpt(3, 2990, 990, 10), Excerpt(0, 1990, 5, 20)]
    before = waveforms.clone()
    mixed = mix_in(waveforms, excerpts)
    expected = waveforms.clone()
    for excerpt in excerpts:
        line = torch.cat([clip for index, clip in enumerate(waveforms) if index != excerpt.clip])
        noise = line[excerpt.source : excerpt.source + excerpt.length]
        expected[excerpt.clip, excerpt.position : excerpt.position + excerpt.length] += noise
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(waveforms, before, rtol=0, atol=0)
    torch.testing.assert_close(mixed[2], waveforms[2], rtol=0, atol=0)


def test_probability_is_that_of_mixing():
    for probability in (0.25, 0.75):
        mixture = NoiseMixture(probability, min_samples=100, max_samples=200)
        clips = [len({e.clip for e in mixture.draw(10, 1000, generator(0, "mixture", step))}) for step in range(300)]
        assert sum(clips) / 3000 == pytest.approx(probability, abs=0.03)
    assert NoiseMixture(0.0).draw(1, 1000, generator(0, "mixture")) == []


def test_draws_stay_within_their_ranges_and_reach_both_ends():
    mixture = NoiseMixture(1.0, 1, 3, 100, 110)
    batches = [mixture.draw(3, 120, generator(1, "mixture", step)) for step in range(400)]
    excerpts = [excerpt for batch in batches for excerpt in batch]
    assert {excerpt.length for excerpt in excerpts} == set(range(100, 111))
    assert min(excerpt.source for excerpt in excerpts) == 0
    assert max(excerpt.source for excerpt in excerpts) == 2 * 120 - 110
    assert all(0 <= excerpt.position <= 120 - excerpt.length for excerpt in excerpts)
    counts = {sum(excerpt.clip == clip for excerpt in batch) for batch in batches for clip in range(3)}
    assert counts == {1, 2, 3}


def test_gains_are_drawn_uniformly_in_db_and_reach_both_ends():
    gains_db = 20 * NoiseMixture(0.0, gain_db=6.0).draw_gains(20_000, generator(0, "level")).log10()
    assert gains_db.shape == (20_000, 1)
    assert float(gains_db.min()) == pytest.approx(-6, abs=0.01)
    assert float(gains_db.max()) == pytest.approx(6, abs=0.01)
    assert torch.histc(gains_db, 4, -6, 6).tolist() == pytest.approx([5000] * 4, rel=0.05)


def test_excerpts_are_scaled_to_a_drawn_level_below_their_clip():
    torch.manual_seed(0)
    waveforms = torch.randn(3, 1000) * torch.tensor([[0.01], [1.0], [0.2]])
    mixture = NoiseMixture(1.0, 1, 1, 300, 300, min_snr_db=-5.0, max_snr_db=10.0)
    batches = [mixture.draw(3, 1000, generator(2, "mixture", step)) for step in range(200)]
    levels = [excerpt.snr_db for batch in batches for excerpt in batch]
    assert min(levels) == pytest.approx(-5, abs=0.3)
    assert max(levels) == pytest.approx(10, abs=0.3)
    for batch in batches[:5]:
        added = mix_in(waveforms, batch) - waveforms
        for excerpt in batch:
            noise = added[excerpt.clip, excerpt.position : excerpt.position + excerpt.length]
            measured = 10 * torch.log10(waveforms[excerpt.clip].square().mean() / noise.square().mean())
            assert float(measured) == pytest.approx(excerpt.snr_db, abs=0.01)
    assert all(excerpt.snr_db is None for excerpt in NoiseMixture(1.0).draw(8, 120000, generator(0, "mixture")))
    silence = torch.zeros(2, 1000)
    silence[0] = 0.1
    assert torch.equal(mix_in(silence, [Excerpt(0, 0, 0, 300, 3.0)]), silence)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_snr_db": 3.0}, "min_snr_db=3.0 and max_snr_db=None must both be given"),
        ({"min_snr_db": 3.0, "max_snr_db": 1.0}, "min_snr_db=3.0 and max_snr_db=1.0"),
        ({"probability": 1.5}, "probability=1.5"),
        ({"min_excerpts": 4}, "min_excerpts=4"),
        ({"min_samples": 0}, "min_samples=0"),
    ],
)
def test_refuses_impossible_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        NoiseMixture(**fields)


def test_refuses_a_batch_of_one_and_clips_shorter_than_an_excerpt():
    with pytest.raises(ValueError, match="2 or more clips in a batch"):
        NoiseMixture(0.5).draw(1, 120000, generator(0, "mixture"))
    with pytest.raises(ValueError, match="shorter than the longest excerpt, 24000"):
        NoiseMixture(0.5).draw(4, 20000, generator(0, "mixture"))
