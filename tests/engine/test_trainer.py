import json
import os
import signal

import pytest
import torch

from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.engine.metrics import MetricsFile, read_metrics
from mert_hf.engine.run_folder import RunFolder
from mert_hf.engine.schedules import linear_warmup_decay
from mert_hf.engine.trainer import Interrupted, Trainer


def weights(trainer):
    return {name: tensor.clone() for name, tensor in trainer.updater.objective.state_dict().items()}


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_a_run_that_was_stopped_and_resumed_ends_as_one_that_was_not(make_trainer, monkeypatch):
    """Bit by bit, with another number of readers after the stop; dropout and LayerDrop are on."""
    whole = make_trainer("whole", gradient_accumulation_steps=2)
    whole.train()
    stopped = make_trainer("stopped", gradient_accumulation_steps=2)
    advance = stopped._advance

    def advance_and_be_stopped(*arguments):
        if stopped.progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return advance(*arguments)

    monkeypatch.setattr(stopped, "_advance", advance_and_be_stopped)
    with pytest.raises(Interrupted) as stop:
        stopped.train()
    assert stop.value.code == 143
    assert stopped.progress.step == 3
    resumed = make_trainer("stopped", workers=2, resume=True, gradient_accumulation_steps=2)
    progress = resumed.train()
    assert (progress.step, progress.audio_s) == (6, 6 * 2 * 3 * 1.0)
    assert_identical(weights(whole), weights(resumed))
    without_time = [
        [{name: value for name, value in report.items() if name != "audio_s_per_s"} for report in read_metrics(run.run.metrics)]
        for run in (whole, resumed)
    ]
    assert without_time[0] == without_time[1]


def test_a_run_that_is_to_go_on_begins_where_there_is_none(make_trainer, caplog):
    begun, new = make_trainer("begun", max_steps=2, resume=True), make_trainer("new", max_steps=2)
    begun.train()
    assert "begun holds no checkpoint yet; starting from the first update" in caplog.text
    new.train()
    assert_identical(weights(begun), weights(new))


def test_a_run_that_was_killed_goes_on_from_its_last_complete_checkpoint(make_trainer, tmp_path):
    whole = make_trainer("whole")
    whole.train()
    killed = make_trainer("killed", max_steps=6)
    save = killed.run.save_checkpoint

    def save_until_killed(accelerator, state, *keep):
        if state["step"] == 4:
            (killed.run.checkpoints / "step_00000004.partial").mkdir()  # what is left of an unfinished one
            raise KeyboardInterrupt
        return save(accelerator, state, *keep)

    killed.run.save_checkpoint = save_until_killed
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    assert killed.run.newest_checkpoint().name == "step_00000002"
    resumed = make_trainer("killed", resume=True)
    resumed.train()
    assert_identical(weights(whole), weights(resumed))
    assert [report["step"] for report in read_metrics(resumed.run.metrics)] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_ends_before_its_last_update_goes_on_bit_by_bit(make_trainer):
    whole = make_trainer("whole", ema_decay=0.9)
    whole.train()
    for until in (0, 2, 5, None):  # 5 is no update of a checkpoint
        part = make_trainer("part", resume=True, ema_decay=0.9, until=until)
        assert part.train().step == (6 if until is None else until)
    assert_identical(weights(whole), weights(part))
    assert_identical(whole.updater.average.state_dict(), part.updater.average.state_dict())
    rates = [[report["learning_rate"] for report in read_metrics(one.run.metrics)] for one in (whole, part)]
    assert rates[0] == rates[1]
    with pytest.raises(InputError, match="has done 6 updates already, and cannot end at 5"):
        make_trainer("part", resume=True, ema_decay=0.9, until=5).train()


def test_only_the_newest_checkpoints_are_kept(make_trainer):
    trainer = make_trainer(keep_checkpoints=2, checkpoint_every=1)
    trainer.train()
    assert sorted(folder.name for folder in trainer.run.checkpoints.iterdir()) == ["step_00000005", "step_00000006"]


def test_training_lowers_the_loss(make_trainer):
    trainer = make_trainer(max_steps=60, learning_rate=3e-3, warmup_steps=5, checkpoint_every=60)
    trainer.train()
    losses = [report["loss"] for report in read_metrics(trainer.run.metrics)]
    assert sum(losses[-5:]) / 5 < 0.9 * sum(losses[:5]) / 5
    report = read_metrics(trainer.run.metrics)[-1]
    assert len(report["code_accuracy"]) == 2
    assert report["audio_hours"] == pytest.approx(60 * 3 / 3600)
    assert report["audio_s_per_s"] > 0


