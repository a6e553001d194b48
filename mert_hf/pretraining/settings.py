"""All settings of a pre-training run. The defaults are MERT-v1-95M's where the paper or its official recipe gives a number."""

from dataclasses import dataclass, make_dataclass
from typing import Any, Literal

from mert_hf.architectures.initial_weights import InitSettings
from mert_hf.common.settings import check_values, require, section, setting, suggest
from mert_hf.engine.settings import DEFAULT_BATCH_SIZE, MOST_STEPS, TrainingSettings
from mert_hf.objectives import OBJECTIVES
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import CLIP_KINDS
from mert_hf.teachers import CQTSettings, teacher_settings

MOST_TRACKS = 10**6


@dataclass
class DataSettings:
    """The corpus and the crops of it."""

    folder: str | None = setting(None, "folder of audio files, searched with all folders below it")
    dataset: str | None = setting(None, "a dataset of the Hub, or one saved with save_to_disk, instead of a folder")
    dataset_split: str = setting("train", "split of the dataset")
    dataset_column: str = setting("audio", "audio column of the dataset")
    streaming: bool = setting(False, "read the dataset as a stream; it may also be a folder of Parquet or WebDataset shards")
    stream_block: int = setting(64, "tracks of a shard that are shuffled while streaming", above=0, most=MOST_TRACKS)
    synthetic_pieces: int = setting(
        120, "pieces of synthetic music to render where neither folder nor dataset is given", above=0, most=MOST_TRACKS
    )
    synthetic_piece_s: float = setting(30.0, "length of a synthetic piece in seconds", above=0, most=3600)
    synthetic_renderer: Literal["builtin", "fluidsynth", "both"] = setting(
        "builtin", "sound of synthetic pieces: the package's own, sampled instruments (needs fluidsynth), or each in turn"
    )
    synthetic_workers: int | None = setting(None, "processes that render them; null: the cores there are", above=0, most=1024)
    crop_s: float = setting(5.0, "length of a training clip in seconds (MERT: 5)", above=0, most=3600)
    min_track_s: float = setting(3.0, "shorter tracks are skipped (official recipe: 72000 samples)", above=0, most=86_400)
    max_skipped: float = setting(0.1, "largest share of tracks that may be unusable before the run stops", least=0, most=1)
    check: Literal["full", "header"] = setting("full", "decode every track once before training, or read headers only")
    check_threads: int | None = setting(None, "tracks checked at a time; null: the cores there are", above=0, most=1024)
    labels: str | None = setting(None, "folder of the codes that prepare_labels.py made, instead of codes made on the fly")
    workers: int = setting(2, "processes that read audio; 0 reads in the training process", least=0, most=1024)

    def __post_init__(self):
        check_values(self, "data")
        require(self.folder is None or self.dataset is None, "data.folder and data.dataset are both given; give one.")
        require(self.dataset is not None or not self.streaming, "data.streaming needs data.dataset: what is to be streamed.")


@dataclass
class ValidationSettings:
    """Tracks that are not trained on, and are watched instead."""

    share: float = setting(0.02, "share of the tracks held out, drawn by training.seed; 0: none", least=0, below=1)
    folder: str | None = setting(None, "folder of audio files to validate on, instead of a share of the tracks")
    labels: str | None = setting(None, "folder of the codes of validation.folder, where data.labels holds those of the corpus")
    clips: int = setting(64, "clips of data.crop_s a validation", above=0, most=MOST_TRACKS)
    every: int = setting(1000, "updates between two validations; the last has one anyway", above=0, most=MOST_STEPS)

    def __post_init__(self):
        check_values(self, "validation")
        require(
            self.labels is None or self.folder is not None, "validation.labels needs validation.folder: the audio they are of."
        )


