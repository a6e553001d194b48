"""The acoustic teacher of MERT-v1: the codes of a residual vector quantiser, EnCodec or another codec of transformers."""

import os

import torch
import torch.nn as nn

from mert_hf.errors import InputError


class EncodecTeacher(nn.Module):
    """Codes of transformers' `EncodecModel` (24 kHz, 75 Hz; at 6 kbit/s 8 codebooks of 1024: MERT, section 3.2).

    Args:
        codec: the model, on the device where it is to run.
        bandwidth_kbps: bit rate, which sets the number of codebooks.
    """

    description = "EnCodec codes"

    def __init__(self, codec: nn.Module, bandwidth_kbps: float = 6.0):
        super().__init__()
        rates = list(codec.config.target_bandwidths)
        if bandwidth_kbps not in rates:
            raise InputError(f"the codec has no rate of {bandwidth_kbps} kbit/s; it has {', '.join(map(str, rates))}.")
        self.codec = codec.eval().requires_grad_(False)
        self.bandwidth_kbps = bandwidth_kbps
        self.sampling_rate = codec.config.sampling_rate
        self.frame_rate = float(codec.config.frame_rate)
        books = codec.quantizer.get_num_quantizers_for_bandwidth(bandwidth_kbps)
        self.codebook_sizes = [codec.config.codebook_size] * books

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike = "facebook/encodec_24khz", bandwidth_kbps: float = 6.0
    ) -> "EncodecTeacher":
        """Load the codec from the Hub or a folder.

        Raises:
            InputError: it cannot be loaded, or weights are missing; a codec is never left with random ones.
        """
        from transformers import EncodecModel

        try:
            codec, loaded = EncodecModel.from_pretrained(name, output_loading_info=True)
        except (OSError, ValueError) as error:
            raise InputError(f"the codec {name} cannot be loaded: {' '.join(str(error).split())}") from None
        if loaded["missing_keys"]:
            raise InputError(f"the codec {name} lacks weights: {', '.join(sorted(loaded['missing_keys'])[:3])} ...")
        return cls(codec, bandwidth_kbps)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at `sampling_rate` -> (batch, codebooks, frames) int64; frames = samples / 320, rounded up."""
        with torch.autocast(waveform.device.type, enabled=False):
            encoded = self.codec.encode(waveform.float().unsqueeze(1), bandwidth=self.bandwidth_kbps)
        return encoded.audio_codes.squeeze(0)