def test_a_gradient_that_is_not_finite_is_left_out_and_many_stop_the_run(make_trainer, monkeypatch):
    trainer = make_trainer(max_steps=5, max_bad_steps=3)
    accelerator = trainer.accelerator
    backward = accelerator.backward

    def poison(loss, **kwargs):
        backward(loss * torch.nan if 1 <= trainer.progress.step <= bad_until else loss, **kwargs)

    monkeypatch.setattr(accelerator, "backward", poison)
    bad_until = 2
    assert trainer.train().skipped_steps == 2
    assert all(torch.isfinite(tensor).all() for tensor in weights(trainer).values())
    second = make_trainer("second", max_steps=5, max_bad_steps=3)
    monkeypatch.setattr(second.accelerator, "backward", poison)
    trainer, bad_until = second, 4
    with pytest.raises(InputError, match="3 updates in a row up to step 4 were left out, the last for no finite gradient"):
        second.train()


@pytest.mark.parametrize(("accumulated", "times", "why"), [(1, 1e22, "no finite"), (2, 1e12, "samples beyond all range")])
def test_an_update_of_samples_beyond_all_range_is_left_out(make_trainer, monkeypatch, caplog, accumulated, times, why):
    trainer = make_trainer(max_steps=4, gradient_accumulation_steps=accumulated)
    take, loud, before = trainer._take, [], {}

    def take_loud(batch):
        if trainer.progress.step == 2 and not loud:
            before.update(weights(trainer))
            batch.waveforms[1] *= times
            loud.append(batch.tracks[1])
        if trainer.progress.step == 3:
            assert_identical(before, weights(trainer))
        return take(batch)

    monkeypatch.setattr(trainer, "_take", take_loud)
    assert trainer.train().skipped_steps == 1
    # loss and gradient of 1e12 are finite: nothing else would keep such an update from being applied
    assert f"Left out update 3: {why} " in caplog.text
    assert f"the loudest of its clips are of: {loud[0]!r} (peak " in caplog.text
    assert all(torch.isfinite(tensor).all() for tensor in weights(trainer).values())


@pytest.mark.parametrize("loss", [torch.inf, -torch.inf, torch.nan])
def test_a_loss_that_is_not_finite_counts_although_its_gradient_is(make_trainer, monkeypatch, caplog, loss):
    trainer = make_trainer(max_steps=3)
    compute, before = trainer.updater.compute_gradient, {}

    def compute_gradient(*arguments):
        logs = compute(*arguments)
        if trainer.progress.step == 1:
            before.update(weights(trainer))
            return {**logs, "loss": torch.tensor(loss)}
        if trainer.progress.step == 2:
            assert_identical(before, weights(trainer))
        return logs

    monkeypatch.setattr(trainer.updater, "compute_gradient", compute_gradient)
    assert trainer.train().skipped_steps == 1
    assert "Left out update 2: no finite loss (norm " in caplog.text


def test_batches_know_the_tracks_of_their_clips(make_trainer, music_folder):
    trainer = make_trainer(max_steps=4, batch_size=6, max_skipped=0.5)
    (music_folder / "a.wav").write_bytes(b"gone")
    batch = next(trainer._read())
    crops = trainer.source.crops
    tracks = [crops.corpus.tracks[crops.locate(number)[0]].name for number in range(6)]
    assert [crop.track for crop in batch.unreadable] == ["a.wav"]
    assert batch.tracks == [name for name in tracks if name != "a.wav"]
    batch.waveforms[3] = -7.5
    batch.waveforms[2, 5] = torch.nan
    assert batch.peaks()[3] == (7.5, batch.tracks[3])
    assert batch.peaks()[2] == (torch.inf, batch.tracks[2])


def test_tracks_that_break_during_training_are_listed_and_too_many_stop_the_run(make_trainer, music_folder):
    trainer = make_trainer(max_skipped=0.2)
    (music_folder / "a.wav").write_bytes(b"gone")
    trainer.train()
    listed = [json.loads(line) for line in trainer.run.skipped.read_text().splitlines()]
    assert [line["file"] for line in listed] == ["a.wav"]
    assert listed[0]["reason"].startswith("while training: ")
    strict = make_trainer("strict", max_skipped=0.1)
    with pytest.raises(InputError, match=r"1 of 6 tracks cannot be used, 1 of them became unreadable .*skipped\.jsonl"):
        strict.train()


def test_a_run_does_not_go_on_with_other_tracks_or_another_number_of_processes(make_trainer, music_folder, monkeypatch):
    make_trainer(max_steps=2).train()
    with monkeypatch.context() as patch:
        resumed = make_trainer(max_steps=2, resume=True)
        patch.setattr(resumed, "_circumstances", lambda: {**Trainer._circumstances(resumed), "num_processes": 2})
        with pytest.raises(InputError, match="was started with 1 processes, now there are 2"):
            resumed.train()
    (music_folder / "a.wav").rename(music_folder / "z.wav")
    resumed = make_trainer(max_steps=2, resume=True)
    resumed.source.crops.corpus = open_folder(music_folder)
    with pytest.raises(InputError, match="the usable tracks of .* are not those the run in .* was started with"):
        resumed.train()


