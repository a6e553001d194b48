"""BEST-RQ's teacher (arXiv 2202.01855; for music: MusicFM, arXiv 2311.03318): codes that nobody learns."""

import math

import torch
import torch.nn.functional as F

from mert_hf.common.seeding import generator
from mert_hf.teachers.centroids import nearest_centroid
from mert_hf.teachers.mel_frames import MelTeacher


class RandomProjectionTeacher(MelTeacher):
    """Projects mel frames at random and takes the nearest of random codes by its cosine; several codebooks are several draws.

    Projections are drawn by Xavier's rule and codes from a normal distribution, scaled to length 1 (BEST-RQ, section 3.1: 8192
    codes of 16 numbers). All that is fitted is mean and deviation of the mel spectrum, without which nearly all frames get one
    code.

    Args:
        codebook_sizes, feature_options, sampling_rate, hop_samples, projection_size: as in [`MelTeacher`].
    """

    kind = form = "random_projection"
    title = "random projection teacher"
    description = "codes of randomly projected mel frames (BEST-RQ)"

    def _least_frames(self):
        return 2  # of a deviation

    def _fit_normalised(self, frames, seed):
        reach = math.sqrt(6 / (self.width + self.projection_size))
        for book, size in enumerate(self.codebook_sizes):
            draws = generator(seed, "random projection", book)
            projection = draws.uniform(-reach, reach, (self.width, self.projection_size))
            codes = draws.standard_normal((size, self.projection_size))
            self._projection(book).copy_(torch.from_numpy(projection))
            self._centroids(book).copy_(F.normalize(torch.from_numpy(codes), dim=-1))

    def _encode_normalised(self, frames):
        codes = []
        for book in range(len(self.codebook_sizes)):
            projected = F.normalize(frames @ self._projection(book), dim=-1)
            codes.append(nearest_centroid(projected, self._centroids(book)))
        return torch.stack(codes, dim=1)
