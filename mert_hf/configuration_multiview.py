"""Configuration of the multi-view music encoder: a small ResNet on mel spectra that maps four seconds to one vector."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .remote_code_mert import MULTIVIEW_AUTO_MAP, name_code


@strict
class MultiViewConfig(PreTrainedConfig):
    r"""Everything that defines a multi-view encoder. The defaults are Deezer's (Meseguer-Brocal, Desblancs, Hennequin, "An
    experimental comparison of multi-view self-supervised methods for music tagging", section 2.2; 2,800,392 parameters).

    Args:
        sample_rate (`int`, defaults to 16000): Samples per second. Also readable as `sampling_rate`.
        clip_samples (`int`, defaults to 64000): Length of the piece that becomes one vector (4 s); longer audio is cut into
            such pieces.
        peak_normalize (`bool`, defaults to False): Whether every piece is scaled to a peak of 1, so that loudness is no
            feature. Deezer scales whole tracks before they are cut; the recipes here train with True.
        mel_bins (`int`, defaults to 128): Bands of the mel spectrum.
        fft_samples (`int`, defaults to 1024): Length of its transform.
        hop_samples (`int`, defaults to 512): Samples between two of its frames.
        min_hz (`float`, defaults to 0.0): Edge of its lowest band.
        max_hz (`float`, defaults to 11025.0): Edge of its highest band. Above half the rate: the last 11 bands are empty, and
            are kept because the released weights expect them.
        range_db (`float`, defaults to 100.0): Its range in decibels below the loudest value of a piece.
        width (`int`, defaults to 16): Channels behind the stem; the last stage has 32 times as many.
        blocks (`list[int]`, defaults to (3, 4, 6, 3)): Bottleneck blocks of each of the four stages.
        num_attention_heads (`int`, defaults to 8): Heads of the attention that pools a piece.
        hidden_size (`int`, defaults to 1024): Size of the vector.
    """

    model_type = "multiview_music"
    attribute_map = {"sampling_rate": "sample_rate"}

    sample_rate: int = 16000
    clip_samples: int = 64000
    peak_normalize: bool = False
    mel_bins: int = 128
    fft_samples: int = 1024
    hop_samples: int = 512
    min_hz: float | int = 0.0
    max_hz: float | int = 11025.0
    range_db: float | int = 100.0
    width: int = 16
    blocks: list[int] | tuple[int, ...] = (3, 4, 6, 3)
    num_attention_heads: int = 8
    hidden_size: int = 1024

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """Read a configuration."""
        if __name__.startswith("mert_hf."):
            # beside the package, which brings the same pipeline, a saved one would only make transformers ask for trust
            config_dict = {key: value for key, value in config_dict.items() if key != "custom_pipelines"}
        return super().from_dict(config_dict, **kwargs)

    def save_pretrained(self, *args, **kwargs):
        """Save as everywhere in transformers; what is saved names this code alone, whatever the configuration came with."""
        name_code(self, MULTIVIEW_AUTO_MAP)
        super().save_pretrained(*args, **kwargs)

    @property
    def frame_rate(self) -> float:
        """Vectors per second (0.25)."""
        return self.sample_rate / self.clip_samples

    @property
    def pooled_positions(self) -> int:
        """Places of the spectrum behind the last stage, over which is pooled (4 x 3)."""
        return (self.mel_bins // 32) * ((self.clip_samples // self.hop_samples + 1) // 32)

    def validate_multiview(self):
        """Refuse values that no model can be built from; called by `@strict` whenever a configuration is made."""
        for name in ("sample_rate", "clip_samples", "fft_samples", "hop_samples", "max_hz", "range_db", "num_attention_heads"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        _require(self.width > 0 and self.width % 2 == 0, "width", self.width, "a positive even number of channels")
        _require(0 <= self.min_hz < self.max_hz, "min_hz", self.min_hz, f"0 to below max_hz={self.max_hz}")
        _require(
            len(self.blocks) == 4 and all(count > 0 for count in self.blocks),
            "blocks",
            list(self.blocks),
            "four counts above 0",
        )
        _require(self.hidden_size > 0, "hidden_size", self.hidden_size, "a positive size")
        heads = self.num_attention_heads
        channels = 32 * self.width
        _require(channels % heads == 0, "num_attention_heads", heads, f"a divisor of the {channels} channels (32 x width)")
        _require(self.mel_bins >= 32, "mel_bins", self.mel_bins, "32 or more: the stages halve the spectrum five times")
        shortest = 31 * self.hop_samples
        _require(
            self.clip_samples >= shortest, "clip_samples", self.clip_samples, f"{shortest} or more: 32 frames of the spectrum"
        )


def _require(condition: bool, name: str, given: object, accepted: str) -> None:
    if not condition:
        raise ValueError(f"MultiViewConfig got {name}={given!r}; accepted: {accepted}.")


__all__ = ["MultiViewConfig"]
