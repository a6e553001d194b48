"""Everything that is handed over as audio gives the features of the file, or one line."""

import base64
import io

import numpy as np
import pytest
import soundfile
import torch
from support.sounds import make_tones
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from mert_hf import MERTFeatureExtractor, MERTModel
from mert_hf.common.errors import InputError
from mert_hf.encoding.encoder import MusicEncoder

OPTIONS = {"layers": 1, "pool": None, "normalize": False, "progress": False}


class Decoder:
    """As torchcodec's AudioDecoder, which rows of `datasets` hold where FFmpeg is installed."""

    def __init__(self, data: np.ndarray, rate: int):
        self.data, self.sample_rate = torch.from_numpy(data), rate

    def get_all_samples(self):
        return self


@pytest.fixture
def song(tmp_path):
    """44.1 kHz, stereo."""
    file = tmp_path / "song.flac"
    soundfile.write(file, np.stack([make_tones(0.5, 44100, seed) for seed in (1, 2)], axis=1), 44100)
    return file


@pytest.fixture
def encoder(tiny_config):
    torch.manual_seed(0)
    return MusicEncoder(MERTModel(tiny_config), MERTFeatureExtractor(), device="cpu")


@pytest.fixture
def extract(encoder):
    model = encoder.model.eval()
    return pipeline("feature-extraction", model=model, feature_extractor=encoder.feature_extractor, device="cpu")


def single_forms(song) -> dict:
    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    content = song.read_bytes()
    standing = io.BytesIO(content)
    standing.seek(100)
    return {
        "path object": song,
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "BytesIO at 100": standing,
        "open file": song.open("rb"),
        "data URL": "data:audio/flac;base64," + base64.b64encode(content).decode(),
        "encoded, bytes": {"path": "elsewhere.flac", "bytes": content},
        "encoded, path": {"path": str(song), "bytes": None},
        "array": {"array": samples.T, "sampling_rate": rate},
        "list": {"array": samples.T.tolist(), "sampling_rate": rate},
        "tensor": {"raw": torch.from_numpy(samples.T), "sampling_rate": np.int64(rate)},
        "double": {"array": samples.T.astype(np.float64), "sampling_rate": float(rate)},
        "decoder": Decoder(np.ascontiguousarray(samples.T), rate),
        "row": {"label": 3, "audio": {"path": str(song), "bytes": None}, "title": "song"},
        "row of a decoder": {"audio": Decoder(np.ascontiguousarray(samples.T), rate), "label": 3},
    }


def test_one_song_in_all_its_forms(song, encoder, extract):
    expected, whole = encoder.encode(str(song), **OPTIONS), extract(str(song), return_tensors=True)
    for name, form in single_forms(song).items():
        for _ in range(2):  # a file that was read once gives the same again
            np.testing.assert_allclose(encoder.encode(form, **OPTIONS), expected, atol=1e-4, err_msg=name)
        torch.testing.assert_close(extract(form, return_tensors=True), whole, atol=1e-4, rtol=1e-4, msg=name)
    several = list(single_forms(song).values())
    assert len(encoder.encode(several, **OPTIONS)) == len(extract(several)) == len(several)


def test_several_songs_in_all_their_forms(song, encoder, extract):
    expected, whole = encoder.encode(song, **OPTIONS), extract(song, return_tensors=True)
    pandas = pytest.importorskip("pandas")
    paths = [str(song)] * 2
    forms = {
        "list": lambda: paths,
        "tuple": lambda: tuple(paths),
        "generator": lambda: (path for path in paths),
        "map": lambda: map(str, paths),
        "array of text": lambda: np.array(paths),
        "array of objects": lambda: np.array([song, song], dtype=object),
        "series": lambda: pandas.Series(paths),
    }
    for name, form in forms.items():
        for found in encoder.encode(form(), **OPTIONS):
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=name)
        features = list(extract(form(), return_tensors=True))
        assert len(features) == 2, name
        torch.testing.assert_close(features[1], whole, msg=name)


