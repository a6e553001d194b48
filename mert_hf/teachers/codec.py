"""The acoustic teacher of MERT-v1: the codes of a residual vector quantiser, EnCodec or another codec of transformers."""

import inspect
import logging
import os

import torch
import torch.nn as nn

from mert_hf.common.errors import InputError
from mert_hf.common.settings import require
from mert_hf.encoding.loading import as_folder, load_model
from mert_hf.teachers.base import CodeTeacher

logger = logging.getLogger(__name__)

# Audio before and behind a piece of a track that is too long to be coded at once.
CONTEXT_S = 2.0


class CodecTeacher(CodeTeacher):
    """The first codebooks of a codec (EnCodec at 24 kHz: 75 Hz, 1024 codes, 8 codebooks at 6 kbit/s: MERT, section 3.2).

    The official labels are of whole files. EnCodec's encoder carries state from the beginning of what it hears (an LSTM), so
    the codes of a crop are not those of the whole file, and the pieces of five minutes that files of fifteen minutes and more
    are coded in differ a little from the whole as well; they begin `CONTEXT_S` early to make that small.

    Args:
        codec: a codec model of transformers whose `encode` gives `audio_codes` (EnCodec, DAC, X-Codec, Mimi).
        codebooks: how many of its codebooks to use, from the first on.
        name: where it came from, for messages and headers.

    Raises:
        InputError: it is no such codec, or has fewer codebooks.
    """

    kind = "codec"
    frame_local = False
    whole_files = True
    piece_s = 300.0

    def __init__(self, codec: nn.Module, codebooks: int = 8, name: str = "codec"):
        super().__init__()
        config = codec.config
        arguments = inspect.signature(codec.encode).parameters if hasattr(codec, "encode") else {}
        if not hasattr(config, "codebook_size") or not {"bandwidth", "n_quantizers", "num_quantizers"} & set(arguments):
            raise InputError(f"{name} is a {config.model_type}, not a codec with residual codebooks such as encodec or dac.")
        if getattr(config, "chunk_length_s", None) is not None:
            raise InputError(
                f"{name} codes audio in overlapping chunks of {config.chunk_length_s:g} s, whose frames follow no common clock;"
                " use a codec without chunks, such as facebook/encodec_24khz."
            )
        self.codec = codec.eval().requires_grad_(False)
        self.name = name
        self.description = f"codes of the codec {name} ({config.model_type})"
        self.sampling_rate = config.sampling_rate
        self.frame_rate = _frame_rate(config)
        self.codebook_sizes = [config.codebook_size] * codebooks
        self.context_samples = round(CONTEXT_S * self.frame_rate) * round(self.sampling_rate / self.frame_rate)
        self._encode_arguments = self._choose_codebooks(arguments)

    @classmethod
    def from_settings(cls, settings, sampling_rate, hop_samples):
        """The codec that `settings.folder` names; its rates are its own."""
        return cls.from_pretrained(settings.folder, len(settings.codebook_sizes))

    @classmethod
    def check(cls, settings):
        require(
            settings.folder is not None,
            "teacher.kind=codec needs teacher.folder: the codec, such as facebook/encodec_24khz.",
        )

    @classmethod
    def describe(cls, settings):
        return {"kind": settings.kind, "codebook_sizes": list(settings.codebook_sizes), "folder": settings.folder}

    @classmethod
    def load_to_compare(cls, settings, found):
        """As in [`CodeTeacher`]; None also where the codec of that name is not at hand, as on a machine that holds labels."""
        if {**found, "folder": settings.folder} != cls.describe(settings):
            return None
        try:
            return cls.from_settings(settings, 0, 0)
        except InputError as error:
            if settings.folder != found["folder"]:
                raise
            logger.warning("That the labels were made by this codec is taken from its name alone: %s", error)
            return None

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike = "facebook/encodec_24khz", codebooks: int = 8) -> "CodecTeacher":
        """Load the codec from the Hub or a folder.

        Raises:
            InputError: it cannot be loaded, or weights are missing; a codec is never left with random ones.
        """
        from transformers import AutoModel

        # the codes of a codec that is stored in half precision are those of its weights in float32, as audio is
        codec = load_model(AutoModel, as_folder(name) or name, f"the codec {name}", dtype=torch.float32)
        return cls(codec, codebooks, str(name))

    def settings(self):
        return {**super().settings(), "folder": self.name}

    def identity(self):
        """Kind, codebook sizes and the codec's architecture; its name or folder says nothing about its codes."""
        return {**super().settings(), "model_type": self.codec.config.model_type}

    def train(self, mode: bool = True) -> "CodecTeacher":
        """A teacher is never trained: dropout and the updates of codebooks stay off."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) at `sampling_rate` -> (batch, codebooks, frames) int64; EnCodec: samples / 320, rounded up."""
        channels = getattr(self.codec.config, "audio_channels", 1)
        audio = waveform.float().unsqueeze(1).expand(-1, channels, -1)
        with torch.autocast(waveform.device.type, enabled=False):
            codes = self.codec.encode(audio, **self._encode_arguments).audio_codes
        # EnCodec puts chunks in front: (1, batch, codebooks, frames)
        codes = codes.reshape(-1, *codes.shape[-2:])
        return codes[:, : len(self.codebook_sizes)]

    def _choose_codebooks(self, arguments) -> dict:
        """What `encode` must be told to give at least as many codebooks as are wanted."""
        config, wanted = self.codec.config, len(self.codebook_sizes)
        if "bandwidth" in arguments:
            bits = (config.codebook_size - 1).bit_length()
            books = {int(1000 * rate // (self.frame_rate * bits)): rate for rate in sorted(config.target_bandwidths)}
        else:
            name = "n_quantizers" if "n_quantizers" in arguments else "num_quantizers"
            books = {getattr(config, "n_codebooks", None) or config.num_quantizers: wanted}
        enough = [count for count in books if count >= wanted]
        if not 1 <= wanted <= max(books):
            raise InputError(f"the codec {self.name} has {max(books)} codebooks; {wanted} are wanted (teacher.codebook_sizes).")
        return {"bandwidth": books[min(enough)]} if "bandwidth" in arguments else {name: wanted}


def _frame_rate(config) -> float:
    hop = getattr(config, "hop_length", None)
    return config.sampling_rate / hop if hop else float(config.frame_rate)
