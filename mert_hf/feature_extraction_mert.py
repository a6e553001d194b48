"""From arrays of samples to the tensors MERT takes: checks, padding, attention mask."""

import numpy as np
import torch
from transformers import Wav2Vec2FeatureExtractor
from transformers.feature_extraction_utils import BatchFeature

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
        min_samples (`int`, defaults to 400): Shortest clip that gives one frame, the receptive field of the convolutions.
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
        if sampling_rate <= 0:
            raise ValueError(f"sampling_rate must be a positive number of samples per second; got {sampling_rate}.")
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            do_normalize=do_normalize,
            **kwargs,
        )
        self.min_samples = min_samples

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
            audio: one mono clip (samples,), or several: a list of them or an array (batch, samples). numpy, torch or lists;
                floating point, nominally within [-1, 1].
            sampling_rate: samples per second of `audio`. Give it: a clip of another rate is then an error, not a
                wrong feature. Left out, the clip is taken to be at `self.sampling_rate`.
            padding: as everywhere in transformers; by default clips are padded to the longest.
            kwargs: `max_length`, `truncation`, `pad_to_multiple_of`, `return_attention_mask`, `return_tensors`.

        Returns:
            `input_values` (batch, samples) float32 and `attention_mask` (batch, samples) int32.

        Raises:
            ValueError: another rate, more than one channel, integers, NaN or infinity, an empty or too short clip.
        """
        if sampling_rate is not None and sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The model takes audio at {self.sampling_rate} Hz; this audio is at {sampling_rate!r} Hz. Resample it first,"
                " or let the feature-extraction pipeline or mert_hf.audio.read_audio do it."
            )
        clips = [self._check(clip, index) for index, clip in enumerate(_split_into_clips(audio))]
        return super().__call__(clips, sampling_rate=self.sampling_rate, padding=padding, **kwargs)

    def _check(self, clip, index: int) -> np.ndarray:
        try:
            clip = np.asarray(clip)
        except ValueError:
            raise ValueError(
                f"clip {index} is a list of lists of different lengths; give one list of samples a clip."
            ) from None
        if clip.ndim != 1:
            raise ValueError(
                f"clip {index} has the shape {clip.shape}; a mono clip (samples,) is needed. Average the channels first:"
                " audio.mean(axis=channel_axis)."
            )
        if not np.issubdtype(clip.dtype, np.floating):
            raise ValueError(
                f"clip {index} holds {clip.dtype} samples; floating point within [-1, 1] is needed. For 16-bit integers:"
                " audio.astype('float32') / 32768."
            )
        if len(clip) < self.min_samples:
            raise ValueError(
                f"clip {index} has {len(clip)} samples, fewer than the {self.min_samples} of one frame. An array of several"
                " clips has the shape (batch, samples); one of several channels must be averaged to mono first."
            )
        clip = clip.astype(np.float32, copy=False)
        if not np.isfinite(clip).all():
            bad = int(np.flatnonzero(~np.isfinite(clip))[0])
            raise ValueError(f"clip {index} holds NaN or infinity (first at sample {bad}); repair or leave out that audio.")
        return clip


def _split_into_clips(audio) -> list:
    if isinstance(audio, torch.Tensor):
        audio = _to_numpy(audio)
    if isinstance(audio, np.ndarray):
        return list(audio) if audio.ndim > 1 else [audio]
    if len(audio) == 0:
        raise ValueError("got an empty list; give one clip (samples,) or a list of clips.")
    if np.isscalar(audio[0]):
        return [audio]
    return [_to_numpy(clip) if isinstance(clip, torch.Tensor) else clip for clip in audio]


def _to_numpy(clip: torch.Tensor) -> np.ndarray:
    # numpy has no bfloat16; integers stay integers and are refused
    return (clip.float() if clip.is_floating_point() else clip).detach().cpu().numpy()


__all__ = ["MERTFeatureExtractor"]
