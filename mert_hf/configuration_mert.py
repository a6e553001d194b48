"""Configuration of MERT (arXiv 2306.00107): a HuBERT encoder for music, and heads for the targets of two teachers."""

from huggingface_hub.dataclasses import strict
from transformers import HubertConfig

from .remote_code_mert import AUTO_MAP, name_code


@strict
class MERTConfig(HubertConfig):
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
        cqt_loss_weight (`float`, defaults to 1.0): Weight of the mean squared error of the constant-Q spectrum.
        feature_penalty_weight (`float`, defaults to 10.0): Weight of the mean square of the convolutional features
            (`loss_weights: [10, 1]` in the official recipes).
        padding_invariant (`bool`, defaults to True): Whether a padded clip gives the features it gives alone, where an
            `attention_mask` is passed: the first normalisation, over time, leaves out padding. The official models count
            padding in, which changes features by up to two standard deviations; False restores that.
        deepnorm (`bool`, defaults to False): Post-norm layers with DeepNorm's residual weights and initialisation.
        attention_relax (`float`, defaults to -1.0): Divisor of the attention scores where `attn_implementation="relaxed"` is
            chosen, for training in float16 (330M: 32). It changes no number otherwise.
        feature_extractor_cqt (`bool`, defaults to False): Whether the encoder is given a constant-Q spectrum beside the
            convolutional features.
        feature_extractor_cqt_bins (`int`, defaults to 336): Bins of that spectrum, over seven octaves.
        feature_grad_mult (`float`, defaults to 1.0): Factor on the gradient of the convolutions (fairseq: 0.1 for 95M, 1 for
            330M); 0 freezes them and keeps no graph.
        tie_last_hidden_states (`bool`, defaults to True): Whether `hidden_states[-1]` is `last_hidden_state`, as in the
            official models; otherwise pre-norm models return the state before the last normalisation.
    """

    model_type = "mert_model"
    attribute_map = {"sampling_rate": "sample_rate"}

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
    cqt_loss_weight: float | int = 1.0
    feature_penalty_weight: float | int = 10.0

    # options of the official configuration that no published checkpoint uses
    feature_extractor_cqt: bool = False
    feature_extractor_cqt_bins: int = 336
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
            ValueError: the model type is neither `mert_model` nor `hubert` (which MERT-v0 was published as at first).
        """
        found = config_dict.get("model_type", cls.model_type)
        if found == "mert2":
            raise ValueError(
                "model_type 'mert2' is MERT-v2 (m-a-p/MERT-v2-30s, -FullSong; 2026): a Conformer on mel spectra with 632 M"
                " parameters, another architecture than MERT v0 and v1, which this package holds; its page tells how to load"
                " it."
            )
        if found not in (cls.model_type, "hubert"):
            raise ValueError(f"model_type {found!r} is not MERT; MERTConfig reads 'mert_model' and 'hubert'.")
        if __name__.startswith("mert_hf."):
            # a saved folder names its own pipeline; beside the package, which brings the same one, it would only make
            # transformers ask for trust_remote_code
            config_dict = {key: value for key, value in config_dict.items() if key != "custom_pipelines"}
        return super().from_dict(config_dict, **kwargs)

    def save_pretrained(self, *args, **kwargs):
        """Save as everywhere in transformers; what is saved names this code alone, whatever the configuration came with."""
        name_code(self, AUTO_MAP)
        super().save_pretrained(*args, **kwargs)

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
        _require(self.sample_rate > 0, "sample_rate", self.sample_rate, "a positive number of samples per second")
        _require(
            len(self.codebook_sizes) > 0 and all(size >= 2 for size in self.codebook_sizes),
            "codebook_sizes",
            list(self.codebook_sizes),
            "at least one codebook, each with 2 or more classes",
        )
        _require(
            0 <= self.code_offset < min(self.codebook_sizes),
            "code_offset",
            self.code_offset,
            f"0 or more and smaller than every codebook ({min(self.codebook_sizes)} classes)",
        )
        _require(self.code_dim > 0, "code_dim", self.code_dim, "a positive size")
        _require(self.cqt_bins > 0, "cqt_bins", self.cqt_bins, "a positive number of bins (cqt_loss_weight 0 is off)")
        _require(self.logit_temperature > 0, "logit_temperature", self.logit_temperature, "a positive temperature")
        for name in ("code_loss_weight", "cqt_loss_weight", "feature_penalty_weight"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "a weight of 0 or more")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            parts = getattr(self, name)
            _require(parts > 0 and self.hidden_size % parts == 0, name, parts, f"a divisor of hidden_size={self.hidden_size}")
        _require(self.num_hidden_layers > 0, "num_hidden_layers", self.num_hidden_layers, "1 or more")
        _require(self.attention_relax != 0, "attention_relax", self.attention_relax, "a positive divisor, or -1 for none")
        for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "a probability from 0 to below 1")
        _require(self.feature_grad_mult >= 0, "feature_grad_mult", self.feature_grad_mult, "a factor of 0 or more")
        _require(not (self.deepnorm and self.do_stable_layer_norm), "deepnorm", True, "False with do_stable_layer_norm")
        bins = self.feature_extractor_cqt_bins
        _require(bins > 0 and bins % 7 == 0, "feature_extractor_cqt_bins", bins, "a multiple of 7, the octaves it covers")


def _require(condition: bool, name: str, given: object, accepted: str) -> None:
    if not condition:
        raise ValueError(f"MERTConfig got {name}={given!r}; accepted: {accepted}.")


__all__ = ["MERTConfig"]
