"""What k-means teachers code: one vector a frame, from spectra or from a trained model.

A feature is a module: `feature(waveform (batch, samples))` gives (batch, frames, bins) float32. It has `bins`, `frame_local`,
`whole_files` and `context_samples` in the sense of [`mert_hf.teachers.base.CodeTeacher`], and `piece_s`.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import AutoModel

from mert_hf.common.errors import InputError
from mert_hf.common.packages import require_packages
from mert_hf.encoding.frozen import FrozenEncoder
from mert_hf.encoding.loading import UNUSED_WEIGHTS, load_extractor, load_model
from mert_hf.models.spectra_mert import LOG_LEVEL, SILENCE_POWER, Chromagram, ConstantQSpectrum, LogMelSpectrum

# Longest stretch of a track whose spectra are computed at once.
SPECTRA_PIECE_S = 30.0
# Frames of the regression that estimates a derivative (HTK's and torchaudio's default).
DELTA_FRAMES = 5
# Of an option, such as the length of a transform (5 s at 24 kHz), and of bins by samples: filters of 64 MB.
LARGEST_OPTION, MOST_FILTERS = 2**17, 2**24


class FrameSpectrum(nn.Module):
    """A spectrum of frames centred on every hop; half a transform is heard to each side."""

    frame_local, whole_files = True, False
    piece_s = SPECTRA_PIECE_S
    # frames to either side that are heard beside half a transform
    more_frames = 0

    def __init__(self, spectrum: nn.Module, bins: int):
        super().__init__()
        self.spectrum, self.bins = spectrum, bins
        power = spectrum.spectrum
        self.context_samples = (-(-power.fft_samples // 2 // power.hop_samples) + self.more_frames) * power.hop_samples

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, bins) float32."""
        return self.spectrum(waveform)


class LogMelFeature(FrameSpectrum):
    """[`LogMelSpectrum`]; MERT's k-means teacher: 229 bins (which need `fft_samples` of 4096), 300 clusters."""

    def __init__(self, sampling_rate: int, hop_samples: int, **options):
        spectrum = LogMelSpectrum(sampling_rate, hop_samples, **options)
        super().__init__(spectrum, spectrum.bins)


class ChromaFeature(FrameSpectrum):
    """[`Chromagram`]; MERT's k-means teacher: 264 bins, 200 clusters."""

    def __init__(self, sampling_rate: int, hop_samples: int, **options):
        spectrum = Chromagram(sampling_rate, hop_samples, **options)
        super().__init__(spectrum, spectrum.bins)