def test_labels_are_neither_given_to_a_run_that_was_begun_without_nor_taken_away(make_trainer, monkeypatch):
    def train(run, resume, **circumstances):
        trainer = make_trainer(run, max_steps=2, resume=resume)
        tracks = trainer.source.crops.circumstances()
        monkeypatch.setattr(trainer.source.crops, "circumstances", lambda: {**tracks, **circumstances})
        return trainer.train()

    train("labelled", False, labels="f1")
    assert train("labelled", True, labels="f1").step == 2
    with pytest.raises(
        InputError, match=r"the labels \(there are none now\) of .* are not those the run in .* was started with"
    ):
        train("labelled", True)
    train("online", False)
    with pytest.raises(InputError, match=r"the labels \(there were none\) of .* are not those the run in .* was started with"):
        train("online", True, labels="f1")


def test_a_batch_left_with_one_clip_is_trained_without_mixture(make_trainer, music_folder):
    trainer = make_trainer(batch_size=2, max_steps=12, max_skipped=0.9)
    for name in ("a.wav", "b.flac", "c.ogg"):
        (music_folder / name).write_bytes(b"gone")
    try:
        trainer.train()
    except InputError as error:  # a batch of two lost tracks has nothing left, which ends the run and says so
        assert "not one crop of a batch could be read" in str(error)
    assert trainer.progress.step > 0


def test_learning_rate_rises_and_falls_in_straight_lines():
    rates = [linear_warmup_decay(step, 4, 12) for step in range(12)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])
    assert linear_warmup_decay(0, 0, 10) == 1.0


def test_a_run_is_not_overwritten_nor_continued_with_other_settings(tmp_path):
    from mert_hf.pretraining.settings import PretrainSettings

    run, settings = RunFolder(tmp_path / "run"), PretrainSettings()
    run.claim(settings, resume=False)
    run.claim(settings, resume=False)  # nothing was trained yet
    MetricsFile(run.metrics)  # nor now: not one update is done
    run.claim(settings, resume=False)
    MetricsFile(run.metrics).write({"step": 1})
    run.failure.write_text("{}")
    with pytest.raises(InputError, match="already holds a run; continue it with --training.resume"):
        run.claim(settings, resume=False)
    assert run.failure.exists()  # why that run failed is still known
    run.claim(settings, resume=True)
    assert not run.failure.exists()
    settings.data.workers, settings.training.resume = 7, True
    run.claim(settings, resume=True)
    elsewhere = RunFolder(tmp_path / "elsewhere")
    elsewhere.claim(settings, resume=True)  # the command of a job that is started again and again
    assert elsewhere.recipe.is_file()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"output_dir .*file/run cannot be written: Not a directory"):
        RunFolder(tmp_path / "file" / "run").claim(settings, resume=False)
    settings.training.learning_rate = 1e-3
    run.failure.write_text("{}")
    with pytest.raises(InputError, match=r"training\.learning_rate \(0\.0005 -> 0\.001\)"):
        run.claim(settings, resume=True)
    assert run.failure.exists()


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (["labels.json", "shards/00000.bin", "recipe.yaml"], r"labels \(labels\.json\)"),
        (["labels.lock", "tracks.json"], r"labels \(labels\.lock\)"),  # while they are made
        (["config.json", "model.safetensors"], r"a model \(config\.json\)"),
        (["music.json", "cells/mert/recipe.yaml"], r"a comparison \(music\.json\)"),
        (["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"], r"a\.wav, b\.wav, c\.wav and 3 more"),
        (["other/recipe.yaml"], r"other, teacher"),
    ],
    ids=["labels", "labels that are made", "model", "comparison", "music", "folder of runs"],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_is_no_run_is_left_as_it_is(tmp_path, files, what, resume):
    from mert_hf.pretraining.settings import PretrainSettings

    for name in (*files, "teacher/teacher.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=rf"output_dir {tmp_path} holds {what}, and no run; give a folder that is new"):
        RunFolder(tmp_path).claim(PretrainSettings(), resume)
    kept = {file.relative_to(tmp_path).as_posix(): file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    assert kept == dict.fromkeys((*files, "teacher/teacher.json"), "mine")


def test_what_is_put_beside_a_run_before_it_begins_is_no_hindrance(tmp_path):
    from mert_hf.pretraining.settings import PretrainSettings

    for name in ("mine.yaml", "slurm-7.out", "train.log", ".hidden", "run.lock", "recipe.yaml.host.7.0a1b.partial"):
        (tmp_path / name).write_text("")
    run = RunFolder(tmp_path)
    with run.hold():
        run.claim(PretrainSettings(), resume=False)
    run.teacher.mkdir()  # fitted, and then something was wrong
    (tmp_path / "synthetic_music").mkdir()
    RunFolder(tmp_path).claim(PretrainSettings(), resume=False)
    assert not run.teacher.exists()
