"""The commands of `mert-hf`: one file for each, or for a few that belong together, and its line here."""

from mert_hf.commands.base import Command
from mert_hf.commands.classify import CLASSIFY
from mert_hf.commands.conversion import CODE_OFFSET, CONVERT, CONVERT_DEEZER, IMPORT_LABELS
from mert_hf.commands.demo import DEMO
from mert_hf.commands.embed import EMBED
from mert_hf.commands.export import EXPORT_CHECKPOINT, EXPORT_ONNX
from mert_hf.commands.features import CHECK_FEATURES, WINDOW_DIFFERENCE
from mert_hf.commands.finetune import FINETUNE
from mert_hf.commands.inspect import INSPECT
from mert_hf.commands.listing import LIST
from mert_hf.commands.pretrain import PRETRAIN
from mert_hf.commands.probe import PROBE
from mert_hf.commands.publish import PUBLISH
from mert_hf.commands.retrieval import RETRIEVAL
from mert_hf.commands.search import DUPLICATES, INDEX, SEARCH

# in the order of `mert-hf --help`
COMMANDS: dict[str, tuple[Command, ...]] = {
    "your music": (EMBED, SEARCH, DUPLICATES, INDEX, INSPECT, DEMO, CLASSIFY),
    "training and publishing": (PRETRAIN, FINETUNE, PUBLISH),
    "how good features are": (RETRIEVAL, PROBE, WINDOW_DIFFERENCE, CHECK_FEATURES),
    "models in other forms": (CONVERT, CONVERT_DEEZER, CODE_OFFSET, IMPORT_LABELS, EXPORT_ONNX, EXPORT_CHECKPOINT),
    "what there is": (LIST,),
}

__all__ = ["COMMANDS", "Command"]
