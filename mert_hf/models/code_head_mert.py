"""The head that predicts the acoustic teacher's codes, and its loss."""

from collections.abc import Iterable, Iterator

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import PreTrainedConfig

# of a frame without a code, as in torch's cross-entropy
IGNORED_LABEL = -100
# Learnt temperatures stay above it: logits up to 100, as in CLIP (arXiv 2103.00020, section 2.5).
MIN_TEMPERATURE = 0.01


class MERTCodeHead(nn.Module):
    """Scores every code of every codebook by its cosine similarity to the projected frame (MERT, section 3.2)."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        self.codebook_sizes = list(config.codebook_sizes)
        self.code_offset = config.code_offset
        self.logit_temperature = config.logit_temperature
        # relative to the configured one, so that weight decay draws it there
        self.log_temperatures = None
        if config.learnable_temperature:
            self.log_temperatures = nn.Parameter(torch.zeros(len(self.codebook_sizes)))
        self.projection = nn.Linear(config.hidden_size, len(self.codebook_sizes) * config.code_dim)
        # one table for all codebooks, one below the other, as in the official checkpoints (`label_embs_concat`)
        self.code_embeddings = nn.Parameter(torch.empty(sum(self.codebook_sizes), config.code_dim).uniform_())

    def temperatures(self) -> torch.Tensor:
        """(codebooks,) by which the cosines are divided, in float32."""
        if self.log_temperatures is None:
            return self.code_embeddings.new_full((len(self.codebook_sizes),), self.logit_temperature, dtype=torch.float32)
        return (self.logit_temperature * self.log_temperatures.float().exp()).clamp(min=MIN_TEMPERATURE)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(num_frames, hidden) -> one tensor of logits (num_frames, codebook size) a codebook, in float32."""
        return tuple(self._score(frames, range(len(self.codebook_sizes))))

    def _score(self, frames: torch.Tensor, books: Iterable[int]) -> Iterator[torch.Tensor]:
        projected = self.projection(frames).unflatten(-1, (len(self.codebook_sizes), -1))
        with torch.autocast(frames.device.type, enabled=False):
            # float32 as in fairseq: a cosine divided by 0.1 leaves half precision too few digits
            projected = F.normalize(at_least_float32(projected), dim=-1)
            tables = F.normalize(at_least_float32(self.code_embeddings), dim=-1).split(self.codebook_sizes)
            temperatures = self.temperatures()
            for book in books:
                yield projected[:, book] @ tables[book].T / temperatures[book]

    def loss(
        self, frames: torch.Tensor, labels: torch.Tensor, totals: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score frames against their codes. A codebook without any label here is not computed.

        Args:
            frames: (num_frames, hidden) masked frames.
            labels: (num_frames, codebooks) int64 codes of the teacher, -100 where there is none.
            totals: (codebooks,) number of labels to average over; those of this call by default.

        Returns:
            The sum over codebooks of the mean cross-entropy (), and the accuracy (codebooks,), NaN without a label.

        Raises:
            ValueError: a label lies outside its codebook.
        """
        known = labels != IGNORED_LABEL
        labels = torch.where(known, labels + self.code_offset, labels)
        totals = known.sum(0) if totals is None else totals
        books = self._books_with_labels(labels, known)
        loss = torch.zeros((), device=frames.device)
        correct = [loss.new_zeros(()) for _ in self.codebook_sizes]
        for book, logits in zip(books, self._score(frames, books), strict=True):
            target = labels[:, book]
            loss = loss + F.cross_entropy(logits, target, ignore_index=IGNORED_LABEL, reduction="sum") / totals[book]
            correct[book] = (logits.argmax(-1) == target).sum()
        return loss, torch.stack(correct).detach() / totals

    def _books_with_labels(self, labels: torch.Tensor, known: torch.Tensor) -> list[int]:
        sizes = torch.tensor(self.codebook_sizes, device=labels.device)
        outside = known & ((labels < 0) | (labels >= sizes))
        # one exchange with the device for both questions
        wrong, *used = torch.cat([outside.any()[None], known.any(0)]).tolist()
        if wrong:
            book = int(outside.nonzero()[0, 1])
            code = int(labels[outside][0]) - self.code_offset
            raise ValueError(
                f"label {code} (+ code_offset {self.code_offset}) is outside codebook {book} of {self.codebook_sizes[book]}"
                " classes; the labels come from another teacher than codebook_sizes describes."
            )
        return [book for book, is_used in enumerate(used) if is_used]


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Half precision as float32, all else as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
