"""Judging frozen models: features, probes, measures."""
