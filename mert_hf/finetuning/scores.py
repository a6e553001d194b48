"""What predictions are worth, track by track."""

import numpy as np
from sklearn import metrics

# The number that chooses the best epoch.
MONITOR = {
    "single_label_classification": "balanced_accuracy",
    "multi_label_classification": "mean_average_precision",
    "regression": "r2",
}


def probabilities(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """(clips, classes) logits -> what is averaged over a track's clips: probabilities, or the numbers themselves."""
    if problem_type == "regression":
        return logits
    if problem_type == "multi_label_classification":
        return 1 / (1 + np.exp(-logits))
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def score_tracks(predicted: np.ndarray, targets: np.ndarray, problem_type: str) -> dict[str, float]:
    """Scores of (tracks, classes) predictions against the tracks' targets.

    For several labels, classes without both a track that has them and one that has not are left out of the means.
    """
    if problem_type == "single_label_classification":
        best = predicted.argmax(axis=1)
        known = np.unique(targets)
        return {
            "accuracy": float(metrics.accuracy_score(targets, best)),
            "balanced_accuracy": float(np.mean([(best[targets == kind] == kind).mean() for kind in known])),
            "macro_f1": float(metrics.f1_score(targets, best, labels=known, average="macro", zero_division=0)),
        }
    if problem_type == "regression":
        return {
            "r2": float(metrics.r2_score(targets, predicted)) if len(targets) > 1 else float("nan"),
            "mean_absolute_error": float(metrics.mean_absolute_error(targets, predicted)),
        }
    mixed = [kind for kind in range(targets.shape[1]) if 0 < targets[:, kind].sum() < len(targets)]
    if not mixed:
        return {"mean_average_precision": float("nan"), "roc_auc": float("nan"), "classes_scored": 0}
    return {
        "mean_average_precision": float(metrics.average_precision_score(targets[:, mixed], predicted[:, mixed])),
        "roc_auc": float(metrics.roc_auc_score(targets[:, mixed], predicted[:, mixed])),
        "classes_scored": len(mixed),
    }


def chance_scores(train_targets: np.ndarray, targets: np.ndarray, problem_type: str) -> dict[str, float]:
    """Scores of what is best without hearing anything: the commonest class, the classes' shares, or the mean."""
    if problem_type == "single_label_classification":
        guess = np.bincount(train_targets).astype(float)
        classes = max(int(targets.max()) + 1, len(guess))
        guess = np.pad(guess, (0, classes - len(guess)))
    else:
        guess = train_targets.mean(axis=0)
    return score_tracks(np.tile(guess, (len(targets), 1)), targets, problem_type)
