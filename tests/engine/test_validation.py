"""Validation, and the report that is drawn of it."""

import json
import math

import pytest
import torch

from mert_hf import MERTForPreTraining
from mert_hf.common.seeding import Draws
from mert_hf.engine.metrics import read_metrics
from mert_hf.objectives import masked_prediction
from mert_hf.objectives.masked_prediction import perplexity
from mert_hf.pretraining.report import draw_report, write_failure, write_results
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.teachers import CQTSettings


def test_validation_is_the_objective_on_held_out_clips_worked_out_by_hand(make_trainer):
    trainer = make_trainer(held_out=0.4)
    (validator,) = trainer.watchers
    validation = trainer.look()["validation"]
    names = {track.name for track in validator.source.crops.corpus.tracks}
    assert len(names) == 2
    assert not names & {track.name for track in trainer.source.crops.corpus.tracks}

    objective, crops = trainer.updater.plain_objective.eval(), validator.source.crops
    losses, right, count = 0.0, torch.zeros(2), torch.zeros(2)
    error = power = 0.0
    for number in range(3):  # 5 clips in batches of 2 are rounded up to 6
        clips = torch.stack([crops[2 * number], crops[2 * number + 1]])
        batch = objective.prepare(clips, Draws(trainer.settings.seed, batch=number))
        assert torch.equal(batch["input_values"], clips)  # nothing is mixed in
        mask = batch["mask_time_indices"]
        with torch.no_grad():
            frames = objective.model.mert(clips, mask_time_indices=mask).last_hidden_state[mask]
            for book, logits in enumerate(objective.model.code_head(frames)):
                labels = batch["labels"][:, book, : mask.shape[1]][mask]
                losses += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
                right[book] += (logits.argmax(-1) == labels).sum()
                count[book] += len(labels)
            target = batch["cqt_labels"][:, : mask.shape[1]][mask]
            error += float((objective.model.cqt_head(frames) - target).square().sum())
            power += float(target.square().sum())
    assert validation.report["code_loss"] == pytest.approx(losses / float(count[0]), rel=1e-5)
    assert validation.report["code_accuracy"] == pytest.approx((right / count).tolist(), rel=1e-5)
    assert validation.report["cqt_error"] == pytest.approx(math.sqrt(error / power), rel=1e-5)
    assert validation.counts["label_counts"].sum(-1).tolist() == count.tolist()
    assert all(1 <= value <= 16 for value in validation.report["label_perplexity"] + validation.report["predicted_perplexity"])


def test_perplexity_counts_codes_that_are_equally_used():
    counts = torch.tensor([[5, 5, 0, 0], [9, 0, 0, 0], [2, 2, 2, 2]])
    torch.testing.assert_close(perplexity(counts.double()), torch.tensor([2.0, 1.0, 4.0]).double())


def test_watching_changes_no_weight(make_trainer):
    watched, alone = make_trainer("watched", held_out=0.2), make_trainer("alone", held_out=0.2)
    alone.watchers = []
    watched.train()
    alone.train()
    for name, value in watched.updater.objective.state_dict().items():
        assert torch.equal(value, alone.updater.objective.state_dict()[name]), name
    assert [report["step"] for report in read_metrics(watched.run.validation)] == [2, 4]


def test_a_resumed_run_validates_no_update_twice(make_trainer):
    make_trainer(held_out=0.2, max_steps=6).train()
    resumed = make_trainer(held_out=0.2, max_steps=6, resume=True)
    resumed.train()
    first, second = (resumed.look()["validation"] for _ in range(2))
    assert first.report == second.report
    assert [report["step"] for report in read_metrics(resumed.run.validation)] == [2, 4, 6]


