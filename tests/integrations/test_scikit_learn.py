"""MusicFeatures as a transformer of scikit-learn: its features, its pipelines, its own checks, pickles without weights."""

import os
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks
from support.sounds import make_tones

from mert_hf import MusicEncoder
from mert_hf.common.errors import InputError
from mert_hf.integrations.scikit_learn import MusicFeatures

# of what scikit-learn checks, all that does not fit to tables of random numbers
CHECKS = (
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn(check):
    check("MusicFeatures", MusicFeatures())


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "layer1_mean_0"),
        ({"layers": [0, 2], "pool": "mean_std"}, "layer0_mean_0"),
        ({"layers": {0: 1.0, 1: -0.5}, "normalize": False}, "weighted_mean_0"),
    ],
)
def test_features_are_those_of_music_encoder(model_folder, songs, options, first):
    features = MusicFeatures(model_folder, device="cpu", **options)
    found = features.fit_transform(songs)
    expected = MusicEncoder(model_folder, device="cpu").encode(songs, progress=False, **options)
    np.testing.assert_allclose(found, expected.reshape(6, -1), atol=2e-5)
    names = features.get_feature_names_out()
    assert len(set(names)) == len(names) == found.shape[1]
    assert names[0] == first
    if options.get("pool") == "mean_std":
        assert (names[32], names[64]) == ("layer0_std_0", "layer2_mean_0")
    table = features.set_output(transform="pandas").transform(songs)
    assert list(table.columns) == list(names) and table.shape == found.shape


def test_the_first_step_of_a_pipeline(model_folder):
    noise = np.random.default_rng(0)
    clips = [make_tones(0.3, 24_000, seed) if seed % 2 else noise.normal(0, 0.1, 7200).astype(np.float32) for seed in range(12)]
    kinds = ["tones" if seed % 2 else "noise" for seed in range(12)]
    features = MusicFeatures(model_folder, sampling_rate=24_000, device="cpu")
    pipeline = make_pipeline(features, LogisticRegression(C=100))
    pipeline.fit(clips[:8], kinds[:8])
    assert list(pipeline.predict(np.stack(clips[8:]))) == kinds[8:]  # an array of clips as well
    search = GridSearchCV(pipeline, {"musicfeatures__layers": [0, 2]}, cv=2)
    assert search.fit(clips, kinds).best_score_ == 1.0


def test_copies_and_pickles_hold_the_name_and_no_weights(model_folder, songs, tmp_path):
    features = MusicFeatures(model_folder, layers=2, device="cpu")
    expected = features.transform(songs)
    assert len(pickle.dumps(features)) < 2000
    assert joblib.hash(features) == joblib.hash(clone(features).fit())
    joblib.dump(features, tmp_path / "features.joblib")
    assert os.path.getsize(tmp_path / "features.joblib") < 2000
    for other in (joblib.load(tmp_path / "features.joblib"), clone(features)):
        assert other.get_params() == features.get_params()
        np.testing.assert_array_equal(other.transform(songs), expected)


def test_what_is_set_later_counts(model_folder, songs, tiny_config, tmp_path):
    from mert_hf import MERTFeatureExtractor, MERTModel

    MERTModel(tiny_config).save_pretrained(tmp_path / "other")
    MERTFeatureExtractor().save_pretrained(tmp_path / "other")
    features = MusicFeatures(model_folder, device="cpu")
    before = features.transform(songs)
    features.set_params(model=str(tmp_path / "other"), layers=0)
    expected = MusicEncoder(tmp_path / "other", device="cpu").encode(songs, layers=0, progress=False)
    np.testing.assert_allclose(features.transform(songs), expected, atol=2e-5)
    assert not np.allclose(before, expected)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"pool": "second"}, ["a.mp3"], "pool='second' makes no vector of a clip; take 'mean' or 'mean_std' here"),
        ({"model": object()}, ["a.mp3"], "must be a folder or a repository such as"),
        ({}, "a.mp3", "transforms several pieces of music to rows; give a list, also of one"),
        ({}, ["a.mp3"], "a.mp3 does not exist"),
        ({"layers": 9}, ["a.mp3"], "layer 9 does not exist"),
        ({}, np.zeros((2, 24_000), np.float32), r"inputs\[0\]: a waveform alone does not tell its rate"),
    ],
)
def test_bad_input_is_one_message(model_folder, options, given, message):
    with pytest.raises(InputError, match=message):
        MusicFeatures(**{"model": model_folder, **options}).fit_transform(given)
