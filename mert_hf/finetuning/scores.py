"""What predictions are worth: the measures of the task, as probing has them, and what is read beside them."""

import numpy as np
from sklearn import metrics

from mert_hf.probing.metrics import load_metrics, score_all
from mert_hf.tasks.base import Task

# End of the names of values over all cells as one, which belong to Deezer's protocol.
MICRO = "_micro"


def probabilities(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """(clips, classes) logits -> what is averaged over a track's clips: probabilities, or the numbers themselves."""
    if problem_type == "regression":
        return logits
    if problem_type == "multi_label_classification":
        return 1 / (1 + np.exp(-logits))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def score_tracks(predicted: np.ndarray, targets: np.ndarray, task: Task, labels: list[str]) -> dict[str, float]:
    """Scores of (tracks, outputs) predictions, likelihoods of the labels or numbers, against the tracks' targets.

    Nothing that a split lacks ends a run between two epochs: of several labels, those without both a track that has them and
    one that has not are left out of the means, and where none remains, the scores are NaN.
    """
    if task.kind == "multilabel":
        mixed = [place for place in range(len(labels)) if 0 < targets[:, place].sum() < len(targets)]
        if not mixed:
            return {**dict.fromkeys(task.metrics, float("nan")), "classes_scored": 0}
        values = _ask(task, targets[:, mixed], predicted[:, mixed], [labels[place] for place in mixed])
        return {**values, "classes_scored": len(mixed)}
    if task.kind == "regression":
        # where all numbers are equal, the measure of tasks refuses to give one, and scikit-learn's is 0
        values = {"r2": float(metrics.r2_score(targets, predicted)) if len(targets) > 1 else float("nan")}
        varied = (targets != targets[0]).any(axis=0).all()
        if len(labels) > 1 and varied:
            values = _ask(task, targets, predicted, labels) | values
        return {**values, "mean_absolute_error": float(metrics.mean_absolute_error(targets, predicted))}
    best = predicted.argmax(axis=1)
    macro_f1 = metrics.f1_score(targets, best, labels=np.unique(targets), average="macro", zero_division=0)
    return {**_ask(task, targets, best, labels), "macro_f1": float(macro_f1)}


def chance_scores(train_targets: np.ndarray, targets: np.ndarray, task: Task, labels: list[str]) -> dict[str, float]:
    """Scores of what is best without hearing anything: the commonest class, the classes' shares, or the mean."""
    if task.kind in ("multilabel", "regression"):
        guess = train_targets.mean(axis=0)
    else:
        guess = np.bincount(train_targets, minlength=len(labels)).astype(float)
    return score_tracks(np.tile(guess, (len(targets), 1)), targets, task, labels)


def _ask(task: Task, targets: np.ndarray, predicted: np.ndarray, labels: list[str]) -> dict[str, float]:
    values = score_all(load_metrics(task.metrics), targets, predicted, labels).values
    return {name: value for name, value in values.items() if not name.endswith(MICRO)}
