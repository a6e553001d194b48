"""Embeddings of music: paths or arrays in, one vector each out."""

import os
import reprlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn as nn
from tqdm import tqdm

from mert_hf.audio import read_info
from mert_hf.common.errors import InputError
from mert_hf.encoding.chosen_layers import ChosenLayers, Layers
from mert_hf.encoding.clips import Clip, Reader, Skipped
from mert_hf.encoding.engines import LayersUpTo
from mert_hf.encoding.opening import open_engine
from mert_hf.encoding.pooling import POOLS, AllFrames, PoolMaker
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.models.audio_inputs_mert import EncodedAudio, items_of, read_item
from mert_hf.models.sampling_rates_mert import require_sampling_rate
from mert_hf.models.windows_mert import (
    DEFAULT_OVERLAP_S,
    DEFAULT_WINDOW_S,
    Window,
    check_window,
    plan_windows,
    resolve_window_s,
)

# Of the depth, where nobody says which layer: 7 of 12.
DEFAULT_DEPTH = 7 / 12


class MusicEncoder:
    """Turns music into vectors, with MERT or any HuBERT-like model of transformers (wav2vec2, data2vec-audio, WavLM).

    A path that ends in `.onnx` is a file that `mert-hf export-onnx --all_layers` wrote; onnxruntime computes it (extra `onnx`).

    Many threads may use one encoder at once.

    Args:
        model: a folder, a released model ("mert-small", the default), a repository of the Hub (in this order, where a name may
            be several), an ONNX file, or a loaded model: also one with a head, with adapters of PEFT, or compiled by torch
            (uncompiled here). A loaded model is left as it is, wherever it lies, whatever its type, and in `train()` as well.
            Every call of `encode` computes with the weights that it has then: who trains it between two calls hears it, and may
            not do so during one. Where `device` or `dtype` differ from the model's, every call copies the layers it needs.
        feature_extractor: of a loaded model; read from the same place otherwise.
        device: such as "cpu", "cuda", "mps"; the fastest there is by default.
        dtype: of the computation, such as torch.bfloat16 or "bfloat16"; results are float32 whatever it is.
        revision: commit, branch or tag of a repository.

    Attributes:
        commit: of the repository that the model came from; None of a folder.

    Raises:
        InputError: the model cannot be loaded, lacks weights, or does not tell how audio becomes frames; the rates of
            model and feature extractor differ.

    Example:
        ```python
        encoder = MusicEncoder()  # or MusicEncoder("m-a-p/MERT-v1-95M")
        embeddings = encoder.encode(["one.mp3", "two.flac"])  # (2, 256)
        similarity = embeddings @ embeddings.T
        ```
    """

    def __init__(
        self,
        model: str | os.PathLike | nn.Module = DEFAULT_MODEL,
        feature_extractor=None,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str = torch.float32,
        revision: str | None = None,
    ):
        self._engine = open_engine(model, feature_extractor, device, dtype, revision)
        self.model, self.feature_extractor = self._engine.model, self._engine.feature_extractor
        self.device, self.dtype, self.commit = self._engine.device, self._engine.dtype, self._engine.commit
        self.sampling_rate, self.grid = self._engine.sampling_rate, self._engine.grid

    @property
    def num_layers(self) -> int:
        """The deepest layer that can be asked for."""
        return self._engine.num_layers

    @property
    def hidden_size(self) -> int:
        """Numbers of a frame."""
        return self._engine.hidden_size

    @property
    def default_layer(self) -> int:
        """The layer that is returned where none is asked for: that at seven twelfths of the depth."""
        return round(self.num_layers * DEFAULT_DEPTH)

    def check(
        self,
        layers: Layers | None = None,
        pool: str | None = "mean",
        batch_size: int = 8,
        window_s: float | str | None = "context",
        overlap_s: float = DEFAULT_OVERLAP_S,
    ) -> None:
        """Refuse options that [`MusicEncoder.encode`] would refuse, with the same InputError, before there is music."""
        ChosenLayers(self.default_layer if layers is None else layers, self.num_layers, False)
        self._check_options(pool, batch_size, None, self.resolve_window_s(window_s), overlap_s, None, "raise")

    def resolve_window_s(self, window_s: float | str | None) -> float | None:
        """Length of a window in seconds, that of the model for "context"."""
        return resolve_window_s(window_s, self._engine)

    def fingerprint(self) -> str:
        """What tells its features from those of any other model: SHA-256 of all weights, or of an ONNX file."""
        return self._engine.fingerprint()

    def encode(
        self,
        inputs,
        layers: Layers | None = None,
        pool: str | PoolMaker | None = "mean",
        batch_size: int = 8,
        normalize: bool = True,
        *,
        sampling_rate: int | None = None,
        window_s: float | str | None = "context",
        overlap_s: float = DEFAULT_OVERLAP_S,
        output_dir: str | os.PathLike | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        progress: bool = True,
    ) -> np.ndarray | list[np.ndarray | None]:
        """Encode one piece of music or a list of them, of any lengths and rates.

        Files are read window by window, so the memory needed does not grow with their length.

        Args:
            inputs: one or several of: paths or URLs of audio files, their bytes, open files, dicts `{"array": waveform,
                "sampling_rate": rate}` (mono, or channels first), mono waveforms (samples,) at `sampling_rate`, or what a row
                of `datasets` holds. Several are a list, a tuple, a generator, an array of paths, a column, or a dataset with
                one column of audio; see `audio_inputs_mert.py`. All are resampled to the model's rate. Waveforms, and what is
                decoded from rows or fetched, are in memory all at once: give large datasets in parts.
            layers: which layer, from 0 (input of the first layer) to `num_layers`; a list of several; "all"; or a dict of
                layer to weight, whose weighted sum is returned (weights are used as given). By default the one at seven
                twelfths of the depth: 7 of 12, where the authors of MERT-v1-95M look for most tasks, and 14 of 24. See
                [`mert_hf.encoding.layer_guide.LAYER_GUIDES`].
            pool: "mean" over the clip; "mean_std", mean and standard deviation one behind the other (2 * hidden); "second",
                the mean of each second; None, every frame. Or what makes a pooling of your own of (grid, number of frames):
                see [`SecondPool`].
            batch_size: windows at a time. On a CPU, where larger batches gain nothing, a batch also ends at one window's
                length of audio.
            normalize: scale every vector to length 1, so that a product of two is their cosine.
            sampling_rate: of waveforms that do not bring their own, in Hz.
            window_s, overlap_s: longer clips pass in windows of so many seconds; see [`plan_windows`]. "context": as long as
                the clips that the model was trained on, where it tells (MERT-v2: 30 s, FullSong 360 s), else 30 s. None: as a
                whole.
            output_dir: folder for the frames of `pool=None`, written as they come: one `.npy` an input, mapped into memory in
                the result. For long audio and many layers.
            on_error: of an input that cannot be used: "raise", or "skip" it with a warning that says why.
            progress: show a progress bar.

        Returns:
            float32 (n, hidden) for one layer or weights, (n, layers, hidden) for several; without the first axis for a
            single input. With "second" or None a list of n arrays (seconds or frames, hidden), or (layers, seconds or frames,
            hidden), and with a pooling of your own of what its `result` gives. What was skipped is a row of NaN, or None in
            a list.

        Raises:
            InputError: an empty list, a layer or pooling that does not exist, a rate that is none; where nothing is skipped,
                audio that cannot be read or is too short for a frame, a waveform without a rate, features that are not finite;
                or nothing could be used.
        """
        window_s = self.resolve_window_s(window_s)
        self._check_options(pool, batch_size, sampling_rate, window_s, overlap_s, output_dir, on_error)
        layers = self.default_layer if layers is None else layers
        chosen = ChosenLayers(layers, self.num_layers, normalize)
        items = items_of(inputs)
        skipped = Skipped(on_error == "skip")
        clips: dict[int, Clip] = {}
        for number, item in enumerate([inputs] if items is None else items):
            with skipped.unless_used(number):
                clips[number] = self.open_clip(item, number, sampling_rate)
        count = len(clips) + len(skipped.numbers)
        if not count:
            raise InputError("got an empty list; give one path or waveform, or several.")
        plans = {number: plan_windows(clip.num_samples, self.grid, window_s, overlap_s) for number, clip in clips.items()}
        results: list[Any] = [None] * count
        bar = tqdm(total=sum(map(len, plans.values())), desc="Encoding", unit="window", disable=not progress)
        # of its own for every call: another one may want other layers at the same time
        frozen = self._freeze(max(chosen.layers))
        with bar, closing(Reader()) as reader:
            pools: dict[int, Any] = {}
            try:
                for batch in self._batches(clips, plans, batch_size, window_s):
                    heard = self._read(reader, clips, batch, skipped)
                    states = self._run(frozen, heard, clips, chosen, skipped) if heard else []
                    for (number, window, _), frames in zip(heard, states, strict=True):
                        if number in skipped.numbers:
                            continue
                        if number not in pools:
                            pools[number] = self._new_pool(pool, clips[number], number, chosen, output_dir)
                        pools[number].add(window.keep(frames))
                        if window.stop == clips[number].num_samples:
                            results[number] = chosen.finish(pools.pop(number).result(), done=pool is None)
                    bar.update(len(batch))
            finally:
                for unfinished in pools.values():
                    if isinstance(unfinished, AllFrames):
                        unfinished.discard()
        return self._collect(results, pool, items is None)

    def _collect(self, results: list[Any], pool: str | None, single: bool):
        if all(result is None for result in results):
            raise InputError(f"none of {len(results)} inputs could be used; the log says why.")
        if single:
            return results[0]
        if pool not in ("mean", "mean_std"):
            return results
        like = next(result for result in results if result is not None)
        return np.stack([np.full_like(like, np.nan) if result is None else result for result in results])

    def _read(self, reader: Reader, clips: dict[int, Clip], batch, skipped: Skipped) -> list[tuple[int, Window, np.ndarray]]:
        """The windows of a batch that can be heard, with their samples."""
        heard = []
        for number, window in batch:
            if number not in skipped.numbers:
                with skipped.unless_used(number):
                    heard.append((number, window, reader.read(clips[number], window)))
        return heard

    def _freeze(self, deepest: int | None = None) -> LayersUpTo:
        return self._engine.up_to(deepest)

    def _check_options(self, pool, batch_size, sampling_rate, window_s, overlap_s, output_dir, on_error) -> None:
        if on_error not in ("raise", "skip"):
            raise InputError(f"on_error={reprlib.repr(on_error)} is unknown; there are 'raise' and 'skip'.")
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise InputError(f"batch_size={reprlib.repr(batch_size)} must be a whole number, 1 or more.")
        if pool is not None and not callable(pool) and not (isinstance(pool, str) and pool in POOLS):
            raise InputError(f"pool={reprlib.repr(pool)} is unknown; there are {', '.join(map(repr, POOLS))} and None.")
        if output_dir is not None and pool is not None:
            raise InputError(f"output_dir is for pool=None, whose frames can be large; with pool={pool!r} leave it out.")
        if sampling_rate is not None:
            require_sampling_rate(sampling_rate)
        try:
            check_window(window_s, overlap_s, self.grid)
        except ValueError as error:
            raise InputError(str(error)) from None
        if output_dir is not None:
            try:
                Path(output_dir).mkdir(parents=True, exist_ok=True)
            except (OSError, TypeError, ValueError) as error:  # ValueError of a name that no file can have
                raise InputError(f"output_dir={reprlib.repr(output_dir)} cannot be written: {error}.") from None

    def open_clip(self, item, number: int = 0, sampling_rate: int | None = None) -> Clip:
        """One input of [`MusicEncoder.encode`] at the model's rate; a file is read later. Errors name it `inputs[number]`."""
        rate, name = self.sampling_rate, f"inputs[{number}]"
        try:
            audio = read_item(item)
            if isinstance(audio, EncodedAudio):
                name = audio.source if isinstance(audio.source, str) else name
                clip = Clip(name, read_info(audio.source).resampled_length(rate), audio.source, rate)
            else:
                if audio.sampling_rate is None and sampling_rate is None:
                    raise InputError(
                        "a waveform alone does not tell its rate; pass sampling_rate, or {'array': ..., 'sampling_rate': ...}."
                    )
                waveform = replace(audio, sampling_rate=audio.sampling_rate or sampling_rate).to_mono(rate)
                clip = Clip(name, len(waveform), waveform, rate)
        except InputError as error:
            raise InputError(str(error) if name in str(error) else f"{name}: {error}") from None
        if self.grid.count_frames(clip.num_samples) == 0:
            raise InputError(
                f"{name} is too short: {clip.num_samples} samples at {rate} Hz, one frame needs {self.grid.shortest_samples}."
            )
        return clip

    def _batches(self, clips, plans, batch_size: int, window_s: float | None) -> Iterator[list[tuple[int, Window]]]:
        """Windows in the order of their clips' lengths, the longest first; a clip's windows follow one another."""
        most = (DEFAULT_WINDOW_S if window_s is None else window_s) * self.sampling_rate
        most *= 1 if self.device.type == "cpu" else batch_size
        batch: list[tuple[int, Window]] = []
        longest = 0
        for number in sorted(clips, key=lambda index: -clips[index].num_samples):
            for window in plans[number]:
                length = window.stop - window.start
                fits = len(batch) < batch_size and (len(batch) + 1) * max(longest, length) <= most
                if batch and not (fits and (self._engine.may_pad or length == longest)):
                    yield batch
                    batch, longest = [], 0
                batch.append((number, window))
                longest = max(longest, length)
        yield batch

    @torch.inference_mode()
    def _run(self, frozen: LayersUpTo, heard, clips: dict[int, Clip], chosen: ChosenLayers, skipped: Skipped):
        """The chosen layers of each window that is heard, (layers, frames, hidden); frames of padding included."""
        extracted = self.feature_extractor(
            [waveform for *_, waveform in heard],
            sampling_rate=self.sampling_rate,
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        values, mask = extracted["input_values"], extracted["attention_mask"]
        layers = frozen.run(values, None if mask.all() else mask)
        states = torch.stack([layers[layer] for layer in chosen.layers], dim=1).float().cpu().numpy()
        if states.shape[2] != self.grid.count_frames(values.shape[1]):
            raise InputError(
                f"{type(self.model).__name__} makes {states.shape[2]} frames where its configuration"
                f" tells of {self.grid.count_frames(values.shape[1])}; models that shorten them further are not supported."
            )
        for (number, *_), frames in zip(heard, states, strict=True):
            with skipped.unless_used(number):
                if not np.isfinite(frames).all():
                    raise InputError(
                        f"{clips[number].name}: the model's features are not finite in {self.dtype}; {self._engine.remedy}."
                    )
        return [chosen.weigh(frames) for frames in states]

    def _new_pool(self, pool: str | PoolMaker | None, clip: Clip, number: int, chosen: ChosenLayers, output_dir):
        num_frames = self.grid.count_frames(clip.num_samples)
        if pool is not None:
            return (pool if callable(pool) else POOLS[pool])(self.grid, num_frames)
        file = None
        if output_dir is not None:
            stem = "" if isinstance(clip.source, (np.ndarray, bytes)) else f"_{Path(clip.name).stem}"
            file = Path(output_dir) / f"{number:05d}{stem}.npy"
        return AllFrames(self.grid, num_frames, file, finish=chosen.finish)
