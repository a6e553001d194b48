"""Configuration of MERT-v2 (m-a-p/MERT-v2-30s and -FullSong, 2026): a Conformer on a mel spectrum, 25 frames a second."""

import reprlib

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .configuration_checks_mert import (
    CheckedConfig,
    require,
    require_codebooks,
    require_constant_q,
    require_counts,
    require_dict,
    require_numbers,
    require_parameters,
)
from .remote_code_mert import MERT2_AUTO_MAP
from .sampling_rates_mert import require_sampling_rate
from .windows_mert import FrameGrid

# Frames of the mel spectrum that become one frame of the model: two of the three stages halve them.
MEL_FRAMES = 4
# Seconds that each published model was trained on.
CONTEXT_S = {"30s": 30.0, "fs": 360.0}
# Largest values of sizes, each beyond every published model of this kind.
LARGEST = {
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "num_hidden_layers": 256,
    "num_attention_heads": 16_384,
    "conv_depthwise_kernel_size": 4095,
    "num_mel_bins": 1024,
    "n_fft": 2**16,
    "win_length": 2**16,
    "hop_length": 2**16,
    "rotary_embedding_base": 10**9,
    "classifier_proj_size": 65_536,
    "code_dim": 8192,
    "cqt_bins": 8192,
}
MOST_STAGE_LAYERS = 64
WEIGHTS = ("code_loss_weight", "cqt_loss_weight", "unmasked_loss_weight", "feature_penalty_weight")
SMALL = ("layer_norm_eps", "subsampling_layer_norm_eps", "initializer_range")


