"""The Conformer of MERT-v2: blocks of feed-forward, attention with rotary positions, convolution and feed-forward.

Modules have the names and numbers of the published weights. There is no dropout: the authors published none.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.hubert.modeling_hubert import eager_attention_forward

from .configuration_mert2 import MERT2Config


def rotary_table(
    frames: int, head_size: int, base: int, device: torch.device, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every position in a head, each (frames, head_size).

    Computed in every forward, in float32, and kept nowhere: a buffer that is not in the checkpoint comes out of transformers'
    loading uninitialised, which is what makes the official code wrong there.
    """
    powers = torch.arange(0, head_size, 2, dtype=torch.float32, device=device) / head_size
    angles = torch.outer(torch.arange(frames, dtype=torch.float32, device=device), 1.0 / base**powers)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(heads: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor) -> torch.Tensor:
    """Turn (batch, heads, frames, head size) by the angles of their positions; entry i pairs with i + half the head.

    Positions may be each clip's own: tables of (batch, 1, frames, head size).
    """
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat([-second, first], dim=-1) * sines


class MERT2FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, config: MERT2Config):
        super().__init__()
        self.w_1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.w_2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(batch, frames, hidden) -> the same."""
        return self.w_2(F.gelu(self.w_1(states)))


class MERT2Attention(nn.Module):
    """Every frame looks at every other, through any of transformers' implementations of attention."""

    is_causal = False
    num_key_value_groups = 1

    def __init__(self, config: MERT2Config):
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.head_dim = width // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.query_proj, self.key_proj, self.value_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self,
        states: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(batch, frames, hidden) -> the same, and the weights (batch, heads, frames, frames) of implementations that tell."""
        projections = (self.query_proj, self.key_proj, self.value_proj)
        query, key, value = (
            projection(states).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for projection in projections
        )
        query, key = rotate(query, *rotary), rotate(key, *rotary)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, weights = attend(self, query, key, value, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs)
        return self.out_proj(mixed.flatten(2)), weights


class MERT2Convolution(nn.Module):
    """A gate, and a convolution over time in each channel."""

    def __init__(self, config: MERT2Config):
        super().__init__()
        width, kernel = config.hidden_size, config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.conv_block = nn.ModuleDict(
            {
                "1": nn.Conv1d(width, 2 * width, 1, bias=False),
                "3": nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
                "4": nn.ModuleDict({"1": nn.LayerNorm(width, eps=config.layer_norm_eps)}),
                "6": nn.Conv1d(width, width, 1, bias=False),
            }
        )

    def forward(
        self, states: torch.Tensor, valid: torch.Tensor | None = None, places: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(batch, frames, hidden) -> the same; `valid` (batch, frames, 1) is 0 where there is padding.

        Where frames are left out, `places` (batch, frames) int64 says where those stand that are there: the others are silent.
        """
        widen, convolve, norms, mix = self.conv_block.values()
        gated = F.glu(widen(self.layer_norm(states).mT), dim=1)
        gated = gated if valid is None else gated * valid.mT
        if places is not None:
            index = places.unsqueeze(1).expand_as(gated)
            silent = gated.new_zeros(*gated.shape[:2], int(places.max()) + 1)
            gated = silent.scatter(2, index, gated)
        convolved = convolve(gated)
        if places is not None:
            convolved = convolved.gather(2, index)
        convolved = F.gelu(norms["1"](convolved.mT))
        return mix(convolved.mT).mT


class MERT2Layer(GradientCheckpointingLayer):
    """One block; what comes out of it is normalised."""

    def __init__(self, config: MERT2Config):
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.ffn1_layer_norm, self.ffn1 = nn.LayerNorm(width, eps=eps), MERT2FeedForward(config)
        self.attn_layer_norm, self.attn = nn.LayerNorm(width, eps=eps), MERT2Attention(config)
        self.conv_module = MERT2Convolution(config)
        self.ffn2_layer_norm, self.ffn2 = nn.LayerNorm(width, eps=eps), MERT2FeedForward(config)
        self.final_layer_norm = nn.LayerNorm(width, eps=eps)

    def forward(
        self,
        states: torch.Tensor,
        rotary: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        valid: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """(batch, frames, hidden) -> the same, zero where `valid` (batch, frames, 1) is; `places` as in the convolution."""
        states = states + 0.5 * self.ffn1(self.ffn1_layer_norm(states))
        states = states + self.attn(self.attn_layer_norm(states), rotary, attention_mask, **kwargs)[0]
        states = states + self.conv_module(states, valid, places)
        states = self.final_layer_norm(states + 0.5 * self.ffn2(self.ffn2_layer_norm(states)))
        return states if valid is None else states * valid


__all__ = ["MERT2Layer"]
