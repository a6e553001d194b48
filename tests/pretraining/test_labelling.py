import itertools
import json
import shutil
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from support.sounds import make_tones
from transformers import EncodecConfig, EncodecModel

import mert_hf.pretraining.labelling as labelling
from mert_hf import MERTConfig
from mert_hf.audio import AudioError
from mert_hf.common.errors import InputError
from mert_hf.data.corpus import open_folder
from mert_hf.data.label_store import LabelFolder, LabelHeader, LabelStore, read_rows
from mert_hf.data.labelled_crops import LabelledCrops
from mert_hf.pretraining.labelling import AlignedCrops, PiecesAhead, compare_crops, make_labels
from mert_hf.pretraining.settings import DataSettings, PretrainSettings, ValidationSettings
from mert_hf.pretraining.setup import Setup
from mert_hf.pretraining.teachers import fit_or_load_teacher, keep_labelled, open_labels, require_same_teacher
from mert_hf.teachers import CodecTeacher, ResidualKMeansTeacher, TeacherSettings

SMALL = {"codebook_sizes": [16, 12], "feature_options": {"log_mel": {"bins": 40}}}


def clips():
    return [torch.from_numpy(make_tones(3.0, 24000, seed)) for seed in range(6)]


@pytest.fixture(scope="module")
def teacher():
    return ResidualKMeansTeacher(features=["log_mel"], **SMALL).fit(clips())


@pytest.fixture
def corpus(music_folder):
    return open_folder(music_folder)


def test_a_store_holds_what_the_teacher_says_of_whole_tracks(corpus, teacher, tmp_path):
    folder = LabelFolder(tmp_path / "labels")
    assert make_labels(corpus, teacher, folder, Accelerator(cpu=True)) == {}
    store = LabelStore(tmp_path / "labels")
    for index, track in enumerate(corpus.tracks):
        expected = teacher(torch.from_numpy(corpus.read(index, 24000))[None])[0]
        assert torch.equal(store.read(track.name), expected)
    assert (store.header.settings, store.header.fingerprint) == (teacher.settings(), teacher.fingerprint())
    assert (store.header.tracks, store.header.corpus_checksum) == (6, corpus.fingerprint())
    assert store.match(corpus).tracks == corpus.tracks


def test_stored_codes_are_those_of_crops_away_from_their_edges(corpus, teacher, tmp_path):
    make_labels(corpus, teacher, LabelFolder(tmp_path / "labels"), Accelerator(cpu=True))
    crops = AlignedCrops(corpus, LabelStore(tmp_path / "labels"), 48000)
    agreement = compare_crops(crops, teacher)
    assert agreement["inner"] == [1.0, 1.0]
    assert all(0.9 < share < 1.0 for share in agreement["all"])
    other = ResidualKMeansTeacher(features=["log_mel"], **SMALL).fit(clips(), seed=1)
    assert max(compare_crops(crops, other)["inner"]) < 0.5


def test_crops_as_training_cuts_them_are_up_to_half_a_frame_off_the_stored_codes(corpus, teacher, tmp_path):
    make_labels(corpus, teacher, LabelFolder(tmp_path / "labels"), Accelerator(cpu=True))
    store = LabelStore(tmp_path / "labels")
    crops, equal = LabelledCrops(corpus, store, 48000), []
    for number in range(16):
        index, start, length = crops.locate(number)
        online = teacher(torch.from_numpy(corpus.read(index, 24000, start, length))[None])[0]
        stored = store.read(corpus.tracks[index].name)[:, round(start / 320) :]
        equal.append(online[:, :150] == stored[:, :150])
    expected = torch.stack(equal).float()
    found = compare_crops(crops, teacher)
    assert found["all"] == pytest.approx(expected.mean((0, 2)).tolist(), abs=1e-3)
    assert found["inner"] == pytest.approx(expected[..., 37:112].mean((0, 2)).tolist(), abs=1e-3)
    assert max(found["inner"]) < 1.0