def test_datasets(song, encoder, extract):
    datasets = pytest.importorskip("datasets")
    rows = {"title": ["a", "b"], "audio": [str(song)] * 2}
    dataset = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    expected, whole = encoder.encode(song, **OPTIONS), extract(song, return_tensors=True)
    forms = {
        "dataset": dataset,
        "stream": dataset.to_iterable_dataset(),
        "column": dataset["audio"],
        "key": KeyDataset(dataset, "audio"),
        "rows": list(dataset),
        "column of paths": datasets.Dataset.from_dict(rows)["audio"],
    }
    for name, form in forms.items():
        found = encoder.encode(form, **OPTIONS)
        assert len(found) == 2, name
        np.testing.assert_allclose(found[1], expected, atol=1e-5, err_msg=name)
        features = list(extract(form, return_tensors=True))
        assert len(features) == 2, name
        torch.testing.assert_close(features[1], whole, msg=name)
    two = dataset.add_column("other", [str(song)] * 2).cast_column("other", datasets.Audio(decode=False))
    splits = datasets.DatasetDict({"train": dataset, "test": dataset})
    for form, message in (
        (two, r"the columns 'audio', 'other' hold audio; give one of them"),
        (two[0], r"the columns 'audio', 'other' hold audio"),
        (dataset.remove_columns("audio"), r"none of \['title'\] holds audio"),
        (splits, "the splits train, test are several datasets"),
    ):
        for take in (lambda given: encoder.encode(given, **OPTIONS), extract):
            with pytest.raises(ValueError, match=message):
                take(form)


def test_columns_that_datasets_would_decode(song, encoder, extract):
    """Columns of `Audio()` are read as files: no decoder of `datasets`, which needs FFmpeg's libraries, is asked."""
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"title": ["a"], "audio": [str(song)]}).cast_column("audio", datasets.Audio())
    expected, whole = encoder.encode(song, **OPTIONS), extract(song, return_tensors=True)
    for form in (dataset, dataset.to_iterable_dataset(), dataset["audio"], KeyDataset(dataset, "audio")):
        np.testing.assert_array_equal(encoder.encode(form, **OPTIONS)[0], expected)
        torch.testing.assert_close(list(extract(form, return_tensors=True)), [whole], rtol=0, atol=0)
    # columns with a rate of their own, or with a transform, are what `datasets` makes of them
    at_the_models = dataset.cast_column("audio", datasets.Audio(sampling_rate=24000, num_channels=1))
    tones = {"array": make_tones(0.5, 24000, 3), "sampling_rate": 24000}
    made = dataset.with_transform(lambda rows: {"audio": [tones] * len(rows["title"])}, ["title"])
    np.testing.assert_array_equal(encoder.encode(made["audio"], **OPTIONS)[0], encoder.encode(tones, **OPTIONS))
    for take in (lambda given: encoder.encode(given, **OPTIONS)[0], encoder.feature_extractor):
        if decodes(dataset):
            assert take(at_the_models["audio"]) is not None
        else:
            with pytest.raises(InputError, match=r"decodes the column 'audio' by torchcodec, which needs FFmpeg's libraries"):
                take(at_the_models["audio"])
    second = dataset.cast_column("audio", datasets.Audio(stream_index=1))  # a stream that our reader does not choose
    with pytest.raises((InputError, RuntimeError, IndexError, ValueError)):
        encoder.encode(second["audio"], **OPTIONS)


def decodes(dataset) -> bool:
    try:
        return bool(dataset[0]["audio"])
    except (ImportError, RuntimeError, OSError):
        return False


def test_rows_that_datasets_decoded(song, encoder, extract):
    """Rows of `Audio()` hold torchcodec's decoders (whose stand-in is tried above wherever FFmpeg is missing)."""
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"audio": [str(song)]}).cast_column("audio", datasets.Audio())
    if not decodes(dataset):
        pytest.skip("torchcodec does not load without FFmpeg's libraries")
    row = dataset[0]["audio"]
    np.testing.assert_allclose(encoder.encode([row], **OPTIONS)[0], encoder.encode(song, **OPTIONS), atol=1e-4)
    assert len(list(extract([row]))) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "a path, bytes, a waveform or a dict is needed, or several of them; got NoneType"),
        ([], "got an empty list"),
        (np.array([], dtype=object), "got an empty list"),
        ([None], "is needed; got NoneType"),
        ("", "'' is no path of a file"),
        ({}, "holds audio; a dict must hold"),
        ({"path": None, "bytes": None}, "must hold one of them"),
        ({"array": [0.1, 0.2], "sampling_rate": 44.1}, r"got 44\.1; did you mean 44100"),
        ({"array": [0.1, 0.2], "sampling_rate": float("inf")}, "got inf"),
        ({"array": [0.1, 0.2], "sampling_rate": "44100"}, "did you mean 44100"),
        ({"array": np.zeros((9000, 2), np.float32), "sampling_rate": 24000}, r"\(channels, samples\); got \(9000, 2\)"),
        ({"array": np.full(9000, 1e18, np.float32), "sampling_rate": 24000}, r"reaches 1e\+18; samples lie within"),
        ({"array": np.full(9000, 1e300), "sampling_rate": 24000}, "holds NaN or infinity"),
        ({"a", "b"}, "a set has no order"),
        (io.StringIO("text"), "is open as text"),
        ("http://user:secret@127.0.0.1:9/song.mp3?token=secret", "^[^?]*http://127.0.0.1:9/song.mp3 cannot be fetched: [^?]*$"),
    ],
)
def test_what_is_no_audio_is_told_in_one_line(given, message, encoder, extract):
    for take in (lambda given: encoder.encode(given, **OPTIONS), extract):
        with pytest.raises(InputError, match=message) as told:
            take(given)
        assert "\n" not in str(told.value) and "secret" not in str(told.value)


