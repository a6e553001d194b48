import logging

import pytest
import torch

from mert_hf.objectives.health import CollapseWatch, Sign, measure_correlation, measure_rank, measure_spread


def test_spread_of_equal_and_of_scattered_embeddings():
    generator = torch.Generator().manual_seed(0)
    assert float(measure_spread(torch.ones(50, 8))) == pytest.approx(0, abs=1e-6)
    assert float(measure_spread(torch.randn(4000, 64, generator=generator))) == pytest.approx(1, abs=0.02)
    # one direction and its opposite: spread in one dimension of four
    poles = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    assert float(measure_spread(poles)) == pytest.approx(0.5)


@pytest.mark.parametrize(("rows", "columns"), [(40, 12), (12, 40)])
def test_effective_rank_is_the_entropy_of_the_singular_values(rows, columns):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    singular = torch.linalg.svdvals(embeddings - embeddings.mean(0))
    shares = singular / singular.sum()
    shares = shares[shares > 1e-9]
    assert float(measure_rank(embeddings)) == pytest.approx(float((-(shares * shares.log()).sum()).exp()), rel=1e-5)


def test_effective_rank_of_known_cases():
    assert float(measure_rank(torch.ones(10, 4))) == 0
    assert measure_rank(torch.tensor([[1.0, 2.0], [torch.inf, 0.0]])).isnan()
    line = torch.arange(10.0)[:, None] * torch.tensor([[1.0, 2.0, 3.0]])
    assert float(measure_rank(line)) == pytest.approx(1, abs=1e-3)
    corners = torch.cat([torch.eye(6), -torch.eye(6)])
    assert float(measure_rank(corners)) == pytest.approx(6, abs=1e-3)


def test_correlation_of_copies_and_of_strangers():
    column = torch.arange(8.0)[:, None]
    assert float(measure_correlation(torch.cat([column, -2 * column, column + 5], dim=1))) == pytest.approx(1, abs=1e-5)
    hadamard = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert float(measure_correlation(hadamard)) == pytest.approx(0, abs=1e-6)


def test_the_watch_warns_once_and_says_when_it_is_over(caplog):
    watch = CollapseWatch("Toy", [Sign("spread", "all alike", "Do less.", low=0.1), Sign("drift", "gone", "Stop.", high=2.0)])
    with caplog.at_level(logging.WARNING):
        for step, spread in ((50, 0.0), (100, 0.05), (110, 0.04), (120, 0.5), (130, 0.01)):
            watch.look({"spread": torch.tensor(spread), "drift": torch.tensor(1.0)}, step)
        watch.look({"drift": torch.tensor(float("nan"))}, 140)  # of an update that the loop leaves out and reports
    assert caplog.messages == [
        "Toy at update 100: spread is 0.05, below 0.1: all alike. Do less.",
        "Toy at update 120: spread is 0.5 again",
        "Toy at update 130: spread is 0.01, below 0.1: all alike. Do less.",
    ]