def test_a_stopped_run_goes_on_and_ends_as_one_that_was_not(corpus, teacher, tmp_path, monkeypatch):
    label_track, done = labelling.label_track, []

    def label_two(writer, corpus, index, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(corpus.tracks[index].name)
        label_track(writer, corpus, index, *rest)

    folder = LabelFolder(tmp_path / "stopped")
    monkeypatch.setattr(labelling, "label_track", label_two)
    with pytest.raises(KeyboardInterrupt):
        make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    assert set(read_rows(folder)) == set(done)
    with pytest.raises(InputError, match="are not complete"):
        LabelStore(folder.folder)
    again = []
    monkeypatch.setattr(
        labelling, "label_track", lambda w, c, i, *rest: again.append(c.tracks[i].name) or label_track(w, c, i, *rest)
    )
    make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    assert sorted(done + again) == sorted(track.name for track in corpus.tracks)
    make_labels(corpus, teacher, LabelFolder(tmp_path / "whole"), Accelerator(cpu=True))
    stopped, whole = LabelStore(tmp_path / "stopped"), LabelStore(tmp_path / "whole")
    assert all(torch.equal(stopped.read(track.name), whole.read(track.name)) for track in corpus.tracks)
    assert stopped.fingerprint() == whole.fingerprint()


def test_new_and_replaced_tracks_get_their_labels_by_the_same_command(corpus, teacher, music_folder, tmp_path, monkeypatch):
    folder = LabelFolder(tmp_path / "labels")
    make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    soundfile.write(music_folder / "a.wav", make_tones(4.0, 24000, 50), 24000)
    soundfile.write(music_folder / "g.wav", make_tones(4.0, 24000, 51), 24000)
    label_track, done = labelling.label_track, []
    monkeypatch.setattr(
        labelling, "label_track", lambda w, c, i, *rest: done.append(c.tracks[i].name) or label_track(w, c, i, *rest)
    )
    corpus = open_folder(music_folder)
    make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    assert sorted(done) == ["a.wav", "g.wav"]
    store = LabelStore(tmp_path / "labels")
    assert len(store.match(corpus).tracks) == 7
    (index,) = (index for index, track in enumerate(corpus.tracks) if track.name == "a.wav")
    assert torch.equal(store.read("a.wav"), teacher(torch.from_numpy(corpus.read(index, 24000))[None])[0])


def test_a_track_that_cannot_be_read_is_given_back_with_its_reason(corpus, teacher, tmp_path, monkeypatch):
    read = corpus.read

    def fail(index, *rest):
        if corpus.tracks[index].name == "c.ogg":
            raise AudioError("the disk is gone")
        return read(index, *rest)

    monkeypatch.setattr(corpus, "read", fail)
    assert make_labels(corpus, teacher, LabelFolder(tmp_path / "labels"), Accelerator(cpu=True)) == {
        "c.ogg": "the disk is gone"
    }
    assert len(LabelStore(tmp_path / "labels").rows) == 5


def test_tracks_are_read_while_others_are_coded(corpus, teacher, monkeypatch):
    read, begun = corpus.read, {index: threading.Event() for index in range(6)}

    def note(index, *rest):
        begun[index].set()
        return read(index, *rest)

    monkeypatch.setattr(corpus, "read", note)
    monkeypatch.setattr(labelling, "PIECES_AHEAD", 5)
    with PiecesAhead(corpus, [5, 4, 3, 2, 1, 0], teacher) as pieces:
        for index in (5, 3):  # track 4 was given up
            found = pieces.read(index, 0, corpus.length(index, 24000))
            assert all(event.wait(20) for event in begun.values())
            assert np.array_equal(found, read(index, 24000))


def test_labels_of_another_teacher_are_not_added_to(corpus, teacher, tmp_path):
    folder = LabelFolder(tmp_path / "labels")
    make_labels(corpus, teacher, folder, Accelerator(cpu=True))
    other = ResidualKMeansTeacher(features=["log_mel"], **SMALL).fit(clips(), seed=1)
    with pytest.raises(InputError, match="holds labels of another teacher"):
        make_labels(corpus, other, folder, Accelerator(cpu=True))


@pytest.fixture
def labelled(corpus, teacher, tmp_path):
    make_labels(corpus, teacher, LabelFolder(tmp_path / "labels"), Accelerator(cpu=True))
    return str(tmp_path / "labels")


def settings(labels, **teacher):
    return PretrainSettings(data=DataSettings(labels=labels), teacher=TeacherSettings(**{**SMALL, **teacher}))


def test_labels_of_another_teacher_or_rate_are_refused(labelled, teacher, tmp_path):
    config = MERTConfig()
    assert open_labels(settings(labelled), config).codebook_sizes == [16, 12]
    assert open_labels(settings(labelled, online=True), config) is None
    with pytest.raises(InputError, match=r"made by another teacher: teacher.codebook_sizes \(\[16, 12\] -> \[16\]\). Give the"):
        open_labels(settings(labelled, codebook_sizes=[16]), config)
    with pytest.raises(
        InputError, match=r"teacher.folder \(None -> 'some/codec'\), teacher.kind \('kmeans_residual' -> 'codec'\)"
    ):
        open_labels(settings(labelled, kind="codec", folder="some/codec"), config)
    with pytest.raises(InputError, match="are of audio at 24000 Hz, 75 a second; the model works at 16000 Hz and 50 frames"):
        open_labels(settings(labelled), MERTConfig(sample_rate=16000))
    teacher.save_pretrained(tmp_path / "same")
    assert open_labels(settings(labelled, folder=str(tmp_path / "same")), config)
    ResidualKMeansTeacher(features=["log_mel"], **SMALL).fit(clips(), seed=1).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="made by another teacher than .*other, with the same settings"):
        open_labels(settings(labelled, folder=str(tmp_path / "other")), config)


