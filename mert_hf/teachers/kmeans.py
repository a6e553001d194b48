"""Acoustic teachers fitted on the user's own music: k-means codes of spectra, or of a trained model's hidden states."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from mert_hf.common.errors import InputError
from mert_hf.common.settings import require, setting
from mert_hf.teachers.centroids import fit_centroids, nearest_centroid
from mert_hf.teachers.fitted import FittedDescription, FittedTeacher, FittedTeacherSettings, require_coded


@dataclass
class KMeansSettings(FittedTeacherSettings):
    """The acoustic teacher, whose codes are predicted; with what k-means codes."""

    features: list[str] = setting(
        ["log_mel"], "what k-means codes: log_mel, chroma, constant_q, mfcc, hidden_states, joined_hidden_states"
    )
    books: list[int] | None = setting(
        None, "of kind kmeans, residual codebooks of each feature; null: one each, or all of a single feature"
    )


@dataclass(kw_only=True)
class KMeansDescription(FittedDescription):
    """What `teacher.json` holds; the fields are those of [`KMeansTeacher`]."""

    features: list[str]
    books: list[int] | None = None  # of the form "kmeans"


class KMeansTeacher(FittedTeacher):
    """Codes from the nearest centroids: residual codebooks of each of several features, as many of each as it is told.

    Several features as targets are OMAR-RQ's finding (arXiv 2507.03482); one codebook each is MERT's k-means teacher, several
    of one feature a stand-in for a codec. Each codebook codes what the ones before it left over of its feature.

    Args:
        codebook_sizes: number of centroids of each codebook, feature after feature.
        features, feature_options, sampling_rate, hop_samples: as in [`FittedTeacher`].
        books: codebooks of each feature; by default one each, or all of a single feature.

    Raises:
        InputError: books that are not those of these features and sizes; also as in [`FittedTeacher`].
    """

    settings_class = KMeansSettings
    description_class = KMeansDescription
    kind = form = "kmeans"
    title = "k-means teacher"
    arguments = (*FittedTeacher.arguments, "features", "books")

    def __init__(
        self,
        codebook_sizes: Sequence[int],
        features: Sequence[str],
        feature_options: dict[str, dict] | None = None,
        sampling_rate: int = 24000,
        hop_samples: int = 320,
        books: Sequence[int] | None = None,
    ):
        shared = self.share(codebook_sizes, features, books)  # before features are made, of which there may be absurdly many
        super().__init__(codebook_sizes, features, feature_options, sampling_rate, hop_samples)
        self.books = shared
        for spectrum, numbers in zip(self.spectra, self._books_of_features(), strict=True):
            for book in numbers:
                centroids = torch.full((self.codebook_sizes[book], spectrum.bins), torch.nan)
                self.register_buffer(f"centroids_{book}", centroids)

    @property
    def description(self) -> str:
        """One line for people."""
        counted = ", ".join(f"{books} of {name}" for books, name in zip(self.books, self.features, strict=True))
        return f"residual k-means codes, codebooks: {counted}"

    @classmethod
    def forms(cls):
        """As in [`FittedTeacher`]: all three, whichever of the classes is asked."""
        return {form.form: form for form in (ParallelKMeansTeacher, ResidualKMeansTeacher, KMeansTeacher)}

    @classmethod
    def share(cls, codebook_sizes: Sequence[int], features: Sequence[str], books: Sequence[int] | None) -> list[int]:
        """Codebooks of each feature.

        Raises:
            InputError: they do not add up.
        """
        if books is None:
            books = [len(codebook_sizes)] if len(features) == 1 else [1] * len(features)
        if len(books) != len(features) or min(books, default=0) < 1 or sum(books) != len(codebook_sizes):
            raise InputError(
                f"teacher.books={list(books)} must name 1 or more codebooks for each of the features {list(features)}, together"
                f" as many as codebook_sizes has: {len(codebook_sizes)}."
            )
        return list(books)

    @classmethod
    def from_settings(cls, settings, sampling_rate, hop_samples):
        given = (settings.codebook_sizes, settings.features, settings.feature_options, sampling_rate, hop_samples)
        return cls(*given, books=settings.books)

    @classmethod
    def check(cls, settings):
        known = "books" in cls.arguments or settings.books is None
        require(known, f"teacher.books is for teacher.kind=kmeans; {cls.kind} knows them by itself: leave it out.")
        if settings.folder is not None:
            return
        if "books" in cls.arguments:
            cls.share(settings.codebook_sizes, settings.features, settings.books)
        require_coded(settings.feature_options, settings.features)

    @classmethod
    def describe(cls, settings):
        told = {name: getattr(settings, name) for name in ("kind", "codebook_sizes", "features", "feature_options")}
        if "books" in cls.arguments:
            told["books"] = cls.share(settings.codebook_sizes, settings.features, settings.books)
        return told

    def settings(self):
        own = {name: getattr(self, name) for name in self.arguments if name in ("features", "feature_options", "books")}
        return {**super().settings(), **own}

    def decode(self, codes: torch.Tensor, feature: int = 0) -> torch.Tensor:
        """(batch, codebooks, frames) codes of a feature's first codebooks -> (batch, frames, bins), what they stand for."""
        first = sum(self.books[:feature])
        return sum(self._centroids(first + book)[codes[:, book]] for book in range(codes.shape[1]))

    def _books_of_features(self) -> list[range]:
        return [range(stop - books, stop) for stop, books in zip(accumulate(self.books), self.books, strict=True)]

    def _fit_frames(self, frames, seed):
        """With scikit-learn's mini-batch k-means: k-means++ start, batches of 4096 frames."""
        for residual, books in zip(frames, self._books_of_features(), strict=True):
            for book in books:
                centroids = fit_centroids(residual, self.codebook_sizes[book], seed + book)
                self._centroids(book).copy_(centroids)
                if book < books[-1]:
                    residual = residual - centroids[nearest_centroid(residual, centroids)]

    def _encode(self, frames):
        codes = []
        for residual, books in zip(frames, self._books_of_features(), strict=True):
            for book in books:
                codes.append(nearest_centroid(residual, self._centroids(book)))
                if book < books[-1]:
                    residual = residual - self._centroids(book)[codes[-1]]
        return torch.stack(codes, dim=1)


