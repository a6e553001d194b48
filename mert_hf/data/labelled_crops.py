"""Random crops whose labels are read from a store, in step with the audio."""

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import Corpus
from mert_hf.data.crops import LabelledCrop, RandomCrops, UnreadableCrop
from mert_hf.data.label_store import LabelStore, label_span


class LabelledCrops(RandomCrops):
    """[`RandomCrops`] with labels.

    The first label and their number are rounded to the nearest, as in the official code, so labels lie up to half a frame (7 ms
    at 75 Hz) off the model's frames. Where the labels of a track end before its audio does, the crops do too.

    Args:
        corpus: tracks that all have labels; see [`LabelStore.match`].
        crop_samples, sampling_rate, seed: as in [`RandomCrops`].
    """

    def __init__(self, corpus: Corpus, labels: LabelStore, crop_samples: int, sampling_rate: int = 24000, seed: int = 0):
        super().__init__(corpus, crop_samples, sampling_rate, seed)
        self.labels = labels

    def circumstances(self) -> dict[str, str]:
        return {**super().circumstances(), "labels": self.labels.fingerprint()}

    def available(self, track: int) -> int:
        """Samples that are both heard and labelled."""
        frames = self.labels.rows[self.corpus.tracks[track].name].frames
        return min(super().available(track), int(frames * self.sampling_rate / self.labels.frame_rate))

    def __getitem__(self, number: int) -> LabelledCrop | UnreadableCrop:
        """Crop `number` with its labels, or why it cannot be read."""
        waveform = super().__getitem__(number)
        if isinstance(waveform, UnreadableCrop):
            return waveform
        track, start, length = self.locate(number)
        name = self.corpus.tracks[track].name
        first, count = label_span(start, length, self.sampling_rate, self.labels.frame_rate)
        try:
            return LabelledCrop(waveform, self.labels.read(name, first, count))
        except InputError as error:
            return UnreadableCrop(name, str(error))
