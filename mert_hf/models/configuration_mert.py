"""Configuration of MERT (arXiv 2306.00107): a HuBERT encoder for music, and heads for the targets of two teachers."""

import reprlib

from huggingface_hub.dataclasses import strict
from transformers import HubertConfig
from transformers.activations import ACT2FN

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
from .remote_code_mert import AUTO_MAP
from .sampling_rates_mert import require_sampling_rate

# Largest values of sizes, each beyond every published model of this kind; what they come to together is limited as well.
LARGEST = {
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "num_hidden_layers": 256,
    "num_attention_heads": 16_384,
    "num_conv_pos_embeddings": 4096,
    "num_conv_pos_embedding_groups": 16_384,
    "mask_time_length": 100_000,
    "mask_feature_length": 16_384,
    "classifier_proj_size": 65_536,
    "code_dim": 8192,
    "cqt_bins": 8192,
    "feature_extractor_cqt_bins": 672,
}
LARGEST_FROM_ZERO = {"mask_time_min_masks": 100_000, "mask_feature_min_masks": 16_384}
MOST_CONVOLUTIONS = 32
DROPPED = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout", "layerdrop")
MASKED = ("mask_time_prob", "mask_feature_prob")
WEIGHTS = ("code_loss_weight", "cqt_loss_weight", "unmasked_loss_weight", "feature_penalty_weight", "feature_grad_mult")


