"""MERT (arXiv 2306.00107): the encoder and its pre-training heads, in transformers' conventions."""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import HubertModel, HubertPreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import AttentionInterface
from transformers.models.hubert.modeling_hubert import (
    HubertEncoder,
    HubertEncoderLayer,
    HubertEncoderStableLayerNorm,
    HubertFeatureEncoder,
    HubertFeatureProjection,
    HubertGroupNormConvLayer,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .classification_heads_mert import ClipClassification, FrameClassification
from .code_head_mert import MERTCodeHead, at_least_float32
from .configuration_mert import MERTConfig
from .feature_extraction_mert import MERTFeatureExtractor  # noqa: F401, what is imported here travels along
from .model_inputs_mert import (
    repeat_for_masks,
    require_exact_attention,
    require_right_padding,
    require_waveforms,
    wants_hidden_states,
)
from .pipeline_mert import MERTFeatureExtractionPipeline  # noqa: F401
from .pretraining_heads_mert import MaskedPredictionHeads
from .spectra_mert import ConstantQSpectrum


def relaxed_attention_forward(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """Attention for training in float16, chosen with `attn_implementation="relaxed"` (MERT, section 4.3).

    softmax(q k / sqrt(d)) = softmax(c * ((q/c) k / sqrt(d))) for any c. Dividing the queries by c = `config.attention_relax`
    before they meet the keys keeps their products within float16's range; multiplied again, and from there on to the weights,
    the scores are in float32. The numbers are those of plain attention, whatever c is (-1: as 1) and for every mask: to be
    added, or True where is looked, and zeros where nothing may be looked at. (The official code does not gain from it: it
    divides after the product, and its training takes another path altogether.)
    """
    relax = module.config.attention_relax
    relax = relax if relax > 0 else 1.0
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = at_least_float32(torch.matmul(query * (scaling / relax), key.transpose(2, 3))) * relax
    sees_nothing = None
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attention_mask, -math.inf)
        else:
            scores = scores + attention_mask
        sees_nothing = (scores == -math.inf).all(-1, keepdim=True)
        scores = scores.masked_fill(sees_nothing, 0.0)  # softmax would give NaN, and its gradient too
    weights = F.softmax(scores, dim=-1).to(query.dtype)
    weights = weights if sees_nothing is None else weights.masked_fill(sees_nothing, 0.0)
    mixed = torch.matmul(F.dropout(weights, p=dropout, training=module.training), value)
    return mixed.transpose(1, 2).contiguous(), weights


AttentionInterface.register("relaxed", relaxed_attention_forward)
AttentionMaskInterface.register("relaxed", eager_mask)


@dataclass
class MERTModelOutput(BaseModelOutput):
    """Output of [`MERTModel`].

    Attributes:
        last_hidden_state: (batch, frames, hidden).
        hidden_states: tuple of num_hidden_layers + 1 tensors (batch, frames, hidden), with `output_hidden_states=True`:
            the input of the first layer, then the output of every layer.
        attentions: tuple of (batch, heads, frames, frames), with `output_attentions=True`.
        extract_features: (batch, frames, channels), output of the convolutions before they are normalised and projected.
    """

    extract_features: torch.FloatTensor | None = None


class MERTGroupNormConvLayer(HubertGroupNormConvLayer):
    """The first convolution, whose normalisation over time can leave out padding."""

    def forward(self, hidden_states: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, 1, samples) -> (batch, channels, frames); statistics over each clip's first `num_samples` (batch,) alone."""
        hidden_states = self.conv(hidden_states)
        if num_samples is None:
            return self.activation(self.layer_norm(hidden_states))
        frames = (num_samples - self.conv.kernel_size[0]) // self.conv.stride[0] + 1
        return self.activation(_group_norm_over_valid(self.layer_norm, hidden_states, frames))


class MERTFeatureEncoder(HubertFeatureEncoder):
    """The convolutions from waveform to frames; padded clips give the frames they give alone."""

    def __init__(self, config: MERTConfig):
        super().__init__(config)
        self.normalises_over_time = config.feat_extract_norm == "group"
        if self.normalises_over_time:
            self.conv_layers[0] = MERTGroupNormConvLayer(config, layer_id=0)

    def forward(self, input_values: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, samples) -> (batch, channels, frames)."""
        hidden_states = input_values.unsqueeze(1)
        if self.gradient_checkpointing and self.training and self._requires_grad:
            # reentrant checkpointing recomputes only what depends on an input that needs a gradient
            hidden_states.requires_grad_(True)
        first, *others = self.conv_layers
        with_padding = self.normalises_over_time and num_samples is not None
        hidden_states = first(hidden_states, num_samples=num_samples) if with_padding else first(hidden_states)
        for layer in others:
            hidden_states = layer(hidden_states)
        return hidden_states


class MERTDeepNormEncoderLayer(HubertEncoderLayer):
    """A post-norm layer whose skip connections weigh more, so that deep models train (DeepNorm, arXiv 2203.00555).

    Skips are multiplied by (2N)^1/4; the layers whose outputs are added to them start (8N)^1/4 times smaller, N layers in all.
    """

    def __init__(self, config: MERTConfig):
        super().__init__(config)
        self.skip_weight = (2 * config.num_hidden_layers) ** 0.25
        feed_forward, attention = self.feed_forward, self.attention
        for linear in (feed_forward.intermediate_dense, feed_forward.output_dense, attention.v_proj, attention.out_proj):
            linear.initial_divisor = (8 * config.num_hidden_layers) ** 0.25

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor:
        """(batch, frames, hidden) -> (batch, frames, hidden)."""
        attended, _ = self.attention(hidden_states, attention_mask=attention_mask, **kwargs)
        hidden_states = self.layer_norm(self.skip_weight * hidden_states + self.dropout(attended))
        return self.final_layer_norm(self.skip_weight * hidden_states + self.feed_forward(hidden_states))


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor (fairseq `feature_grad_mult`)."""

    @staticmethod
    def forward(ctx, values, factor):
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class MERTPreTrainedModel(HubertPreTrainedModel):
    """Initialisation and configuration shared by all MERT models."""

    config: MERTConfig
    config_class = MERTConfig
    base_model_prefix = "mert"
    # a checkpoint holds its heads as well; that another model leaves them out is no news
    _keys_to_ignore_on_load_unexpected = [r"^(code_head|cqt_head|layer_sum|projector|classifier|feature_extractor_cqt)\."]

    @torch.no_grad()
    def _init_weights(self, module):
        # The initialisation of fairseq (hubert, wav2vec2): N(0, 0.02) inside the encoder, which is transformers' too, torch's
        # own default for the projections around it, and a positional convolution scaled to its kernel. Decided at the modules
        # that hold the weights: transformers passes over those of custom models that hold none.
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d) and hasattr(module, "parametrizations"):
            _init_positional_convolution(module)
        elif isinstance(module, nn.Linear) and hasattr(module, "initial_divisor"):
            init.normal_(module.weight, 0.0, self.config.initializer_range / module.initial_divisor)
        elif any(module is projection for projection in self._outer_projections()):
            _init_linear_like_torch(module)
        elif isinstance(module, MERTCodeHead):
            init.uniform_(module.code_embeddings)
            if module.log_temperatures is not None:
                init.zeros_(module.log_temperatures)

    def _outer_projections(self) -> tuple[nn.Linear, ...]:
        """Linear layers of this model that stand around the encoder."""
        return ()

    def count_frames(self, num_samples: int) -> int:
        """Number of frames the model makes of a clip of `num_samples` samples (120000 -> 374, 24000 -> 74)."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            num_samples = (num_samples - kernel) // stride + 1
        return max(num_samples, 0)

    def _get_feature_vector_attention_mask(self, feature_vector_length, attention_mask):
        return super()._get_feature_vector_attention_mask(feature_vector_length, attention_mask.bool())


class MERTModel(MERTPreTrainedModel, HubertModel):
    """The MERT encoder: waveform in, one vector a frame out.

    Example:
        ```python
        model = AutoModel.from_pretrained(folder)  # after `import mert_hf`
        outputs = model(input_values, output_hidden_states=True)  # input_values: (batch, samples) at config.sample_rate
        ```
    """

    def __init__(self, config: MERTConfig):
        # HubertModel's own constructor is passed over: it would build and initialise the parts that differ here for nothing
        super(HubertModel, self).__init__(config)
        self.feature_extractor = MERTFeatureEncoder(config)
        self.feature_projection = HubertFeatureProjection(config)
        self.feature_extractor_cqt = None
        if config.feature_extractor_cqt:
            bins = config.feature_extractor_cqt_bins
            tolerance = config.feature_extractor_cqt_tolerance
            numbers = (config.sample_rate, config.hop_samples, bins, bins // 7)
            self.feature_extractor_cqt = ConstantQSpectrum(*numbers, tolerance=tolerance)
            width = config.conv_dim[-1] + bins
            self.feature_projection.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
            self.feature_projection.projection = nn.Linear(width, config.hidden_size)
        self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size).uniform_())
        self.encoder = HubertEncoderStableLayerNorm(config) if config.do_stable_layer_norm else HubertEncoder(config)
        if config.deepnorm:
            layers = (MERTDeepNormEncoderLayer(config) for _ in range(config.num_hidden_layers))
            self.encoder.layers = nn.ModuleList(layers)
        self.post_init()

    def _outer_projections(self):
        return (self.feature_projection.projection,)

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        **kwargs,
    ) -> MERTModelOutput:
        """Encode a batch of waveforms.

        Args:
            input_values: (batch, samples) float, mono, at `config.sample_rate`, nominally within [-1, 1].
            attention_mask: (batch, samples), 1 for audio and 0 for padding on the right.
            mask_time_indices: (batch, frames) bool, frames to replace by the mask embedding. Or (masks * batch, frames): row
                m * batch + i is mask m of clip i, the convolutions are computed once for all, and batch is masks * batch in
                the output but for `extract_features`. Left out, nothing is masked in `eval()`; in `train()` SpecAugment
                masks as `config.mask_time_prob` says (as in HuBERT), drawn from numpy.

        Returns:
            [`MERTModelOutput`]; `output_hidden_states`, `output_attentions` and `return_dict` work as everywhere in
            transformers.

        Raises:
            ValueError: waveforms that are none, of another shape or too short for one frame, a mask that does not fit them
                or has padding elsewhere than on the right, or hidden states asked for while LayerDrop leaves layers out (in
                `train()` with `config.layerdrop` above 0), when nobody could tell which layer a state belongs to.
        """
        self._require_inputs(input_values, attention_mask)
        states_wanted = wants_hidden_states(kwargs.get("output_hidden_states"), self.config)
        if self.training and self.config.layerdrop > 0 and states_wanted:
            raise ValueError(
                "hidden states cannot be told apart while LayerDrop leaves out layers"
                f" (config.layerdrop={self.config.layerdrop}); call model.eval(), or set model.config.layerdrop = 0."
            )
        if attention_mask is not None:
            attention_mask = attention_mask.bool()  # sums of half precision would be rounded
        extract_features = self._extract_features(input_values, attention_mask)
        num_frames = extract_features.shape[1]
        features = extract_features
        if self.feature_extractor_cqt is not None:
            audible = input_values if attention_mask is None else input_values * attention_mask
            spectrum = self.feature_extractor_cqt(audible)[:, :num_frames]
            features = torch.cat([features, spectrum.to(features.dtype)], dim=-1)
        if attention_mask is not None:
            attention_mask = self._get_feature_vector_attention_mask(num_frames, attention_mask)
            attention_mask = repeat_for_masks(attention_mask, mask_time_indices)
        hidden_states = repeat_for_masks(self.feature_projection(features), mask_time_indices)
        hidden_states = self._mask_hidden_states(hidden_states, mask_time_indices, attention_mask)
        encoded = self.encoder(hidden_states, attention_mask=attention_mask, **kwargs)
        return MERTModelOutput(last_hidden_state=encoded.last_hidden_state, extract_features=extract_features)

    def _require_inputs(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        require_waveforms(input_values, attention_mask)
        require_exact_attention(self.config, input_values.device)
        shortest = input_values.shape[1]
        if attention_mask is not None and not torch.compiler.is_exporting():  # an exported graph looks at no values
            shortest = require_right_padding(attention_mask)
        if self.count_frames(shortest) == 0:
            raise ValueError(f"clips of {shortest} samples are too short for one frame of this model.")

    def _extract_features(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, channels), with the gradient that `feature_grad_mult` leaves."""
        with_padding = attention_mask is not None and self.config.padding_invariant
        num_samples = attention_mask.sum(-1).long() if with_padding else None
        factor = self.config.feature_grad_mult
        with torch.set_grad_enabled(torch.is_grad_enabled() and factor > 0):
            features = self.feature_extractor(input_values, num_samples).transpose(1, 2)
        return _ScaleGradient.apply(features, factor) if features.requires_grad and factor != 1 else features

    def _mask_hidden_states(self, hidden_states, mask_time_indices=None, attention_mask=None):
        if mask_time_indices is None:
            return super()._mask_hidden_states(hidden_states, attention_mask=attention_mask)
        expected = tuple(hidden_states.shape[:2])
        if mask_time_indices.dtype != torch.bool or tuple(mask_time_indices.shape) != expected:
            raise ValueError(
                f"mask_time_indices must be a bool tensor of shape (batch, frames) = {expected}; got {mask_time_indices.dtype}"
                f" of shape {tuple(mask_time_indices.shape)}. count_frames(samples) tells the number of frames."
            )
        return torch.where(mask_time_indices.unsqueeze(-1), self.masked_spec_embed.to(hidden_states.dtype), hidden_states)


