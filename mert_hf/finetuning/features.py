"""Training a head on features that are computed once: a frozen encoder hears every clip a single time.

The clips of a track are a fixed grid, those that it would be measured by. What the layers of the encoder answer is averaged
over the time of each clip and kept on the disk, shard by shard, so that a run that is killed computes none twice. Since frames
are projected linearly and averaged, the head learns the same from the averages as from all frames. The encoder hears without
dropout, as it does when it is used.
"""

import contextlib
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel, TrainingArguments
from transformers.modeling_outputs import Wav2Vec2BaseModelOutput

from mert_hf import __version__
from mert_hf.common.errors import InputError
from mert_hf.common.files import digest_json
from mert_hf.finetuning.clips import Collator, EvaluationClips, RandomChoice
from mert_hf.models.views_mert import layers_of
from mert_hf.probing.features.cache import FeatureCache, Features, FeatureWindow
from mert_hf.probing.features.encoders import weights_fingerprint

# Raised whenever the same clips and encoder give other features than before.
FEATURES_VERSION = 1
# 10 MB of features of a 95M model
CLIPS_PER_SHARD = 256


class HeardEncoder(nn.Module):
    """Stands in a classifier where its encoder stood, and gives back the features it is given, as layers of a single frame.

    Args:
        begins_late: the classifier looks for the first layer in `extract_features`, as that of MERT-v2 does.
    """

    def __init__(self, begins_late: bool):
        super().__init__()
        self._begins_late = begins_late

    def forward(self, input_values: torch.Tensor, attention_mask: None = None, **options) -> Wav2Vec2BaseModelOutput:
        """(batch, layers, hidden) -> hidden states (batch, 1, hidden) of every layer."""
        layers = input_values.unsqueeze(2).unbind(1)
        states = layers[1:] if self._begins_late else layers
        return Wav2Vec2BaseModelOutput(layers[-1], extract_features=layers[0], hidden_states=states)


@contextlib.contextmanager
def encoder_taken_out(model: PreTrainedModel):
    """A classifier that takes features in place of waveforms, while it is trained; afterwards its encoder is back."""
    name, encoder = model.base_model_prefix, model.base_model
    setattr(model, name, HeardEncoder(getattr(model.config, "hidden_states_include_input", None) is False))
    try:
        yield
    finally:
        setattr(model, name, encoder)


class DrawnFeatures(Dataset):
    """Features of random clips of every track, out of those that were heard; other ones in every epoch.

    Args:
        features: of all `clips`, a row each.
        per_track: clips of a track and epoch.
    """

    def __init__(self, features: Features, clips: EvaluationClips, seed: int, per_track: int):
        self._features, self._clips = features, clips
        self._counts = np.bincount(clips.track_of_clip)
        self._firsts = np.cumsum(self._counts) - self._counts
        self.choice = RandomChoice(seed, per_track)

    def set_epoch(self, epoch: int) -> None:
        """Called by Trainer before every epoch."""
        self.choice.epoch = epoch

    def __len__(self) -> int:
        return len(self._counts) * self.choice.per_track

    def __getitem__(self, number: int) -> dict:
        place, clip = divmod(number, self.choice.per_track)
        drawn = self.choice.place(self._clips.tracks[place], clip, int(self._counts[place]))
        return _item(self._features, self._clips, self._firsts[place] + drawn)


class AllFeatures(Dataset):
    """Features of all clips, in their order."""

    def __init__(self, features: Features, clips: EvaluationClips):
        self._features, self._clips = features, clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, number: int) -> dict:
        return _item(self._features, self._clips, number)


def _item(features: Features, clips: EvaluationClips, number: int) -> dict:
    return {"features": features.take(np.array([number]))[0], "labels": clips.target(number)}


def collate_features(items: list[dict]) -> dict[str, torch.Tensor]:
    """Features and targets -> `input_values` (batch, layers, hidden), `labels`."""
    features = torch.from_numpy(np.stack([item["features"] for item in items]))
    return {"input_values": features, "labels": torch.as_tensor(np.stack([item["labels"] for item in items]))}


