"""Transposition: the loss from its formula in complex numbers, and clips that sound as much higher as is said."""

import numpy as np
import pytest
import torch
from support.multiview_runs import make_multiview
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.objectives import Transposition
from mert_hf.objectives.transposition import cross_power_loss, transpose
from mert_hf.pretraining.settings import DataSettings, PretrainSettings

RATE = 16000


@pytest.fixture
def distributions():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 6, 12, generator=generator, dtype=torch.float64).softmax(-1)
    return first, second, torch.tensor([0, 3, -5, 12, 7, -1])


@pytest.mark.parametrize("circle", [1, 7])
def test_the_loss_is_the_formula(distributions, circle):
    first, second, semitones = (values.numpy() for values in distributions)
    total = 0.0
    for y1, y2, interval in zip(first, second, semitones, strict=True):
        z1, z2 = (sum(y[q] * np.exp(2j * np.pi * circle * q / 12) for q in range(12)) for y in (y1, y2))
        total += abs(np.exp(2j * np.pi * circle * interval / 12) - z2 * np.conj(z1)) ** 2
    assert float(cross_power_loss(*distributions, circle)) == pytest.approx(total / 6, rel=1e-12)


def test_the_loss_asks_for_the_interval_and_not_for_the_pitch(distributions):
    first, second, semitones = distributions
    expected = cross_power_loss(first, second, semitones)
    torch.testing.assert_close(cross_power_loss(first.roll(4, 1), second.roll(4, 1), semitones), expected)
    torch.testing.assert_close(cross_power_loss(second, first, -semitones), expected)
    torch.testing.assert_close(cross_power_loss(first, second, semitones + 12), expected)
    sure = torch.eye(12)[[0, 5, 9]]
    higher = torch.stack([row.roll(interval) for row, interval in zip(sure, (3, -2, 6), strict=True)])
    assert float(cross_power_loss(sure, higher, torch.tensor([3, -2, 6]))) == pytest.approx(0, abs=1e-10)
    assert float(cross_power_loss(sure, higher, torch.tensor([9, 4, 0]))) == pytest.approx(4, rel=1e-5)
    undecided = torch.full((3, 12), 1 / 12)  # what a collapsed head says costs more than the truth
    assert float(cross_power_loss(undecided, undecided, torch.tensor([1, 2, 3]))) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("semitones", [-6, -1, 0, 4, 6])
def test_clips_sound_higher_by_the_interval(semitones):
    time = torch.arange(RATE) / RATE
    clip = 0.3 * torch.sin(2 * torch.pi * 440 * time)
    found = transpose(clip[None], torch.tensor([semitones]), 6)[0]
    assert len(found) == int(RATE / 2**0.5)
    spectrum = torch.fft.rfft(found * torch.hann_window(len(found)), n=8 * RATE).abs()
    assert float(spectrum.argmax()) / 8 == pytest.approx(440 * 2 ** (semitones / 12), rel=2e-3)
    assert float(found[1000:-1000].std()) == pytest.approx(0.3 / 2**0.5, rel=0.02)


def test_the_band_does_not_tell_the_transposition():
    """All end at the same frequency, wherever the clip's own band was put."""
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)).expand(5, -1)
    views = transpose(noise, torch.tensor([-6, -3, 0, 3, 6]), 6)
    power = torch.fft.rfft(views * torch.hann_window(views.shape[1])).abs().square()
    edge = power.shape[1] / 2**0.5
    for row in power:
        assert row[int(edge) + 20 :].mean() < 1e-4 * row[: int(edge) - 20].mean()
        assert 0.5 < row[int(edge) - 220 : int(edge) - 20].mean() / row[100:300].mean() < 2


def test_what_is_drawn_is_what_was_done():
    objective = make_multiview("transposition")
    clip = torch.from_numpy(make_tones(1.5, RATE, 0))
    pairs = clip.expand(6, 2, -1)
    batch, again = objective.prepare(pairs, Draws(0)), objective.eval().prepare(pairs, Draws(0))
    assert all(torch.equal(again[name], value) for name, value in batch.items())
    assert batch["semitones"].dtype == torch.int64 and len(set(batch["semitones"].tolist())) > 2
    assert not torch.equal(objective.prepare(pairs, Draws(0, batch=1))["semitones"], batch["semitones"])
    for (first, second), interval in zip(batch["views"], batch["semitones"].tolist(), strict=True):
        logarithmic = []
        for view in (first, second):  # the spectrum over the logarithm of frequency, a bin a quarter tone
            power = torch.fft.rfft(view * torch.hann_window(len(view)), n=1 << 17).abs()
            hz = 150 * 2 ** (np.arange(0, 4, 1 / 24))
            logarithmic.append(power[torch.from_numpy(hz * (1 << 17) / RATE).long()].log1p())
        scores = {shift: float((logarithmic[0] * logarithmic[1].roll(-2 * shift)).sum()) for shift in range(-12, 13)}
        assert max(scores, key=scores.get) == interval


def test_an_encoder_that_knows_the_pitch_class_has_no_loss():
    """Of pure tones, whose class a head could read off; a head that is turned knows it as well."""
    objective = make_multiview("transposition", circle=1).eval()
    classes = torch.tensor([0, 2, 11]), torch.tensor([5, 1, 2])
    objective.head = torch.nn.Identity()
    embeddings = [100.0 * torch.eye(12)[(given + 7) % 12] for given in classes]
    loss, numbers = objective.compare([], embeddings, classes[1] - classes[0])
    assert float(loss) == pytest.approx(0, abs=1e-8)
    assert float(numbers["semitone_accuracy"]) == 1
    loss, numbers = objective.compare([], embeddings, classes[1] - classes[0] + 1)
    assert float(loss) == pytest.approx(2 - 3**0.5, rel=1e-4)
    assert float(numbers["semitone_accuracy"]) == 0


@pytest.mark.parametrize(
    ("options", "message"), [({"circle": 4}, "circle=4 must be 7"), ({"most_semitones": 9}, "within 1 and 6")]
)
def test_options_out_of_range_are_refused(options, message):
    settings = PretrainSettings(objective="transposition", data=DataSettings(crop_s=4.0, min_track_s=8.0))
    settings.multiview.options = options
    with pytest.raises(InputError, match=f"multiview.options: .*{message}"):
        Transposition.from_settings(settings, make_multiview("byol").encoder.model, None)
