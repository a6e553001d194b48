"""What a pre-training costs, before it is started: operations from the model's shape, time from an assumed use of the GPUs."""

from dataclasses import dataclass

import numpy as np

from mert_hf.models.configuration_mert import MERTConfig
from mert_hf.pretraining.settings import RunSettings

# A backward pass costs two forward passes: one product for the inputs, one for the weights of each layer.
FORWARD_PASSES = 3
# With gradient checkpointing the forward pass is done once more.
FORWARD_PASSES_CHECKPOINTED = 4
# Weights, gradients and Adam's two moments in float32.
BYTES_PER_PARAMETER = 16


@dataclass(frozen=True)
class ForwardCost:
    """Operations (a multiplication and an addition are two) of one forward pass over one clip, by part of the model."""

    convolutions: int  # the seven that turn samples into frames
    positions: int  # the positional convolution
    layers: int  # the transformer
    heads: int  # both pre-training heads, on masked frames

    @property
    def total(self) -> int:
        """All parts."""
        return self.convolutions + self.positions + self.layers + self.heads


def forward_cost(config: MERTConfig, samples: int, masked_share: float = 0.58) -> ForwardCost:
    """Count the operations of one clip.

    Args:
        masked_share: share of frames that are masked (0.8 x 5 static spans: 58 %).
    """
    convolutions, frames, channels = 0, samples, 1
    for width, kernel, stride in zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True):
        frames = (frames - kernel) // stride + 1
        convolutions += 2 * frames * kernel * channels * width
        channels = width
    hidden = config.hidden_size
    convolutions += 2 * frames * channels * hidden  # the projection into the encoder
    group = hidden // config.num_conv_pos_embedding_groups
    positions = 2 * frames * config.num_conv_pos_embeddings * group * hidden
    products = 4 * hidden**2 + 2 * hidden * config.intermediate_size
    layers = config.num_hidden_layers * (2 * frames * products + 4 * frames**2 * hidden)
    masked, books = masked_share * frames, len(config.codebook_sizes)
    scores = books * hidden * config.code_dim + sum(config.codebook_sizes) * config.code_dim
    return ForwardCost(convolutions, positions, layers, round(2 * masked * (scores + hidden * config.cqt_bins)))


@dataclass(frozen=True)
class Plan:
    """What a run comes to on a number of GPUs."""

    clip_flop: float  # operations of one clip, forward and backward
    clips_per_update: int  # clips of the global batch
    update_audio_hours: float
    audio_hours: float
    passes: float  # how often the corpus is heard
    days: float
    state_gib: float  # weights, gradients and moments, on each GPU without sharding
    corpus_tib: float  # size of the corpus as 16-bit FLAC (taken as 60 % of the samples)
    labels_gib: float  # size of the codes of the corpus as a label store holds them, 2 bytes each where a codebook has over 256
    audio_s_per_s: float  # seconds of audio that must be read every second, by all GPUs together


def plan_run(
    settings: RunSettings,
    config: MERTConfig,
    parameters: int,
    gpus: int,
    gpu_tflops: float,
    use: float,
    corpus_hours: float,
) -> Plan:
    """Plan a run.

    Args:
        settings: of the run, of objective masked_prediction.
        parameters: of model and heads.
        gpu_tflops: what each can do at most, in 10^12 operations a second (data sheet, dense, in the training's precision).
        use: share of that which is reached: an assumption until a run has measured it. Transformers alone reach 0.3 to 0.4; the
            convolutions in front wait for memory.
    """
    training, crop_s = settings.training, settings.data.crop_s
    passes = FORWARD_PASSES_CHECKPOINTED if training.gradient_checkpointing else FORWARD_PASSES
    clip_flop = passes * forward_cost(config, round(crop_s * config.sample_rate)).total
    clips = training.batch_size * training.gradient_accumulation_steps * gpus
    code_bytes = np.min_scalar_type(max(config.codebook_sizes) - 1).itemsize
    update_s = clips * clip_flop / (gpus * gpu_tflops * 1e12 * use)
    update_audio_s = settings.update_audio_s(gpus)
    audio_hours = update_audio_s / 3600 * training.max_steps
    return Plan(
        clip_flop=clip_flop,
        clips_per_update=clips,
        update_audio_hours=update_audio_s / 3600,
        audio_hours=audio_hours,
        passes=audio_hours / corpus_hours,
        days=update_s * training.max_steps / 86400,
        state_gib=parameters * BYTES_PER_PARAMETER / 2**30,
        corpus_tib=corpus_hours * 3600 * config.sample_rate * 2 * 0.6 / 2**40,
        labels_gib=corpus_hours * 3600 * config.frame_rate * len(config.codebook_sizes) * code_bytes / 2**30,
        audio_s_per_s=update_audio_s / update_s,
    )


def keep_global_batch(settings: RunSettings, gpus: int, recipe_gpus: int) -> None:
    """Let fewer or more GPUs than the recipe's make the same global batch, by accumulating more or less; rounded up."""
    training = settings.training
    batches = training.gradient_accumulation_steps * recipe_gpus
    training.gradient_accumulation_steps = max(-(-batches // gpus), 1)
