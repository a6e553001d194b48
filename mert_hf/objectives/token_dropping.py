"""Token dropping: two small random parts of a clip are closer to each other than to those of all other clips of the batch.

Myna (arXiv 2502.12511): no augmentation but that nine tenths of a clip's tokens are left out, so pitch and timbre stay what
they are, and the encoder works on a tenth. Its tokens are patches of a mel spectrum; here they are the frames behind the
subsampler of MERT-v2, which are as high as the spectrum, as Myna's vertical patches for keys.
"""

from collections.abc import Sequence

import numpy as np
import torch

from mert_hf.architectures import ARCHITECTURES
from mert_hf.common.errors import InputError
from mert_hf.common.seeding import Draws
from mert_hf.common.settings import require
from mert_hf.objectives.base import Batch, Counts, ObjectiveOutput
from mert_hf.objectives.contrastive import Contrastive

ENCODERS = ", ".join(name for name, architecture in ARCHITECTURES.items() if architecture.can_drop_frames)
VIEWS = 2


def draw_kept_frames(rows: int, frames: int, kept: float, generator: np.random.Generator) -> torch.Tensor:
    """(rows, round(kept * frames)) int64: that share of the frames, at least one, drawn for every row, in ascending order."""
    orders = generator.permuted(np.tile(np.arange(frames), (rows, 1)), axis=1)
    return torch.from_numpy(np.sort(orders[:, : max(round(kept * frames), 1)], axis=1))


class TokenDropping(Contrastive):
    """NT-Xent of two random parts of each clip, behind a projector whose layers have the sizes `head`; see [`Contrastive`].

    Args:
        kept: share of a clip's frames in each part, above 0 and at most 1 (Myna: a tenth). The two parts are drawn
            independently of each other.
    """

    def __init__(
        self, model, max_steps: int, head: Sequence[int] = (1024, 1024, 2048), temperature: float = 0.1, kept: float = 0.1
    ):
        super().__init__(model, max_steps, head, temperature)
        if not 0 < kept <= 1:
            raise ValueError(f"kept={kept} must lie above 0 and be at most 1.")
        self.kept = kept

    @classmethod
    def check(cls, settings):
        encoder = settings.multiview.encoder
        require(
            ARCHITECTURES[encoder].can_drop_frames,
            f"multiview.encoder={encoder} cannot leave out frames, as objective {settings.objective} does; give {ENCODERS}.",
        )
        cls._check_options(settings)

    @classmethod
    def pair_distances_s(cls, settings):
        return None

    @classmethod
    def describe(cls, settings, teachers):
        kept = settings.multiview.options.get("kept", cls.options()["kept"])
        return f"{settings.objective}: two parts of a clip of {settings.data.crop_s:g} s agree, each of {100 * kept:g} %"

    @torch.no_grad()
    def prepare(self, waveforms: torch.Tensor, draws: Draws, labels: torch.Tensor | None = None) -> Batch:
        """The clips (batch, samples), and `kept_frames` (2 * batch, kept) int64 of their two parts; also in `eval()`."""
        if waveforms.ndim != 2:
            raise InputError(f"{type(self).__name__} takes clips, (batch, samples); got {tuple(waveforms.shape)}.")
        frames = self.encoder.architecture.count_frames(self.encoder.model, waveforms.shape[1])
        kept = draw_kept_frames(VIEWS * len(waveforms), frames, self.kept, draws.for_batch("kept frames"))
        return {"clips": waveforms, "kept_frames": kept.to(waveforms.device)}

    def count(self, batch: Batch) -> Counts:
        return {"batches": torch.ones((), dtype=torch.int64, device=batch["clips"].device)}

    def forward(self, batch: Batch, totals: Counts) -> ObjectiveOutput:
        """As in [`MultiView`]; spectrum and subsampler, which every frame goes through, are computed once for both parts."""
        vectors = self.encoder.architecture.embed_frames(self.encoder.model, batch["clips"], batch["kept_frames"])
        return self._judge((), vectors.chunk(VIEWS), totals)
