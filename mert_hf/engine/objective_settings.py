"""Settings of the objectives beside MERT's own. The defaults are those of the papers or of their code."""

from dataclasses import dataclass
from typing import Any, Literal

from mert_hf.engine.settings import require, setting


@dataclass
class Data2VecSettings:
    """data2vec (fairseq's base_librispeech.yaml), which music2vec takes over."""

    top_layers: int = setting(8, "last layers of the teacher whose mean is predicted")
    beta: float = setting(0.0, "of smooth-L1; 0 is the squared error")
    decay_start: float = setting(0.999, "decay of the moving average at the beginning")
    decay_end: float = setting(0.9999, "and behind decay_steps")
    decay_steps: int = setting(30_000, "updates of the rise between them")
    min_target_std: float = setting(0.1, "standard deviation of the targets below which the run is stopped")
    min_prediction_std: float = setting(0.01, "the same of the predictions")
    first_judged_step: int = setting(5000, "updates before that is judged")

    def __post_init__(self):
        for name in ("decay_start", "decay_end"):
            require(0 <= getattr(self, name) <= 1, f"data2vec.{name}={getattr(self, name)} must lie within 0 and 1.")
        for name in ("beta", "decay_steps", "first_judged_step"):
            require(getattr(self, name) >= 0, f"data2vec.{name}={getattr(self, name)} must be 0 or more.")


@dataclass
class MultiViewSettings:
    """Two crops of data.crop_s of each track (section 2.1 of Deezer's comparison)."""

    encoder: Literal["resnet", "mert"] = setting("resnet", "what is trained; model.* are the fields of its configuration")
    min_distance_s: float = setting(4.0, "least seconds from the beginning of one crop to that of the other")
    max_distance_s: float = setting(16.0, "most seconds from the beginning of one crop to that of the other")
    options: dict[str, Any] = setting({}, "arguments of the objective by name, such as head or temperature")

    def __post_init__(self):
        require(
            0 <= self.min_distance_s <= self.max_distance_s,
            f"multiview.min_distance_s={self.min_distance_s} and max_distance_s={self.max_distance_s} must be 0 or more and"
            " ordered.",
        )

    def check(self, data) -> None:
        """Refuse a corpus of which no pairs can be made."""
        require(not data.streaming, "pairs of crops cannot be read from a stream; leave out data.streaming.")
        needed_s = data.crop_s + self.min_distance_s
        require(
            data.min_track_s >= needed_s,
            f"data.min_track_s={data.min_track_s} is too short for two crops of data.crop_s={data.crop_s},"
            f" multiview.min_distance_s={self.min_distance_s} apart; it must be {needed_s:g} or more.",
        )