class FeatureMaker:
    """Computes features of clips, or reads those that were computed before; processes take turns at shards.

    Args:
        model: a classifier, whose encoder is asked.
        collator: makes batches of its inputs.
        folder: of the caches.
        facts: of the data, which change when it does.
        arguments: the device, the batches, the precision and the processes.
        tell: called with the number of clips that are there, from time to time.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        collator: Collator,
        folder: Path,
        facts: dict[str, Any],
        arguments: TrainingArguments,
        tell: Callable[[int], None],
    ):
        self._model, self._collator, self._folder, self._arguments, self._tell = model, collator, folder, arguments, tell
        config = model.base_model.config.to_diff_dict()
        self._about = {
            **facts,
            "features_version": FEATURES_VERSION,
            "package": __version__,
            "weights": weights_fingerprint(model.base_model),
            "config": {name: value for name, value in config.items() if name != "_name_or_path"},
            "normalised": bool(getattr(collator.feature_extractor, "do_normalize", False)),
            "layers": "last" if model.layer_sum is None else "all",
            "precision": "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "float32",
        }

    def make(self, split: str, clips: EvaluationClips) -> Features:
        """Features (clips, layers, hidden) float32 of all clips.

        Raises:
            InputError: audio that cannot be read, features that are not finite, a full disk, a damaged cache.
        """
        spans = digest_json([clips.span(number) for number in range(len(clips))])
        cache = FeatureCache(self._folder, {**self._about, "sampling_rate": clips.sampling_rate, "spans": spans})
        shards = [range(start, min(start + CLIPS_PER_SHARD, len(clips))) for start in range(0, len(clips), CLIPS_PER_SHARD)]
        missing = [number for number in range(len(shards)) if not cache.has(number)]
        self._tell(sum(len(shard) for number, shard in enumerate(shards) if number not in missing))
        self._arguments.distributed_state.wait_for_everyone()  # until all have seen what is missing
        count = self._arguments.world_size
        for number in missing[self._arguments.process_index :: count]:
            rows = self._hear(clips, shards[number])
            if number == missing[0]:
                cache.require_room(rows.nbytes / len(rows) * CLIPS_PER_SHARD * len(missing), f"features of {split} need about")
            windows = [[FeatureWindow(clips.span(clip)[1] / clips.sampling_rate, 1)] for clip in shards[number]]
            cache.write(number, _names(clips, shards[number]), windows, rows)
        self._arguments.distributed_state.wait_for_everyone()
        return cache.read([_names(clips, shard) for shard in shards])

    def _hear(self, clips: EvaluationClips, numbers: range) -> np.ndarray:
        """(numbers, layers, hidden) of some clips, those of equal length together, so that none is padded."""
        length = {number: clips.span(number)[2] for number in numbers}
        size, batches = self._arguments.per_device_train_batch_size, []
        for _, equal in groupby(sorted(numbers, key=length.get), key=length.get):
            equal = list(equal)
            batches += [equal[start : start + size] for start in range(0, len(equal), size)]
        workers = self._arguments.dataloader_num_workers
        loader = DataLoader(clips, batch_sampler=batches, collate_fn=self._collator, num_workers=workers)
        rows = {}
        for places, batch in zip(batches, loader, strict=True):
            for place, row in zip(places, self._encode(batch), strict=True):
                if not np.isfinite(row).all():
                    name = clips.corpus.tracks[clips.span(place)[0]].name
                    raise InputError(f"model.base gives NaN or infinity for a clip of {name}; is its checkpoint whole?")
                rows[place] = row
            self._tell(len(places) * self._arguments.world_size)
        return np.stack([rows[number] for number in numbers])

    @torch.no_grad()
    def _encode(self, batch: dict[str, torch.Tensor]) -> np.ndarray:
        arguments, model = self._arguments, self._model
        inputs = {name: values.to(arguments.device) for name, values in batch.items() if name != "labels"}
        dtype = torch.bfloat16 if arguments.bf16 else torch.float16
        all_layers = model.layer_sum is not None
        with torch.autocast(arguments.device.type, dtype, enabled=arguments.bf16 or arguments.fp16):
            outputs = model.base_model(**inputs, output_hidden_states=all_layers, return_dict=True)
        layers = layers_of(outputs, model.config) if all_layers else (outputs.last_hidden_state,)
        return torch.stack([states.float().mean(1) for states in layers], dim=1).cpu().numpy()


def _names(clips: EvaluationClips, numbers: range) -> list[str]:
    return [f"{clips.corpus.tracks[track].name} {start}" for track, start, _ in map(clips.span, numbers)]
