"""The multi-view music encoder of Deezer's comparison: mel spectrum, ResNet, attention pooling; one vector for four seconds."""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput, can_return_tuple

from .configuration_multiview import MultiViewConfig
from .feature_extraction_mert import MERTFeatureExtractor  # noqa: F401, what is imported here travels along
from .model_inputs_mert import require_waveforms, wants_hidden_states
from .pipeline_mert import MERTFeatureExtractionPipeline  # noqa: F401
from .spectra_mert import MelDecibelSpectrum

# Channels of a bottleneck's output for one of its inner channels.
EXPANSION = 4
# Below this peak a piece is taken as silence and not scaled up (-80 dB).
SILENCE_PEAK = 1e-4


@dataclass
class MultiViewModelOutput(ModelOutput):
    """Output of [`MultiViewModel`].

    Attributes:
        last_hidden_state: (batch, pieces, hidden), a vector for each piece of `config.clip_samples`.
        pooler_output: (batch, hidden), their mean.
        hidden_states: `(last_hidden_state,)`, with `output_hidden_states=True`; the inner layers have other shapes.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None


class MultiViewBottleneck(nn.Module):
    """A residual block; where it halves the resolution, an average does it before the last convolution and in the skip."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.average = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.bn3.ends_residual = True
        self.skip = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            parts = [nn.AvgPool2d(stride), nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
            self.skip = nn.Sequential(*parts)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, in_channels, height, width) -> (batch, 4 * channels, height / stride, width / stride)."""
        inner = F.relu(self.bn1(self.conv1(hidden_states)))
        inner = self.average(F.relu(self.bn2(self.conv2(inner))))
        return F.relu(self.bn3(self.conv3(inner)) + self.skip(hidden_states))


class MultiViewAttentionPooling(nn.Module):
    """Multi-head attention from the mean of all places to the mean and all places (CLIP, arXiv 2103.00020, section 2.4)."""

    def __init__(self, places: int, channels: int, heads: int, hidden_size: int):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(places + 1, channels))
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, channels, height, width) -> (batch, hidden_size)."""
        places = hidden_states.flatten(2).mT
        places = torch.cat([places.mean(1, keepdim=True), places], dim=1) + self.positional_embedding
        query, key, value = (
            projection(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, tokens in ((self.q_proj, places[:, :1]), (self.k_proj, places), (self.v_proj, places))
        )
        pooled = F.scaled_dot_product_attention(query, key, value)
        return self.c_proj(pooled.transpose(1, 2).flatten(1))


class MultiViewPreTrainedModel(PreTrainedModel):
    """What the models of this kind share: configuration, initialisation, saving."""

    config_class = MultiViewConfig
    base_model_prefix = "multiview"
    main_input_name = "input_values"
    input_modalities = "audio"

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw the weights of a fresh model (CLIP's ResNets: arXiv 2103.00020 and its code)."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
            init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            # a fresh block passes on what it is given, else gradients grow from stage to stage
            init.constant_(module.weight, 0.0 if getattr(module, "ends_residual", False) else 1.0)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)
            init.ones_(module.running_var)
            init.zeros_(module.num_batches_tracked)
        elif isinstance(module, MultiViewAttentionPooling):
            init.normal_(module.positional_embedding, std=module.positional_embedding.shape[1] ** -0.5)


class MultiViewModel(MultiViewPreTrainedModel):
    """The encoder: waveform in, one vector for every four seconds and one for the whole out.

    Example:
        ```python
        model = AutoModel.from_pretrained(folder)  # after `import mert_hf`
        embedding = model(input_values).pooler_output  # input_values: (batch, samples) at config.sample_rate
        ```
    """

    def __init__(self, config: MultiViewConfig):
        super().__init__(config)
        self.spectrum = MelDecibelSpectrum(
            config.sample_rate,
            config.hop_samples,
            config.mel_bins,
            config.fft_samples,
            config.min_hz,
            config.max_hz,
            config.range_db,
        )
        half, width = config.width // 2, config.width
        self.conv1 = nn.Conv2d(1, half, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.stages = nn.ModuleList()
        channels = width
        for stage, blocks in enumerate(config.blocks):
            inner = width * 2**stage
            # the first block changes the resolution, from the second stage on, and the number of channels
            sizes = [(channels, 2 if stage else 1)] + [(EXPANSION * inner, 1)] * (blocks - 1)
            self.stages.append(nn.Sequential(*(MultiViewBottleneck(size, inner, stride) for size, stride in sizes)))
            channels = EXPANSION * inner
        self.pooling = MultiViewAttentionPooling(
            config.pooled_positions, channels, config.num_attention_heads, config.hidden_size
        )
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> MultiViewModelOutput:
        """Embed a batch of waveforms. A last piece that is not full is filled up with zeros.

        Args:
            input_values: (batch, samples) float, mono, at `config.sample_rate`, nominally within [-1, 1]. Without
                `config.peak_normalize`, tracks should reach a peak of 1.
            attention_mask: (batch, samples), 1 for audio and 0 for padding on the right; pieces of padding alone do not count
                in `pooler_output`.

        Raises:
            ValueError: waveforms of another shape, or none.
        """
        require_waveforms(input_values, attention_mask)
        if input_values.shape[1] == 0:
            raise ValueError("input_values must hold at least one sample a clip.")
        batch, samples = input_values.shape
        if attention_mask is not None:
            input_values = input_values * attention_mask.to(input_values.dtype)
        pieces = self._get_feat_extract_output_lengths(samples)
        input_values = F.pad(input_values, (0, pieces * self.config.clip_samples - samples))
        states = self._embed(input_values.view(batch * pieces, -1)).view(batch, pieces, -1)
        if attention_mask is None:
            pooled = states.mean(1)
        else:
            counts = self._get_feat_extract_output_lengths(attention_mask.sum(-1)).clamp(min=1)
            audible = torch.arange(pieces, device=states.device) < counts.unsqueeze(1)
            pooled = torch.where(audible.unsqueeze(-1), states, 0).sum(1) / counts.unsqueeze(1).to(states.dtype)
        wanted = wants_hidden_states(output_hidden_states, self.config)
        return MultiViewModelOutput(states, pooled, (states,) if wanted else None)

    def _embed(self, clips: torch.Tensor) -> torch.Tensor:
        """(batch, clip_samples) -> (batch, hidden_size)."""
        if self.config.peak_normalize:
            clips = clips / clips.abs().amax(-1, keepdim=True).clamp(min=SILENCE_PEAK)
        hidden_states = self.spectrum(clips).mT.unsqueeze(1).to(self.conv1.weight.dtype)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            hidden_states = F.relu(norm(conv(hidden_states)))
        hidden_states = F.avg_pool2d(hidden_states, 2)
        for stage in self.stages:
            hidden_states = stage(hidden_states)
        return self.pooling(hidden_states)

    def _get_feat_extract_output_lengths(self, num_samples: torch.Tensor | int) -> torch.Tensor | int:
        """Number of pieces of a clip."""
        return -(-num_samples // self.config.clip_samples)


__all__ = ["MultiViewModel", "MultiViewModelOutput"]
