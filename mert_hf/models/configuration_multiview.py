"""Configuration of the multi-view music encoder: a small ResNet on mel spectra that maps four seconds to one vector."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_checks_mert import CheckedConfig, require, require_counts, require_numbers, require_parameters
from .remote_code_mert import MULTIVIEW_AUTO_MAP
from .sampling_rates_mert import require_sampling_rate

# Largest values of sizes, each far beyond the models of the comparison.
LARGEST = {
    "clip_samples": 2**24,
    "mel_bins": 1024,
    "fft_samples": 16_384,
    "hop_samples": 2**19,
    "width": 256,
    "num_attention_heads": 8192,
    "hidden_size": 16_384,
}
MOST_BLOCKS = 64


@strict
class MultiViewConfig(CheckedConfig, PreTrainedConfig):
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

    Raises:
        StrictDataclassError: of huggingface_hub, a value that no model can be built from; see `configuration_checks_mert.py`.
    """

    model_type = "multiview_music"
    attribute_map = {"sampling_rate": "sample_rate"}
    code_map = MULTIVIEW_AUTO_MAP

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
        require_sampling_rate(self.sample_rate, "MultiViewConfig: sample_rate")
        require_counts(self, LARGEST)
        require(self, self.width % 2 == 0, "width", "a positive even number of channels")
        require_numbers(self, ("max_hz", "range_db"), "a positive number, at most 1e6", 0, 1e6, open_at="low")
        require_numbers(self, ("min_hz",), f"0 to below max_hz={self.max_hz}", 0, self.max_hz, open_at="high")
        counts = list(self.blocks)
        is_counts = len(counts) == 4 and all(0 < count <= MOST_BLOCKS for count in counts)
        require(self, is_counts, "blocks", f"four counts above 0, at most {MOST_BLOCKS}")
        channels = 32 * self.width
        is_divisor = channels % self.num_attention_heads == 0
        require(self, is_divisor, "num_attention_heads", f"a divisor of the {channels} channels (32 x width)")
        require(self, self.mel_bins >= 32, "mel_bins", "32 or more: the stages halve the spectrum five times")
        shortest = 31 * self.hop_samples
        is_long = self.clip_samples >= shortest
        require(self, is_long, "clip_samples", f"{shortest} or more: 32 frames of the spectrum")
        require_parameters(self, self.pooled_positions * channels + channels * (3 * channels + self.hidden_size))


__all__ = ["MultiViewConfig"]
