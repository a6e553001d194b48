import numpy as np
import pytest
import torch
import torch.nn as nn
from support.probing_tasks import QUICK

from mert_hf.common.errors import InputError
from mert_hf.probing.features.cache import Features, FeatureWindow
from mert_hf.probing.probes import probe_training
from mert_hf.probing.probes.bank import AdamPerProbe, ProbeBank, ProbeShape
from mert_hf.probing.probes.probe_training import TrainingSet, read_probes, train_probes

DEVICE = torch.device("cpu")


def make_bank(head="mlp", dropout=0.0, summed=(1, 2), rates=2, bias=True, outputs=5, width=6):
    torch.manual_seed(0)
    shape = ProbeShape(3, 8, outputs, rates, head, width, dropout, bias, summed)
    mean, deviation = torch.randn(3, 8), torch.rand(3, 8) + 0.5
    return ProbeBank(shape, mean, deviation), mean, deviation


@pytest.mark.parametrize("head", ["mlp", "linear"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("outputs", "width"), [(5, 6), (1, 2)], ids=["sums features", "sums products"])
def test_every_head_is_a_plain_network_on_its_layer(head, bias, outputs, width):
    bank, mean, deviation = make_bank(head, bias=bias, outputs=outputs, width=width)
    with torch.no_grad():
        bank.layer_logits.copy_(torch.tensor([[0.3, -0.2], [1.0, 0.0]]))
    features = torch.randn(4, 3, 8)
    found = bank(features)
    assert found.shape == (2, 4, 4, outputs)
    scaled = (features - mean) / deviation
    for rate in range(2):
        share = bank.layer_logits[rate].exp() / bank.layer_logits[rate].exp().sum()
        inputs = [*scaled.unbind(dim=1), share[0] * scaled[:, 1] + share[1] * scaled[:, 2]]
        for place, values in enumerate(inputs):
            for number, weight in enumerate(bank.weights):
                values = values @ weight[rate, place] + (bank.biases[number][rate, place] if bias else 0)
                if number + 1 < len(bank.weights):
                    values = values.clamp(min=0)
            torch.testing.assert_close(found[rate, place], values)


def test_heads_learn_as_if_each_were_alone_with_torchs_adam():
    bank, mean, deviation = make_bank()
    rates = torch.tensor([[1e-3, 1e-2, 3e-3, 5e-3], [5e-2, 1e-4, 1e-3, 2e-2]])
    optimizer = AdamPerProbe(bank, rates)
    alone = {}
    for rate, place in ((0, 1), (1, 0), (1, 2)):
        net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5))
        with torch.no_grad():
            for linear, weight, bias in zip((net[0], net[2]), bank.weights, bank.biases, strict=True):
                linear.weight.copy_(weight[rate, place].T)
                linear.bias.copy_(bias[rate, place, 0])
        alone[rate, place] = net, torch.optim.Adam(net.parameters(), lr=float(rates[rate, place]))
    for _ in range(5):
        features, targets = torch.randn(16, 3, 8), torch.randint(5, (16,))
        logits = bank(features)
        flat = logits.flatten(0, 1)
        torch.stack([nn.functional.cross_entropy(one, targets) for one in flat]).sum().backward()
        optimizer.step()
        for (rate, place), (net, adam) in alone.items():
            values = net(((features - mean) / deviation)[:, place])
            torch.testing.assert_close(logits[rate, place], values, atol=1e-5, rtol=1e-4)
            adam.zero_grad()
            nn.functional.cross_entropy(values, targets).backward()
            adam.step()


def test_the_weighted_sum_learns_which_layer_knows():
    training_set, _ = separable_set(layer=2)
    shape = ProbeShape(3, 8, 2, 1, "linear", summed=(1, 2))
    trained = train_probes(
        training_set, cross_entropy, lambda bank: np.zeros((1, 4)) + next(counter), shape, RATES, QUICK, 0, DEVICE
    )
    one, two = trained.bank.layer_shares()[0].tolist()
    assert two > one + 0.1 and one + two == pytest.approx(1)


counter = iter(range(10_000))
RATES = np.full((1, 4), 1e-2)


def cross_entropy(logits, targets):
    flat = logits.flatten(0, 1)
    return torch.stack([nn.functional.cross_entropy(one, targets) for one in flat]).view(logits.shape[:2])


