"""Centring and whitening of vectors, against their definitions and in what they do to a catalogue."""

import numpy as np
import pytest
import safetensors.numpy
from sklearn.decomposition import PCA

from mert_hf.catalogue import projection
from mert_hf.catalogue.projection import KINDS, Projection
from mert_hf.common.errors import InputError


@pytest.fixture
def vectors():
    """Vectors in a narrow cone, wide in some directions."""
    random = np.random.default_rng(0)
    spreads = np.geomspace(3.0, 0.05, 12)
    return (4.0 + random.standard_normal((500, 12)) * spreads).astype(np.float32)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_have_length_1_whatever_was_their_scale(vectors, kind):
    project = Projection.fit(vectors, kind)
    found = project(vectors[:50])
    assert found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    scales = np.random.default_rng(1).uniform(0.1, 50, (500, 1)).astype(np.float32)
    assert np.allclose(Projection.fit(scales * vectors, kind)(scales[:50] * vectors[:50]), found, atol=1e-4)
    assert np.allclose(project(vectors[3]), found[3], atol=1e-6)


def test_none_is_the_cosine(vectors):
    assert np.allclose(Projection.fit(vectors, "none")(vectors), unit(vectors), atol=1e-6)


def test_centring_takes_the_cone_away(vectors):
    centred = Projection.fit(vectors, "centre")(vectors)
    assert np.allclose(centred, unit(unit(vectors) - unit(vectors).mean(axis=0)), atol=1e-5)

    def mean_cosine(rows):
        return (rows @ rows.T)[~np.eye(len(rows), dtype=bool)].mean()

    assert mean_cosine(unit(vectors)) > 0.5
    assert abs(mean_cosine(centred)) < 0.02


def test_whitening_is_that_of_scikit_learn_where_nothing_is_shrunk(vectors):
    rows = unit(vectors.astype(np.float64))
    theirs = PCA(whiten=True).fit(rows).transform(rows)
    ours = Projection.fit(vectors, "whiten", shrinkage=1e-12)(vectors)
    # up to the signs of directions; cosines do not know them
    assert np.allclose(ours @ ours.T, unit(theirs) @ unit(theirs).T, atol=2e-3)
    five = Projection.fit(vectors, "whiten", shrinkage=1e-12, dimension=5)
    assert five.projected_size == 5
    assert np.allclose(five(vectors) @ five(vectors).T, unit(theirs[:, :5]) @ unit(theirs[:, :5]).T, atol=2e-3)


def test_shrinkage_leads_from_whitening_to_centring(vectors):
    rows = unit(vectors.astype(np.float64))
    centred = Projection.fit(vectors, "centre")(vectors)
    whole = Projection.fit(vectors, "whiten", shrinkage=1.0)(vectors)
    assert np.allclose(whole @ whole.T, centred @ centred.T, atol=1e-4)
    matrix = Projection.fit(vectors, "whiten", shrinkage=0.3).matrix
    covariance = np.cov(rows.T, bias=True)
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 12 * np.eye(12)
    assert np.allclose(matrix.T @ shrunk @ matrix, np.eye(12), atol=1e-3)


@pytest.mark.parametrize("count", [5, 11, 12, 13])
def test_fewer_vectors_than_numbers_are_enough(vectors, count):
    few = vectors[:count]
    whole = Projection.fit(few, "whiten", shrinkage=0.3)
    covariance = np.cov(unit(few.astype(np.float64)).T, bias=True)
    shrunk = 0.7 * covariance + 0.3 * np.trace(covariance) / 12 * np.eye(12)
    assert np.allclose(whole.matrix.T @ shrunk @ whole.matrix, np.eye(12), atol=1e-3)
    assert np.array_equal(Projection.fit(few, "whiten", shrinkage=0.3, dimension=3).matrix, whole.matrix[:, :3])


