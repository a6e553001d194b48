"""One frozen model that hears audio, for everybody who wants its hidden states: embeddings, probes and teachers."""

from functools import cached_property

import torch
from transformers import PreTrainedModel

from mert_hf.common.errors import InputError
from mert_hf.encoding.normalisation import normalise_clips
from mert_hf.models.sampling_rates_mert import require_sampling_rate
from mert_hf.models.views_mert import input_dtype_of, layers_of, view_of
from mert_hf.models.windows_mert import FrameGrid


class FrozenEncoder:
    """Hidden states of clips by a model of transformers: no mask, no dropout, no LayerDrop, and nothing is trained.

    The model is left as it is. A view of it computes ([`mert_hf.models.views_mert.view_of`]), which is made when it is first
    needed and shares the weights: these must stay what and where they are as long as this is used.

    Args:
        model: any that takes `input_values`.
        extractor: its feature extractor, which says the rate and whether clips are scaled.
        title: of the model, for messages.
        device, dtype: of the computation; those of the model by default.
        deepest: the last layer that is wanted; those behind it are not computed where the model's layers are known.

    Attributes:
        sampling_rate: of the clips, in Hz.
        normalises: whether every clip is scaled to zero mean and unit variance.
        grid: of the frames; None of a model that tells none.

    Raises:
        InputError: the rates of model and extractor differ, or the extractor has none.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        extractor,
        title: str,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        deepest: int | None = None,
    ):
        self.model, self.title = model, title
        self.sampling_rate = require_sampling_rate(
            getattr(extractor, "sampling_rate", None), f"{title}: the feature extractor's sampling_rate"
        )
        config = model.config
        made_for = getattr(config, "sample_rate", None) or getattr(config, "sampling_rate", None)
        if made_for not in (None, self.sampling_rate):
            raise InputError(
                f"{title}: the model was made for {made_for} Hz, its feature extractor says {self.sampling_rate} Hz; mend"
                " preprocessor_config.json."
            )
        self.normalises = bool(getattr(extractor, "do_normalize", False))
        self.grid = FrameGrid.of(config, self.sampling_rate)
        self._device, self._dtype, self._deepest = device, dtype, deepest

    @cached_property
    def view(self) -> PreTrainedModel:
        """What computes."""
        return view_of(self.model, self._device or self.model.device, self._dtype, self._deepest)

    def __call__(self, clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Hidden states of clips of one length, without padding; scaled here where the feature extractor says so.

        Args:
            clips: (batch, samples) at `sampling_rate`.

        Returns:
            (batch, frames, hidden) of every layer, from 0 (input of the first) to `deepest`; in the type of the computation.
        """
        clips = clips.to(self.view.device, torch.float32)
        return self.run(normalise_clips(clips) if self.normalises else clips)

    @torch.no_grad()
    def run(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """Hidden states of what the feature extractor made of clips; see [`FrozenEncoder.__call__`].

        Args:
            input_values: (batch, samples).
            attention_mask: (batch, samples), 1 for audio and 0 for padding; None where there is none.
        """
        mask = {} if attention_mask is None else {"attention_mask": attention_mask.to(self.view.device)}
        values = input_values.to(self.view.device, input_dtype_of(self.view))
        outputs = self.view(values, **mask, output_hidden_states=True)
        return layers_of(outputs, self.view.config) if getattr(outputs, "hidden_states", None) else (outputs.last_hidden_state,)
