"""Teachers: what turns a waveform into targets, codes of a quantiser or a spectrum.

A teacher has `sampling_rate` and `frame_rate`, and `codebook_sizes` (codes) or `num_bins` (spectra);
`teacher(waveform (batch, samples))` gives (batch, codebooks, frames) int64 or (batch, frames, bins) float32.

A further teacher of codes is one file, a subclass of [`CodeTeacher`], and a line in `CODE_TEACHERS`. What it can be told beside
what every teacher is told is a dataclass of its own (`settings_class`) and stands in recipes below `teacher`. One that is
fitted on the music it codes extends [`FittedTeacher`], which fits, saves and loads it.
"""

from dataclasses import make_dataclass
from typing import Literal

from mert_hf.common.settings import check_values, setting
from mert_hf.teachers.base import CodeTeacher, CodeTeacherSettings
from mert_hf.teachers.codec import CodecTeacher
from mert_hf.teachers.cqt import CQTSettings, CQTTeacher
from mert_hf.teachers.fitted import FittedTeacher
from mert_hf.teachers.kmeans import KMeansTeacher, ParallelKMeansTeacher, ResidualKMeansTeacher
from mert_hf.teachers.mel_rvq import MelRVQTeacher
from mert_hf.teachers.random_projection import RandomProjectionTeacher

CODE_TEACHERS: dict[str, type[CodeTeacher]] = {
    "kmeans": KMeansTeacher,
    "kmeans_residual": ResidualKMeansTeacher,
    "kmeans_parallel": ParallelKMeansTeacher,
    "random_projection": RandomProjectionTeacher,
    "mel_rvq": MelRVQTeacher,
    "codec": CodecTeacher,
}


def teacher_settings() -> type[CodeTeacherSettings]:
    """The section `teacher` of a recipe: what every teacher of `CODE_TEACHERS` can be told, and which of them it is."""
    schemas = dict.fromkeys(teacher.settings_class for teacher in CODE_TEACHERS.values())
    own = [schema for schema in schemas if not any(schema in other.__mro__[1:] for other in schemas)]
    kind = CodeTeacherSettings.__dataclass_fields__["kind"]

    def check(self) -> None:
        check_values(self, "teacher")
        super(schema, self).__post_init__()
        CODE_TEACHERS[self.kind].check(self)

    schema = make_dataclass(
        "TeacherSettings",
        [("kind", Literal[tuple(CODE_TEACHERS)], setting(kind.default, kind.metadata["help"]))],
        bases=tuple(own),
        namespace={"__doc__": CodeTeacherSettings.__doc__, "__module__": __name__, "__post_init__": check},
    )
    return schema


# with the teachers of this package
TeacherSettings = teacher_settings()

__all__ = [
    "CODE_TEACHERS",
    "CQTSettings",
    "CQTTeacher",
    "CodeTeacher",
    "CodeTeacherSettings",
    "CodecTeacher",
    "FittedTeacher",
    "KMeansTeacher",
    "MelRVQTeacher",
    "ParallelKMeansTeacher",
    "RandomProjectionTeacher",
    "ResidualKMeansTeacher",
    "TeacherSettings",
    "teacher_settings",
]
