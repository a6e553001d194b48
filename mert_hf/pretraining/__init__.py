"""A pre-training run: settings, sources, labels, what is trained, report, publication."""
