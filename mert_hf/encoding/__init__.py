"""Frozen models as encoders of music: load or refuse, windows, layers, pooling."""
