"""Architectures: what is trained, and the weights it begins with. A further one is a file like `resnet.py` and a line here."""

from transformers import PreTrainedConfig

from mert_hf.architectures.base import Architecture
from mert_hf.architectures.data2vec_audio import Data2VecAudio
from mert_hf.architectures.mert import MERT
from mert_hf.architectures.mert2 import MERT2
from mert_hf.architectures.resnet import ResNet

ARCHITECTURES: dict[str, Architecture] = {
    "mert": MERT(),
    "mert2": MERT2(),
    "resnet": ResNet(),
    "data2vec_audio": Data2VecAudio(),
}


def architecture_of(config: PreTrainedConfig) -> Architecture | None:
    """The architecture of a configuration; None of one that is not listed here."""
    found = (architecture for architecture in ARCHITECTURES.values() if isinstance(config, architecture.config_class))
    return next(found, None)


__all__ = ["ARCHITECTURES", "Architecture", "architecture_of"]