def test_of_imported_labels_only_the_codebooks_are_compared(labelled):
    folder = LabelFolder(labelled)
    replace(LabelHeader.read(folder), settings={}, fingerprint=None).write(folder)
    assert open_labels(settings(labelled, features=["chroma"], feature_options={}), MERTConfig())
    with pytest.raises(InputError, match="codebook_sizes"):
        open_labels(settings(labelled, codebook_sizes=[16, 16]), MERTConfig())


@pytest.mark.parametrize("objective", ["masked_prediction", "data2vec", "byol"])
def test_labels_that_would_not_be_used_are_refused(objective):
    def refuse(message, labels, validation_labels, **teacher):
        given = settings(labels, **teacher)
        given.objective, given.validation = objective, ValidationSettings(folder="held out", labels=validation_labels)
        with pytest.raises(InputError, match=message):
            Setup(given)

    for online in (False, True):
        refuse(
            "^validation.labels are for a run that learns from data.labels, which is not given", None, "codes", online=online
        )
        if objective != "masked_prediction":
            refuse(f"^data.labels holds codes, which objective '{objective}' does not", "codes", "codes", online=online)


def test_labels_may_lie_there_for_a_run_that_asks_the_teacher():
    given = settings("codes", online=True)
    given.validation = ValidationSettings(folder="held out", labels="more codes")
    setup = Setup(given)
    assert (setup.labels, setup.validation_labels) == (None, None)


def test_too_many_tracks_without_labels_stop_the_run_and_are_listed(labelled, music_folder, tmp_path, caplog):
    for name in ("x.wav", "y.wav"):
        soundfile.write(music_folder / name, make_tones(4.0, 24000), 24000)
    labels, corpus, report = LabelStore(labelled), open_folder(music_folder), tmp_path / "skipped.jsonl"
    with pytest.raises(InputError, match="2 of 8 tracks in .* cannot be used"):
        keep_labelled(labels, corpus, 0.1, report)
    assert {json.loads(line)["file"] for line in report.read_text().splitlines()} == {"x.wav", "y.wav"}
    assert len(keep_labelled(labels, corpus, 0.5, report).tracks) == 6
    assert "made for 6 tracks in" in caplog.text
    assert "(another list of names and lengths)" in caplog.text


def test_a_teacher_fitted_before_with_other_settings_is_not_taken(tmp_path):
    first = fit_or_load_teacher(settings(None), MERTConfig(), clips(), tmp_path / "teacher")
    again = fit_or_load_teacher(settings(None), MERTConfig(), [], tmp_path / "teacher")
    assert again.fingerprint() == first.fingerprint()
    with pytest.raises(InputError, match="was fitted with other settings"):
        fit_or_load_teacher(
            settings(None, feature_options={"log_mel": {"bins": 50}}), MERTConfig(), clips(), tmp_path / "teacher"
        )


def test_codes_of_long_tracks_need_bounded_memory(teacher):
    """However long the track, what is read at a time stays the same."""
    longest = 0

    def read(start, count):
        nonlocal longest
        longest = max(longest, count)
        return np.zeros(count, np.float32)

    codes = teacher.encode_track(read, 200 * 24000)
    assert codes.shape == (2, 15001)
    assert longest <= (2 * 30 + 1) * 24000