class MERTForPreTraining(MaskedPredictionHeads, MERTPreTrainedModel):
    """MERT with the two heads of its pre-training: the teacher's codes and the constant-Q spectrum, on masked frames."""

    def __init__(self, config: MERTConfig):
        super().__init__(config)
        self.mert = MERTModel(config)
        self._add_heads(config)
        self.post_init()


class MERTClassifierBase(MERTPreTrainedModel):
    """What MERT with a head on labelled music is, whatever the head.

    A weighted sum of layers needs every layer, so LayerDrop is switched off with it (`mert.config.layerdrop` is 0).
    """

    def __init__(self, config: MERTConfig):
        super().__init__(config)
        if config.use_weighted_layer_sum and config.layerdrop > 0:
            config = copy.deepcopy(config)  # whoever gave it may build other models from it
            config.layerdrop = 0.0
        self.mert = MERTModel(config)
        self._add_heads(config)
        self.post_init()

    def freeze_feature_encoder(self) -> None:
        """Train everything but the convolutions."""
        self.mert.feature_extractor._freeze_parameters()


class MERTForSequenceClassification(ClipClassification, MERTClassifierBase):
    """MERT with one decision a clip."""


class MERTForAudioFrameClassification(FrameClassification, MERTClassifierBase):
    """MERT with a decision for every frame."""


