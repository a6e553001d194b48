"""All settings of a fine-tuning run."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from mert_hf.common.errors import InputError
from mert_hf.common.settings import check_values, require, section, setting, suggest
from mert_hf.encoding.released import DEFAULT_MODEL
from mert_hf.tasks import TASKS, Task
from mert_hf.tasks.labelled.reading import CLIP_S, SEED, LabelReading, ProblemType

# What a head is trained for, by the kind of the task; other kinds need an answer a frame, or audio.
PROBLEM_TYPES: dict[str, ProblemType] = {
    "multiclass": "single_label_classification",
    "key": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
# Most clips of a validation track, where nothing else is said (ours): the shares of the splits being what they are, validating
# then takes fewer passes of the model than training, which goes forward and back.
VALIDATION_CLIPS = 10


@dataclass
class LabelledDataSettings(LabelReading):
    """The labelled tracks, their split and their clips."""

    section: ClassVar[str] = "data"

    folder: str | None = setting(None, "folder with metadata.csv or .jsonl (file_name, label), or one sub-folder a label")
    dataset: str | None = setting(None, "a dataset of the Hub, or one saved with save_to_disk, instead of a folder")
    dataset_split: str = setting("train", "split of the dataset; its tracks are split again here")
    dataset_column: str = setting("audio", "audio column of the dataset")
    task_folder: str | None = setting(None, "with a task: folder that holds a folder for every dataset that is not on the Hub")
    synthetic: Literal["instrument", "key"] = setting("instrument", "what to label where no task, folder or dataset is given")
    synthetic_pieces: int = setting(300, "pieces of synthetic music to render then", above=0, most=1_000_000)
    synthetic_piece_s: float = setting(6.0, "length of such a piece in seconds", above=0, most=3600)
    clip_s: float | None = setting(
        None,
        f"length of a clip: random ones to train on, all of a track to measure on (mean of them); null is that of the task's"
        f" windows, and {CLIP_S:g} s where it has none",
        above=0,
        most=3600,
    )
    clips_per_track: int = setting(
        1, "random clips of every track an epoch, each from another part of it", above=0, most=100_000
    )
    validation_clips: int | None = setting(
        None,
        f"most clips of a validation track, evenly over it (of a test track all are heard); null is {VALIDATION_CLIPS}, and all"
        " that are its windows with a task",
        above=0,
        most=1_000_000,
    )
    cached_clips: int | None = setting(
        None,
        "with model.method frozen: so many clips of a training track, evenly over it, go through the encoder once, and epochs"
        " draw from them; 0 cuts clips anywhere and encodes each anew; null is as many as a run can draw, and 0 with other"
        " methods",
        least=0,
        most=1_000_000,
    )

    def __post_init__(self):
        super().__post_init__()
        require(self.folder is None or self.dataset is None, "data.folder and data.dataset are both given; give one.")


@dataclass
class ModelSettings:
    """What is fine-tuned, and how much of it."""

    base: str = setting(DEFAULT_MODEL, "folder, released model or repository of a MERT; a head it may have is left out")
    problem_type: ProblemType = setting(
        "single_label_classification", "one label a track, several, or numbers; of a task, what it asks for"
    )
    method: Literal["full", "lora", "frozen"] = setting("full", "train all weights, low-rank adapters, or the head alone")
    weighted_layers: bool = setting(True, "read a learned weighted sum of all layers instead of the last one")
    random_weights: bool = setting(False, "begin with random weights of the base's sizes, to see what pre-training is worth")
    lora_rank: int = setting(8, "rank of the adapters", above=0, most=65_536)
    lora_alpha: float = setting(16.0, "the adapters' output is scaled by alpha / rank", above=0, most=1e6)
    lora_dropout: float = setting(0.0, "dropout before the adapters", least=0, below=1)

    def __post_init__(self):
        check_values(self, "model")


@dataclass
class FinetuneTrainingSettings:
    """The optimisation, by transformers' Trainer."""

    epochs: float = setting(20.0, "times every track is heard, data.clips_per_track random clips of it", above=0, most=1e6)
    batch_size: int = setting(16, "clips a batch", above=0, most=1_000_000)
    gradient_accumulation_steps: int = setting(1, "batches an update", above=0, most=1_000_000)
    learning_rate: float = setting(1e-4, "peak learning rate; falls linearly to 0", above=0, most=100)
    warmup_share: float = setting(0.1, "share of the updates over which it rises", least=0, below=1)
    weight_decay: float = setting(0.01, "decoupled weight decay", least=0, most=100)
    max_grad_norm: float = setting(
        1.0, "gradients are scaled down to this norm; .inf leaves them as they are", above=0, most=1e9, endless=True
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = setting("no", "precision of the forward pass")
    seed: int = setting(SEED, "of everything drawn: split, head, order, clips, dropout", least=0, most=2**32 - 1)
    workers: int = setting(0, "processes that read audio in the background", least=0, most=1024)
    resume: bool = setting(False, "go on from the newest whole checkpoint in output_dir, or begin where there is none")
    use_cpu: bool = setting(False, "train on the CPU even where there is a GPU")

    def __post_init__(self):
        check_values(self, "training")


@dataclass
class FinetuneSettings:
    """Everything a fine-tuning run depends on; what a task brings along is filled in from it."""

    output_dir: str = setting("runs/finetune", "folder of the run: checkpoints, model, results")
    task: str | None = setting(None, "a task, such as gtzan_genre, with its data, splits and measures, instead of a folder")
    model: ModelSettings = section(ModelSettings, "base and method")
    data: LabelledDataSettings = section(LabelledDataSettings, "labelled tracks")
    training: FinetuneTrainingSettings = section(FinetuneTrainingSettings, "optimisation")

    def __post_init__(self):
        check_values(self, "")
        data, model = self.data, self.model
        frozen = model.method == "frozen"
        if data.cached_clips is None:
            data.cached_clips = math.ceil(self.training.epochs) * data.clips_per_track if frozen else 0
        require(
            frozen or data.cached_clips == 0,
            f"data.cached_clips={data.cached_clips}: features change while the encoder is trained; caching them is for"
            " model.method frozen.",
        )
        if self.task is None:
            data.require_columns(model.problem_type, "model.problem_type")
            require(data.task_folder is None, "data.task_folder is given without a task; name one with --task.")
            data.clip_s = data.clip_s or CLIP_S
            data.validation_clips = data.validation_clips or VALIDATION_CLIPS
            return
        task = find_task(self.task)
        for name in ("folder", "dataset"):
            require(getattr(data, name) is None, f"task and data.{name} are both given; give one.")
        asked = PROBLEM_TYPES[task.kind]
        require(
            model.problem_type in (asked, ModelSettings.problem_type),
            f"model.problem_type={model.problem_type!r}: the task {task.name} is of {asked!r}; leave it out.",
        )
        model.problem_type = asked
        data.clip_s = data.clip_s or task.windows.duration_s or CLIP_S


def find_task(name: str) -> Task:
    """The task of a name, if it can be fine-tuned on.

    Raises:
        InputError: there is none, or it asks for more than one answer a clip.
    """
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}{suggest(name, list(TASKS))}")
    task = TASKS[name]
    if task.kind not in PROBLEM_TYPES:
        raise InputError(
            f"task {name!r} asks for {task.kind}; fine-tuning answers with one label, several, or numbers a clip: judge the"
            " model on it with training/probe.py."
        )
    return task
