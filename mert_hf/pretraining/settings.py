"""All settings of a pre-training run. The defaults are MERT-v1-95M's where the paper or its official recipe gives a number."""

from dataclasses import dataclass
from typing import Any, Literal

from mert_hf.common.settings import check_values, require, section, setting, suggest
from mert_hf.objectives import MULTIVIEW_OBJECTIVES, OBJECTIVES
from mert_hf.pretraining.objective_settings import Data2VecSettings, MultiViewSettings

DEFAULT_BATCH_SIZE = 16

# Bounds of what is only counted: beyond them nothing ends in a lifetime.
MOST_STEPS, MOST_TRACKS = 10**9, 10**6
# Largest whole number in options of features (bins, samples of a transform): more need more memory than there is.
MOST_OF_A_FEATURE = 2**16


@dataclass
class DataSettings:
    """The corpus and the crops of it."""

    folder: str | None = setting(None, "folder of audio files, searched with all folders below it")
    dataset: str | None = setting(None, "a dataset of the Hub, or one saved with save_to_disk, instead of a folder")
    dataset_split: str = setting("train", "split of the dataset")
    dataset_column: str = setting("audio", "audio column of the dataset")
    streaming: bool = setting(False, "read the dataset as a stream; it may also be a folder of Parquet or WebDataset shards")
    stream_block: int = setting(
        64, "tracks of a shard that are shuffled among each other while streaming", above=0, most=MOST_TRACKS
    )
    synthetic_pieces: int = setting(
        120, "pieces of synthetic music to render where neither folder nor dataset is given", above=0, most=MOST_TRACKS
    )
    synthetic_piece_s: float = setting(30.0, "length of a synthetic piece in seconds", above=0, most=3600)
    crop_s: float = setting(5.0, "length of a training clip in seconds (MERT: 5)", above=0, most=3600)
    min_track_s: float = setting(3.0, "shorter tracks are skipped (official recipe: 72000 samples)", above=0, most=86_400)
    max_skipped: float = setting(0.1, "largest share of tracks that may be unusable before the run stops", least=0, most=1)
    check: Literal["full", "header"] = setting("full", "decode every track once before training, or read headers only")
    check_threads: int | None = setting(
        None, "tracks checked at a time; null takes the cores of the process", above=0, most=1024
    )
    labels: str | None = setting(
        None, "folder of the codes that prepare_labels.py makes once, instead of making them on the fly"
    )
    workers: int = setting(
        2, "processes that read audio in the background; 0 reads in the training process", least=0, most=1024
    )

    def __post_init__(self):
        check_values(self, "data")
        require(self.folder is None or self.dataset is None, "data.folder and data.dataset are both given; give one.")
        require(self.dataset is not None or not self.streaming, "data.streaming needs data.dataset: what is to be streamed.")


@dataclass
class TeacherSettings:
    """The acoustic teacher, whose codes are predicted."""

    kind: Literal["kmeans_residual", "kmeans_parallel", "codec"] = setting(
        "kmeans_residual", "k-means with residual codebooks, or one a feature; or a codec of transformers"
    )
    codebook_sizes: list[int] = setting(
        [1024] * 8, "codes of each codebook (EnCodec at 6 kbit/s: 8 x 1024)", least=2, most=65_536
    )
    features: list[str] = setting(["log_mel"], "what k-means codes: log_mel, chroma, mfcc, hidden_states")
    feature_options: dict[str, Any] = setting({}, "arguments of the features by name; null takes back what a base recipe says")
    fit_s: float = setting(3600.0, "seconds of audio to fit the codebooks on", above=0, most=1e8)
    folder: str | None = setting(
        None, "a fitted k-means teacher to use instead of fitting one; the codec (a folder, or facebook/encodec_24khz)"
    )
    online: bool = setting(False, "make the codes on the fly although data.labels is given (without labels they always are)")

    def __post_init__(self):
        check_values(self, "teacher")
        self.feature_options = {name: options for name, options in self.feature_options.items() if options is not None}
        require(0 < len(self.codebook_sizes) <= 64, "teacher.codebook_sizes must hold 1 to 64 codebooks.")
        for name, options in self.feature_options.items():
            require(isinstance(options, dict), f"teacher.feature_options.{name} must hold keys and values.")
            for key, value in options.items():
                require(
                    not isinstance(value, (int, float)) or abs(value) <= MOST_OF_A_FEATURE,
                    f"teacher.feature_options.{name}.{key}={value} must be {MOST_OF_A_FEATURE} or less.",
                )
        require(
            self.kind != "codec" or self.folder is not None,
            "teacher.kind=codec needs teacher.folder: the codec, such as facebook/encodec_24khz.",
        )


@dataclass
class CQTSettings:
    """The musical teacher, the constant-Q spectrum (numbers: MERT, section 3.3)."""

    enabled: bool = setting(True, "predict the constant-Q spectrum as well")
    min_hz: float = setting(32.7, "centre of the lowest bin in Hz (C1)", above=0, most=1e6)
    bins: int = setting(336, "bins", above=0, most=10_000)
    bins_per_octave: int = setting(48, "bins an octave", above=0, most=10_000)
    backend: Literal["torch", "nnaudio"] = setting("torch", "torch is fast; nnaudio is what the official code uses, and slow")
    tolerance: float = setting(1e-3, "relative error of the torch backend; 0 is exact and slow", least=0, below=1)

    def __post_init__(self):
        check_values(self, "cqt")


