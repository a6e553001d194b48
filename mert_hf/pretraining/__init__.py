"""A pre-training run: settings, sources, labels, what is trained, report, publication."""

from mert_hf.common.packages import require_packages

require_packages("train", "accelerate", "matplotlib")