class ConstantQFeature(nn.Module):
    """Magnitudes of [`ConstantQSpectrum`], compressed to log(1 + magnitude / level): harmony, where log-mel bands are too wide.

    Folded to one octave it is a chromagram of compressed magnitudes: octaves are added up and each frame scaled to length 1 (0
    in silence). Without compression loud partials alone would tell it (Müller and Ewert, "Chroma Toolbox", ISMIR 2011).

    Args:
        sampling_rate, hop_samples: as in [`LogMelSpectrum`].
        min_hz: centre of the lowest bin (C1).
        bins, bins_per_octave: seven octaves of semitones. Kernels are 17 periods long then, half a second at 32.7 Hz; with 24
            bins an octave twice that.
        level: magnitude that is compressed to log 2.
        fold: whether to fold it.
        tolerance: of [`ConstantQSpectrum`]. 0 is fast enough for semitones, and exact: a frame hears half the longest kernel to
            each side and nothing beyond. Otherwise the error depends on the whole clip, and `frame_local` is False.
    """

    piece_s = SPECTRA_PIECE_S

    def __init__(
        self,
        sampling_rate: int,
        hop_samples: int,
        min_hz: float = 32.7,
        bins: int = 84,
        bins_per_octave: int = 12,
        level: float = LOG_LEVEL,
        fold: bool = False,
        tolerance: float = 0.0,
    ):
        super().__init__()
        if not level > 0:
            raise ValueError(f"level={level} must be positive.")
        if fold and bins % bins_per_octave:
            raise ValueError(f"bins={bins} must be whole octaves of bins_per_octave={bins_per_octave} to be folded to one.")
        self.spectrum = ConstantQSpectrum(sampling_rate, hop_samples, bins, bins_per_octave, min_hz, tolerance)
        if sum(self.spectrum.kernel_samples) > MOST_FILTERS:
            raise ValueError(f"{bins} kernels of up to {self.spectrum.kernel_samples[0]} samples; give fewer bins_per_octave.")
        self.level, self.fold = level, fold
        self.bins = bins_per_octave if fold else bins
        self.frame_local, self.whole_files = tolerance == 0, False
        # the window begins with a zero, so that half of it is all it reaches
        self.context_samples = -(-self.spectrum.kernel_samples[0] // (2 * hop_samples)) * hop_samples

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, samples // hop_samples + 1, bins) float32, 0 or more."""
        compressed = torch.log1p(self.spectrum(waveform) / self.level)
        if not self.fold:
            return compressed
        folded = compressed.unflatten(-1, (-1, self.bins)).sum(-2)
        return folded / (torch.linalg.vector_norm(folded, dim=-1, keepdim=True) + SILENCE_POWER)


class MFCCFeature(FrameSpectrum):
    """Mel-frequency cepstral coefficients with their first and second derivatives, as in HuBERT's first iteration.

    Args:
        sampling_rate, hop_samples: as in [`LogMelSpectrum`].
        coefficients: 13 gives 39 bins (HuBERT, section 3.2), 20 gives 60.
        mel_bins: bands the cosine transform starts from.
        fft_samples: length of the transform (1024 at 24 kHz: 43 ms).
    """

    more_frames = 2 * (DELTA_FRAMES // 2)

    def __init__(
        self, sampling_rate: int, hop_samples: int, coefficients: int = 13, mel_bins: int = 40, fft_samples: int = 1024
    ):
        require_packages("train", "torchaudio")
        from torchaudio.functional import create_dct  # loads a compiled library that only this feature needs

        if not 1 <= coefficients <= mel_bins:
            raise ValueError(f"coefficients={coefficients} must lie within 1 and mel_bins={mel_bins}.")
        super().__init__(LogMelSpectrum(sampling_rate, hop_samples, mel_bins, fft_samples), 3 * coefficients)
        self.register_buffer("cosines", create_dct(coefficients, mel_bins, "ortho"), persistent=False)

    def forward(self, waveform):
        """(batch, samples) -> (batch, samples // hop_samples + 1, 3 * coefficients) float32."""
        from torchaudio.functional import compute_deltas

        cepstrum = (self.spectrum(waveform) @ self.cosines).mT
        first = compute_deltas(cepstrum, DELTA_FRAMES)
        return torch.cat([cepstrum, first, compute_deltas(first, DELTA_FRAMES)], dim=1).mT


class HiddenStatesFeature(nn.Module):
    """Hidden states of one layer of a trained audio encoder: the teacher of a second iteration (HuBERT, section 3.2).

    The model is frozen and stays in `eval()`. Its states depend on the whole clip, so tracks are heard in pieces of the length
    models are trained on, with as much again around them.

    Args:
        sampling_rate, hop_samples: what the student has; the encoder's rate must be equal, and its frames equally many or a
            whole number of times as many: then so many are averaged.
        folder: an audio encoder for `AutoModel` (MERT, HuBERT, wav2vec 2.0, data2vec ...), a folder or a name of the Hub.
        layer: 0 is what enters the first layer, n what leaves layer n.

    Raises:
        InputError: it cannot be loaded, lacks weights or the layer, or works at another rate.
    """

    frame_local, whole_files = False, True
    piece_s = 5.0

    def __init__(self, sampling_rate: int, hop_samples: int, folder: str | None = None, layer: int | None = None):
        super().__init__()
        if not isinstance(folder, str) or not isinstance(layer, int):
            raise InputError("hidden_states needs both: feature_options {hidden_states: {folder: MODEL, layer: NUMBER}}.")
        title = f"hidden_states: {folder}"
        # float32 as the waveforms are, whatever the weights were stored in
        model = load_model(AutoModel, folder, title, may_lack=UNUSED_WEIGHTS, dtype=torch.float32)
        self.model = model.eval().requires_grad_(False)
        layers = getattr(self.model.config, "num_hidden_layers", 0)
        if not 0 <= layer <= layers:
            raise InputError(f"hidden_states: layer={layer}; {folder} has the layers 0 to {layers}.")
        self._encoder = FrozenEncoder(self.model, load_extractor(folder, title), title, deepest=layer)
        self.layer, self.bins = layer, self.model.config.hidden_size
        self.context_samples = round(self.piece_s / 2 * sampling_rate / hop_samples) * hop_samples
        # counted rather than read: encoders write their hop under different names, or nowhere
        given_rate, self.averaged = self._encoder.sampling_rate, 1
        counts = [self(torch.zeros(1, seconds * given_rate)).shape[1] for seconds in (1, 5)]
        given, wanted = (counts[1] - counts[0]) / 4, sampling_rate / hop_samples
        if given_rate != sampling_rate or given < wanted or given % wanted:
            raise InputError(
                f"hidden_states: {folder} works at {given_rate} Hz and {given:g} frames per second, the model at"
                f" {sampling_rate} Hz and {wanted:g}; the rates must be equal, and the frames a multiple."
            )
        self.averaged = round(given / wanted)

    def train(self, mode: bool = True) -> "HiddenStatesFeature":
        """A teacher is never trained: dropout stays off."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, hidden) float32; frames as the encoder counts them, those of a mean as one."""
        states = self._encoder(waveform)[self.layer].float()
        # the last mean is of the frames there are
        return states if self.averaged == 1 else F.avg_pool1d(states.mT, self.averaged, ceil_mode=True).mT

    def _apply(self, *arguments, **options) -> "HiddenStatesFeature":
        """Moved or cast, the model is looked at anew."""
        moved = super()._apply(*arguments, **options)
        vars(self._encoder).pop("view", None)
        return moved


class JoinedHiddenStatesFeature(nn.Module):
    """Hidden states of two trained audio encoders, one behind the other, each frame of each scaled to mean 0 and variance 1.

    What MERT-v2's authors tell of their targets: features of two frozen encoders of the same audio, joined and
    residual-quantised in one space. Theirs are MuQ and Qwen2-Audio; how they scale and project is not published, this is ours.

    Args:
        sampling_rate, hop_samples: as in [`HiddenStatesFeature`].
        folder, layer: of the first encoder.
        other_folder, other_layer: of the second.

    Raises:
        InputError: as in [`HiddenStatesFeature`].
    """

    frame_local, whole_files = False, True
    piece_s = HiddenStatesFeature.piece_s

    def __init__(self, sampling_rate, hop_samples, folder=None, layer=None, other_folder=None, other_layer=None):
        super().__init__()
        given = ((folder, layer), (other_folder, other_layer))
        self.parts = nn.ModuleList(HiddenStatesFeature(sampling_rate, hop_samples, *part) for part in given)
        self.bins = sum(part.bins for part in self.parts)
        self.context_samples = max(part.context_samples for part in self.parts)

    @torch.no_grad()
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(batch, samples) -> (batch, frames, hidden of both) float32, as many frames as both have."""
        states = [F.layer_norm(part(waveform), (part.bins,)) for part in self.parts]
        shortest = min(part.shape[1] for part in states)
        return torch.cat([part[:, :shortest] for part in states], dim=-1)


FRAME_FEATURES: dict[str, type[nn.Module]] = {
    "log_mel": LogMelFeature,
    "chroma": ChromaFeature,
    "mfcc": MFCCFeature,
    "hidden_states": HiddenStatesFeature,
    "joined_hidden_states": JoinedHiddenStatesFeature,
    "constant_q": ConstantQFeature,
}


def make_feature(name: str, sampling_rate: int, hop_samples: int, options: dict[str, Any]) -> nn.Module:
    """A feature of `FRAME_FEATURES` by its name, with its arguments.

    Raises:
        InputError: an option that it does not have or that is of no use; what would take gigabytes is refused beforehand.
    """
    for option, value in options.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 <= value <= LARGEST_OPTION) and not isinstance(value, (str, bool, type(None))):
            raise InputError(
                f"feature_options.{name}.{option}={str(value)[:80]}: numbers from 0 to {LARGEST_OPTION:,} are accepted."
            )
    numbers = {option: value for option, value in options.items() if isinstance(value, (int, float))}
    bins, samples = max(numbers.get("bins", 0), numbers.get("mel_bins", 0)), numbers.get("fft_samples", 0)
    if bins * samples > MOST_FILTERS:
        raise InputError(f"feature_options.{name}: {bins} bins of {samples} samples; their product may be {MOST_FILTERS:,}.")
    try:
        return FRAME_FEATURES[name](sampling_rate, hop_samples, **options)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"feature_options.{name}: {' '.join(str(error).split())[:300]}") from None