@pytest.mark.parametrize("rate", [float("inf"), 1e300, 1.0, 44.1, float("nan"), "44100", True, -1, 0])
def test_what_is_no_rate_is_refused_everywhere_at_once(rate, encoder, extract):
    clip = make_tones(0.1, 24000)
    takers = (
        lambda: encoder.encode(clip, sampling_rate=rate, **OPTIONS),
        lambda: encoder.encode([Decoder(clip[None], rate)], **OPTIONS),
        lambda: extract({"array": clip, "sampling_rate": rate}),
        lambda: encoder.feature_extractor(clip, sampling_rate=rate),
        lambda: MERTFeatureExtractor(sampling_rate=rate),
        lambda: MERTFeatureExtractor.from_dict({"sampling_rate": rate}),
    )
    for take in takers:
        with pytest.raises(ValueError, match=r"whole number of samples per second .*; got .*"):
            take()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_features_that_are_not_finite_are_refused_by_pipeline_and_encoder_alike(dtype, encoder):
    model = encoder.model.eval().to(dtype)
    clip = 1e9 * make_tones(0.2, 24000) if dtype == torch.float16 else make_tones(0.2, 24000)
    if dtype != torch.float16:
        with torch.no_grad():
            model.encoder.layers[0].final_layer_norm.weight[0] = torch.inf
    extract = pipeline("feature-extraction", model=model, feature_extractor=encoder.feature_extractor, device="cpu")
    halved = MusicEncoder(model, encoder.feature_extractor, device="cpu", dtype=dtype)
    for take in (extract, lambda given: halved.encode(given, sampling_rate=24000, **OPTIONS)):
        with pytest.raises(InputError, match=r"features are not finite in .*torch\.float32") as told:
            take(clip)
        assert "\n" not in str(told.value)


def test_the_extractor_takes_waveforms_that_bring_the_right_rate_and_no_files(song):
    extractor, clip = MERTFeatureExtractor(), make_tones(0.1, 24000)
    forms = [{"array": clip, "sampling_rate": 24000}, Decoder(clip[None], 24000), clip.tolist(), (clip for _ in range(1))]
    for form in forms:
        np.testing.assert_array_equal(extractor(form, sampling_rate=24000)["input_values"][0], clip)
    for form, message in (
        (str(song), "clip 0: it is a file; the extractor takes waveforms. Read it with mert_hf.audio.read_audio"),
        ([song.read_bytes()], "clip 0: it is a file"),
        ({"path": str(song), "bytes": None}, "clip 0: it is a file"),
        (None, "got NoneType"),
        ([clip, Decoder(clip[None], 44100)], "clip 1: The model takes audio at 24000 Hz; this audio is at 44100 Hz"),
        (Decoder(np.stack([clip, clip]), 24000), "Average the channels first"),
        (1e18 * clip, "samples lie within"),
    ):
        with pytest.raises(ValueError, match=message):
            extractor(form)
    for option, message in (
        ({"padding": "left"}, "padding must be True, False, 'longest'"),
        ({"return_tensors": "tf"}, "return_tensors must be"),
        ({"max_length": 10**12, "padding": "max_length"}, "max_length must be a number of samples from 1"),
        ({"truncate": True}, "'truncate' is no option"),
    ):
        with pytest.raises(ValueError, match=message):
            extractor(clip, sampling_rate=24000, **option)
    with pytest.raises(ValueError, match="padding_side must be 'right'"):
        MERTFeatureExtractor(padding_side="left")
