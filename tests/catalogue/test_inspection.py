"""A track through a model: every number against one computed at once, and sections of music that are known."""

import json

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import make_tones

from mert_hf import MERTFeatureExtractor, MERTForAudioFrameClassification, MERTModel, MusicEncoder
from mert_hf.catalogue.inspection import beats as beats_module
from mert_hf.catalogue.inspection import spectrogram
from mert_hf.catalogue.inspection.analysis import inspect_track
from mert_hf.catalogue.inspection.beats import beat_finder, onsets_of
from mert_hf.catalogue.inspection.spectrogram import MEL_BANDS, mel_columns
from mert_hf.catalogue.inspection.structure import novelty_curve, self_similarity
from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.probing.probes.beat_tracking import BeatTracker
from mert_hf.synthetic import generate_piece

RATE = 24000


@pytest.fixture
def encoder(tiny_config) -> MusicEncoder:
    torch.manual_seed(0)
    return MusicEncoder(MERTModel(tiny_config), MERTFeatureExtractor(), device="cpu")


@pytest.fixture
def track(tmp_path):
    """40 s: a chord and another one."""
    file = tmp_path / "track.wav"
    soundfile.write(file, np.concatenate([make_tones(18.0, RATE), make_tones(22.0, RATE, seed=1)]), RATE)
    return file


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sections_of_looped_music_are_found_to_the_step(encoder, tmp_path, seed):
    lengths = (10, 14, 8, 12)
    # two seconds from within a piece, over and over: nothing changes within a section
    loops = [generate_piece([seed, number], 8.0, RATE).waveform[3 * RATE : 5 * RATE] for number in range(len(lengths))]
    file = tmp_path / "loops.wav"
    soundfile.write(file, np.concatenate([np.tile(loop, s // 2) for loop, s in zip(loops, lengths, strict=True)]), RATE)
    found = inspect_track(encoder, file, progress=False)
    np.testing.assert_allclose(found.borders_s, np.cumsum(lengths)[:-1], atol=0.5)
    assert [section.start_s for section in found.sections] == [0.0, *found.borders_s]
    assert found.sections[-1].end_s == 44.0


def test_numbers_are_those_of_all_frames_at_once(encoder, track):
    found = inspect_track(encoder, track, layer=2, progress=False)
    frames = encoder.encode(str(track), layers="all", pool=None, normalize=False, progress=False)
    begins_s = np.arange(frames.shape[1]) * encoder.grid.hop_samples / RATE
    means = [frames[:, (begins_s >= step / 2) & (begins_s < step / 2 + 0.5)].mean(axis=1) for step in range(80)]
    features = np.stack(means, axis=1)
    assert (found.step_s, found.duration_s, found.layer) == (0.5, 40.0, 2)
    np.testing.assert_allclose(found.similarity, self_similarity(features[2]), atol=1e-4)
    np.testing.assert_allclose(found.novelty, novelty_curve(found.similarity, 10), atol=1e-5)  # 40 s / 8
    distances = np.square(features - features.mean(axis=1, keepdims=True)).sum(axis=2)
    np.testing.assert_allclose(found.energy_db, 10 * np.log10(distances / distances.mean(axis=1, keepdims=True)), atol=1e-2)
    assert found.beats is None
    told = json.loads(json.dumps(found.to_dict()))
    assert told["sections"][-1]["end_s"] == 40.0 and "beats_s" not in told


def test_the_default_layer_is_that_of_the_encoder(encoder, track):
    assert inspect_track(encoder, track, progress=False).layer == encoder.default_layer == 1


@pytest.mark.parametrize("rate", [RATE, 16000])
def test_the_spectrogram_is_that_of_the_whole_track(tmp_path, monkeypatch, rate):
    monkeypatch.setattr(spectrogram, "BLOCK_S", 3.0)
    monkeypatch.setattr(spectrogram, "MOST_COLUMNS", 40)
    samples = make_tones(10.3, rate)
    file = tmp_path / "tones.wav"
    soundfile.write(file, samples, rate, subtype="FLOAT")
    hop = rate // 50
    spectrum = LogMelSpectrum(rate, hop, MEL_BANDS, 2048, 30.0)(torch.from_numpy(samples)[None])[0].double().exp().numpy()
    inside = [row for row in range(len(spectrum)) if row * hop < len(samples)]
    columns = [[row for row in inside if row * hop * 40 // len(samples) == column] for column in range(40)]
    power = np.stack([spectrum[rows].mean(axis=0) for rows in columns])
    expected = np.maximum(10 * np.log10(power / power.max()), -80)
    np.testing.assert_allclose(mel_columns(file, len(samples), rate), expected, atol=1e-2)


def test_silence_is_dark_and_has_no_sections(encoder, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(30 * RATE), RATE)
    found = inspect_track(encoder, tmp_path / "silence.wav", beats="onsets", progress=False)
    assert (found.mel_db < -79.9).all()
    assert len(found.sections) == 1 and not len(found.beats.times_s)
    assert np.isfinite(found.energy_db).all()


@pytest.mark.parametrize("num_samples", [400, 1000, RATE // 2, 3 * RATE])
def test_the_shortest_tracks_are_one_section(encoder, tmp_path, num_samples):
    soundfile.write(tmp_path / "short.wav", make_tones(num_samples / RATE, RATE), RATE)
    found = inspect_track(encoder, tmp_path / "short.wav", progress=False)
    assert found.similarity.shape == (len(found.novelty),) * 2 and len(found.novelty) == found.energy_db.shape[1] >= 1
    assert found.sections[0].start_s == 0.0 and found.sections[-1].end_s == num_samples / RATE


def clicks(bpm: float, seconds: float) -> np.ndarray:
    samples = 1e-3 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    for beat in np.arange(0.5, seconds - 0.1, 60 / bpm):
        at = round(beat * RATE)
        samples[at : at + 1200] += 0.5 * np.exp(-np.arange(1200) / 200) * np.random.default_rng(1).standard_normal(1200)
    return samples


def test_beats_of_the_onsets_in_stretches(tmp_path, monkeypatch):
    file = tmp_path / "clicks.wav"
    soundfile.write(file, clicks(100, 20.0), RATE)
    monkeypatch.setattr(beats_module, "STRETCH_S", 7)
    assert len(onsets_of(file)) == 20 * 100 + 1
    found = beat_finder("onsets")(file)
    assert found.source == "onsets, no model"
    np.testing.assert_allclose(found.times_s, np.arange(0.5, 19.9, 0.6), atol=0.04)


@pytest.mark.parametrize(
    ("labels", "problem_type"),
    [(["no beat", "Beat", "downbeat"], "single_label_classification"), (["speech", "beat"], "multi_label_classification")],
)
def test_beats_of_a_model_are_those_of_its_answers(tiny_config, tmp_path, labels, problem_type):
    tiny_config.id2label, tiny_config.problem_type = dict(enumerate(labels)), problem_type
    torch.manual_seed(0)
    model = MERTForAudioFrameClassification(tiny_config).eval()
    model.classifier.weight.data.mul_(20)
    model.save_pretrained(tmp_path / "model")
    MERTFeatureExtractor().save_pretrained(tmp_path / "model")
    file = tmp_path / "clicks.wav"
    soundfile.write(file, clicks(100, 5.0), RATE, subtype="FLOAT")
    samples = torch.from_numpy(soundfile.read(file, dtype="float32")[0])
    with torch.no_grad():
        logits = model(samples[None]).logits[0].double()
    likely = logits.softmax(-1)[:, 1:].sum(-1) if labels[0] == "no beat" else logits.sigmoid()[:, 1]
    expected = BeatTracker(75.0)(likely.clamp(max=1).numpy()) + 200 / RATE
    found = beat_finder(tmp_path / "model", window_s=None)(file)
    assert len(expected) > 3 and found.source == str(tmp_path / "model")
    np.testing.assert_allclose(found.times_s, expected, atol=1e-6)
    assert len(beat_finder(tmp_path / "model", window_s=2.0, overlap_s=1.0)(file).times_s) > 3


def test_a_model_without_beats_is_refused(tiny_config, tmp_path):
    tiny_config.id2label = {0: "piano", 1: "no beat"}
    MERTForAudioFrameClassification(tiny_config).save_pretrained(tmp_path / "model")
    MERTFeatureExtractor().save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="is no model of beats: its labels are 'piano', 'no beat'"):
        beat_finder(tmp_path / "model")
    with pytest.raises(InputError, match="the model of beats nowhere/at_all cannot be loaded"):
        beat_finder("nowhere/at_all")


def test_bad_input_is_told_before_anything_is_computed(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(type(encoder), "encode", lambda *_, **__: pytest.fail("computed"))
    (tmp_path / "text.wav").write_text("no audio")
    soundfile.write(tmp_path / "tones.wav", make_tones(1.0, RATE), RATE)
    for path, options, message in (
        (tmp_path / "nothing.wav", {}, "nothing.wav does not exist"),
        (tmp_path / "text.wav", {}, "text.wav: not an audio file"),
        (3, {}, "path of an audio file; got int"),
        (tmp_path / "tones.wav", {"layer": 5}, "layer 5 does not exist"),
        (tmp_path / "tones.wav", {"beats": tmp_path}, "the folder holds no model"),
    ):
        with pytest.raises(InputError, match=message):
            inspect_track(encoder, path, progress=False, **options)
