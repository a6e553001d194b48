"""How labels, splits and groups are read of labelled music."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from mert_hf.common.settings import check_values, require, setting

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
"""As in transformers' configurations: one label a track, several, or numbers."""

# of the splits where none are given
SEED = 1337
# length of a clip in seconds, where nothing else is said
CLIP_S = 5.0


@dataclass
class LabelReading:
    """Columns of the table, shares of the splits, and which tracks are skipped."""

    # of the settings that it is, before the names in messages
    section: ClassVar[str] = ""

    label_columns: list[str] = setting(["label"], "column of the label; several for regression on several numbers")
    label_separator: str = setting(";", "between the labels of one track, for multi_label_classification")
    split_column: str = setting(
        "split", "column with train, validation, test; used where it exists, before folders of these names"
    )
    group_column: str = setting("group", "column of what must not be torn apart (artist, album); used where it exists")
    validation_share: float = setting(0.15, "share of the tracks that choose the best epoch, where no split is given")
    test_share: float = setting(0.2, "share of the tracks that are measured at the end, where no split is given")
    min_track_s: float = setting(0.5, "shorter tracks are skipped", above=0, most=86_400)
    max_skipped: float = setting(0.1, "largest share of tracks that may be unusable", least=0, most=1)

    def __post_init__(self):
        check_values(self, self.section)
        prefix = f"{self.section}." if self.section else ""
        for name in ("validation_share", "test_share"):
            require(0 < getattr(self, name) <= 0.5, f"{prefix}{name}={getattr(self, name)} must lie within (0, 0.5].")
        require(len(self.label_columns) > 0, f"{prefix}label_columns is empty; name the column of the label.")

    def require_columns(self, problem_type: ProblemType, name: str = "problem_type") -> None:
        """Refuse, with InputError, several columns where there is one label; `name` is what the problem type is called."""
        prefix = f"{self.section}." if self.section else ""
        require(
            len(self.label_columns) == 1 or problem_type == "regression",
            f"{prefix}label_columns={list(self.label_columns)}: several columns are for {name} regression.",
        )
