"""How encoders are probed."""

from dataclasses import dataclass

from mert_hf.common.errors import InputError
from mert_hf.probing.features.encoders import Encoder


@dataclass(frozen=True)
class ProbingSettings:
    """How encoders are probed, whatever the task."""

    seeds: int = 3  # of weights, batches and dropout; mean and standard deviation over them are reported
    head: str | None = None  # "mlp" or "linear" in place of the protocol's
    first_summed: int = 1  # first layer in the weighted sum: 1 is MARBLE's, 0 takes what enters the first layer in as well
    limited: bool = False  # also train on shares of the training split
    device: str = "cpu"  # where the probes are

    def summed_layers(self, encoder: Encoder) -> tuple[int, ...]:
        """Places of the layers in the weighted sum, none where there is one; InputError of a sum that begins behind them."""
        if len(encoder.layers) < 2:
            return ()
        if self.first_summed >= len(encoder.layers):
            raise InputError(
                f"first_summed {self.first_summed} is no layer of {encoder.title}; layers: {', '.join(encoder.layers)}."
            )
        return tuple(range(self.first_summed, len(encoder.layers)))
