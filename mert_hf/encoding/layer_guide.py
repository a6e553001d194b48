"""Which layer of a published model carries what: a place to begin, as data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerAdvice:
    """The layer that MERT's authors read for a task.

    Attributes:
        task: what is to be told from the features.
        dataset: on which they chose the layer.
        layer: for [`MusicEncoder.encode`]: 0 is the input of the first layer, 1 its output. "all" where they use all layers.
        learning_rate: of their probe on it, where they tell.
    """

    task: str
    dataset: str
    layer: int | str
    learning_rate: float | None = None


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

MERT2_30S_GUIDE = (
    LayerAdvice("tags", "MagnaTagATune", 22, 1e-3),
    LayerAdvice("key", "GiantSteps", 4, 1e-3),
    LayerAdvice("genre", "GTZAN", 23, 5e-3),
    LayerAdvice("beats", "GTZAN-Rhythm", 21, 1e-3),
    LayerAdvice("emotion", "EMO", "all", 5e-5),
    LayerAdvice("instrument tags", "MTG-Jamendo", 14, 1e-3),
    LayerAdvice("mood tags", "MTG-Jamendo", 16, 1e-3),
    LayerAdvice("genre tags", "MTG-Jamendo", 19, 1e-3),
    LayerAdvice("tags", "MTG-Jamendo top 50", 13, 1e-3),
    LayerAdvice("chords", "Chords1217", "all", 1e-4),
)
MERT2_FULL_SONG_GUIDE = (
    LayerAdvice("tags", "MagnaTagATune", 23, 1e-3),
    LayerAdvice("key", "GiantSteps", 23, 1e-3),
    LayerAdvice("genre", "GTZAN", 24, 5e-4),
    LayerAdvice("beats", "GTZAN-Rhythm", 23, 1e-3),
    LayerAdvice("emotion", "EMO", 24, 5e-4),
    LayerAdvice("instrument tags", "MTG-Jamendo", 12, 1e-3),
    LayerAdvice("mood tags", "MTG-Jamendo", 13, 1e-3),
    LayerAdvice("genre tags", "MTG-Jamendo", 16, 1e-3),
    LayerAdvice("tags", "MTG-Jamendo top 50", 22, 1e-3),
    LayerAdvice("chords", "Chords1217", "all", 5e-4),
)
"""From the card of m-a-p/MERT-v2-FullSong (MARBLE, frozen encoder, a probe on one layer or an MLP on all 24), whose layer 1 is
the output of the first block, as here; it is entry 0 of the official `hidden_states`."""

LAYER_GUIDES = {
    "m-a-p/MERT-v1-95M": LAYER_GUIDE,
    "m-a-p/MERT-v1-330M": (),  # of which its authors tell none
    "m-a-p/MERT-v2-30s": MERT2_30S_GUIDE,
    "m-a-p/MERT-v2-FullSong": MERT2_FULL_SONG_GUIDE,
}