@pytest.fixture
def codec(tmp_path):
    """A small EnCodec with random weights, as a folder."""
    torch.manual_seed(0)
    config = EncodecConfig(num_filters=2, hidden_size=16, codebook_dim=16, num_lstm_layers=1, target_bandwidths=[1.5])
    EncodecModel(config).save_pretrained(tmp_path / "codec")
    return tmp_path / "codec"


def codec_settings(folder, **given):
    teacher = TeacherSettings(kind="codec", folder=str(folder), codebook_sizes=[1024, 1024], **given)
    return PretrainSettings(teacher=teacher)


def test_a_codec_is_known_by_its_weights_wherever_it_lies(codec, tmp_path, caplog):
    teacher = CodecTeacher.from_pretrained(codec, 2)
    header = LabelHeader("codec", teacher.settings(), teacher.fingerprint(), False, 24000, 75.0, [1024, 1024], "music")

    def require(folder):
        require_same_teacher(header, codec_settings(folder).teacher, "the labels")

    shutil.copytree(codec, tmp_path / "copy")
    for folder in (codec, f"{codec}/", tmp_path / "copy"):
        require(folder)
    weights = load_file(codec / "model.safetensors")
    name = sorted(weights)[0]
    save_file({**weights, name: weights[name] + 1e-3}, codec / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="the labels were made by another teacher than .*codec, with the same settings"):
        require(codec)
    assert not caplog.records
    (codec / "model.safetensors").unlink()
    require(codec)  # a machine that holds the labels alone
    assert "taken from its name alone" in caplog.text
    with pytest.raises(InputError, match="the codec .*nowhere cannot be loaded"):
        require(tmp_path / "nowhere")


def test_codes_made_of_crops_by_a_teacher_that_is_not_frame_local_are_warned_of(codec, teacher, tmp_path, caplog):
    source = SimpleNamespace(training=SimpleNamespace(clips=list))

    def prepare(settings):
        caplog.clear()
        setup = Setup(settings)
        setup.prepare(source, tmp_path / "fitted", "cpu")
        assert setup.facts()["labels"] == "of crops"
        return caplog.text

    said = prepare(codec_settings(codec))
    assert "are made of crops of 5 s" in said
    assert "training/prepare_labels.py" in said
    assert "--data.labels" in said
    assert "made of crops" not in prepare(codec_settings(codec, online=True))
    teacher.save_pretrained(tmp_path / "kmeans")
    assert "made of crops" not in prepare(settings(None, folder=str(tmp_path / "kmeans")))


def test_on_the_fly_the_teacher_of_the_labels_is_asked(labelled, teacher, tmp_path):
    teacher.save_pretrained(LabelFolder(labelled).teacher)
    for _ in range(2):
        found = fit_or_load_teacher(settings(labelled, online=True), MERTConfig(), [], tmp_path / "run")
        assert found.fingerprint() == teacher.fingerprint()
        shutil.rmtree(LabelFolder(labelled).teacher, ignore_errors=True)  # the run has its own from then on
    teacher.save_pretrained(LabelFolder(labelled).teacher)
    with pytest.raises(InputError, match="labels/teacher was fitted with other settings"):
        fit_or_load_teacher(
            settings(labelled, online=True, feature_options={"log_mel": {"bins": 50}}), MERTConfig(), [], tmp_path / "other"
        )


def test_as_many_frames_are_fitted_on_as_fit_s_says(tmp_path, monkeypatch, caplog):
    fitted_on = []

    def take_the_first(frames, size, seed):
        fitted_on.append(len(frames))
        return frames[:size]

    monkeypatch.setattr("mert_hf.teachers.kmeans.fit_centroids", take_the_first)
    caplog.set_level("INFO", "mert_hf")
    long_clip = torch.from_numpy(make_tones(200.0, 24000))
    fit_or_load_teacher(settings(None, fit_s=3000.0), MERTConfig(), itertools.repeat(long_clip), tmp_path / "long")
    assert fitted_on == [15 * 15001] * 2  # the first so many clips that hold 225,000 frames
    assert "are fitted on 225015 frames, 0.83 hours" in caplog.text
    fit_or_load_teacher(settings(None, fit_s=3000.0), MERTConfig(), clips(), tmp_path / "short")
    assert fitted_on[2:] == [6 * 226] * 2