class ParallelKMeansTeacher(KMeansTeacher):
    """One codebook a feature, each fitted by itself: MERT's k-means variant (300 log-mel and 200 chroma clusters)."""

    kind, form = "kmeans_parallel", "parallel"
    arguments = (*FittedTeacher.arguments, "features")
    description = "k-means codes, one codebook a feature (MERT's k-means teacher)"

    @classmethod
    def share(cls, codebook_sizes, features, books):
        if len(codebook_sizes) != len(features):
            raise InputError(
                f"parallel codebooks need one feature each; got {len(codebook_sizes)} codebooks and the features"
                f" {list(features)}."
            )
        return [1] * len(features)


class ResidualKMeansTeacher(KMeansTeacher):
    """Residual vector quantisation of one feature: each codebook codes what the ones before it left over.

    The local stand-in for EnCodec's residual quantiser where its weights cannot be had; it is not EnCodec, and results made
    with it say so.
    """

    kind, form = "kmeans_residual", "residual"
    arguments = ParallelKMeansTeacher.arguments

    @property
    def description(self):
        if self.features[0].endswith("hidden_states"):
            return "residual k-means codes of hidden states"
        return "residual k-means codes of a spectrum (local stand-in for EnCodec, not EnCodec)"

    @classmethod
    def share(cls, codebook_sizes, features, books):
        if len(features) != 1:
            raise InputError(f"residual codebooks code one feature; got the features {list(features)}.")
        return [len(codebook_sizes)]
