"""MERT-v2 (m-a-p/MERT-v2-30s and -FullSong): the encoder, in transformers' conventions."""

from dataclasses import dataclass

import torch
import torch.nn as nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .classification_heads_mert import ClipClassification, FrameClassification
from .code_head_mert import MERTCodeHead
from .configuration_mert2 import MERT2Config
from .conformer_mert2 import MERT2Attention, MERT2Layer, rotary_table
from .feature_extraction_mert import MERTFeatureExtractor  # noqa: F401, what is imported here travels along
from .mel_spectrum_mert2 import MERT2MelSpectrum
from .model_inputs_mert import repeat_for_masks, require_exact_attention, require_right_padding, require_waveforms
from .pipeline_mert import MERTFeatureExtractionPipeline  # noqa: F401
from .pretraining_heads_mert import MaskedPredictionHeads
from .subsampling_mert2 import MERT2GlobalResponseNorm, MERT2Subsampling, mark_frames


@dataclass
class MERT2ModelOutput(BaseModelOutput):
    """Output of [`MERT2Model`].

    Attributes:
        last_hidden_state: (batch, frames, hidden); zeros where there is padding, here as in all the others.
        hidden_states: tuple of num_hidden_layers tensors (batch, frames, hidden), with `output_hidden_states=True`: the output
            of every block, as in the official code; entry 0 is layer 1 of [`MusicEncoder`]. With
            `config.hidden_states_include_input` one more stands before them, the input of the first block.
        attentions: tuple of (batch, heads, frames, frames), with `output_attentions=True` and eager attention.
        feature_attention_mask: (batch, frames) bool, True where a frame is audio; None without an `attention_mask`.
        extract_features: (batch, frames, hidden), the input of the first block before any frame is masked.

    With several masks a clip, batch is masks * batch in all of them but `extract_features`.
    """

    feature_attention_mask: torch.BoolTensor | None = None
    extract_features: torch.FloatTensor | None = None


