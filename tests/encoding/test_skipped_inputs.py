"""One bad song among many: named and left out where that is agreed to; and the layer that is given where none is asked for."""

import logging

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import make_tones

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel, MusicEncoder
from mert_hf.common.errors import InputError


def make_encoder(tiny_config, **changes) -> MusicEncoder:
    torch.manual_seed(0)
    return MusicEncoder(MERTModel(MERTConfig(**{**tiny_config.to_dict(), **changes})).eval(), MERTFeatureExtractor())


@pytest.fixture
def songs(tmp_path):
    """Good ones of several lengths; among them one that is no audio, one that is missing, a short one, one that is cut."""
    paths = []
    for number, seconds in enumerate((3.0, 1.0, 5.0)):
        soundfile.write(path := tmp_path / f"good{number}.flac", make_tones(seconds, 24_000, number), 24_000)
        paths.append(str(path))
    (tmp_path / "text.mp3").write_text("no audio")
    soundfile.write(tmp_path / "short.wav", np.zeros(300, np.float32), 24_000)
    whole = (tmp_path / "good2.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    bad = [str(tmp_path / name) for name in ("text.mp3", "missing.ogg", "short.wav", "cut.flac")]
    return [bad[0], paths[0], bad[1], paths[1], bad[2], bad[3], paths[2]], {0, 2, 4, 5}


@pytest.mark.parametrize("pool", ["mean", "mean_std", "second", None])
def test_what_cannot_be_used_is_left_out_and_the_rest_is_as_it_was(tiny_config, songs, tmp_path, caplog, pool):
    encoder, (paths, bad) = make_encoder(tiny_config), songs
    options = dict(layers=[0, 2], pool=pool, window_s=2.0, overlap_s=0.5, progress=False)
    frames = {"output_dir": tmp_path / "frames"} if pool is None else {}
    with caplog.at_level(logging.WARNING):
        found = encoder.encode(paths, on_error="skip", **options, **frames)
    assert len(found) == len(paths)
    expected = encoder.encode([path for number, path in enumerate(paths) if number not in bad], **options)
    kept = iter(expected)
    for number, result in enumerate(found):
        if number not in bad:
            np.testing.assert_allclose(result, next(kept), atol=2e-5)
        elif pool in ("mean", "mean_std"):
            assert np.isnan(result).all()
        else:
            assert result is None
    told = [message for message in caplog.messages if message.startswith("Skipped: ")]
    assert {number for number, path in enumerate(paths) if any(path in message for message in told)} == bad
    assert len(told) == len(bad)
    if pool is None:
        assert len(list((tmp_path / "frames").iterdir())) == len(paths) - len(bad)


def test_by_default_the_first_that_cannot_be_used_is_an_error(tiny_config, songs):
    encoder, (paths, bad) = make_encoder(tiny_config), songs
    with pytest.raises(InputError, match=r"text\.mp3"):
        encoder.encode(paths, progress=False)
    with pytest.raises(InputError, match="none of 4 inputs could be used; the log says why"):
        encoder.encode([paths[number] for number in bad], on_error="skip", progress=False)
    with pytest.raises(InputError, match="on_error='ignore' is unknown; there are 'raise' and 'skip'"):
        encoder.encode(paths, on_error="ignore")


def test_features_that_are_not_finite_are_left_out_alone(tiny_config):
    encoder = make_encoder(tiny_config)
    extractor, clips = encoder.feature_extractor, [make_tones(1.0, 24_000, number) for number in range(3)]

    def spoil(module, inputs, output):
        output[1] = torch.nan
        return output

    view = encoder._freeze
    encoder._freeze = lambda deepest: with_hook(view(deepest), spoil)
    found = encoder.encode(clips, sampling_rate=24_000, on_error="skip", batch_size=3, progress=False)
    assert np.isnan(found).all(1).tolist() == [False, True, False]
    assert encoder.feature_extractor is extractor


def with_hook(frozen, hook):
    frozen.view.encoder.layers[-1].register_forward_hook(hook)
    return frozen


@pytest.mark.parametrize(("depth", "layer"), [(1, 1), (2, 1), (3, 2), (4, 2), (12, 7), (24, 14)])
def test_without_a_layer_every_model_gives_the_one_at_seven_twelfths(tiny_config, depth, layer):
    encoder = make_encoder(tiny_config, num_hidden_layers=depth)
    clip = make_tones(0.5, 24_000, 1)
    options = dict(sampling_rate=24_000, progress=False)
    assert np.array_equal(encoder.encode(clip, **options), encoder.encode(clip, layer, **options))
