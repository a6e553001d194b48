"""The accelerator of a run: devices, processes, precision, trackers, and what does not go together there."""

import importlib.util
import logging
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, InitProcessGroupKwargs, gather_object

from mert_hf.common.errors import InputError
from mert_hf.common.machine import bfloat16_slowdown
from mert_hf.common.settings import flatten
from mert_hf.common.threads import share_cores
from mert_hf.engine.settings import TrainingSettings

# Seconds that a collective waits beyond the limit at which a process that hangs is named.
BEHIND_WATCH_S = 120
# Slowness of bfloat16 that is worth a line: with the instructions for it a CPU is quicker than in float32.
SLOW = 3.0

logger = logging.getLogger(__name__)


def make_accelerator(
    training: TrainingSettings, folder: str | os.PathLike, can_be_sharded: bool = False, layerdrop: float = 0.0
) -> Accelerator:
    """The accelerator that the launcher's configuration (`training/launch`) and the settings ask for.

    Args:
        can_be_sharded: whether what is trained was run with FSDP and DeepSpeed.

    Raises:
        InputError: a tracker that is not installed, or a precision or a kind of sharding that does not work here.
    """
    tracker = None if training.tracker == "none" else training.tracker
    if tracker is not None and importlib.util.find_spec(tracker) is None:
        raise InputError(
            f"training.tracker={tracker} needs its package: pip install {tracker}; or give --training.tracker none."
        )
    accelerator = Accelerator(
        mixed_precision=training.mixed_precision,
        log_with=tracker,
        project_dir=folder,
        kwargs_handlers=[
            # LayerDrop leaves layers out at random, and their weights then get no gradient
            DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False),
            # a collective's own limit names nobody: RankWatch has to be there before it
            InitProcessGroupKwargs(timeout=timedelta(seconds=training.rank_timeout_s + BEHIND_WATCH_S)),
        ],
    )
    if training.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise InputError("training.mixed_precision=fp16 needs a GPU; use bf16 or no on a CPU.")
    if training.mixed_precision == "bf16" and accelerator.device.type == "cpu" and accelerator.is_main_process:
        slowdown = bfloat16_slowdown()
        if slowdown > SLOW:
            logger.warning(
                "training.mixed_precision=bf16: this CPU multiplies %.0f times as slowly in bfloat16 as in float32;"
                " --training.mixed_precision no is quicker here.",
                slowdown,
            )
    kind = accelerator.distributed_type
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED) and not can_be_sharded:
        raise InputError(f"this objective was never run with {kind.value}; launch with multi_gpu.yaml.")
    if kind in (DistributedType.FSDP, DistributedType.DEEPSPEED) and layerdrop > 0:
        raise InputError(
            f"model.layerdrop={layerdrop} cannot be used with {kind.value}, where all processes must run the same"
            " layers; give --model.layerdrop 0, or launch with multi_gpu.yaml."
        )
    if kind == DistributedType.DEEPSPEED:
        # DeepSpeed asks for these numbers; the loop takes its batches and clips its gradients by the settings
        numbers = accelerator.state.deepspeed_plugin.deepspeed_config
        numbers["train_micro_batch_size_per_gpu"] = training.batch_size
        numbers["gradient_clipping"] = training.max_grad_norm
        if training.mixed_precision == "bf16":
            # DeepSpeed's own bf16 casts the weights, but not the clips, and does not look whether a gradient is finite
            numbers["bf16"]["enabled"] = False
            numbers["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if accelerator.device.type == "cpu":
        share_cores()
    return accelerator


def require_same_everywhere(opened: dict[str, Any], title: str) -> None:
    """Refuse audio that is not the same for all processes, each of which would deal it out differently; all must call it.

    Raises:
        InputError: another process has found something else, as where machines have copies of their own.
    """
    (first_host, first), *others = gather_object([(socket.gethostname(), opened)])
    for rank, (host, other) in enumerate(others, start=1):
        differing = [name for name in first if other.get(name) != first[name]]
        if differing:
            raise InputError(
                f"the {' and the '.join(differing)} of {title} are not the same for all processes: process {rank} on {host} has"
                f" found others than process 0 on {first_host}. Give all machines the same files, or a folder they share."
            )


def peak_memory_gib(device: torch.device) -> float:
    """The most memory this process has held: of its GPU, since a run began there, where it has one; else of the machine.

    The machine's is that of the process since it was started: of several runs in one process (training/compare.py on a CPU)
    each says the largest so far.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def start_tracker(accelerator: Accelerator, settings: Any, folder: Path) -> None:
    """Begin to track a run of these settings, under the name of its folder; the folder's parent is the project."""
    if settings.training.tracker == "tensorboard":
        accelerator.init_trackers("tensorboard")  # the name of the folder its files lie in
        return
    plain = {name: value for name, value in flatten(settings).items() if isinstance(value, int | float | str | bool)}
    options = {"wandb": {"name": folder.name, "dir": str(folder)}, "trackio": {"name": folder.name}}
    accelerator.init_trackers(folder.resolve().parent.name, config=plain, init_kwargs=options)
