"""Whether the suite's probe finds what scikit-learn finds on the same features, and how long both take.

    python tests/benchmarks/benchmark_probes.py

Every spectrum and, with --model, every layer of a model is a row of each task. The judges are logistic regression (one a tag),
or ridge regression of numbers, on standardised features, with the penalty that the validation split chooses among the probe's
own. The table goes to probes.json beside this file. About ten minutes on two cores where no features are kept yet.
"""

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from huggingface_hub import constants
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

from mert_hf.common.threads import share_cores
from mert_hf.probing.features.encoders import load_encoder
from mert_hf.probing.features.extraction import Extraction
from mert_hf.probing.features.spectra import spectral_baselines
from mert_hf.probing.probes import probe_of
from mert_hf.probing.settings import ProbingSettings
from mert_hf.tasks import TASKS

TASK_NAMES = ("pitch", "instrument", "chord", "key", "tempo", "tagging")
RESULTS = Path(__file__).with_name("probes.json")
BOTH = "suite's probe"


def judge_answers(probe, layer: int) -> dict[str, np.ndarray]:
    """Answers of scikit-learn on the validation and test splits: what the scorer takes as those of a probe."""
    inputs = {split: found.take(np.arange(len(found.owners)))[:, layer] for split, found in probe.features.items()}
    mean, deviation = inputs["train"].mean(axis=0), inputs["train"].std(axis=0) + 1e-6
    inputs = {split: (values - mean) / deviation for split, values in inputs.items()}
    targets = {split: probe.targets[split][probe.features[split].owners] for split in inputs}
    penalties = next(plan.penalties for plan in probe.plans if plan.penalties)
    found = []
    for penalty in penalties:
        strength = 1 / (penalty * len(targets["train"]))
        logistic = LogisticRegression(C=strength, tol=1e-5, max_iter=1000)
        if targets["train"].ndim == 1:
            fitted = logistic.fit(inputs["train"], targets["train"])
            answers = {}
            for split in ("validation", "test"):
                # classes without a training example cannot be answered
                answers[split] = np.full((len(inputs[split]), probe.outputs), -np.inf)
                answers[split][:, fitted.classes_] = fitted.decision_function(inputs[split])
        elif targets["train"].dtype == np.float32 and set(np.unique(targets["train"])) == {0.0, 1.0}:
            logistic = LogisticRegression(C=strength / probe.outputs, tol=1e-5, max_iter=1000)
            fitted = OneVsRestClassifier(logistic).fit(inputs["train"], targets["train"].astype(int))
            answers = {split: fitted.decision_function(inputs[split]) for split in ("validation", "test")}
        else:
            fitted = Ridge(alpha=penalty * len(targets["train"])).fit(inputs["train"], targets["train"])
            answers = {split: fitted.predict(inputs[split]).reshape(len(inputs[split]), -1) for split in ("validation", "test")}
        found.append(answers)
    return max(found, key=lambda answers: max(probe._monitors(answers["validation"]).values()))


def compare(encoder, data, extraction: Extraction) -> list[dict]:
    """A row a layer: the measure of the linear probe, of the better of both heads, and of the judge, on the test split."""
    monitor = data.task.monitor
    probes, seconds = {}, {}
    for head in ("linear", None):
        probe = probe_of(data.task)(encoder, data, extraction, ProbingSettings(seeds=1, head=head))
        started = time.perf_counter()
        trained = probe.train()
        seconds[head], probes[head] = time.perf_counter() - started, (probe, trained)
    probe, _ = probes[None]
    rows = []
    for place, layer in enumerate(encoder.layers):
        started = time.perf_counter()
        answers = judge_answers(probe, place)["test"]
        judged_s = time.perf_counter() - started
        values = {
            name: 100 * probe.scorer(probe.predictions(trained.answers[0][place])).values[monitor]
            for name, (_, trained) in (("linear probe", probes["linear"]), (BOTH, probes[None]))
        }
        judge = 100 * probe.scorer(probe.predictions(answers)).values[monitor]
        rows.append(
            {
                "task": data.task.name,
                "measure": monitor,
                "features": encoder.title,
                "layer": layer,
                **values,
                "head": probes[None][1].kinds[layer],
                "scikit-learn": judge,
                "linear_s": seconds["linear"],
                "both_s": seconds[None],
                "scikit_learn_s": judged_s,
            }
        )
        print(
            f"{data.task.name:22} {encoder.title:26} {layer:10} linear {values['linear probe']:5.1f}"
            f"  both {values[BOTH]:5.1f} ({rows[-1]['head']})  scikit-learn {judge:5.1f}"
            f"  {seconds['linear']:.1f} s, {seconds[None]:.1f} s, {judged_s:.1f} s",
            flush=True,
        )
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a model, whose layers are compared as well")
    parser.add_argument("--tasks", nargs="+", default=TASK_NAMES, choices=TASK_NAMES)
    parser.add_argument("--cache", type=Path, default=Path(constants.HF_HOME) / "mert_hf")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    share_cores()
    encoders = spectral_baselines() + ([load_encoder(arguments.model)] if arguments.model else [])
    rows = []
    for name in arguments.tasks:
        data = TASKS[f"synthetic_{name}"].load(arguments.cache)
        # both sides hear the same rows
        data = replace(data, splits={split: list(examples) for split, examples in data.splits.items()})
        for encoder in encoders:
            rows += compare(encoder, data, Extraction(arguments.cache / "features"))
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    worst = min(rows, key=lambda row: row["linear probe"] - row["scikit-learn"])
    print(f"linear probe against scikit-learn: at worst {worst['linear probe'] - worst['scikit-learn']:+.1f} points")


if __name__ == "__main__":
    main()
