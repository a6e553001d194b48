"""The training engine: settings, the loop on Accelerate, checkpoints, metrics."""