def _group_norm_over_valid(norm: nn.GroupNorm, hidden_states: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
    """Normalise every channel over its first num_frames (batch,) frames; what lies behind them is padding."""
    with torch.autocast(hidden_states.device.type, enabled=False):
        values = hidden_states.float()
        if torch.compiler.is_exporting():  # one graph for batches of any size
            variance, mean = _moments_over_valid(values, num_frames)
        else:
            # clip by clip: one pass over what is valid, where a mask over the batch would take several over everything
            clips = zip(values, num_frames.tolist(), strict=True)
            moments = [torch.var_mean(clip[:, :frames], -1, correction=0) for clip, frames in clips]
            variance, mean = (torch.stack(moment).unsqueeze(-1) for moment in zip(*moments, strict=True))
        scale = norm.weight.float().unsqueeze(-1) * torch.rsqrt(variance + norm.eps)
        shift = norm.bias.float().unsqueeze(-1) - mean * scale
        return torch.addcmul(shift, values, scale).to(hidden_states.dtype)


def _moments_over_valid(values: torch.Tensor, num_frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Variance and mean, (batch, channels, 1) each, over the first num_frames (batch,) of (batch, channels, frames)."""
    counts = num_frames.view(-1, 1, 1)
    valid = torch.arange(values.shape[-1], device=values.device) < counts
    mean = values.where(valid, 0.0).sum(-1, keepdim=True) / counts
    return (values - mean).where(valid, 0.0).square().sum(-1, keepdim=True) / counts, mean


def _init_linear_like_torch(linear: nn.Linear) -> None:
    """The default of `nn.Linear`, which fairseq keeps for the projections around the encoder."""
    bound = 1 / math.sqrt(linear.in_features)
    init.uniform_(linear.weight, -bound, bound)
    init.uniform_(linear.bias, -bound, bound)


def _init_positional_convolution(conv: nn.Conv1d) -> None:
    """Fairseq's N(0, sqrt(4 / (kernel * hidden))), zero bias; the weight norm's magnitude is that of the drawn weight."""
    init.zeros_(conv.bias)
    magnitude, direction = conv.parametrizations.weight.original0, conv.parametrizations.weight.original1
    init.normal_(direction, 0.0, math.sqrt(4 / (conv.kernel_size[0] * conv.in_channels)))
    init.copy_(magnitude, torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True))


__all__ = [
    "MERTForAudioFrameClassification",
    "MERTForPreTraining",
    "MERTForSequenceClassification",
    "MERTModel",
    "MERTPreTrainedModel",
]
