"""Small tasks in memory for tests of probing: tones and clicks whose labels can be heard."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mert_hf.tasks.base import Loaded, Source, Task, Windows
from mert_hf.tasks.examples import Example, Waveform
from mert_hf.tasks.protocols import MARBLE

RATE = 16000
QUICK = replace(MARBLE, learning_rates=(1e-3, 1e-2), max_epochs=12, batch_size=16, hidden_size=32, stop_patience=6)


@dataclass(frozen=True)
class Memory(Source):
    """Examples that are there already."""

    splits: dict
    version: str = "1"

    def describe(self):
        return "examples in memory"

    def load(self, folder):
        names = [example.name for examples in self.splits.values() for example in examples]
        fingerprint = hashlib.sha256(repr((names, self.version)).encode()).hexdigest()
        return Loaded(self.splits, (), "memory", {}, fingerprint)


def tone(pitch: float, seconds: float = 0.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time + rng.uniform(0, 6))
    return (sound + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def clicks(period_s: float, seconds: float = 4.0, start_s: float = 0.1, seed: int = 0) -> tuple[np.ndarray, list[float]]:
    rng = np.random.default_rng(seed)
    sound = 0.002 * rng.standard_normal(round(seconds * RATE))
    beats = np.arange(start_s, seconds - 0.05, period_s)
    for beat in beats:
        place = round(beat * RATE)
        burst = rng.standard_normal(400) * np.exp(-np.arange(400) / 80)
        sound[place : place + 400] += burst[: len(sound) - place]
    return sound.astype(np.float32), beats.tolist()


def make_task(splits: dict, kind: str, labels, metrics, monitor, **more) -> Task:
    return Task(
        name=f"test_{kind}",
        title=f"Test {kind}",
        dataset="memory",
        kind=kind,
        source=Memory(splits, more.pop("version", "1")),
        metrics=metrics,
        monitor=monitor,
        labels=tuple(labels),
        **{"protocol": QUICK, **more},
    )


def pitch_task(sizes=(24, 8, 12), classes=4, seconds=0.5, **more) -> Task:
    splits = {}
    for place, (split, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
        splits[split] = [
            Example(
                f"{split} {index}",
                Waveform(tone(50 + 7 * (index % classes), seconds, 1000 * place + index), RATE),
                str(index % classes),
            )
            for index in range(size)
        ]
    return make_task(splits, "multiclass", [str(label) for label in range(classes)], ("accuracy",), "accuracy", **more)


def beat_task(sizes=(6, 2, 3), silent_tracks=0, **more) -> Task:
    splits = {}
    for place, (split, size) in enumerate(zip(("train", "validation", "test"), sizes, strict=True)):
        splits[split] = []
        for index in range(size):
            sound, beats = clicks(0.4 + 0.05 * index, seed=100 * place + index)
            if index < silent_tracks:
                sound, beats = np.zeros_like(sound), []
            splits[split].append(Example(f"{split} {index}", Waveform(sound, RATE), tuple(beats)))
    defaults = {"train_windows": Windows(duration_s=1.0), "random_train_windows": True, "aggregation": "window"}
    return make_task(splits, "beats", (), ("beat_f1",), "beat_f1", **{**defaults, **more})
