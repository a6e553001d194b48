"""Which objective suits this music? Cells trained on the same audio and budget, judged on the same tasks, in one table."""

from mert_hf.common.packages import require_packages

require_packages("train", "accelerate", "matplotlib")