def separable_set(layer=1, count=200, seed=0):
    """Features of three layers, of which one holds the class."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(2, size=count)
    features = rng.standard_normal((count, 3, 8)).astype(np.float32)
    features[:, layer, 0] += 3 * (2 * targets - 1)
    kept = Features([features], [[FeatureWindow(0.0, 1)]] * count)
    return TrainingSet(kept, list(np.arange(count)[:, None]), targets), targets


def test_best_epoch_and_stopping_are_those_of_validation_alone():
    training_set, _ = separable_set()
    # head 0 is best at epoch 3, head 1 at epoch 5, and later numbers after they stopped do not count
    script = np.array([[0.1, 0.1], [0.2, 0.2], [0.9, 0.3], [0.4, 0.3], [0.3, 0.5], [0.3, 0.2]] + [[0.0, 0.0]] * 6)
    script[11] = 1.0
    seen = []

    def validate(bank):
        seen.append(bank.snapshot())
        return script[len(seen) - 1][None]

    shape = ProbeShape(2, 8, 2, 1, "linear")
    two = TrainingSet(
        Features([training_set.features.shards[0][:, :2]], training_set.features.windows),
        training_set.rows,
        training_set.targets,
    )
    trained = train_probes(two, cross_entropy, validate, shape, np.full((1, 2), 1e-2), QUICK, 0, DEVICE)
    assert trained.epochs.tolist() == [[3, 5]] and trained.best.tolist() == [[0.9, 0.5]]
    assert len(seen) == 5 + QUICK.stop_patience  # when the second head has not got better for so long
    names = [name for name, _ in trained.bank.named_parameters()]
    weights = names.index("weights.0")
    torch.testing.assert_close(trained.bank.weights[0][0, 0], seen[2][weights][0, 0])
    torch.testing.assert_close(trained.bank.weights[0][0, 1], seen[4][weights][0, 1])


def test_training_is_repeatable_and_seeds_differ():
    training_set, _ = separable_set()
    shape = ProbeShape(3, 8, 2, 1, "mlp", 6, 0.2, True, (1, 2))
    found = [
        train_probes(
            training_set, cross_entropy, lambda bank: np.zeros((1, 4)) + next(counter), shape, RATES, QUICK, seed, DEVICE
        )
        for seed in (0, 0, 1)
    ]
    rows = np.arange(20)
    first, again, other = (read_probes(trained.bank, training_set.features, rows) for trained in found)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_a_batch_in_parts_teaches_what_it_teaches_in_one_piece(monkeypatch):
    training_set, _ = separable_set()
    shape = ProbeShape(3, 8, 2, 1, "mlp", 6, 0.0, True, (1, 2))
    parts = []

    def counting(logits, targets):
        parts.append(logits.shape[2])
        return cross_entropy(logits, targets)

    def train():
        found = train_probes(
            training_set, counting, lambda bank: np.zeros((1, 4)) + next(counter), shape, RATES, QUICK, 0, DEVICE
        )
        return [parameter.detach() for parameter in found.bank.parameters()], read_probes(
            found.bank, training_set.features, np.arange(200)
        )

    whole, answers = train()
    assert {*parts} == {16, 8}
    parts.clear()
    monkeypatch.setattr(probe_training, "INPUT_BYTES", 7 * 4 * shape.heads * 8)  # seven rows: the last part is smaller
    cut, again = train()
    assert {*parts} == {7, 2, 1}
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(answers, again, atol=1e-4)


def test_only_the_layer_that_knows_answers():
    training_set, _ = separable_set(layer=1)
    test, targets = separable_set(layer=1, seed=1)
    shape = ProbeShape(3, 8, 2, 1, "linear")
    rates = np.full((1, 3), 1e-2)
    trained = train_probes(
        training_set, cross_entropy, lambda bank: np.zeros((1, 3)) + next(counter), shape, rates, QUICK, 0, DEVICE
    )
    right = (read_probes(trained.bank, test.features, np.arange(200))[0].argmax(axis=-1) == targets).mean(axis=1)
    assert right[1] > 0.95 and max(right[0], right[2]) < 0.65


def test_crops_and_steps_of_a_training_set():
    features = Features([np.arange(20, dtype=np.float32)[:, None, None]], [[FeatureWindow(0.0, 10)], [FeatureWindow(0.0, 10)]])
    training_set = TrainingSet(features, [np.arange(10), np.arange(10, 20)], np.arange(20)[:, None], crop_rows=4)
    starts = set()
    for epoch in range(20):
        for rows, targets in training_set.epoch(np.random.default_rng(epoch), 2, None):
            values = features.take(rows)
            assert values.shape == (8, 1, 1) and (values[:, 0, 0] == targets[:, 0]).all()
            assert (np.diff(values[:4, 0, 0]) == 1).all()
            starts.add(int(values[0, 0, 0]))
    assert len(starts) > 8
    batches = [len(rows) for rows, _ in training_set.epoch(np.random.default_rng(0), 2, 3)]
    assert batches == [8, 8, 8]


def test_unknown_heads_are_refused():
    with pytest.raises(InputError, match="a probe is 'mlp' or 'linear', not 'lstm'"):
        make_bank("lstm")
