import numpy as np
import pytest
import torch

from mert_hf.common.errors import InputError
from mert_hf.models.sampling_rates_mert import require_sampling_rate, resample


@pytest.mark.parametrize("rate", [44100, 44100.0, np.int32(44100), np.float32(44100), np.array(44100), torch.tensor(44100)])
def test_a_rate_is_an_integer_whatever_it_is_given_as(rate):
    found = require_sampling_rate(rate)
    assert (type(found), found) == (int, 44100)


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), 1e300, 10**400, 1.0, 0, -24000, 2**31, True, None, "", [1], {}])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(InputError, match="a tape's rate must be a whole number of .* from 1000 to 768000; got "):
        require_sampling_rate(rate, "a tape's rate")


@pytest.mark.parametrize("rate", [44.1, "44100", "44.1", 44100.4])
def test_what_was_probably_meant_is_named(rate):
    with pytest.raises(InputError, match="did you mean 44100"):
        require_sampling_rate(rate)


@pytest.mark.parametrize(("rate", "wanted"), [(768_000, 1_001), (1_001, 767_999), (655_350, 24_000)])
def test_any_two_rates_can_be_brought_together(rate, wanted):
    """A second of 100 Hz stays one, by the sine that it is."""
    resampled = resample(np.sin(2 * np.pi * 100 * np.arange(rate) / rate).astype(np.float32), rate, wanted)
    expected = np.sin(2 * np.pi * 100 * np.arange(wanted) / wanted)
    assert len(resampled) == wanted
    np.testing.assert_allclose(resampled[wanted // 5 : -wanted // 5], expected[wanted // 5 : -wanted // 5], atol=1e-3)
