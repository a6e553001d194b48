"""Settings of the optimisation."""

from dataclasses import dataclass
from typing import Literal

from mert_hf.common.settings import check_values, require, setting

DEFAULT_BATCH_SIZE = 16
# Bounds of what is only counted: beyond them nothing ends in a lifetime.
MOST_STEPS, MOST_CLIPS = 10**9, 10**6


@dataclass
class TrainingSettings:
    """The optimisation."""

    max_steps: int = setting(
        400_000, "updates; the learning rate reaches 0 at the last; 0 saves the weights to begin with", least=0, most=MOST_STEPS
    )
    batch_size: int | None = setting(
        None, f"clips a batch and process; null is what fits into batch_s, or {DEFAULT_BATCH_SIZE}", above=0, most=MOST_CLIPS
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
    weight_decay_end: float | None = setting(None, "that of the last update, along half a cosine", least=0, most=100)
    max_grad_norm: float = setting(10.0, "largest norm of gradients; .inf is none", above=0, most=1e9, endless=True)
    ema_decay: float = setting(
        0.0, "save, and watch, the moving average of the weights with this decay, such as 0.999; 0: none", least=0, below=1
    )
    codebooks_per_update: int = setting(0, "codebooks drawn for each update; 0 is all", least=0, most=MOST_STEPS)
    spike_deviations: float = setting(0.0, "leave out updates so many deviations above the mean; 0: none", least=0, most=1e6)
    spike_memory_steps: int = setting(100, "updates that the running mean and deviation remember", above=0, most=MOST_STEPS)
    mixed_precision: Literal["no", "bf16", "fp16"] = setting("no", "precision of the forward pass; no is float32")
    attention: Literal["sdpa", "eager", "relaxed", "flash_attention_2", "flex_attention"] = setting(
        "sdpa", "how attention is computed; relaxed divides by model.attention_relax first, for float16"
    )
    gradient_checkpointing: bool = setting(False, "compute activations twice: less memory, a third slower")
    compile: str = setting("no", "backend of torch.compile for the encoder's layers, such as inductor; no is off")
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = setting("tensorboard", "what shows numbers while training")
    seed: int = setting(1337, "of everything drawn: weights, order, crops, masks, mixture, dropout", least=0, most=2**32 - 1)
    log_every: int = setting(10, "updates between two lines of metrics.jsonl", above=0, most=MOST_STEPS)
    checkpoint_every: int = setting(1000, "updates between two checkpoints", above=0, most=MOST_STEPS)
    keep_checkpoints: int = setting(2, "newest checkpoints to keep", above=0, most=MOST_STEPS)
    keep_every: int = setting(0, "keep those of every so many updates for good; 0 keeps none", least=0, most=MOST_STEPS)
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
