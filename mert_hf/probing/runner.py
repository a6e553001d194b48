"""Probing an encoder on a task: probes of all layers, several seeds, intervals, and runs with little data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mert_hf.probing.features.encoders import Encoder
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.metrics import TaskScores
from mert_hf.probing.probes import probe_of
from mert_hf.probing.probes.base import Baseline, Predictions, TaskProbe, TaskScorer, TrainedProbes
from mert_hf.probing.report.intervals import bootstrap_draws, draw_share, percentiles, resampled
from mert_hf.probing.settings import ProbingSettings
from mert_hf.tasks.base import ProbeProtocol, TaskData

# measures that take long are resampled less often
BOOTSTRAP_DRAWS, SLOW_BOOTSTRAP_DRAWS = 1000, 200
LIMITED_SHARES, LIMITED_DRAWS = (0.01, 0.05, 0.1, 0.2), 4


def evaluate_encoder(encoder: Encoder, data: TaskData, extraction: Extraction, settings: ProbingSettings) -> dict[str, Any]:
    """Train probes, of every layer where the kind of task has such, and score the one that the validation split chooses.

    Returns:
        As JSON can hold it: `layer` (the chosen head), `values` {name: value, std, low, high, seeds} of it, `layers` {head:
        {name: mean}}, `per_class` by measure, `left_out`, `notes`, and how the probes were trained; `limited` by share of the
        training split where that was asked, and the `details` of the kind of task.

    Raises:
        InputError: settings, data or features that cannot be used.
    """
    probe = probe_of(data.task)(encoder, data, extraction, settings)
    trained = probe.train()
    protocol = data.task.protocol
    result = _score_heads(probe, trained) | {
        "probe": trained.kinds.get(trained.heads[trained.best], settings.head or protocol.head),
        "protocol": protocol.name,
        "learning_rates": trained.learning_rates,
        "epochs": trained.epochs,
        "summed_layers": [encoder.layers[place] for place in probe.summed],
    }
    if trained.solved:
        result |= {"probes": trained.kinds, "penalties": trained.penalties}
    if trained.layer_shares is not None:
        result["layer_shares"] = trained.layer_shares
    if settings.limited:
        shares, draws = protocol.limited_shares or LIMITED_SHARES, protocol.limited_draws or LIMITED_DRAWS
        result["limited"] = _limited(probe, trained, shares, draws)
    return result | probe.details(trained.answers[0][trained.best])


def evaluate_baseline(data: TaskData, baseline: Baseline) -> dict[str, Any]:
    """Score predictions that need no probe; the data is that which an encoder beside it is given (`TaskProbe.readable`).

    It gives `values`, `left_out` and `notes` as [`evaluate_encoder`].
    """
    kind = probe_of(data.task)
    scorer = kind.test_scorer(data)
    predictions = scorer.by_answer(baseline(data))
    scores = scorer(predictions)
    return {
        "values": _values(scorer, [predictions], [scores], kind.slow_to_score),
        "left_out": dict(scores.left_out),
        "notes": list(data.notes),
    }


def _score_heads(probe: TaskProbe, trained: TrainedProbes) -> dict[str, Any]:
    """Values of the head that validation chose, and of all heads."""
    scorer, best, data = probe.scorer, trained.best, probe.data
    predictions = [probe.predictions(found[best]) for found in trained.answers]
    scored = [scorer(found) for found in predictions]
    layers = {}
    for place, head in enumerate(trained.heads):
        others = trained.answers[: probe.layer_seeds]
        several = scored if place == best else [scorer(probe.predictions(found[place])) for found in others]
        layers[head] = {name: float(np.mean([scores.values[name] for scores in several])) for name in several[0].values}
    return {
        "layer": trained.heads[best],
        # how good it is on the validation split, by what the protocol chooses by
        "validation": float(trained.validation.mean(axis=0)[best]),
        "values": _values(scorer, predictions, scored, probe.slow_to_score, data.task.protocol),
        "layers": layers,
        "per_class": dict(scored[0].per_class),
        "left_out": dict(scored[0].left_out),
        "notes": [*data.notes, *data.task.ours, *probe.notes],
    }


def _values(
    scorer: TaskScorer,
    predictions: Sequence[Predictions],
    scored: Sequence[TaskScores],
    slow: bool,
    protocol: ProbeProtocol | None = None,
) -> dict[str, Any]:
    """Every value: mean and deviation over seeds, an interval over test examples, and the halves that a protocol asks for.

    `draws` are the means over seeds on draws of the `groups` of the test split, of which the interval is made.
    """

    def on(chosen: NDArray[np.int64]) -> list[dict[str, float]]:
        return [scorer(found, chosen).values for found in predictions]

    draws = bootstrap_draws(on, scorer.groups, SLOW_BOOTSTRAP_DRAWS if slow else BOOTSTRAP_DRAWS)
    values = {}
    for name in scored[0].values:
        seeds, (low, high) = [scores.values[name] for scores in scored], percentiles(draws[name])
        values[name] = {"value": float(np.mean(seeds)), "std": float(np.std(seeds)), "low": low, "high": high, "seeds": seeds}
        values[name] |= {"draws": [round(value, 6) for value in draws[name]], "groups": scorer.groups}
    if protocol is not None and protocol.test_resamples:
        halves = resampled(on, scorer.groups, protocol.test_resamples, protocol.test_share)
        for name, (mean, std) in halves.items():
            values[name] |= {"resampled_mean": mean, "resampled_std": std}
    return values


def _limited(probe: TaskProbe, trained: TrainedProbes, shares: Sequence[float], draws: int) -> dict[str, Any]:
    """The monitor with shares of the training split, over draws; layer and learning rate are those of the full run."""
    found = {}
    for share in shares:
        values = []
        for number in range(draws):
            few = draw_share(probe.strata, share, 0, number)
            answers = probe.train_on(few, number, trained)[trained.best]
            values.append(probe.scorer(probe.predictions(answers)).values[probe.data.task.monitor])
        found[str(share)] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "examples": len(few)}
    return found
