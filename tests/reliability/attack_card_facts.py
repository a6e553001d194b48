"""What a card is written from: facts that a person states, results of a training and of a judging, each damaged."""

import json
from pathlib import Path

import yaml
from fuzzing import damage_bytes, damage_values

from mert_hf import MERTConfig
from mert_hf.common.errors import InputError
from mert_hf.publishing.model_card import inherit_base, read_facts, read_results, write_card

DOCUMENTED = (InputError,)

ROOT = Path(__file__).parents[2]
RESULTS = {
    "objective": "masked_prediction",
    "teacher": "residual k-means",
    "steps": 77,
    "audio_hours": 1.5,
    "loss_start": 9.0,
    "loss_end": 5.0,
    "base": None,
    "base_licence": None,
    "validation": {"loss": 5.5, "code_accuracy": [0.1, 0.2], "code_accuracy_most_frequent": [0.05, 0.06]},
    "codebook_sizes": [8, 8],
}
ROW = {
    **{"task": "key", "title": "Key", "dataset": {"id": None, "name": "synthetic", "split": "test", "revision": "0" * 12}},
    **{
        "metric": "accuracy",
        "metric_title": "accuracy",
        "unit": "%",
        "value": 41.2,
        "low": 38.0,
        "high": 44.1,
        "seeds": [41.2],
    },
    **{"layer": "3", "probe": "mlp", "protocol": "p", "layers": {"0": 20.0, "3": 41.2}, "published": {"MERT-v0": 50.0}},
    **{"baselines": {"log-mel": {"value": 30.0, "low": 28.0, "high": 33.0, "layer": "0"}}, "left_out": {}, "notes": []},
}


def prepare(folder):
    """Strike at one of the three files, by its bytes or by its values, and write the card."""
    facts = yaml.safe_load((ROOT / "model_cards" / "quickstart" / "facts.yaml").read_text(encoding="utf-8"))
    evaluation = {"title": "mine", "results": [ROW]}

    def strike(rng):
        kind, by_bytes = int(rng.integers(3)), rng.random() < 0.5
        files = {}
        for number, (name, content) in enumerate(
            {"facts.yaml": facts, "results.json": RESULTS, "evaluation.json": evaluation}.items()
        ):
            write = yaml.safe_dump if name.endswith("yaml") else json.dumps
            files[name] = folder / name
            if number != kind:
                files[name].write_text(write(content), encoding="utf-8")
            elif by_bytes:
                files[name].write_bytes(damage_bytes(rng, write(content).encode()))
            else:
                write = yaml.dump if name.endswith("yaml") else json.dumps
                files[name].write_text(write(damage_values(rng, content)), encoding="utf-8")
        stated = read_facts(files["facts.yaml"])
        results = read_results(files["results.json"]) or {}
        card = write_card(
            ROOT / "model_cards" / "template.md",
            inherit_base(stated, results.get("base"), results.get("base_licence")),
            MERTConfig(),
            94_371_712,
            "user/name",
            results,
            read_results(files["evaluation.json"]),
        )
        assert str(card)

    return strike
