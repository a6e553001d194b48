"""Rows of results as a suite has them, of values that a test chooses."""

MEASURES = {"synthetic_pitch": "accuracy", "synthetic_instrument": "accuracy"}


def make_row(task: str, metric: str, value: float, validation: float | None = None, spread: float = 1.0) -> dict:
    """A row of `SuiteEvaluator.evaluate`, in points; its draws lie evenly within `spread` around the value."""
    draws = [value + spread * (place / 10 - 1) for place in range(21)]
    told = {"title": task.replace("_", " ").capitalize(), "metric_title": metric, "unit": "%", "std": 0.0, "groups": 8}
    ends = {"low": value - spread, "high": value + spread, "seeds": [value], "layer": "1"}
    return {"task": task, "metric": metric, "value": value, "draws": draws, "validation": validation, **told, **ends}


def make_rows(values: dict[str, float], **more) -> list[dict]:
    """Rows of some tasks' accuracies."""
    return [make_row(task, "accuracy", value, **more) for task, value in values.items()]
