import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from mert_hf import MERTConfig, MERTFeatureExtractor


def test_pads_on_the_right_and_says_what_is_padding():
    clips = [np.ones(500, np.float32), np.full(900, 0.5, np.float32)]
    batch = MERTFeatureExtractor()(clips, sampling_rate=24000, return_tensors="pt")
    assert batch["input_values"].shape == (2, 900) and batch["input_values"].dtype == torch.float32
    assert batch["attention_mask"].sum(1).tolist() == [500, 900]
    assert (batch["input_values"][0, 500:] == 0).all() and (batch["input_values"][0, :500] == 1).all()


@pytest.mark.parametrize("form", [list, np.asarray, torch.tensor, lambda clip: np.asarray(clip, np.float64)])
def test_takes_lists_arrays_and_tensors_alike(form):
    clip = [0.25] * 400
    values = MERTFeatureExtractor()(form(clip), sampling_rate=24000, return_tensors="np")["input_values"]
    assert values.dtype == np.float32 and values.shape == (1, 400) and (values == 0.25).all()


def test_waveforms_are_left_as_they_are_unless_the_repository_says_otherwise():
    clip = np.linspace(0.1, 0.5, 1000, dtype=np.float32)
    assert (MERTFeatureExtractor()(clip)["input_values"][0] == clip).all()
    normalised = MERTFeatureExtractor(do_normalize=True)(clip)["input_values"][0]
    assert normalised.mean() == pytest.approx(0, abs=1e-6) and normalised.std() == pytest.approx(1, abs=1e-3)


def test_saved_folder_loads_with_the_auto_class(tmp_path):
    MERTFeatureExtractor(sampling_rate=16000).save_pretrained(tmp_path)
    MERTConfig().save_pretrained(tmp_path)
    loaded = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert type(loaded) is MERTFeatureExtractor and loaded.sampling_rate == 16000


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(1000, np.float32), 44100, "24000 Hz; this audio is at 44100 Hz"),
        (np.zeros((2, 3, 1000), np.float32), 24000, "Average the channels"),
        (np.zeros((1000, 2), np.float32), 24000, "fewer than the 400"),
        (np.zeros(1000, np.int16), 24000, "astype"),
        (np.zeros(399, np.float32), 24000, "399 samples, fewer than the 400"),
        (np.zeros(0, np.float32), 24000, "0 samples"),
        ([], 24000, "empty list"),
        ([[[0.1] * 500, [0.2] * 400]], 24000, "clip 0: no waveform can be made of a list"),
        ([[0.1] * 500, [0.2] * 300], 24000, "clip 1: it has 300 samples"),
        (np.r_[np.zeros(500), np.nan, np.zeros(500)], 24000, "first at sample 500"),
        (np.r_[np.inf, np.zeros(500)], 24000, "NaN or infinity"),
    ],
)
def test_refuses_what_would_give_wrong_features(audio, rate, message):
    with pytest.raises(ValueError, match=message):
        MERTFeatureExtractor()(audio, sampling_rate=rate)


def test_refuses_text_where_a_flag_is_meant():
    with pytest.raises(ValueError, match="do_normalize must be True or False; got 'false'"):
        MERTFeatureExtractor(do_normalize="false")


def test_refuses_a_negative_rate():
    with pytest.raises(ValueError, match="sampling_rate must be a whole number .* got -1"):
        MERTFeatureExtractor(sampling_rate=-1)