@strict
class MERT2Config(CheckedConfig, PreTrainedConfig):
    r"""Everything that defines a MERT-v2. The defaults are those of m-a-p/MERT-v2-30s; its `config.json` loads as it is.

    The fields down to `variant` are the official ones, by their names. Those below are this package's: the authors published
    neither heads nor how the model was trained.

    Args:
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size (`int`, default to 1024, 24, 16 and 4096): Of the
            Conformer.
        conv_depthwise_kernel_size (`int`, defaults to 31): Frames that a block's convolution sees; odd.
        layer_norm_eps (`float`, defaults to 1e-5): Of the Conformer's normalisations.
        rotary_embedding_base (`int`, defaults to 10000): Of the positions in attention.
        sampling_rate (`int`, defaults to 24000): Samples per second. Also readable as `sample_rate`.
        num_mel_bins (`int`, defaults to 128): Bands of the mel spectrum, from 0 Hz to half the rate.
        n_fft, win_length, hop_length (`int`, default to 2048, 2048 and 240): Samples of its transform, of its window and
            between two of its frames (100 a second).
        subsampling_channels (`list[int]`, defaults to bands, 512, hidden size): Widths of the three stages that halve the
            frames twice; the first and the last are given by their neighbours.
        subsampling_depths (`list[int]`, defaults to 3, 4, 5): ConvNeXt layers of each.
        subsampling_layer_norm_eps (`float`, defaults to 1e-6): Of their normalisations.
        initializer_range (`float`, defaults to 0.02): Standard deviation of fresh weights.
        variant (`str`, defaults to "30s"): "30s" or "fs", the full-song model.
        context_seconds (`float`, defaults to 30, or 360 for "fs"): Longest clips of the training. Nothing enforces it; windows
            of long audio are that long by default.
        inputs_to_logits_ratio (`int`): 4 * hop_length, samples between two frames (960); follows from the others, whatever is
            given, as do `frame_rate` (25.0) and `minimum_input_samples` (n_fft / 2 + 1 = 1025).
        hidden_states_include_input (`bool`, defaults to False): Whether `hidden_states` begins with the input of the first
            block, as it does in MERT v1 and everywhere in transformers. The official tuple has the outputs of the blocks
            alone: its entry 0 is layer 1. ([`MusicEncoder`], probing and the pipeline give layer 0 either way.)
        short_mel_bins, short_win_length (`int`, default to 0 and 512): Bands of a second transform, and samples of it and of
            its window. They stand beside the others: a long window tells notes apart, a short one tells when they begin.
        mel_mean_db, mel_std_db (`float`, default to 0 and 1): What the buffers `mel_mean` and `mel_std`, by which decibels are
            normalised, hold in a model with fresh weights (of the short transform by as much less as it gives of the same
            sound). [`MERT2Config.small`] brings those of music.
        codebook_sizes, code_offset, code_dim, logit_temperature, learnable_temperature, code_loss_weight, cqt_bins,
            cqt_compression, cqt_log_level, cqt_standardise, cqt_loss_weight, unmasked_loss_weight, feature_penalty_weight: as
            in [`MERTConfig`], of [`MERT2ForPreTraining`] alone; four codebooks by default, as many streams as the authors'
            targets have, and no penalty.
        use_weighted_layer_sum, classifier_proj_size: as in [`HubertConfig`], of the heads on labelled music.

    Raises:
        StrictDataclassError: of huggingface_hub, a value that no model can be built from; see `configuration_checks_mert.py`.
    """

    model_type = "mert2"
    attribute_map = {"sample_rate": "sampling_rate"}
    code_map = MERT2_AUTO_MAP

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    conv_depthwise_kernel_size: int = 31
    layer_norm_eps: float | int = 1e-5
    rotary_embedding_base: float | int = 10_000
    sampling_rate: int = 24_000
    num_mel_bins: int = 128
    n_fft: int = 2048
    win_length: int = 2048
    hop_length: int = 240
    subsampling_channels: list[int] | tuple[int, ...] | None = None
    subsampling_depths: list[int] | tuple[int, ...] = (3, 4, 5)
    subsampling_layer_norm_eps: float | int = 1e-6
    initializer_range: float | int = 0.02
    variant: str = "30s"
    context_seconds: float | int | None = None
    inputs_to_logits_ratio: int | None = None
    frame_rate: float | int | None = None
    minimum_input_samples: int | None = None

    hidden_states_include_input: bool = False
    short_mel_bins: int = 0
    short_win_length: int = 512
    mel_mean_db: float | int = 0.0
    mel_std_db: float | int = 1.0
    codebook_sizes: list[int] | tuple[int, ...] = (1024,) * 4
    code_offset: int = 0
    code_dim: int = 64
    logit_temperature: float | int = 0.1
    learnable_temperature: bool = False
    code_loss_weight: float | int = 1.0
    cqt_bins: int = 336
    cqt_compression: str = "none"
    cqt_log_level: float | int = 0.1
    cqt_standardise: bool = False
    cqt_loss_weight: float | int = 1.0
    unmasked_loss_weight: float | int = 0.0
    feature_penalty_weight: float | int = 0.0
    use_weighted_layer_sum: bool = False
    classifier_proj_size: int = 256

    def __post_init__(self, **kwargs):
        require_numbers(self, ("rotary_embedding_base",), "a number from 1 to 1e9", 1, 1e9)
        require_counts(self, {name: LARGEST[name] for name in ("num_mel_bins", "hop_length", "n_fft")})
        require_counts(self, {"short_mel_bins": LARGEST["num_mel_bins"]}, smallest=0)
        require_sampling_rate(self.sampling_rate, "MERT2Config: sampling_rate")
        self.rotary_embedding_base = int(self.rotary_embedding_base)
        if self.subsampling_channels is None:
            self.subsampling_channels = (self.num_bands, 512, self.hidden_size)
        if self.context_seconds is None:
            self.context_seconds = CONTEXT_S.get(self.variant, CONTEXT_S["30s"])
        self.inputs_to_logits_ratio = MEL_FRAMES * self.hop_length
        self.frame_rate = self.sampling_rate / self.inputs_to_logits_ratio
        self.minimum_input_samples = self.n_fft // 2 + 1
        super().__post_init__(**kwargs)

    @classmethod
    def mert2_30s(cls, **changes) -> "MERT2Config":
        """MERT-v2-30s: 632,295,808 parameters. The defaults of the class."""
        return cls(**changes)

    @classmethod
    def mert2_full_song(cls, **changes) -> "MERT2Config":
        """MERT-v2-FullSong: the same model, trained on with whole songs of up to six minutes."""
        return cls(**{"variant": "fs", **changes})

    @classmethod
    def small(cls, **changes) -> "MERT2Config":
        """Ours: three blocks of 256 that two CPU cores train; 5,337,504 parameters without heads.

        Bands are finer than the published models', so that low notes lie apart, and stand beside those of a transform of 21 ms,
        which tells when notes begin. Mean and deviation are those of music: over all bands of 19 pieces of all kinds, -2.3 and
        22.4 dB.
        """
        fields = dict(
            hidden_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=768,
            num_mel_bins=192,
            n_fft=4096,
            win_length=4096,
            short_mel_bins=32,
            subsampling_depths=(1, 1, 1),
            mel_mean_db=-2.0,
            mel_std_db=22.0,
            context_seconds=10.0,
            code_dim=32,
        )
        fields |= changes
        widths = (fields["num_mel_bins"] + fields["short_mel_bins"], 224, fields["hidden_size"])
        return cls(**{"subsampling_channels": widths, **fields})

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """Read a configuration; one of another kind of model is refused, not read as a MERT-v2.

        Raises:
            ValueError: it is no dict, holds a value that is not taken, or the model type is not `mert2`.
        """
        require_dict(cls, config_dict)
        found = config_dict.get("model_type", cls.model_type)
        if found != cls.model_type:
            known = " It is a MERT v0 or v1: MERTConfig and MERTModel read it." if found == "mert_model" else ""
            raise ValueError(f"model_type {reprlib.repr(found)} is not MERT-v2; MERT2Config reads 'mert2'.{known}")
        return super().from_dict(config_dict, **kwargs)

    @property
    def num_bands(self) -> int:
        """Bands of both transforms: what the subsampler is given."""
        return self.num_mel_bins + self.short_mel_bins

    @property
    def hop_samples(self) -> int:
        """Samples between two frames (960)."""
        return self.inputs_to_logits_ratio

    @property
    def padding_invariant(self) -> bool:
        """Whether a padded clip gives the features it gives alone, where an `attention_mask` is passed: always."""
        return True

    @property
    def frame_grid(self) -> FrameGrid:
        """How samples become frames: those of the grid alone, and none of a clip shorter than half a transform.

        A frame is made of four of the spectrum, centred on its samples 0, 240, 480 and 720.
        """
        centre = (MEL_FRAMES - 1) * self.hop_length / 2
        return FrameGrid(self.sampling_rate, self.hop_samples, self.hop_samples, self.minimum_input_samples, centre)

    def validate_mert2(self):
        """Refuse values that no model can be built from; called by `@strict` whenever a configuration is made."""
        require_counts(self, LARGEST)
        require_numbers(self, SMALL, "a positive number, at most 1", 0, 1, open_at="low")
        require_numbers(self, WEIGHTS, "a weight from 0 to 1e6", 0, 1e6)
        require_numbers(self, ("logit_temperature", "context_seconds"), "a positive number, at most 1e6", 0, 1e6, open_at="low")
        require_numbers(self, ("mel_mean_db",), "decibels from -1000 to 1000", -1000, 1000)
        require_numbers(self, ("mel_std_db",), "decibels above 0, at most 1000", 0, 1000, open_at="low")
        require(self, self.variant in CONTEXT_S, "variant", " or ".join(map(repr, CONTEXT_S)))
        heads, width = self.num_attention_heads, self.hidden_size
        is_divisor = width % heads == 0 and width // heads % 2 == 0
        require(self, is_divisor, "num_attention_heads", f"a divisor of hidden_size={width} that leaves each head an even size")
        require(self, self.conv_depthwise_kernel_size % 2 == 1, "conv_depthwise_kernel_size", "an odd number")
        fits = self.n_fft % 2 == 0 and self.n_fft >= self.win_length
        require(self, fits, "n_fft", f"an even number, {self.win_length} (win_length) or more")
        fits = self.short_win_length % 2 == 0 and 2 <= self.short_win_length <= self.n_fft
        require(self, fits or not self.short_mel_bins, "short_win_length", f"an even number from 2 to {self.n_fft} (n_fft)")
        # a clip of the least length must give a frame
        reaches = self.minimum_input_samples >= self.inputs_to_logits_ratio
        require(self, reaches, "hop_length", f"at most {self.minimum_input_samples // MEL_FRAMES}, an eighth of n_fft")
        self._require_stages()
        require_codebooks(self)
        require_constant_q(self)
        require_parameters(self, self._count_parameters())

    def _require_stages(self) -> None:
        widths, depths = list(self.subsampling_channels), list(self.subsampling_depths)
        is_widths = len(widths) == 3 and widths[0] == self.num_bands and widths[2] == self.hidden_size
        is_widths = is_widths and 1 <= widths[1] <= LARGEST["hidden_size"]
        bands = f"num_mel_bins={self.num_mel_bins}" + f" + short_mel_bins={self.short_mel_bins}" * bool(self.short_mel_bins)
        accepted = f"three widths, from {bands} to hidden_size={self.hidden_size}"
        require(self, is_widths, "subsampling_channels", accepted)
        is_depths = len(depths) == 3 and all(1 <= depth <= MOST_STAGE_LAYERS for depth in depths)
        require(self, is_depths, "subsampling_depths", f"three numbers of layers, each from 1 to {MOST_STAGE_LAYERS}")

    def _count_parameters(self) -> int:
        """Weights of the large matrices: blocks, stages and heads."""
        hidden = self.hidden_size
        blocks = self.num_hidden_layers * (7 * hidden**2 + 4 * hidden * self.intermediate_size)
        stages = sum(
            8 * depth * width**2 for depth, width in zip(self.subsampling_depths, self.subsampling_channels, strict=True)
        )
        codes = self.code_dim * (sum(self.codebook_sizes) + hidden * len(self.codebook_sizes))
        heads = hidden * (self.cqt_bins + self.classifier_proj_size) + self.classifier_proj_size * self.num_labels
        return blocks + stages + codes + heads


__all__ = ["MERT2Config"]
