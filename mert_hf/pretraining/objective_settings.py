"""Settings of the objectives beside MERT's own. The defaults are those of the papers or of their code."""

from dataclasses import dataclass
from typing import Any, Literal

from mert_hf.common.settings import check_values, require, setting


@dataclass
class Data2VecSettings:
    """data2vec (fairseq's base_librispeech.yaml), which music2vec takes over."""

    top_layers: int = setting(8, "last layers of the teacher whose mean is predicted", above=0, most=1000)
    beta: float = setting(0.0, "of smooth-L1; 0 is the squared error", least=0, most=1e6)
    decay_start: float = setting(0.999, "decay of the moving average at the beginning", least=0, most=1)
    decay_end: float = setting(0.9999, "and behind decay_steps", least=0, most=1)
    decay_steps: int = setting(30_000, "updates of the rise between them", least=0, most=10**9)
    min_target_std: float = setting(0.1, "standard deviation of the targets below which the run is stopped", least=0, most=1e6)
    min_prediction_std: float = setting(0.01, "the same of the predictions", least=0, most=1e6)
    first_judged_step: int = setting(5000, "updates before that is judged", least=0, most=10**9)

    def __post_init__(self):
        check_values(self, "data2vec")


@dataclass
class MultiViewSettings:
    """Two crops of data.crop_s of each track (section 2.1 of Deezer's comparison)."""

    encoder: Literal["resnet", "mert"] = setting("resnet", "what is trained; model.* are the fields of its configuration")
    min_distance_s: float = setting(
        4.0, "least seconds from the beginning of one crop to that of the other", least=0, most=86_400
    )
    max_distance_s: float = setting(
        16.0, "most seconds from the beginning of one crop to that of the other", least=0, most=86_400
    )
    options: dict[str, Any] = setting({}, "arguments of the objective by name, such as head or temperature")

    def __post_init__(self):
        check_values(self, "multiview")
        require(
            self.min_distance_s <= self.max_distance_s,
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
