"""A teacher as somebody else would write it, in one file: codes of how loud each frame is."""

from dataclasses import dataclass

import torch

from mert_hf.common.settings import setting
from mert_hf.teachers import CodeTeacher, CodeTeacherSettings


@dataclass
class LoudnessTeacherSettings(CodeTeacherSettings):
    """The acoustic teacher, whose codes are predicted; with what loudness is measured from."""

    floor_db: float = setting(-60.0, "loudness of code 0", least=-200, below=0)


class LoudnessTeacher(CodeTeacher):
    """Steps of equal size from `floor_db` to 0 dB."""

    settings_class = LoudnessTeacherSettings
    kind = "loudness"
    description = "loudness in steps"
    frame_local = True
    piece_s = 30.0

    def __init__(self, codebook_sizes, floor_db, sampling_rate, hop_samples):
        super().__init__()
        self.codebook_sizes, self.floor_db = list(codebook_sizes), floor_db
        self.sampling_rate, self.frame_rate = sampling_rate, sampling_rate / hop_samples
        self.hop_samples = self.context_samples = hop_samples

    @classmethod
    def from_settings(cls, settings, sampling_rate, hop_samples):
        return cls(settings.codebook_sizes, settings.floor_db, sampling_rate, hop_samples)

    @classmethod
    def describe(cls, settings):
        return {"kind": cls.kind, "codebook_sizes": list(settings.codebook_sizes), "floor_db": settings.floor_db}

    def settings(self):
        return {**super().settings(), "floor_db": self.floor_db}

    @torch.no_grad()
    def forward(self, waveform):
        frames = torch.nn.functional.pad(waveform, (0, self.hop_samples)).unfold(1, self.hop_samples, self.hop_samples)
        loudness = 10 * (frames.square().mean(-1) + 1e-12).log10()
        share = (1 - loudness / self.floor_db).clamp(0, 1)
        return torch.stack([(share * (size - 1)).round().long() for size in self.codebook_sizes], dim=1)