@dataclass
class OnlineProbeSettings:
    """Tasks by which the frozen model is probed while it is trained; `online_probe.jsonl`, `report/online_probe.png`."""

    tasks: list[str] = setting(["synthetic_instrument", "synthetic_chord"], "tasks of one answer an example, see mert-hf probe")
    every: int = setting(
        0, "updates between two probes; the first and the last have one anyway; 0: none", least=0, most=MOST_STEPS
    )
    examples: int = setting(300, "most examples of each split; their audio stays in memory", above=0, most=10**6)
    data: str | None = setting(None, "folder that holds a folder for every dataset that is neither synthetic nor on the Hub")

    def __post_init__(self):
        check_values(self, "online_probe")
        known = [name for name, task in TASKS.items() if task.kind in CLIP_KINDS]
        for name in self.tasks:
            require(name in TASKS, f"online_probe.tasks: there is no task {name!r}" + suggest(name, known))
            require(
                name in known,
                f"online_probe.tasks: {name} has no single answer an example; there are {', '.join(known)}.",
            )
        require(len({*self.tasks}) == len(self.tasks), "online_probe.tasks names a task twice.")
        require(self.tasks or self.every == 0, "online_probe.tasks is empty; name one, or set online_probe.every to 0.")


@dataclass
class PublishSettings:
    """What `push_to_hub` does with the trained model; see training/publish.py."""

    card: str | None = setting(None, "facts of the model card: a name in model_cards, or a YAML file")
    license: str | None = setting(None, "licence of the weights, such as cc-by-nc-4.0; goes before that of the card")
    private: bool = setting(False, "only you can see the repository, if it is made by this run")
    tag: str | None = setting(None, "tag of the revision; null counts v1, v2, ...")

    def __post_init__(self):
        check_values(self, "publish")


@dataclass
class RunSettings:
    """What every pre-training run depends on, whatever it learns from."""

    output_dir: str = setting("runs/pretrain", "folder of the run: checkpoints, metrics, model")
    objective: str = setting("masked_prediction", f"what the model is trained to do: {', '.join(OBJECTIVES)}")
    model: dict[str, Any] = setting({}, "fields of the model's configuration that differ from its defaults (MERT-v1-95M)")
    data: DataSettings = section(DataSettings, "corpus and crops")
    training: TrainingSettings = section(TrainingSettings, "optimisation")
    validation: ValidationSettings = section(ValidationSettings, "held-out tracks")
    online_probe: OnlineProbeSettings = section(OnlineProbeSettings, "probes while training")
    init: InitSettings = section(InitSettings, "weights to begin with")
    push_to_hub: str | None = setting(None, "repository of the Hub to publish the trained model in, user/name")
    publish: PublishSettings = section(PublishSettings, "how it is published")

    def __post_init__(self):
        check_values(self, "")
        known = list(OBJECTIVES)
        require(self.objective in known, f"there is no objective {self.objective!r}" + suggest(self.objective, known))
        if self.training.batch_s is not None:
            require(
                self.training.batch_s >= self.data.crop_s,
                f"training.batch_s={self.training.batch_s} is less than one clip of data.crop_s={self.data.crop_s}.",
            )
            fitting = int(self.training.batch_s / self.data.crop_s + 1e-9)
            require(
                self.training.batch_size in (None, fitting),
                f"training.batch_size={self.training.batch_size} and training.batch_s={self.training.batch_s} (which makes it"
                f" {fitting}) are both given, here or in the recipe; give one, and set the other to null.",
            )
            self.training.batch_size = fitting
        elif self.training.batch_size is None:
            self.training.batch_size = DEFAULT_BATCH_SIZE
        require(
            not self.data.streaming or self.validation.folder is not None or self.validation.share == 0,
            f"validation.share={self.validation.share}: no share of a stream can be held out; give --validation.folder, or"
            " --validation.share 0.",
        )
        OBJECTIVES[self.objective].check(self)

    def update_audio_s(self, processes: int = 1) -> float:
        """Seconds of audio that all processes hear in an update; of a pair, both crops count."""
        crops = 1 if OBJECTIVES[self.objective].pair_distances_s(self) is None else 2
        clips = processes * self.training.batch_size * self.training.gradient_accumulation_steps
        return crops * clips * self.data.crop_s


def pretrain_settings() -> type[RunSettings]:
    """All settings of a run: those of every run, and the sections of the teachers and of all `OBJECTIVES` there are."""
    sections = {"teacher": teacher_settings(), "cqt": CQTSettings}
    for objective in OBJECTIVES.values():
        sections |= objective.sections
    own = [(name, schema, section(schema, schema.__doc__.splitlines()[0])) for name, schema in sections.items()]
    doc = "Everything that a pre-training run depends on."
    return make_dataclass("PretrainSettings", own, bases=(RunSettings,), namespace={"__doc__": doc, "__module__": __name__})


# with the objectives and teachers of this package
PretrainSettings = pretrain_settings()