class MERT2PreTrainedModel(PreTrainedModel):
    """Initialisation and configuration shared by all MERT-v2 models."""

    config: MERT2Config
    config_class = MERT2Config
    base_model_prefix = "mert2"
    main_input_name = "input_values"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MERT2Layer", "MERT2ConvNeXtLayer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _keep_in_fp32_modules_strict = ["feature_extractor"]
    _can_record_outputs = {
        "hidden_states": OutputRecorder(MERT2Layer, capture_initial_hidden_state=False),
        "attentions": OutputRecorder(MERT2Attention, index=1),
    }
    # a checkpoint holds its heads as well; that another model leaves them out is no news
    _keys_to_ignore_on_load_unexpected = [r"^(code_head|cqt_head|mask_embedding|layer_sum|projector|classifier)\b"]
    # waveforms stay in float32 whatever the weights are in: rounded to bfloat16 they have another spectrum
    input_dtype = torch.float32

    @torch.no_grad()
    def _init_weights(self, module):
        # weights N(0, 0.02), biases 0, norms 1 and 0, as in the official code
        super()._init_weights(module)
        if isinstance(module, nn.Conv1d):
            init.normal_(module.weight, 0.0, self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, MERT2GlobalResponseNorm):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, MERT2MelSpectrum):
            module.reset()
        elif isinstance(module, MERTCodeHead):
            init.uniform_(module.code_embeddings)
            if module.log_temperatures is not None:
                init.zeros_(module.log_temperatures)
        elif isinstance(module, MaskedPredictionHeads):
            init.uniform_(module.mask_embedding)

    def count_frames(self, num_samples: int) -> int:
        """Number of frames the model makes of a clip of `num_samples` samples (720000 -> 750)."""
        return self.config.frame_grid.count_frames(num_samples)

    def _get_feature_vector_attention_mask(self, num_frames: int, attention_mask: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, num_frames) bool."""
        return mark_frames((attention_mask != 0).sum(-1) // self.config.hop_samples, num_frames)


class MERT2Model(MERT2PreTrainedModel):
    """The MERT-v2 encoder: waveform in, 25 vectors a second out.

    The published repositories load as they are, and none of their code is run. A padded batch with its mask gives every clip
    what it gives alone, in one pass.

    Example:
        ```python
        import mert_hf

        model = AutoModel.from_pretrained("m-a-p/MERT-v2-30s")
        outputs = model(input_values, attention_mask=mask)  # (batch, samples) at 24 kHz, 1,025 samples or more each
        ```
    """

    def __init__(self, config: MERT2Config):
        super().__init__(config)
        self.feature_extractor = MERT2MelSpectrum(config)
        self.short_feature_extractor = MERT2MelSpectrum(config, short=True) if config.short_mel_bins else None
        self.subsampling_module = MERT2Subsampling(config)
        self.layers = nn.ModuleList(MERT2Layer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        mask_time_indices: torch.Tensor | None = None,
        mask_embedding: torch.Tensor | None = None,
        kept_frames: torch.Tensor | None = None,
        **kwargs,
    ) -> MERT2ModelOutput:
        """Encode a batch of waveforms. `train()` and `eval()` give the same.

        Args:
            input_values: (batch, samples) float, mono, at `config.sampling_rate`, nominally within [-1, 1]; loudness is not
                evened out. Any length from `config.minimum_input_samples` on.
            attention_mask: (batch, samples), 1 for audio and 0 for padding on the right.
            mask_time_indices: (batch, frames) bool, frames to replace by `mask_embedding` behind the subsampler. Or (masks *
                batch, frames): row m * batch + i is mask m of clip i, and spectrum and subsampler are computed once for all.
            mask_embedding: (hidden,), of [`MERT2ForPreTraining`].
            kept_frames: (batch, kept) int64, the frames of each clip that the blocks are given, in ascending order; the others
                are left out behind the subsampler, as if they were padding between those, and cost nothing. Or (views * batch,
                kept), as with masks. All outputs but `extract_features` have these frames alone.

        Returns:
            [`MERT2ModelOutput`]; `output_hidden_states`, `output_attentions` and `return_dict` work as everywhere in
            transformers.

        Raises:
            ValueError: waveforms that are none, not finite, of another shape or too short for one frame, a mask that does
                not fit them or has padding elsewhere than on the right, or `kept_frames` beside a mask or out of range.
        """
        if kept_frames is not None and (attention_mask is not None or mask_time_indices is not None):
            raise ValueError("kept_frames goes with neither attention_mask nor mask_time_indices; leave those out.")
        outputs = self._encode(input_values, attention_mask, mask_time_indices, mask_embedding, kept_frames, **kwargs)
        if outputs.hidden_states is not None and self.config.hidden_states_include_input:
            entered = self._leave_out(outputs.extract_features, kept_frames)
            entered = self._hide(entered, mask_time_indices, mask_embedding, outputs.feature_attention_mask)
            outputs.hidden_states = (entered, *outputs.hidden_states)
        return outputs

    @capture_outputs
    def _encode(
        self, input_values, attention_mask, mask_time_indices, mask_embedding, kept_frames, **kwargs
    ) -> MERT2ModelOutput:
        self._require_inputs(input_values, attention_mask)
        num_samples = None if attention_mask is None else (attention_mask != 0).sum(-1)
        mel = self.feature_extractor(input_values, num_samples)
        if self.short_feature_extractor is not None:
            mel = torch.cat([mel, self.short_feature_extractor(input_values, num_samples)], dim=-1)
        num_mel_frames = None if num_samples is None else num_samples // self.config.hop_length
        subsampled = self.subsampling_module(mel, num_mel_frames)
        num_frames, valid, audible, mask = subsampled.shape[1], None, None, None
        if num_samples is not None:
            audible = mark_frames(num_samples // self.config.hop_samples, num_frames)
            audible = repeat_for_masks(audible, mask_time_indices)
        states = self._hide(self._leave_out(subsampled, kept_frames), mask_time_indices, mask_embedding, audible)
        if audible is not None:
            valid = audible.unsqueeze(-1).to(states.dtype)
            mask = create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=audible)
        config = self.config
        head_size = config.hidden_size // config.num_attention_heads
        rotary = rotary_table(num_frames, head_size, config.rotary_embedding_base, states.device, states.dtype)
        if kept_frames is not None:
            rotary = tuple(table[kept_frames].unsqueeze(1) for table in rotary)
        for layer in self.layers:
            states = layer(states, rotary, mask, valid, kept_frames, **kwargs)
        return MERT2ModelOutput(last_hidden_state=states, feature_attention_mask=audible, extract_features=subsampled)

    def _leave_out(self, states, kept_frames) -> torch.Tensor:
        """(views * batch, kept, hidden), the frames that are kept of each clip; all where nothing is left out."""
        if kept_frames is None:
            return states
        repeated, frames = repeat_for_masks(states, kept_frames), states.shape[1]
        fits = kept_frames.dtype == torch.int64 and kept_frames.ndim == 2 and kept_frames.shape[0] == repeated.shape[0]
        if not fits or kept_frames.shape[1] == 0 or not 0 <= int(kept_frames.min()) <= int(kept_frames.max()) < frames:
            raise ValueError(
                f"kept_frames must be an int64 tensor (batch, kept) of frames within 0 and {frames - 1}, batch {len(states)};"
                f" got {kept_frames.dtype} of shape {tuple(kept_frames.shape)}."
            )
        return repeated.gather(1, kept_frames.unsqueeze(-1).expand(-1, -1, states.shape[-1]))

    def _hide(self, states, mask, embedding, audible) -> torch.Tensor:
        """(batch, frames, hidden), with the embedding where `mask` (batch, frames) is set and a frame is audible.

        A mask of (masks * batch, frames) gives as many states.
        """
        if mask is None:
            return states
        states = repeat_for_masks(states, mask)
        expected = tuple(states.shape[:2])
        if mask.dtype != torch.bool or tuple(mask.shape) != expected:
            raise ValueError(
                f"mask_time_indices must be a bool tensor of shape (batch, frames) = {expected}; got {mask.dtype} of shape"
                f" {tuple(mask.shape)}. count_frames(samples) tells the number of frames."
            )
        if embedding is None:
            raise ValueError("mask_time_indices needs mask_embedding, which MERT2ForPreTraining has; the encoder has none.")
        mask = mask if audible is None else mask & audible
        return torch.where(mask.unsqueeze(-1), embedding.to(states.dtype), states)

    def _require_inputs(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        require_waveforms(input_values, attention_mask)
        require_exact_attention(self.config, input_values.device)
        shortest, least = input_values.shape[1], self.config.minimum_input_samples
        if torch.compiler.is_compiling():  # what depends on values breaks a graph in two
            return
        if attention_mask is not None:
            shortest = min(shortest, require_right_padding(attention_mask))
        if shortest < least:
            raise ValueError(f"clips of {shortest} samples are too short for one frame of this model; {least} are needed.")
        if not torch.isfinite(input_values).all():
            raise ValueError("input_values must be finite; they hold NaN or infinity.")


class MERT2ForPreTraining(MaskedPredictionHeads, MERT2PreTrainedModel):
    """MERT-v2 with heads for masked prediction, which are those of MERT v1: its authors published none.

    They tell of four streams of codes at 25 Hz that linear layers predict behind masked audio; what is hidden here, how, and
    the constant-Q spectrum beside the codes are this package's.
    """

    def __init__(self, config: MERT2Config):
        super().__init__(config)
        self.mert2 = MERT2Model(config)
        self.mask_embedding = nn.Parameter(torch.empty(config.hidden_size).uniform_())
        self._add_heads(config)
        self.post_init()

    def _mask_options(self):
        return {"mask_embedding": self.mask_embedding}


class MERT2ClassifierBase(MERT2PreTrainedModel):
    """What MERT-v2 with a head on labelled music is, whatever the head."""

    def __init__(self, config: MERT2Config):
        super().__init__(config)
        self.mert2 = MERT2Model(config)
        self._add_heads(config)
        self.post_init()

    def freeze_feature_encoder(self) -> None:
        """Train everything but the subsampler; what is before it has nothing to train."""
        self.mert2.subsampling_module.requires_grad_(False)


class MERT2ForSequenceClassification(ClipClassification, MERT2ClassifierBase):
    """MERT-v2 with one decision a clip."""


class MERT2ForAudioFrameClassification(FrameClassification, MERT2ClassifierBase):
    """MERT-v2 with a decision for every frame."""


__all__ = [
    "MERT2ForAudioFrameClassification",
    "MERT2ForPreTraining",
    "MERT2ForSequenceClassification",
    "MERT2Model",
    "MERT2PreTrainedModel",
]
