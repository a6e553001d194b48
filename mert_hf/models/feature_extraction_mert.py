"""From arrays of samples to the tensors MERT takes: checks, padding, attention mask."""

import reprlib
from collections.abc import Iterable

import numpy as np
import torch
from transformers import PreTrainedConfig, Wav2Vec2FeatureExtractor
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from .audio_inputs_mert import as_waveform, items_of, require_samples
from .errors_mert import InputError
from .sampling_rates_mert import require_sampling_rate
from .windows_mert import FrameGrid

# Longest clip that padding may make: 3.1 hours at 24 kHz, 1 GiB.
MOST_SAMPLES = 2**28

SAVED_FIELDS = (
    *("feature_size", "sampling_rate", "padding_value", "padding_side", "return_attention_mask", "do_normalize"),
    "min_samples",
)


class MERTFeatureExtractor(Wav2Vec2FeatureExtractor):
    r"""Checks waveforms and pads them into a batch; it never resamples, mixes down or rescales on its own.

    Args:
        feature_size (`int`, defaults to 1): Channels a sample; MERT is mono.
        sampling_rate (`int`, defaults to 24000): Samples per second the model was trained on (MERT-v1: 24000, v0: 16000).
        padding_value (`float`, defaults to 0.0): Value of the padding, on the right.
        return_attention_mask (`bool`, defaults to `True`): Whether to return which samples are audio (1) and padding (0).
        do_normalize (`bool`, defaults to `False`): Scale every clip to zero mean and unit variance. MERT was pre-trained
            without; published repositories that say `true` are honoured.
        min_samples (`int`, defaults to 400): Shortest clip that gives one frame, the receptive field of MERT v1's
            convolutions (MERT-v2: 1025).
    """

    def __init__(
        self,
        feature_size=1,
        sampling_rate=24000,
        padding_value=0.0,
        return_attention_mask=True,
        do_normalize=False,
        min_samples=400,
        **kwargs,
    ):
        _require(feature_size == 1 and type(feature_size) is int, "feature_size", feature_size, "1, MERT is mono")
        _require(_is_count(min_samples), "min_samples", min_samples, "a number of samples, 1 or more")
        is_number = isinstance(padding_value, (int, float)) and abs(padding_value) <= 1
        _require(is_number, "padding_value", padding_value, "a number within [-1, 1]")
        side = kwargs.get("padding_side", "right")
        _require(
            isinstance(side, str) and side == "right", "padding_side", side, "'right'; models read what lies left as audio"
        )
        for name, flag in (("return_attention_mask", return_attention_mask), ("do_normalize", do_normalize)):
            _require(isinstance(flag, bool), name, flag, "True or False")  # the text "false" would be true
        sampling_rate = require_sampling_rate(sampling_rate)
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            do_normalize=do_normalize,
            **kwargs,
        )
        self.min_samples = min_samples

    @classmethod
    def from_dict(cls, feature_extractor_dict, **kwargs):
        """Read the settings of a `preprocessor_config.json`.

        Raises:
            ValueError: they are no settings, or hold a value that is not taken.
        """
        _require(isinstance(feature_extractor_dict, dict), "the settings", feature_extractor_dict, "a dict")
        return super().from_dict(feature_extractor_dict, **kwargs)

    @classmethod
    def for_model(cls, extractor: Wav2Vec2FeatureExtractor, config: PreTrainedConfig) -> "MERTFeatureExtractor":
        """The extractor that published repositories name, transformers' own, with the same settings and with these checks."""
        if isinstance(extractor, cls):
            return extractor
        grid = FrameGrid.of(config, extractor.sampling_rate)
        return cls.from_dict({**extractor.to_dict(), "min_samples": 1 if grid is None else grid.shortest_samples})

    def to_dict(self) -> dict:
        """What is saved: the fields known here, and this code; a base's further fields may name a stranger's."""
        return {
            **{name: getattr(self, name) for name in SAVED_FIELDS},
            "feature_extractor_type": type(self).__name__,
            "auto_map": {"AutoFeatureExtractor": f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"},
        }

    def __call__(self, audio, sampling_rate=None, padding=True, **kwargs) -> BatchFeature:
        """Check one clip or several and make a batch of them.

        Args:
            audio: one mono clip (samples,), or several: a list, tuple or generator of them, or an array (batch, samples).
                numpy, torch or lists; floating point, nominally within [-1, 1]. Also `{"array": clip, "sampling_rate": rate}`
                and the decoders that rows of `datasets` hold, if they are mono and at the right rate; no files.
            sampling_rate: samples per second of `audio`. Give it: a clip of another rate is then an error, not a
                wrong feature. Left out, the clip is taken to be at `self.sampling_rate`.
            padding: as everywhere in transformers; by default clips are padded to the longest.
            kwargs: `max_length`, `truncation`, `pad_to_multiple_of`, `return_attention_mask`, `return_tensors`.

        Returns:
            `input_values` (batch, samples) float32 and `attention_mask` (batch, samples) int32.

        Raises:
            ValueError: another rate, a file, more than one channel, integers, NaN or infinity, samples beyond 2^31, an empty
                or too short clip, an option that there is not.
        """
        if sampling_rate is not None:
            self._require_rate(require_sampling_rate(sampling_rate))
        _check_options(padding, **kwargs)
        clips = [self._check(clip, index) for index, clip in enumerate(_split_into_clips(audio))]
        if not clips:
            raise InputError("got an empty list; give one clip (samples,) or a list of clips.")
        return super().__call__(clips, sampling_rate=self.sampling_rate, padding=padding, **kwargs)

    def _require_rate(self, rate: int) -> None:
        if rate != self.sampling_rate:
            raise InputError(
                f"The model takes audio at {self.sampling_rate} Hz; this audio is at {rate} Hz. Resample it first, or let the"
                " feature-extraction pipeline or mert_hf.audio.read_audio do it."
            )

    def _check(self, given, index: int) -> np.ndarray:
        try:
            waveform = as_waveform(given)
            if waveform is None:
                raise InputError(
                    "it is a file; the extractor takes waveforms. Read it with mert_hf.audio.read_audio, or give it to the"
                    " feature-extraction pipeline or to MusicEncoder."
                )
            if waveform.sampling_rate is not None:
                self._require_rate(waveform.sampling_rate)
            clip = waveform.samples[0] if waveform.samples.ndim == 2 and len(waveform.samples) == 1 else waveform.samples
            if clip.ndim != 1:
                raise InputError(
                    f"it has the shape {clip.shape}; a mono clip (samples,) is needed. Average the channels first:"
                    " audio.mean(axis=channel_axis)."
                )
            if len(clip) < self.min_samples:
                raise InputError(
                    f"it has {len(clip)} samples, fewer than the {self.min_samples} of one frame. An array of several clips has"
                    " the shape (batch, samples); one of several channels must be averaged to mono first."
                )
            return require_samples(clip)
        except InputError as error:
            raise InputError(f"clip {index}: {error}") from None


def _split_into_clips(audio) -> Iterable:
    clips = items_of(audio, decode=True)
    if clips is None:
        is_batch = isinstance(audio, (np.ndarray, torch.Tensor)) and audio.ndim > 1
        return list(audio) if is_batch else [audio]
    if isinstance(clips, (list, tuple)) and clips and isinstance(clips[0], (bool, int, float, np.number)):
        return [clips]  # of numbers: one clip
    return clips


def _check_options(padding, max_length=None, truncation=False, pad_to_multiple_of=None, return_tensors=None, **others) -> None:
    """Refuse what transformers would fail at in its own ways, or take for something else."""
    for name in others.keys() - {"return_attention_mask"}:
        raise InputError(
            f"{reprlib.repr(name)} is no option; there are max_length, truncation, pad_to_multiple_of,"
            " return_attention_mask and return_tensors."
        )
    strategies = [strategy.value for strategy in PaddingStrategy]
    is_strategy = isinstance(padding, (bool, str)) and (isinstance(padding, bool) or padding in strategies)
    _require(is_strategy, "padding", padding, f"True, False, {', '.join(map(repr, strategies))}")
    for name, number in (("max_length", max_length), ("pad_to_multiple_of", pad_to_multiple_of)):
        _require(number is None or _is_count(number), name, number, f"a number of samples from 1 to {MOST_SAMPLES}")
    _require(isinstance(truncation, bool), "truncation", truncation, "True or False")
    kinds = [kind.value for kind in TensorType]
    _require(
        return_tensors is None or (isinstance(return_tensors, str) and return_tensors in kinds),
        "return_tensors",
        return_tensors,
        "'pt' or 'np'",
    )


def _is_count(number) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool) and 1 <= number <= MOST_SAMPLES


def _require(condition: bool, name: str, given: object, accepted: str) -> None:
    if not condition:
        raise InputError(f"{name} must be {accepted}; got {reprlib.repr(given)}.")


__all__ = ["MERTFeatureExtractor"]
