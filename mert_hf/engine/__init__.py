"""The loop: trainer, updates, schedules, checkpoints, metrics, run folder."""

from mert_hf.common.packages import require_packages

require_packages("train", "accelerate")
