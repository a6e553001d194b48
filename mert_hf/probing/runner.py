"""Judging an encoder on a task: probes of all layers, several seeds, intervals, and runs with little data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mert_hf.common.errors import InputError
from mert_hf.probing.features.encoders import Encoder
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.metrics.separation import median_over_tracks
from mert_hf.probing.probes.bank import WEIGHTED_SUM, ProbeShape
from mert_hf.probing.probes.baselines import Predictions
from mert_hf.probing.probes.benches import BeatBench, Bench, beat_scores, make_bench
from mert_hf.probing.probes.probe_training import train_probes
from mert_hf.probing.probes.readout import EQUAL_SHARES, Readout, Scorer
from mert_hf.probing.probes.separation import separate_tracks, train_separation_probe
from mert_hf.probing.report.intervals import bootstrap_intervals, draw_share, resampled
from mert_hf.tasks.base import Task, TaskData
from mert_hf.tasks.sources import digest

# measures that take long are resampled less often
BOOTSTRAP_DRAWS, SLOW_BOOTSTRAP_DRAWS = 1000, 200
SLOW_KINDS = ("multilabel", "beats")
# folder of separation probes in the cache of features
SEPARATION = "separation"
LIMITED_SHARES, LIMITED_DRAWS = (0.01, 0.05, 0.1, 0.2), 4


@dataclass(frozen=True)
class Judging:
    """How encoders are judged.

    Attributes:
        seeds: of weights, batches and dropout; mean and standard deviation over them are reported.
        head: "mlp" or "linear" in place of the protocol's.
        first_summed: first layer in the weighted sum: 1 is MARBLE's, 0 takes what enters the first layer in as well.
        limited: also train on shares of the training split.
        device: where the probes are.
    """

    seeds: int = 3
    head: str | None = None
    first_summed: int = 1
    limited: bool = False
    device: str = "cpu"


def judge(encoder: Encoder, data: TaskData, extraction: Extraction, judging: Judging) -> dict[str, Any]:
    """Train and score probes on every layer; as JSON can hold it (see `_summary`).

    Raises:
        InputError: data or features that cannot be used.
    """
    if data.task.kind == "separation":
        return _judge_separation(encoder, data, extraction, judging)
    bench = make_bench(encoder, data, extraction)
    data = bench.data
    protocol = data.task.protocol
    if judging.head is not None:
        protocol = replace(protocol, head=judging.head)
    summed = _summed_places(encoder, judging)
    rates = protocol.learning_rates or (protocol.learning_rate,)
    shape = ProbeShape(
        len(encoder.layers),
        bench.hidden_size,
        bench.outputs,
        len(rates),
        protocol.head,
        protocol.hidden_size,
        protocol.dropout if protocol.head == "mlp" else 0.0,
        protocol.bias,
        summed,
    )
    heads = (*encoder.layers, WEIGHTED_SUM)[: shape.heads]
    title = f"{data.task.title}: probes on {encoder.title}"
    device = torch.device(judging.device)
    every = np.repeat(np.array(rates)[:, None], shape.heads, axis=1)
    first = train_probes(bench.feed(), bench.losses, bench.validate, shape, every, protocol, 0, device, title)
    chosen = first.best.argmax(axis=0)
    own = every[chosen, np.arange(shape.heads)][None]
    criteria, answers = [first.best.max(axis=0)], [bench.answers(first.bank, chosen)]
    one, only = replace(shape, rates=1), np.zeros(shape.heads, dtype=np.int64)
    for seed in range(1, judging.seeds):
        again = train_probes(bench.feed(), bench.losses, bench.validate, one, own, protocol, seed, device, title)
        criteria.append(again.best[0])
        answers.append(bench.answers(again.bank, only))
    best = int(np.mean(criteria, axis=0).argmax())
    result = _summary(bench, data, heads, best, answers)
    result |= {
        "probe": protocol.head,
        "protocol": protocol.name,
        "learning_rates": dict(zip(heads, own[0].tolist(), strict=True)),
        "epochs": dict(zip(heads, first.epochs[chosen, np.arange(shape.heads)].tolist(), strict=True)),
        "summed_layers": [encoder.layers[place] for place in summed],
    }
    if summed:
        result["layer_shares"] = first.bank.layer_shares()[chosen[-1]].tolist()
    shares = protocol.limited_shares or (LIMITED_SHARES if judging.limited else ())
    if judging.limited and shares:
        run = lambda few, seed: bench.answers(  # noqa: E731
            train_probes(bench.feed(few), bench.losses, bench.validate, one, own, protocol, seed, device).bank, only
        )[best]
        result["limited"] = _limited(bench, data, shares, protocol.limited_draws or LIMITED_DRAWS, run)
    if isinstance(bench, BeatBench):
        result["activation"] = _example_activation(bench, answers[0][best])
    return result


def require_suitable(judging: Judging, encoder: Encoder, task: Task) -> None:
    """Refuse a judging that would have to pass over a part of what was asked.

    Raises:
        InputError: the weighted sum begins behind the last layer, or a separation is to use another probe or little data.
    """
    _summed_places(encoder, judging)
    asked = [f"--{name}" for name, given in (("probe", judging.head), ("limited", judging.limited)) if given]
    if task.kind == "separation" and asked:
        raise InputError(
            f"{task.name} has an LSTM as its probe and one run on all songs: {' and '.join(asked)} cannot be held; leave out"
            " the one or the other, with --tasks."
        )


def _summed_places(encoder: Encoder, judging: Judging) -> tuple[int, ...]:
    """Places of the layers in the weighted sum; none where there is one layer."""
    if len(encoder.layers) < 2:
        return ()
    if judging.first_summed >= len(encoder.layers):
        raise InputError(
            f"first_summed {judging.first_summed} is no layer of {encoder.title}; layers: {', '.join(encoder.layers)}."
        )
    return tuple(range(judging.first_summed, len(encoder.layers)))


def judge_baseline(data: TaskData, baseline: Callable[[TaskData], Predictions]) -> dict[str, Any]:
    """Score predictions that need no probe; the data is that which an encoder beside it is judged by (`readable`)."""
    predictions = baseline(data)
    if data.task.kind == "separation":
        left_out = median_over_tracks(predictions, data.labels).left_out
        return {"values": _separation_values(data, [predictions]), "left_out": dict(left_out), "notes": list(data.notes)}
    groups = len(data.splits["test"])
    if data.task.kind == "beats":
        beats = [data.target(example) for example in data.splits["test"]]
        score = lambda chosen=None: beat_scores(data, beats, predictions, chosen)  # noqa: E731
    else:
        owners = _window_owners(data) if data.task.aggregation == "window" else np.arange(groups)
        scorer = Scorer(Readout(data), "test", owners)
        groups = scorer.groups
        score = lambda chosen=None: scorer(predictions[owners], chosen)  # noqa: E731
    scores = score()
    intervals = bootstrap_intervals(lambda chosen: [score(chosen).values], groups, _draws(data))
    return {
        "values": {name: _value([value], intervals.get(name)) for name, value in scores.values.items()},
        "left_out": dict(scores.left_out),
        "notes": list(data.notes),
    }


def _window_owners(data: TaskData) -> NDArray[np.int64]:
    """(windows,) the test example of every window, by the lengths of the files: a baseline counts as often as a probe."""
    counts = [len(data.task.windows.spans(example.duration_s())) for example in data.splits["test"]]
    return np.repeat(np.arange(len(counts)), counts)


def _summary(bench: Bench, data: TaskData, heads: Sequence[str], best: int, answers: list[NDArray]) -> dict[str, Any]:
    """Values of the head that validation chose, and of all heads.

    Returns:
        `layer` (the chosen head), `values` {name: value, std, low, high, seeds} of it, `layers` {head: {name: mean}},
        `per_class` by measure, `left_out` and `notes`; for classes also `confusion`, (classes, classes) counts of the first
        seed.
    """
    predictions = [bench.predictions(found[best]) for found in answers]
    scored = [bench.scores(found) for found in predictions]
    layers = {}
    for place, head in enumerate(heads):
        several = (
            scored
            if place == best
            else [bench.scores(bench.predictions(found[place])) for found in answers[: bench.layer_seeds]]
        )
        layers[head] = {name: float(np.mean([scores.values[name] for scores in several])) for name in several[0].values}

    def on(chosen: NDArray) -> list[dict[str, float]]:
        return [bench.scores(found, chosen).values for found in predictions]

    intervals = bootstrap_intervals(on, bench.test_groups, _draws(data))
    result = {
        "layer": heads[best],
        "values": {name: _value([scores.values[name] for scores in scored], intervals.get(name)) for name in scored[0].values},
        "layers": layers,
        "per_class": dict(scored[0].per_class),
        "left_out": dict(scored[0].left_out),
        "notes": [*data.notes, *data.task.ours, *bench.notes],
    }
    protocol = data.task.protocol
    if protocol.test_resamples:
        halves = resampled(on, bench.test_groups, protocol.test_resamples, protocol.test_share)
        for name, (mean, std) in halves.items():
            result["values"][name] |= {"resampled_mean": mean, "resampled_std": std}
    if data.task.kind in ("multiclass", "key"):
        confusion = np.zeros((len(data.labels), len(data.labels)), dtype=np.int64)
        np.add.at(confusion, (bench.test_references, predictions[0]), 1)
        result["confusion"] = confusion.tolist()
    return result


def _limited(bench: Bench, data: TaskData, shares, draws: int, run: Callable[[NDArray, int], NDArray]) -> dict[str, Any]:
    """The monitor with shares of the training split, over draws; layer and learning rate are those of the full run."""
    found = {}
    kind = data.task.kind
    targets = np.zeros(bench.examples) if kind == "beats" else np.array([data.target(one) for one in data.splits["train"]])
    for share in shares:
        values = []
        for number in range(draws):
            few = draw_share(targets, kind, share, 0, number)
            values.append(bench.scores(bench.predictions(run(few, number))).values[data.task.monitor])
        found[str(share)] = {"mean": float(np.mean(values)), "std": float(np.std(values)), "examples": len(few)}
    return found


def _judge_separation(encoder: Encoder, data: TaskData, extraction: Extraction, judging: Judging) -> dict[str, Any]:
    """A mask of all stems from the weighted sum of layers; the learning rate is the protocol's (MARBLE's for one run)."""
    hop_samples = round(encoder.sampling_rate / encoder.frame_rate)
    summed = list(_summed_places(encoder, judging)) or [0]
    embed = lambda waveforms: encoder(waveforms)[:, summed]  # noqa: E731
    model = {**encoder.fingerprint, "summed_layers": summed}
    protocol = data.task.protocol
    kept = digest([model, data.fingerprint, asdict(protocol), encoder.sampling_rate])[:20]
    seeds, trained = [], []
    for seed in range(judging.seeds):
        # every epoch of hours of training is kept, so that a killed run goes on
        checkpoint = extraction.folder / SEPARATION / f"{kept}_{seed}.safetensors"
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        trained.append(
            train_separation_probe(
                embed, data, encoder.sampling_rate, hop_samples, None, seed, judging.device, checkpoint, model
            )
        )
        seeds.append(separate_tracks(embed, trained[-1].probe, data, "test", encoder.sampling_rate, judging.device))
    scored = [median_over_tracks(tracks, data.labels) for tracks in seeds]
    values = _separation_values(data, seeds)
    return {
        "layer": WEIGHTED_SUM,
        "probe": "lstm",
        "protocol": protocol.name,
        "values": values,
        "layers": {WEIGHTED_SUM: {name: value["value"] for name, value in values.items()}},
        "learning_rates": {WEIGHTED_SUM: protocol.learning_rate},
        "epochs": {WEIGHTED_SUM: trained[0].best_epoch},
        "per_class": {"sdr": dict(scored[0].per_class)},
        "left_out": dict(scored[0].left_out),
        "summed_layers": [encoder.layers[place] for place in summed],
        "layer_shares": trained[0].probe.layer_weights.detach().softmax(dim=0).tolist(),
        "notes": [*data.notes, *data.task.ours, "one learning rate, that of the protocol", EQUAL_SHARES],
    }


def _separation_values(data: TaskData, seeds: Sequence[Mapping[str, NDArray]]) -> dict[str, Any]:
    """Values with intervals over tracks, from the SDR of every track by seed."""
    scored = [median_over_tracks(tracks, data.labels) for tracks in seeds]
    names = [*seeds[0]]

    def on(chosen: NDArray) -> list[dict[str, float]]:
        drawn = [(f"{names[place]} ({number})", names[place]) for number, place in enumerate(chosen)]
        return [median_over_tracks({new: tracks[name] for new, name in drawn}, data.labels).values for tracks in seeds]

    intervals = bootstrap_intervals(on, len(names), _draws(data))
    return {name: _value([scores.values[name] for scores in scored], intervals[name]) for name in scored[0].values}


def _example_activation(bench: BeatBench, answers: NDArray) -> dict[str, Any]:
    """The first test example with beats: its activation, the beats found, and the true ones, to be drawn."""
    for place, (activation, times) in enumerate(bench.activations(answers)):
        if len(bench.beats["test"][place]):
            return {
                "example": place,
                "times_s": times.tolist(),
                "activation": activation.tolist(),
                "found_s": bench.track(activation, times).tolist(),
                "true_s": bench.beats["test"][place].tolist(),
            }
    raise InputError(f"{bench.data.task.name}: no track of the test split has a beat.")


def _value(seeds: list[float], interval: tuple[float, float] | None) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {"value": float(np.mean(seeds)), "std": float(np.std(seeds)), "low": low, "high": high, "seeds": seeds}


def _draws(data: TaskData) -> int:
    return SLOW_BOOTSTRAP_DRAWS if data.task.kind in SLOW_KINDS else BOOTSTRAP_DRAWS
