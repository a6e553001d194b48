"""Which layer of MERT-v1-95M carries what: a place to begin, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerAdvice:
    """The layer that MERT's authors read for a task.

    Attributes:
        task: what is to be told from the features.
        dataset: on which they chose the layer.
        layer: for [`MusicEncoder.encode`]: 0 is the input of the first layer, 1 its output, 12 the last. "all" where they
            weigh all layers.
    """

    task: str
    dataset: str
    layer: int | str


LAYER_GUIDE = (
    LayerAdvice("pitch", "NSynth", 2),
    LayerAdvice("singer", "VocalSet", 3),
    LayerAdvice("emotion", "EMO", 6),
    LayerAdvice("instrument, one note", "NSynth", 7),
    LayerAdvice("mood tags", "MTG-Jamendo", 7),
    LayerAdvice("tags", "MTG-Jamendo top 50", 7),
    LayerAdvice("genre", "GTZAN", 8),
    LayerAdvice("genre tags", "MTG-Jamendo", 8),
    LayerAdvice("key", "GiantSteps", 9),
    LayerAdvice("singing technique", "VocalSet", 10),
    LayerAdvice("instrument tags", "MTG-Jamendo", "all"),
    LayerAdvice("tags", "MagnaTagATune", "all"),
)
"""From the authors' demonstration (m-a-p's Space, app.py), which counts from the output of the first layer as 0; here 1."""