@strict
class MERTConfig(CheckedConfig, HubertConfig):
    r"""Everything that defines a MERT model. The defaults are those of MERT-v1-95M.

    The fields of [`HubertConfig`] describe the encoder; only those whose default differs are repeated here. The fields
    below `codebook_sizes` describe pre-training and are read by [`MERTForPreTraining`] alone.

    Args:
        sample_rate (`int`, defaults to 24000): Samples per second of the audio the model was trained on. Also readable as
            `sampling_rate`. Features come at `sample_rate / 320` frames per second with the default convolutions (75 Hz).
        codebook_sizes (`list[int]`, defaults to eight times 1024): Number of classes of each codebook of the acoustic
            teacher, one entry a codebook (EnCodec at 6 kbit/s: 8 x 1024; MERT, section 3.2). Checkpoints converted from
            fairseq have 1028 each: 1024 codes behind the 4 special symbols of fairseq's dictionary.
        code_offset (`int`, defaults to 0): Added to every label before it is compared with the classes (4 for converted
            official checkpoints, whose first classes are fairseq's special symbols).
        code_dim (`int`, defaults to 64): Size of the space in which frames and codes are compared (`final_dim` in
            fairseq: 64 for 95M, 128 for 330M).
        logit_temperature (`float`, defaults to 0.1): Logits are cosine similarity / temperature (fairseq `logit_temp`).
        learnable_temperature (`bool`, defaults to False): Whether each codebook learns its own temperature, from
            `logit_temperature` on and never below 0.01.
        code_loss_weight (`float`, defaults to 1.0): Weight of the sum over codebooks of the mean cross-entropy.
        cqt_bins (`int`, defaults to 336): Bins of the constant-Q spectrum to predict (7 octaves x 48; MERT, section 3.3).
        cqt_compression (`str`, defaults to "none"): What is predicted of its magnitudes: "none", themselves (the paper),
            "sqrt", their root, or "log", log(1 + magnitude / cqt_log_level).
        cqt_log_level (`float`, defaults to 0.1): Magnitude that is compressed to log 2.
        cqt_standardise (`bool`, defaults to False): Whether the loss of the spectrum is divided by the variance of what is
            predicted, over the masked frames of the batch: 1 is what the mean of each bin would reach.
        cqt_loss_weight (`float`, defaults to 1.0): Weight of the mean squared error of the constant-Q spectrum.
        unmasked_loss_weight (`float`, defaults to 0.0): Weight of both losses on frames that are not masked, beside those on
            masked ones (fairseq `pred_nomask_weight`; the paper: 0).
        feature_penalty_weight (`float`, defaults to 10.0): Weight of the mean square of the convolutional features
            (`loss_weights: [10, 1]` in the official recipes).
        padding_invariant (`bool`, defaults to True): Whether a padded clip gives the features it gives alone, where an
            `attention_mask` is passed: the first normalisation, over time, leaves out padding. The official models count
            padding in, which changes features by up to two standard deviations; False restores that.
        deepnorm (`bool`, defaults to False): Post-norm layers with DeepNorm's residual weights and initialisation.
        attention_relax (`float`, defaults to -1.0): Divisor of the queries where `attn_implementation="relaxed"` is chosen, so
            that their products with the keys stay within float16 (330M: 32), from 0.01 to 1000; -1 is none. It changes no
            number.
        feature_extractor_cqt (`bool`, defaults to False): Whether the encoder is given a constant-Q spectrum beside the
            convolutional features.
        feature_extractor_cqt_bins (`int`, defaults to 336): Bins of that spectrum, over seven octaves.
        feature_extractor_cqt_tolerance (`float`, defaults to 0): Relative error of that spectrum that is accepted for speed: 0
            is exact, 1e-3, with which a run that draws fresh weights begins, a dozen times as fast.
        feature_grad_mult (`float`, defaults to 1.0): Factor on the gradient of the convolutions (fairseq: 0.1 for 95M, 1 for
            330M); 0 freezes them and keeps no graph.
        tie_last_hidden_states (`bool`, defaults to True): Whether `hidden_states[-1]` is `last_hidden_state`, as in the
            official models; otherwise pre-norm models return the state before the last normalisation.

    Raises:
        StrictDataclassError: of huggingface_hub, a value that no model can be built from, or a model of more than 10^10
            parameters; see `configuration_checks_mert.py`.
    """

    model_type = "mert_model"
    attribute_map = {"sampling_rate": "sample_rate"}
    code_map = AUTO_MAP

    # where MERT-v1-95M differs from HuBERT base
    activation_dropout: float | int = 0.0
    feat_proj_dropout: float | int = 0.1
    layerdrop: float | int = 0.05

    sample_rate: int = 24000
    tie_last_hidden_states: bool = True
    padding_invariant: bool = True
    feature_grad_mult: float | int = 1.0

    codebook_sizes: list[int] | tuple[int, ...] = (1024,) * 8
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
    feature_penalty_weight: float | int = 10.0

    # options of the official configuration that no published checkpoint uses
    feature_extractor_cqt: bool = False
    feature_extractor_cqt_bins: int = 336
    feature_extractor_cqt_tolerance: float | int = 0.0
    deepnorm: bool = False
    attention_relax: float | int = -1.0

    @classmethod
    def mert_95m(cls, **changes) -> "MERTConfig":
        """MERT-v1-95M: 12 post-norm layers of 768, 24 kHz; 94,371,712 parameters without heads. The defaults of the class."""
        return cls(**changes)

    @classmethod
    def mert_330m(cls, **changes) -> "MERTConfig":
        """MERT-v1-330M: 24 pre-norm layers of 1024, 24 kHz, no dropout; 315,428,992 parameters without heads."""
        fields = dict(
            hidden_size=1024,
            num_hidden_layers=24,
            num_attention_heads=16,
            intermediate_size=4096,
            do_stable_layer_norm=True,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            feat_proj_dropout=0.0,
            final_dropout=0.0,
            layerdrop=0.0,
            mask_time_prob=0.075,
            attention_relax=32.0,
            code_dim=128,
        )
        return cls(**{**fields, **changes})

    @classmethod
    def mert_v0(cls, **changes) -> "MERTConfig":
        """MERT-v0 and v0-public: the encoder of 95M at 16 kHz, 50 frames a second; 94,371,712 parameters without heads."""
        return cls(**{**dict(sample_rate=16000, activation_dropout=0.1, layerdrop=0.1), **changes})

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """Read a configuration; one of another kind of model is refused, not read as a MERT.

        Raises:
            ValueError: it is no dict, holds a value that is not taken, or the model type is neither `mert_model` nor `hubert`
                (which MERT-v0 was published as at first).
        """
        require_dict(cls, config_dict)
        found = config_dict.get("model_type", cls.model_type)
        if found not in (cls.model_type, "hubert"):
            known = " It is MERT-v2: MERT2Config and MERT2Model read it." if found == "mert2" else ""
            raise ValueError(
                f"model_type {reprlib.repr(found)} is not MERT; MERTConfig reads 'mert_model' and 'hubert'.{known}"
            )
        return super().from_dict(config_dict, **kwargs)

    @property
    def hop_samples(self) -> int:
        """Samples between two frames (320 with the default convolutions)."""
        return self.inputs_to_logits_ratio

    @property
    def frame_rate(self) -> float:
        """Frames per second of the features (75.0 for the 24 kHz models, 50.0 for the 16 kHz ones)."""
        return self.sample_rate / self.hop_samples

    def validate_mert(self):
        """Refuse values that no model can be built from; called by `@strict` whenever a configuration is made."""
        require_sampling_rate(self.sample_rate, "MERTConfig: sample_rate")
        require_counts(self, LARGEST)
        require_counts(self, LARGEST_FROM_ZERO, smallest=0)
        require_numbers(self, DROPPED, "a probability from 0 to below 1", 0, 1, open_at="high")
        require_numbers(self, MASKED, "a share from 0 to 1", 0, 1)
        require_numbers(self, WEIGHTS, "a weight from 0 to 1e6", 0, 1e6)
        require_numbers(self, ("logit_temperature",), "a positive temperature, at most 1e6", 0, 1e6, open_at="low")
        require_numbers(self, ("layer_norm_eps", "initializer_range"), "a positive number, at most 1", 0, 1, open_at="low")
        self._require_convolutions()
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            parts = getattr(self, name)
            require(self, self.hidden_size % parts == 0, name, f"a divisor of hidden_size={self.hidden_size}")
        for name in ("hidden_act", "feat_extract_activation"):
            require(self, getattr(self, name) in ACT2FN, name, f"an activation of transformers: {', '.join(ACT2FN)}")
        require_codebooks(self)
        require_constant_q(self)
        relax = self.attention_relax
        require(self, relax == -1 or 0.01 <= relax <= 1000, "attention_relax", "a divisor from 0.01 to 1000, or -1 for none")
        require(self, not (self.deepnorm and self.do_stable_layer_norm), "deepnorm", "False with do_stable_layer_norm")
        is_octaves = self.feature_extractor_cqt_bins % 7 == 0
        require(self, is_octaves, "feature_extractor_cqt_bins", "a multiple of 7, the octaves it covers")
        tolerance = ("feature_extractor_cqt_tolerance",)
        require_numbers(self, tolerance, "a relative error from 0 (exact) to below 1", 0, 1, open_at="high")
        require_parameters(self, self._count_parameters())

    def _require_convolutions(self) -> None:
        require(self, self.feat_extract_norm in ("group", "layer"), "feat_extract_norm", "'group' or 'layer'")
        for name, most in (("conv_dim", 8192), ("conv_kernel", 1024), ("conv_stride", 1024)):
            sizes = getattr(self, name)
            is_list = 0 < len(sizes) <= MOST_CONVOLUTIONS and len(sizes) == len(self.conv_dim)
            is_list = is_list and all(1 <= size <= most for size in sizes)
            require(self, is_list, name, f"as many numbers as conv_dim has, 1 to {MOST_CONVOLUTIONS}, each from 1 to {most}")

    def _count_parameters(self) -> int:
        """Weights of the large matrices: layers, convolutions and heads."""
        hidden = self.hidden_size
        layers = self.num_hidden_layers * (4 * hidden**2 + 2 * hidden * self.intermediate_size)
        inner = zip((1, *self.conv_dim), self.conv_dim, self.conv_kernel, strict=False)
        convolutions = sum(inputs * outputs * kernel for inputs, outputs, kernel in inner)
        positions = hidden * (hidden // self.num_conv_pos_embedding_groups) * self.num_conv_pos_embeddings
        codes = self.code_dim * (sum(self.codebook_sizes) + hidden * len(self.codebook_sizes))
        heads = hidden * (self.cqt_bins + self.classifier_proj_size) + self.classifier_proj_size * self.num_labels
        return layers + convolutions + positions + codes + heads


__all__ = ["MERTConfig"]
