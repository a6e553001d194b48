"""From labelled music and a pre-trained model to a classifier: labels, splits, clips, transformers' Trainer, evaluation."""

from mert_hf.common.packages import require_packages

require_packages("train", "accelerate", "sklearn")
