"""An objective as somebody else would write it, in one file: hear how loud each frame is."""

from dataclasses import dataclass

import torch
import torch.nn as nn

from mert_hf.architectures import ARCHITECTURES
from mert_hf.common.settings import check_values, setting
from mert_hf.objectives import Objective, ObjectiveOutput


@dataclass
class LoudnessSettings:
    """Frames whose loudness is predicted."""

    weight: float = setting(1.0, "of the loss", above=0, most=100)
    quiet_updates: int = setting(100, "updates without a report of loudness", least=0, most=10**9)

    def __post_init__(self):
        check_values(self, "loudness")


class Loudness(Objective):
    """Regression of the logarithm of each frame's power on its hidden state."""

    sections = {"loudness": LoudnessSettings}

    def __init__(self, model, weight: float):
        super().__init__()
        self.model, self.weight = model, weight
        self.head = nn.Linear(model.config.hidden_size, 1)

    @classmethod
    def architecture(cls, settings):
        return ARCHITECTURES["mert"]

    @classmethod
    def counted_in_updates(cls, settings):
        return {"loudness.quiet_updates": settings.loudness.quiet_updates}

    @classmethod
    def describe(cls, settings, teachers):
        return "the loudness of frames"

    @classmethod
    def from_settings(cls, settings, model, teachers):
        return cls(model, settings.loudness.weight)

    @torch.no_grad()
    def prepare(self, waveforms, draws, labels=None):
        frames, hop = self.model.count_frames(waveforms.shape[1]), self.model.config.hop_samples
        power = waveforms[:, : frames * hop].unfold(1, hop, hop).square().mean(-1)
        return {"input_values": waveforms, "loudness": (power + 1e-6).log10()}

    def count(self, batch):
        return {"frames": torch.tensor(batch["loudness"].numel(), device=batch["loudness"].device)}

    def forward(self, batch, totals):
        frames = self.model.count_frames(batch["input_values"].shape[1])
        # none is hidden: without a mask, HuBERT would draw its own from numpy's global state
        mask = torch.zeros(len(batch["input_values"]), frames, dtype=torch.bool)
        hidden = self.model(batch["input_values"], mask_time_indices=mask).last_hidden_state
        predicted = self.head(hidden)[:, : batch["loudness"].shape[1], 0]
        loss = self.weight * (predicted - batch["loudness"]).square().sum() / totals["frames"]
        return ObjectiveOutput(loss, {"loss": loss.detach()})

    def export(self):
        return self.model
