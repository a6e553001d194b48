"""Teachers: what turns a waveform into targets, codes of a quantiser or a spectrum.

A teacher has `sampling_rate` and `frame_rate`, and `codebook_sizes` (codes) or `num_bins` (spectra);
`teacher(waveform (batch, samples))` gives (batch, codebooks, frames) int64 or (batch, frames, bins) float32.
"""

from mert_hf.teachers.base import CodeTeacher
from mert_hf.teachers.codec import CodecTeacher
from mert_hf.teachers.cqt import CQTTeacher
from mert_hf.teachers.kmeans import KMeansTeacher, ParallelKMeansTeacher, ResidualKMeansTeacher

CODE_TEACHERS: dict[str, type[CodeTeacher]] = {
    "codec": CodecTeacher,
    "kmeans_parallel": ParallelKMeansTeacher,
    "kmeans_residual": ResidualKMeansTeacher,
}

__all__ = [
    "CODE_TEACHERS",
    "CQTTeacher",
    "CodeTeacher",
    "CodecTeacher",
    "KMeansTeacher",
    "ParallelKMeansTeacher",
    "ResidualKMeansTeacher",
]
