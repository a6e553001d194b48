"""Judging frozen models: features, probes, measures."""

from mert_hf.common.packages import require_packages

require_packages("train", "datasets", "evaluate", "scipy", "sklearn", "matplotlib")