@dataclass
class MaskingSettings:
    """Which frames are hidden (mask_prob and mask_length of the official recipe)."""

    probability: float = setting(0.8, "share of masked frames if spans never overlapped", above=0, most=1)
    span_frames: int = setting(5, "frames of a span", above=0, most=100_000)
    min_spans: int = setting(2, "fewest spans in a clip", above=0, most=100_000)

    def __post_init__(self):
        check_values(self, "masking")


@dataclass
class MixtureSettings:
    """In-batch noise mixture (MERT, section 3.4)."""

    probability: float = setting(
        0.5,
        "probability that a clip is mixed with excerpts of others; 0 is off (the official code inverts its mixture_prob)",
        least=0,
        most=1,
    )
    min_excerpts: int = setting(1, "fewest excerpts in a mixed clip", least=1, most=1000)
    max_excerpts: int = setting(3, "most excerpts in a mixed clip", least=1, most=1000)
    min_s: float = setting(0.5, "shortest excerpt in seconds (12000 samples at 24 kHz)", above=0, most=3600)
    max_s: float = setting(1.0, "longest excerpt in seconds (95M: 24000 samples, 330M: 36000)", above=0, most=3600)
    min_snr_db: float | None = setting(
        None, "lowest level of a clip above its excerpt in dB; null keeps gain 1, as MERT", least=-200, most=200
    )
    max_snr_db: float | None = setting(None, "highest level of a clip above its excerpt in dB", least=-200, most=200)

    def __post_init__(self):
        check_values(self, "mixture")
        for low, high in (("min_excerpts", "max_excerpts"), ("min_s", "max_s"), ("min_snr_db", "max_snr_db")):
            least, most = getattr(self, low), getattr(self, high)
            require(
                self.probability == 0 or least is None or most is None or least <= most,
                f"mixture.{low}={least} is more than mixture.{high}={most}.",
            )


@dataclass
class TrainingSettings:
    """The optimisation."""

    max_steps: int = setting(
        400_000, "updates; the learning rate reaches 0 at the last; 0 saves the weights to begin with", least=0, most=MOST_STEPS
    )
    batch_size: int | None = setting(
        None, f"clips a batch and process; null is what fits into batch_s, or {DEFAULT_BATCH_SIZE}", above=0, most=MOST_TRACKS
    )
    batch_s: float | None = setting(None, "seconds of audio a batch and process, instead of batch_size", above=0, most=1e8)
    gradient_accumulation_steps: int = setting(1, "batches an update", above=0, most=1_000_000)
    learning_rate: float = setting(5e-4, "peak learning rate", above=0, most=100)
    warmup_steps: int = setting(32_000, "updates over which the learning rate rises from 0", least=0, most=MOST_STEPS)
    adam_beta1: float = setting(0.9, "decay of the gradient's mean", least=0, below=1)
    adam_beta2: float = setting(0.98, "decay of the gradient's square", least=0, below=1)
    adam_epsilon: float = setting(1e-6, "added to the root of the gradient's square", above=0, most=1)
    schedule: Literal["linear", "cosine", "tri_stage"] = setting("linear", "how the learning rate falls behind its warm-up")
    min_learning_rate: float = setting(0.0, "learning rate at the ends of the schedule", least=0, most=100)
    weight_decay: float = setting(0.01, "decoupled weight decay", least=0, most=100)
    weight_decay_end: float | None = setting(
        None, "weight decay at the last update, reached along half a cosine", least=0, most=100
    )
    max_grad_norm: float = setting(
        10.0, "gradients are scaled down to this norm; .inf leaves them as they are", above=0, most=1e9, endless=True
    )
    codebooks_per_update: int = setting(
        0, "codebooks, drawn for each update, that are trained in it; 0 is all", least=0, most=MOST_STEPS
    )
    spike_deviations: float = setting(
        0.0, "leave out updates so many running deviations above the mean; 0 leaves out none", least=0, most=1e6
    )
    spike_memory_steps: int = setting(100, "updates that the running mean and deviation remember", above=0, most=MOST_STEPS)
    mixed_precision: Literal["no", "bf16", "fp16"] = setting("no", "precision of the forward pass; no is float32")
    attention: Literal["sdpa", "eager", "relaxed", "flash_attention_2", "flex_attention"] = setting(
        "sdpa", "how attention is computed; relaxed divides by model.attention_relax first, for float16"
    )
    gradient_checkpointing: bool = setting(
        False, "compute activations twice instead of keeping them: less memory, a third slower"
    )
    compile: str = setting("no", "backend of torch.compile for the encoder's layers, such as inductor; no is off")
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = setting(
        "tensorboard", "where numbers are shown while training"
    )
    seed: int = setting(1337, "of everything drawn: weights, order, crops, masks, mixture, dropout", least=0, most=2**32 - 1)
    log_every: int = setting(10, "updates between two lines of metrics.jsonl", above=0, most=MOST_STEPS)
    checkpoint_every: int = setting(1000, "updates between two checkpoints", above=0, most=MOST_STEPS)
    keep_checkpoints: int = setting(2, "newest checkpoints to keep", above=0, most=MOST_STEPS)
    keep_every: int = setting(
        0, "keep the checkpoints of every so many updates for good; 0 keeps none", least=0, most=MOST_STEPS
    )
    resume: bool = setting(False, "go on from the newest checkpoint in output_dir, or begin where there is none")
    max_bad_steps: int = setting(10, "updates left out in a row that stop the run", above=0, most=MOST_STEPS)
    rank_timeout_s: float = setting(
        1800.0,
        "seconds without an update, a validation or a checkpoint behind which processes end that wait for another",
        above=0,
        most=7 * 24 * 3600,
    )

    def __post_init__(self):
        check_values(self, "training")
        require(
            self.min_learning_rate <= self.learning_rate,
            f"training.min_learning_rate={self.min_learning_rate} must lie within 0 and training.learning_rate.",
        )


