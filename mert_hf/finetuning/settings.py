"""All settings of a fine-tuning run."""

from dataclasses import dataclass
from typing import Literal

from mert_hf.common.settings import check_values, require, section, setting


@dataclass
class LabelledDataSettings:
    """The labelled tracks, their split and their clips."""

    folder: str | None = setting(None, "folder with metadata.csv or .jsonl (file_name, label), or one sub-folder a label")
    dataset: str | None = setting(None, "a dataset of the Hub, or one saved with save_to_disk, instead of a folder")
    dataset_split: str = setting("train", "split of the dataset; its tracks are split again here")
    dataset_column: str = setting("audio", "audio column of the dataset")
    synthetic: Literal["instrument", "key"] = setting("instrument", "what to label where neither folder nor dataset is given")
    synthetic_pieces: int = setting(300, "pieces of synthetic music to render then", above=0, most=1_000_000)
    synthetic_piece_s: float = setting(6.0, "length of such a piece in seconds", above=0, most=3600)
    label_columns: list[str] = setting(["label"], "column of the label; several for regression on several numbers")
    label_separator: str = setting(";", "between the labels of one track, for multi_label_classification")
    split_column: str = setting(
        "split", "column with train, validation, test; used where it exists, before folders of these names"
    )
    group_column: str = setting("group", "column of what must not be torn apart (artist, album); used where it exists")
    validation_share: float = setting(0.15, "share of the tracks that choose the best epoch, where no split is given")
    test_share: float = setting(0.2, "share of the tracks that are measured at the end, where no split is given")
    clip_s: float = setting(
        5.0, "length of a clip: random ones to train on, all of a track to measure on (mean of them)", above=0, most=3600
    )
    min_track_s: float = setting(0.5, "shorter tracks are skipped", above=0, most=86_400)
    max_skipped: float = setting(0.1, "largest share of tracks that may be unusable", least=0, most=1)

    def __post_init__(self):
        check_values(self, "data")
        require(self.folder is None or self.dataset is None, "data.folder and data.dataset are both given; give one.")
        for name in ("validation_share", "test_share"):
            require(0 < getattr(self, name) <= 0.5, f"data.{name}={getattr(self, name)} must lie within (0, 0.5].")
        require(len(self.label_columns) > 0, "data.label_columns is empty; name the column of the label.")


@dataclass
class ModelSettings:
    """What is fine-tuned, and how much of it."""

    base: str = setting("m-a-p/MERT-v1-95M", "folder or repository of a MERT model; a head it may have is left out")
    problem_type: Literal["single_label_classification", "multi_label_classification", "regression"] = setting(
        "single_label_classification", "one label a track, several, or numbers"
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

    epochs: float = setting(20.0, "times every track is heard, a random clip each time", above=0, most=1e6)
    batch_size: int = setting(16, "clips a batch", above=0, most=1_000_000)
    gradient_accumulation_steps: int = setting(1, "batches an update", above=0, most=1_000_000)
    learning_rate: float = setting(1e-4, "peak learning rate; falls linearly to 0", above=0, most=100)
    warmup_share: float = setting(0.1, "share of the updates over which it rises", least=0, below=1)
    weight_decay: float = setting(0.01, "decoupled weight decay", least=0, most=100)
    max_grad_norm: float = setting(
        1.0, "gradients are scaled down to this norm; .inf leaves them as they are", above=0, most=1e9, endless=True
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = setting("no", "precision of the forward pass")
    seed: int = setting(1337, "of everything drawn: split, head, order, clips, dropout", least=0, most=2**32 - 1)
    workers: int = setting(0, "processes that read audio in the background", least=0, most=1024)
    resume: bool = setting(False, "go on from the newest whole checkpoint in output_dir, or begin where there is none")
    use_cpu: bool = setting(False, "train on the CPU even where there is a GPU")

    def __post_init__(self):
        check_values(self, "training")


@dataclass
class FinetuneSettings:
    """Everything a fine-tuning run depends on."""

    output_dir: str = setting("runs/finetune", "folder of the run: checkpoints, model, results")
    model: ModelSettings = section(ModelSettings, "base and method")
    data: LabelledDataSettings = section(LabelledDataSettings, "labelled tracks")
    training: FinetuneTrainingSettings = section(FinetuneTrainingSettings, "optimisation")

    def __post_init__(self):
        check_values(self, "")
        several = len(self.data.label_columns) > 1
        require(
            not several or self.model.problem_type == "regression",
            f"data.label_columns={list(self.data.label_columns)}: several columns are for model.problem_type regression.",
        )
