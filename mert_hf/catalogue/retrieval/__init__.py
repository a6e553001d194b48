"""Whether the nearest neighbours of vectors are any good: the same piece is changed, and looked for among all pieces."""

from mert_hf.common.packages import require_packages

require_packages("train", "datasets", "evaluate", "sklearn", "matplotlib")
