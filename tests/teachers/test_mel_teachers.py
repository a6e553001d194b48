"""Teachers that project mel frames: at random (BEST-RQ), and learnt (Mel-RVQ)."""

import json

import numpy as np
import pytest
import torch
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import LogMelSpectrum
from mert_hf.teachers import KMeansTeacher, MelRVQTeacher, RandomProjectionTeacher, TeacherSettings
from mert_hf.teachers.fitted import FittedTeacher

KINDS = {"random_projection": RandomProjectionTeacher, "mel_rvq": MelRVQTeacher}
SMALL = {"codebook_sizes": [32, 16], "feature_options": {"log_mel": {"bins": 40}}, "projection_size": 8}


def clips(count=6, seconds=3.0):
    return torch.stack([torch.from_numpy(make_tones(seconds, 24000, seed)) for seed in range(count)])


def make(name, hop_samples=960, seed=0, **changes) -> FittedTeacher:
    return KINDS[name](**{**SMALL, **changes}, hop_samples=hop_samples).fit(clips(), seed)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("hop_samples", "stack", "frames"), [(320, 1, 226), (480, 2, 151), (960, 4, 76)])
def test_codes_and_what_they_are_of(name, hop_samples, stack, frames):
    teacher = make(name, hop_samples)
    codes = teacher(clips(2))
    assert (codes.shape, codes.dtype) == ((2, 2, frames), torch.int64)
    assert (teacher.width, teacher.frame_rate, teacher.frame_local) == (40 * stack, 24000 / hop_samples, True)
    for book, size in enumerate(teacher.codebook_sizes):
        assert 0 <= codes[:, book].min() <= codes[:, book].max() < size
        assert len(codes[:, book].unique()) >= size // 4
    # a frame is those of the mel spectrum that begin at it
    mel = LogMelSpectrum(24000, hop_samples // stack, 40)(clips(1))[0]
    torch.testing.assert_close(teacher.spectra[0](clips(1))[0, 50], mel[50 * stack : 51 * stack].flatten())


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_normalised_over_the_corpus(name):
    teacher = make(name)
    frames = ((teacher.spectra[0](clips()) - teacher.mean) / teacher.std).flatten(0, 1)
    heard = teacher.std > 0.011  # of a band that nothing is in, the deviation is not that of the corpus
    torch.testing.assert_close(frames.mean(0), torch.zeros(160), atol=2e-3, rtol=0)
    torch.testing.assert_close(frames.std(0)[heard], torch.ones(160)[heard], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", KINDS)
def test_fitting_is_a_function_of_clips_and_seed_and_survives_saving(name, tmp_path):
    teacher = make(name)
    assert make(name).fingerprint() == teacher.fingerprint() != make(name, seed=1).fingerprint()
    teacher.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["teacher.json", "teacher.safetensors"]
    again = KINDS[name].from_pretrained(tmp_path)
    assert torch.equal(again(clips(2)), teacher(clips(2)))
    assert again.fingerprint() == teacher.fingerprint()
    with pytest.raises(InputError, match=f"form '{name}' is unknown; known forms: parallel, residual, kmeans"):
        KMeansTeacher.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebook_sizes": [32, 17]}, "its codebooks have other sizes"),
        ({"projection_size": 9}, "centroids_0 is torch.float32"),
        ({"projection_size": 10**9}, "projection_size=1000000000: 1 to 1024"),
        ({"projection_size": "8"}, "projection_size is '8'"),
        ({"feature_options": {"log_mel": {"bins": 41}}}, "expected torch.float32"),
        ({"feature_options": {"log_mel": {"fft_samples": 10**9}}}, "fft_samples=1000000000: numbers from 0"),
        ({"description": "x"}, "was changed since it was saved"),
        ({"form": "hostile"}, "form 'hostile' is unknown"),
        ({"features": ["log_mel"]}, "unknown field 'features'"),
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_damaged_folders_are_refused(saved, name, tmp_path, change, message):
    for file in saved[name].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    description = json.loads((tmp_path / "teacher.json").read_text())
    (tmp_path / "teacher.json").write_text(json.dumps({**description, **change}))
    with pytest.raises(InputError, match=message) as refused:
        KINDS[name].from_pretrained(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in KINDS}
    for name, folder in folders.items():
        make(name).save_pretrained(folder)
    return folders


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("hop_samples", [320, 960])
def test_long_tracks_are_coded_in_pieces_exactly(saved, name, hop_samples):
    teacher = make(name, hop_samples)
    teacher.piece_s = 1.5
    waveform = make_tones(7.1, 24000, 5)[: 24000 * 7 + 319]
    codes = teacher.encode_track(lambda start, count: waveform[start : start + count], len(waveform))
    assert np.array_equal(codes, teacher(torch.from_numpy(waveform)[None])[0].numpy())


def test_random_codes_are_the_nearest_by_cosine():
    teacher = make("random_projection")
    frames = ((teacher.spectra[0](clips(2)) - teacher.mean) / teacher.std).double()
    for book in range(2):
        projection, centroids = getattr(teacher, f"projection_{book}"), getattr(teacher, f"centroids_{book}")
        torch.testing.assert_close(centroids.norm(dim=-1), torch.ones(len(centroids)))
        assert float(projection.abs().max()) <= (6 / (160 + 8)) ** 0.5
        cosines = torch.nn.functional.cosine_similarity(
            (frames @ projection.double())[:, :, None], centroids.double()[None, None], dim=-1
        )
        assert torch.equal(teacher(clips(2))[:, book], cosines.argmax(-1))
    # whatever is added, the first codebooks are the same draws
    more = RandomProjectionTeacher([32, 16, 8], SMALL["feature_options"], hop_samples=960, projection_size=8).fit(clips())
    assert torch.equal(more(clips(2))[:, :2], teacher(clips(2)))


def test_random_codes_need_no_more_frames_than_there_are():
    """BEST-RQ's 8192 codes; k-means cannot be fitted on 76 frames."""
    assert RandomProjectionTeacher([8192], hop_samples=960).fit(clips(1)).centroids_0.shape == (8192, 16)
    with pytest.raises(InputError, match="a codebook of 8192 codes cannot be fitted on 76 frames"):
        MelRVQTeacher([8192], hop_samples=960).fit(clips(1))


def test_residual_codes_reconstruct_the_mel_spectrum_better_with_each_codebook():
    teacher = MelRVQTeacher([32, 32, 32], SMALL["feature_options"], hop_samples=960, projection_size=8).fit(clips(8))
    heard = clips(8)[:4]
    frames = (teacher.spectra[0](heard) - teacher.mean) / teacher.std
    codes = teacher(heard)
    left = [float((frames - teacher.decode(codes[:, :books])).square().mean() / frames.square().mean()) for books in (1, 2, 3)]
    assert 0.9 > left[0] > 1.1 * left[1] > 1.1**2 * left[2]
    # each code is the nearest to the projection of what the ones before left over, by an independent search
    residual = frames - teacher.decode(codes[:, :1])
    nearest = torch.cdist(residual @ teacher.projection_1, teacher.centroids_1[None]).argmin(-1)
    assert torch.equal(codes[:, 1], nearest)


@pytest.mark.parametrize("name", KINDS)
def test_settings(name):
    """Options of other features, which a base recipe may have, are none of it."""
    options = {"log_mel": {"bins": 40}, "chroma": {"bins": 24}}
    settings = TeacherSettings(kind=name, codebook_sizes=[32, 16], feature_options=options, projection_size=8)
    teacher = KINDS[name].from_settings(settings, 24000, 960)
    assert teacher.settings() == KINDS[name].describe(settings)
    assert (teacher.projection_size, teacher.feature_options) == (8, {"log_mel": {"bins": 40}})
    with pytest.raises(RuntimeError, match="no centroids yet"):
        teacher(clips(1))
    with pytest.raises(InputError, match="projection_size=64 is more than a frame has numbers: 40"):
        MelRVQTeacher([8], SMALL["feature_options"], projection_size=64)
    with pytest.raises(InputError, match="teacher.projection_size"):
        TeacherSettings(kind=name, projection_size=0)
