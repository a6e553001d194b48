"""Architectures: what is trained, and the weights it begins with. A further one is a file like `resnet.py` and a line here."""

from transformers import PreTrainedModel

from mert_hf.architectures.base import Architecture
from mert_hf.architectures.data2vec_audio import Data2VecAudio
from mert_hf.architectures.mert import MERT
from mert_hf.architectures.resnet import ResNet

ARCHITECTURES: dict[str, Architecture] = {
    "mert": MERT(),
    "resnet": ResNet(),
    "data2vec_audio": Data2VecAudio(),
}


def architecture_of(model: PreTrainedModel) -> Architecture:
    """The architecture that a model is of; KeyError where it is of none that is listed here."""
    for architecture in ARCHITECTURES.values():
        if isinstance(model.config, architecture.config_class):
            return architecture
    raise KeyError(type(model).__name__)


__all__ = ["ARCHITECTURES", "Architecture", "architecture_of"]
