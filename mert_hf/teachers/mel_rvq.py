"""MuQ's teacher (arXiv 2501.01108): residual codebooks behind linear projections, learnt by reconstructing the mel spectrum."""

import torch

from mert_hf.common.errors import InputError
from mert_hf.teachers.centroids import fit_centroids, nearest_centroid
from mert_hf.teachers.mel_frames import MelTeacher


class MelRVQTeacher(MelTeacher):
    """Each codebook codes a linear projection of what the ones before it left over of the mel frame.

    MuQ trains projections, codes and a linear decoder by gradient to reconstruct the frame, with a commitment loss (section
    3.2). What minimises that one codebook after the other is known without: principal components of what is left over, and
    k-means of them; the decoder is the transposed projection. Trained on by gradient, from there, all together, with MuQ's
    losses, they lost: of music held out 29.5 % of the variance were left by four codebooks of 256 before, 30.1 % after 300
    updates at a rate of 1e-4, and 31.4 % at 1e-3; of the music they were fitted on 9.63 and 9.66 %.

    Args:
        codebook_sizes, feature_options, sampling_rate, hop_samples, projection_size: as in [`MelTeacher`].
    """

    kind = form = "mel_rvq"
    title = "Mel-RVQ teacher"
    description = "residual codes of linearly projected mel frames, learnt by reconstruction (Mel-RVQ)"

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if self.projection_size > self.width:
            raise InputError(f"projection_size={self.projection_size} is more than a frame has numbers: {self.width}.")

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """(batch, codebooks, frames) codes of the first codebooks -> (batch, frames, width) normalised mel frames."""
        return sum(self._centroids(book)[codes[:, book]] @ self._projection(book).T for book in range(codes.shape[1]))

    def _fit_normalised(self, frames, seed):
        residual = frames
        for book, size in enumerate(self.codebook_sizes):
            # around 0, not around the mean, as nothing is subtracted before a projection
            components = torch.linalg.eigh(residual.T @ residual).eigenvectors
            projection = components[:, -self.projection_size :].contiguous()
            projected = residual @ projection
            centroids = fit_centroids(projected, size, seed + book)
            self._projection(book).copy_(projection)
            self._centroids(book).copy_(centroids)
            residual = residual - centroids[nearest_centroid(projected, centroids)] @ projection.T

    def _encode_normalised(self, frames):
        codes, residual = [], frames
        for book in range(len(self.codebook_sizes)):
            projection, centroids = self._projection(book), self._centroids(book)
            codes.append(nearest_centroid(residual @ projection, centroids))
            residual = residual - centroids[codes[-1]] @ projection.T
        return torch.stack(codes, dim=1)
