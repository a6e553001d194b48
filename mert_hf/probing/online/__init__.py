"""Probes that cost seconds, to watch a model while it is trained."""
