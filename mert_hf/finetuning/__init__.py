"""From labelled music and a pre-trained model to a classifier: labels, splits, clips, transformers' Trainer, evaluation."""