@pytest.mark.parametrize("kind", ["centre", "whiten"])
def test_chunks_and_files_change_nothing(vectors, kind, tmp_path, monkeypatch):
    whole = Projection.fit(vectors, kind)
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    monkeypatch.setattr(projection, "CHUNK_VALUES", 12 * 7)
    mapped = Projection.fit(np.load(tmp_path / "vectors.npy", mmap_mode="r"), kind)
    assert np.allclose(mapped.mean, whole.mean, atol=1e-7)
    assert np.allclose(mapped(vectors), whole(vectors), atol=1e-5)


def test_sums_do_not_lose_digits():
    # 200,000 vectors that differ in the fifth digit: a sum in float32 would lose it
    random = np.random.default_rng(0)
    many = (1 + 1e-5 * random.standard_normal((200_000, 4))).astype(np.float32)
    found = Projection.fit(many, "centre").mean
    exact = unit(many.astype(np.longdouble)).mean(axis=0)
    assert np.abs(found - exact).max() < 1e-7


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_without_pickle(vectors, kind, tmp_path):
    project = Projection.fit(vectors, kind, dimension=3 if kind == "whiten" else None)
    safetensors.numpy.save_file(project.to_arrays(), tmp_path / "projection.safetensors")
    np.savez(tmp_path / "projection.npz", **project.to_arrays())
    for arrays in (
        safetensors.numpy.load_file(tmp_path / "projection.safetensors"),
        dict(np.load(tmp_path / "projection.npz", allow_pickle=False)),
    ):
        again = Projection.from_arrays(arrays)
        assert (again.kind, again.size, again.projected_size) == (kind, 12, project.projected_size)
        assert again.shrinkage == project.shrinkage
        assert np.array_equal(again(vectors), project(vectors))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "pca"}, "projection 'pca' is unknown; there are none, centre, whiten"),
        ({"shrinkage": 0.0}, "shrinkage is 0.0; give a number above 0"),
        ({"shrinkage": float("nan")}, "shrinkage is nan"),
        ({"dimension": 13}, "dimension is 13; give a whole number from 1 to 12"),
        ({"vectors": np.zeros(12)}, r"shape \(n, size\); got float64 of shape \(12,\)"),
        ({"vectors": np.zeros((2, 12), int)}, r"floating-point numbers .* got int64 of shape \(2, 12\)"),
        ({"vectors": np.ones((1, 12))}, "whiten is fitted on vectors, and got 1"),
        ({"vectors": np.ones((9, 12))}, "all of these are the same"),
        ({"vectors": np.array([[1.0, 2.0], [np.nan, 1.0]])}, "vector 1 is not finite"),
    ],
)
def test_what_cannot_be_fitted_is_told(vectors, change, message):
    with pytest.raises(InputError, match=message):
        Projection.fit(**{"vectors": vectors, "kind": "whiten", **change})


def test_other_vectors_and_damaged_arrays_are_told(vectors):
    project = Projection.fit(vectors, "whiten")
    with pytest.raises(InputError, match=r"vectors of size 12 are needed here.*shape \(2, 7\)"):
        project(np.ones((2, 7)))
    arrays = project.to_arrays()
    for damage in (
        {"mean": np.zeros(5)},
        {"matrix": np.full((12, 12), np.nan)},
        {"matrix": np.array(1.0)},
        {"kind": np.frombuffer(b"other", np.uint8)},
        {"size": np.zeros(0, np.int64)},
        {"size": np.array([np.nan])},
    ):
        with pytest.raises(InputError, match="index.safetensors is damaged: .*fit it anew"):
            Projection.from_arrays({**arrays, **damage}, "index.safetensors")
    for missing in arrays:
        with pytest.raises(InputError, match="damaged"):
            Projection.from_arrays({name: array for name, array in arrays.items() if name != missing})


def test_zero_and_what_is_not_finite_stay_what_they_are(vectors):
    odd = np.stack([np.zeros(12), np.full(12, np.nan), vectors[0]]).astype(np.float32)
    plain = Projection.fit(vectors, "none")(odd)
    assert not plain[0].any() and np.isnan(plain[1]).all() and np.isfinite(plain[2]).all()
    assert np.isnan(Projection.fit(vectors, "whiten")(odd)[1]).all()