@dataclass
class ValidationSettings:
    """Tracks that are not trained on, and are watched instead."""

    share: float = setting(
        0.02, "share of the tracks, drawn by training.seed, that is held out; 0 holds out none", least=0, below=1
    )
    folder: str | None = setting(None, "folder of audio files to validate on, instead of a share of the tracks")
    labels: str | None = setting(None, "folder of the codes of validation.folder, where data.labels holds those of the corpus")
    clips: int = setting(64, "clips of data.crop_s a validation", above=0, most=MOST_TRACKS)
    every: int = setting(
        1000, "updates between two validations; there is one behind the last in any case", above=0, most=MOST_STEPS
    )

    def __post_init__(self):
        check_values(self, "validation")
        require(
            self.labels is None or self.folder is not None, "validation.labels needs validation.folder: the audio they are of."
        )


@dataclass
class InitSettings:
    """The weights to begin with."""

    model: str | None = setting(None, "a MERT of the Hub or a folder to go on from; fresh weights by default")
    revision: str = setting("main", "revision of the model on the Hub")
    new_heads: bool = setting(False, "agree that heads which the model does not have, or of another size, are drawn anew")

    def __post_init__(self):
        check_values(self, "init")


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
class PretrainSettings:
    """Everything a pre-training run depends on."""

    output_dir: str = setting("runs/pretrain", "folder of the run: checkpoints, metrics, model")
    objective: str = setting("masked_prediction", f"what the model is trained to do: {', '.join(OBJECTIVES)}")
    model: dict[str, Any] = setting({}, "fields of the model's configuration that differ from its defaults (MERT-v1-95M)")
    data: DataSettings = section(DataSettings, "corpus and crops")
    teacher: TeacherSettings = section(TeacherSettings, "acoustic teacher")
    cqt: CQTSettings = section(CQTSettings, "musical teacher")
    masking: MaskingSettings = section(MaskingSettings, "hidden frames")
    mixture: MixtureSettings = section(MixtureSettings, "noise mixture")
    data2vec: Data2VecSettings = section(Data2VecSettings, "objective data2vec")
    multiview: MultiViewSettings = section(MultiViewSettings, "objectives that compare two crops of a track")
    training: TrainingSettings = section(TrainingSettings, "optimisation")
    validation: ValidationSettings = section(ValidationSettings, "held-out tracks")
    init: InitSettings = section(InitSettings, "weights to begin with")
    push_to_hub: str | None = setting(None, "repository of the Hub to publish the trained model in, user/name")
    publish: PublishSettings = section(PublishSettings, "publishing")

    def __post_init__(self):
        check_values(self, "")
        require(
            self.objective in OBJECTIVES,
            f"there is no objective {self.objective!r}" + suggest(self.objective, list(OBJECTIVES)),
        )
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
        if self.objective == "data2vec":
            return
        if self.objective != "masked_prediction":
            self.multiview.check(self.data)
            return
        require(
            self.mixture.probability == 0 or self.training.batch_size > 1,
            f"training.batch_size={self.training.batch_size} with mixture.probability={self.mixture.probability}: noise mixture"
            " needs 2 or more clips in a batch; use a larger batch or --mixture.probability 0.",
        )
        require(
            self.mixture.probability == 0 or self.mixture.max_s <= min(self.data.min_track_s, self.data.crop_s),
            f"mixture.max_s={self.mixture.max_s} is longer than the shortest clip,"
            f" {min(self.data.min_track_s, self.data.crop_s)} s (data.crop_s, data.min_track_s).",
        )

    def update_audio_s(self, processes: int = 1) -> float:
        """Seconds of audio that all processes hear in an update; of a pair, both crops count."""
        crops = 2 if self.objective in MULTIVIEW_OBJECTIVES else 1
        clips = processes * self.training.batch_size * self.training.gradient_accumulation_steps
        return crops * clips * self.data.crop_s
