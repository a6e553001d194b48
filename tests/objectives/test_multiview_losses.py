"""The losses against second implementations that are written from the formulas, term by term, and their invariances."""

import math

import numpy as np
import pytest
import torch

from mert_hf.objectives.barlow_twins import barlow_twins
from mert_hf.objectives.byol import byol
from mert_hf.objectives.clustering import clustering
from mert_hf.objectives.contrastive import nt_xent
from mert_hf.objectives.vicreg import vicreg_terms


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    return first, first + 0.7 * torch.randn(7, 5, generator=generator, dtype=torch.float64)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_nt_xent_is_the_formula(views):
    first, second = (view.tolist() for view in views)
    crops = first + second
    total = 0.0
    for i in range(14):
        partner = (i + 7) % 14
        others = sum(math.exp(cosine(crops[i], crops[k]) / 0.1) for k in range(14) if k != i)
        total -= math.log(math.exp(cosine(crops[i], crops[partner]) / 0.1) / others)
    assert float(nt_xent(*views, 0.1)) == pytest.approx(total / 14, rel=1e-12)


def test_nt_xent_does_not_ask_for_order_or_length(views):
    first, second = views
    expected = nt_xent(first, second)
    torch.testing.assert_close(nt_xent(second, first), expected)
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    torch.testing.assert_close(nt_xent(first[order], second[order]), expected)
    torch.testing.assert_close(nt_xent(3 * first, second * torch.rand(7, 1, dtype=torch.float64).add(0.1)), expected)
    assert not torch.isclose(nt_xent(first, second[order]), expected)


def test_nt_xent_of_a_perfect_and_of_a_collapsed_encoder():
    directions = torch.eye(8, dtype=torch.float64)
    assert nt_xent(directions, directions) == pytest.approx(math.log(1 + 14 * math.exp(-10)))
    same = torch.ones(8, 4, dtype=torch.float64)
    assert nt_xent(same, same) == pytest.approx(math.log(15))


def test_byol_is_the_formula_and_sums_over_features(views):
    first, second = views
    distances = []
    for row in range(7):
        a, b = (view[row] / view[row].norm() for view in views)
        distances.append(float(((a - b) ** 2).sum()))
    assert float(byol(first, second)) == pytest.approx(np.mean(distances), rel=1e-12)
    # what `dim=-0` would give: a sum over the batch
    a, b = (view / view.norm(dim=-1, keepdim=True) for view in views)
    assert float(byol(first, second)) != pytest.approx(float((2 - 2 * (a * b).sum(0)).mean()), rel=1e-2)


def test_byol_does_not_ask_for_length_and_lies_within_0_and_4(views):
    first, second = views
    torch.testing.assert_close(byol(5 * first, 0.1 * second), byol(first, second))
    assert float(byol(first, first)) == pytest.approx(0, abs=1e-12)
    assert float(byol(first, -first)) == pytest.approx(4)


def test_clustering_is_the_formula(views):
    student, teacher = (view.tolist() for view in views)
    center = [0.3, -0.2, 0.0, 0.1, 0.5]

    def softmax(values):
        top = max(values)
        powers = [math.exp(value - top) for value in values]
        return [power / sum(powers) for power in powers]

    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        p = softmax([(value - c) / 0.04 for value, c in zip(t, center, strict=True)])
        q = softmax([value / 0.1 for value in s])
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    found = clustering(*views, torch.tensor(center, dtype=torch.float64), 0.1, 0.04)
    assert float(found) == pytest.approx(total / 7, rel=1e-9)


def test_clustering_is_not_changed_by_what_all_crops_have_in_common(views):
    """Centring takes a constant out of the teacher; the student's softmax does not see one over its prototypes."""
    student, teacher = views
    shift = torch.randn(5, dtype=torch.float64)
    expected = clustering(student, teacher, teacher.mean(0))
    torch.testing.assert_close(clustering(student, teacher + shift, (teacher + shift).mean(0)), expected)
    torch.testing.assert_close(clustering(student + 2.5, teacher, teacher.mean(0)), expected)
    assert not torch.isclose(clustering(student, teacher + shift, teacher.mean(0)), expected)


def test_barlow_twins_is_the_formula(views):
    a, b = (view.numpy() for view in views)
    standard = [(view - view.mean(0)) / np.sqrt(view.var(0) + 1e-5) for view in (a, b)]
    correlation = np.array([[standard[0][:, i] @ standard[1][:, j] / 6 for j in range(5)] for i in range(5)])
    on = np.mean([(1 - correlation[i, i]) ** 2 for i in range(5)])
    off = np.mean([correlation[i, j] ** 2 for i in range(5) for j in range(5) if i != j])
    assert float(barlow_twins(*views, 0.3)) == pytest.approx(on + 0.3 * off, rel=1e-12)


def test_barlow_twins_does_not_see_shifts_and_scales(views):
    first, second = views
    scale, shift = torch.rand(5, dtype=torch.float64) + 0.5, torch.randn(5, dtype=torch.float64)
    torch.testing.assert_close(barlow_twins(first * scale + shift, second), barlow_twins(first, second), rtol=1e-4, atol=0)
    assert not torch.isclose(barlow_twins(first * torch.tensor([1, -1, 1, 1, 1]), second), barlow_twins(first, second))


def test_vicreg_is_the_formula(views):
    a, b = (view.numpy() for view in views)
    invariance = np.mean((a - b) ** 2)
    variance = np.mean([max(0, 1 - math.sqrt(view[:, i].var(ddof=1) + 1e-5)) for view in (a, b) for i in range(5)])
    covariance = 0.0
    for view in (a, b):
        standard = (view - view.mean(0)) / np.sqrt(view.var(0) + 1e-5)
        matrix = standard.T @ standard / 6
        covariance += np.mean([matrix[i, j] ** 2 for i in range(5) for j in range(5) if i != j]) / 2
    found = [float(term) for term in vicreg_terms(*views)]
    assert found == pytest.approx([invariance, variance, covariance], rel=1e-12)


def test_vicreg_terms_see_what_they_are_for(views):
    first, second = views
    shift = torch.randn(5, dtype=torch.float64)
    plain, shifted = vicreg_terms(first, second), vicreg_terms(first + shift, second + shift)
    for one, other in zip(plain, shifted, strict=True):
        torch.testing.assert_close(one, other)
    collapsed = torch.ones(7, 5, dtype=torch.float64)
    assert [float(term) for term in vicreg_terms(collapsed, collapsed)] == pytest.approx([0, 1 - math.sqrt(1e-5), 0])
    wide = vicreg_terms(100 * first, 100 * second)
    assert wide[1] == 0
    torch.testing.assert_close(wide[2], plain[2], rtol=1e-3, atol=0)
    repeated = first[:, :1].expand(-1, 5)
    assert float(vicreg_terms(repeated, repeated)[2]) == pytest.approx((7 / 6) ** 2, rel=1e-3)


@pytest.mark.parametrize("loss", [nt_xent, byol, barlow_twins, vicreg_terms, lambda a, b: clustering(a, b, torch.zeros(256))])
def test_half_precision_does_not_reach_the_losses(loss):
    first = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    second = first + 0.5 * torch.randn(64, 256, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(first, second)
    torch.testing.assert_close(found, loss(first, second), rtol=0, atol=0)