def test_the_report_holds_four_pictures_and_the_results_their_numbers(make_trainer):
    trainer = make_trainer(held_out=0.2)
    progress = trainer.train()
    validation = trainer.look()["validation"]
    trainer.updater.save_model(trainer.run.model)
    objective = trainer.updater.plain_objective
    settings = PretrainSettings(cqt=CQTSettings(bins=24, bins_per_octave=12))
    model = MERTForPreTraining.from_pretrained(trainer.run.model).eval()
    draw_report(trainer.run, objective, settings, trainer.watchers[0].source, validation, "a run", model)
    pictures = {file.name: file.read_bytes() for file in trainer.run.report.iterdir()}
    assert set(pictures) == {"training_curves.png", "code_accuracy.png", "code_usage.png", "constant_q.png"}
    assert all(picture.startswith(b"\x89PNG") and len(picture) > 10_000 for picture in pictures.values())
    results = write_results(trainer.run, progress, {"tracks": 5}, MERTForPreTraining, validation, torch.device("cpu"))
    assert results["validation"] == validation.report
    assert results["tracks"] == 5
    assert results["grad_norm_end"] == read_metrics(trainer.run.metrics)[-1]["grad_norm"]
    for name in ("label", "predicted"):
        used = [len([count for count in book if count]) for book in validation.counts[f"{name}_counts"].tolist()]
        assert results["code_usage"][name] == used
        assert all(most >= varied for most, varied in zip(used, validation.report[f"{name}_perplexity"], strict=True))
    assert results["parameters"] == objective.model.num_parameters()
    assert 0.1 < results["peak_memory_gib"] < 100
    validation.report["code_accuracy"][1] = math.nan  # of a codebook without a label on the clips
    write_results(trainer.run, progress, {}, MERTForPreTraining, validation, torch.device("cpu"))
    write_failure(trainer.run, progress, {"tracks": -math.inf}, "a reason", torch.device("cpu"))
    results, failure = (
        json.loads(file.read_text(), parse_constant=pytest.fail) for file in (trainer.run.results, trainer.run.failure)
    )
    assert results["validation"]["code_accuracy"] == [validation.report["code_accuracy"][0], None]
    assert failure["tracks"] is None and failure["loss_end"] == results["loss_end"]


def test_of_codes_that_are_not_learnt_nothing_is_told(make_trainer, monkeypatch, caplog):
    """The constant-Q spectrum alone, as training/cells/mert_cqt_only.yaml: an untrained head's guesses are no collapse."""
    monkeypatch.setattr(masked_prediction, "FIRST_JUDGED_STEP", 0)
    trainer = make_trainer(held_out=0.2, max_steps=2, model={"code_loss_weight": 0.0})
    progress = trainer.train()
    validation = trainer.look()["validation"]
    assert "one code" not in caplog.text
    trainer.updater.save_model(trainer.run.model)
    objective = trainer.updater.plain_objective
    settings = PretrainSettings(cqt=CQTSettings(bins=24, bins_per_octave=12))
    model = MERTForPreTraining.from_pretrained(trainer.run.model).eval()
    draw_report(trainer.run, objective, settings, trainer.watchers[0].source, validation, "a run", model)
    assert {file.name for file in trainer.run.report.iterdir()} == {"training_curves.png", "constant_q.png"}
    results = write_results(trainer.run, progress, {}, MERTForPreTraining, validation, torch.device("cpu"))
    assert results["masked_accuracy_end"] is None and results["code_usage"] == {}
    assert set(results["validation"]) == {"loss", "cqt_loss", "feature_penalty", "cqt_error"}
    assert {name for report in read_metrics(trainer.run.metrics) for name in report if "code" in name} == set()


def test_a_corpus_is_split_by_the_seed_into_parts_without_a_common_track(make_trainer):
    corpus = make_trainer().source.crops.corpus
    first, second = corpus.split(0.3, seed=1)
    assert (len(first.tracks), len(second.tracks)) == (4, 2)
    assert {track.name for track in first.tracks} | {track.name for track in second.tracks} == {t.name for t in corpus.tracks}
    assert [t.name for t in corpus.split(0.3, seed=1)[1].tracks] == [t.name for t in second.tracks]
    names = {tuple(t.name for t in corpus.split(0.3, seed)[1].tracks) for seed in range(8)}
    assert len(names) > 1
    place = [t.name for t in corpus.tracks].index(second.tracks[0].name)
    assert (second.read(0, 24000) == corpus.read(place, 24000)).all()
