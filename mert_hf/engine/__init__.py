"""The loop: trainer, updates, schedules, checkpoints, metrics, run folder."""
