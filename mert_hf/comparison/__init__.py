"""Which objective suits this music? Cells trained on the same audio and budget, judged on the same tasks, in one table."""
