import json
import resource
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.teachers import KMeansTeacher, ParallelKMeansTeacher, ResidualKMeansTeacher, TeacherSettings
from mert_hf.teachers.centroids import nearest_centroid
from mert_hf.teachers.fitted import join

SMALL = {
    "kmeans_parallel": {
        "codebook_sizes": [12, 8],
        "features": ["log_mel", "chroma"],
        "feature_options": {"log_mel": {"bins": 40}, "chroma": {"bins": 24}},
    },
    "kmeans_residual": {"codebook_sizes": [16, 16, 8], "features": ["log_mel"], "feature_options": {"log_mel": {"bins": 40}}},
}


def clips(count=12):
    return [torch.from_numpy(make_tones(3.0, 24000, seed)) for seed in range(count)]


FORMS = {"kmeans_parallel": ParallelKMeansTeacher, "kmeans_residual": ResidualKMeansTeacher}


@pytest.fixture(params=list(FORMS))
def teacher(request):
    return FORMS[request.param](**SMALL[request.param]).fit(clips())


def test_codes_have_the_shape_and_range_of_their_codebooks(teacher):
    codes = teacher(torch.stack(clips()))
    assert codes.shape == (12, len(teacher.codebook_sizes), 226)
    assert codes.dtype == torch.int64
    for book, size in enumerate(teacher.codebook_sizes):
        used = codes[:, book].unique()
        assert used.min() >= 0
        assert used.max() < size
        assert len(used) >= size // 2
    assert (teacher.sampling_rate, teacher.frame_rate) == (24000, 75.0)


def test_fitting_is_a_function_of_clips_and_seed(teacher):
    form = FORMS[teacher.kind]
    arguments = {
        "codebook_sizes": teacher.codebook_sizes,
        "features": teacher.features,
        "feature_options": teacher.feature_options,
    }
    again, other = (form(**arguments).fit(clips(), seed=seed) for seed in (0, 1))
    torch.testing.assert_close(again.centroids_0, teacher.centroids_0, rtol=0, atol=0)
    assert not torch.equal(other.centroids_0, teacher.centroids_0)


def test_thousands_of_codes():
    """musicHuBERT's size: 2000 centroids of 39 numbers. All are used, and code better than 200 do."""
    frames = torch.randn(12000, 39, generator=torch.Generator().manual_seed(0)) * torch.linspace(3, 0.3, 39)
    errors = []
    for size in (200, 2000):
        teacher = ParallelKMeansTeacher([size], ["mfcc"])
        teacher._fit_frames([frames], seed=0)
        nearest = nearest_centroid(frames, teacher.centroids_0)
        assert len(nearest.unique()) > 0.99 * size
        errors.append((frames - teacher.centroids_0[nearest]).square().sum(-1).mean())
    assert errors[1] < 0.75 * errors[0]


def test_frames_are_joined_in_their_order_and_given_up_meanwhile():
    pieces = [torch.randn(length, 7) for length in (3, 1, 5)]
    expected = torch.cat(pieces)
    assert torch.equal(join(pieces), expected)
    assert pieces == []


def test_survives_saving_without_pickle(teacher, tmp_path):
    teacher.save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["teacher.json", "teacher.safetensors"]
    assert len(load_file(tmp_path / "teacher.safetensors")) == len(teacher.codebook_sizes)
    again = KMeansTeacher.from_pretrained(tmp_path)
    assert type(again) is type(teacher)
    batch = torch.stack(clips(2))
    assert torch.equal(again(batch), teacher(batch))


def test_codes_of_a_crop_are_those_of_the_whole_away_from_its_edges(teacher):
    whole = torch.from_numpy(make_tones(8.0, 24000, 3))[None]
    crop = whole[:, 320 * 150 : 320 * 450]
    inside, margin = teacher(crop)[..., 10:-10], 10
    expected = teacher(whole)[..., 150 + margin : 150 + margin + inside.shape[-1]]
    assert float((inside == expected).float().mean()) > 0.995


def test_residual_codebooks_refine_each_other():
    teacher = ResidualKMeansTeacher(**SMALL["kmeans_residual"]).fit(clips())
    batch = torch.stack(clips(4))
    spectrum, codes = teacher.spectra[0](batch), teacher(batch)
    errors = [float((spectrum - teacher.decode(codes[:, :books])).square().mean()) for books in (1, 2, 3)]
    assert errors[0] > 1.2 * errors[1] > 1.2**2 * errors[2]
    # each code is the nearest in its own codebook, by an independent search
    residual = spectrum[0, :50] - teacher.decode(codes[:1, :1])[0, :50]
    assert torch.equal(torch.cdist(residual, teacher.centroids_1).argmin(-1), codes[0, 1, :50])


def test_parallel_codebooks_do_not_depend_on_each_other():
    both = ParallelKMeansTeacher(**SMALL["kmeans_parallel"]).fit(clips())
    alone = ParallelKMeansTeacher([12], ["log_mel"], {"log_mel": {"bins": 40}}).fit(clips())
    batch = torch.stack(clips(2))
    assert torch.equal(both(batch)[:, :1], alone(batch))


def test_nearest_centroid_far_from_the_origin():
    torch.manual_seed(0)
    frames, centroids = 1000 + torch.randn(500, 20), 1000 + torch.randn(64, 20)
    exact = (frames.double()[:, None] - centroids.double()).square().sum(-1).argmin(-1)
    assert torch.equal(nearest_centroid(frames, centroids), exact)


def test_assignment_in_blocks_of_bounded_memory_changes_no_code(monkeypatch):
    torch.manual_seed(0)
    frames, centroids = torch.randn(3, 41, 20), torch.randn(64, 20)
    whole = nearest_centroid(frames, centroids)
    assert whole.shape == (3, 41)
    assert torch.equal(whole, torch.cdist(frames, centroids).argmin(-1))
    sizes = []
    monkeypatch.setattr("mert_hf.teachers.centroids.DISTANCES_AT_ONCE", 700)
    addmm = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda *args, **kwargs: sizes.append(args[1].shape[0] * 64) or addmm(*args, **kwargs))
    assert torch.equal(nearest_centroid(frames, centroids), whole)
    assert len(sizes) == 13
    assert max(sizes) <= 700


def test_the_papers_clusters():
    """300 clusters of 229 mel bands and 200 of 264 chroma bins (MERT, section 3.2)."""
    options = {"log_mel": {"bins": 229, "fft_samples": 4096}}
    teacher = ParallelKMeansTeacher([300, 200], ["log_mel", "chroma"], options).fit(clips(4))
    assert teacher.centroids_0.shape == (300, 229)
    assert teacher.centroids_1.shape == (200, 264)
    assert teacher(torch.stack(clips(1))).shape == (1, 2, 226)
    # a pitch class is 22 of the 264 bins: C (0), and A (9 semitones above)
    for hz, semitone in ((261.63, 0), (440.0, 9), (880.0, 9)):
        tone = torch.sin(2 * torch.pi * hz * torch.arange(24000) / 24000)[None]
        peak = int(teacher.spectra[1](tone)[0, 37].argmax())
        assert min((peak - 22 * semitone) % 264, (22 * semitone - peak) % 264) <= 2, (hz, peak)


def test_autocast_changes_no_code(teacher):
    batch = torch.stack(clips(2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(teacher(batch), teacher(batch.float()))
        codes = teacher(batch)
    assert torch.equal(codes, teacher(batch))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ResidualKMeansTeacher([16], ["melody"]),
            "'melody' is unknown; known features: log_mel, chroma, mfcc, hidden_states",
        ),
        (lambda: ResidualKMeansTeacher([16, 1], ["log_mel"]), "2 or more codes"),
        (lambda: ResidualKMeansTeacher([16], ["log_mel", "chroma"]), "code one feature"),
        (lambda: ParallelKMeansTeacher([16], ["log_mel", "chroma"]), "one feature each"),
        (lambda: ResidualKMeansTeacher([16], ["log_mel"], {"chroma": {}}), "not among the features"),
        (lambda: ResidualKMeansTeacher([500], ["log_mel"]).fit(clips(1)), "500 codes cannot be fitted on 226 frames"),
        (lambda: ResidualKMeansTeacher([16], ["log_mel"])(torch.zeros(1, 8000)), "no centroids yet"),
    ],
)
def test_refuses_what_cannot_be_fitted_or_used(make, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        make()


def test_damaged_folders_are_named(teacher, tmp_path):
    with pytest.raises(InputError, match="holds no fitted k-means teacher: teacher.json is missing"):
        KMeansTeacher.from_pretrained(tmp_path)
    teacher.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "teacher.json").read_text())
    sizes = [size + 1 for size in description["codebook_sizes"]]
    (tmp_path / "teacher.json").write_text(json.dumps({**description, "codebook_sizes": sizes}))
    with pytest.raises(ValueError, match="does not fit"):
        KMeansTeacher.from_pretrained(tmp_path)
    (tmp_path / "teacher.json").write_text(json.dumps({**description, "hop_samples": 160, "features": ["mfcc"] * 2}))
    with pytest.raises(ValueError, match="not among the features|one feature"):
        KMeansTeacher.from_pretrained(tmp_path)
    (tmp_path / "teacher.json").write_text(json.dumps({**description, "fingerprint": "0" * 64}))
    with pytest.raises(ValueError, match="was changed since it was saved"):
        KMeansTeacher.from_pretrained(tmp_path)
    (tmp_path / "teacher.json").write_text(json.dumps({**description, "form": "hostile"}))
    with pytest.raises(ValueError, match="form 'hostile' is unknown; known forms: parallel, residual"):
        KMeansTeacher.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["sampling_rate", "hop_samples", "description", "codebook_sizes"])
def test_every_field_of_the_description_is_what_was_saved(teacher, tmp_path, name):
    teacher.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "teacher.json").read_text())
    change = {"description": "x", "codebook_sizes": [8] * len(teacher.codebook_sizes)}
    description[name] = change.get(name) or 2 * description[name]
    (tmp_path / "teacher.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"changed since it was saved|does not fit"):
        KMeansTeacher.from_pretrained(tmp_path)


def test_teachers_that_were_saved_without_a_digest_of_the_description_are_read(teacher, tmp_path):
    """As mert_hf wrote them before (commit 6e12249)."""
    teacher.save_pretrained(tmp_path)
    save_file(load_file(tmp_path / "teacher.safetensors"), tmp_path / "teacher.safetensors")
    assert KMeansTeacher.from_pretrained(tmp_path).fingerprint() == teacher.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codebook_sizes": [10**7]}, "its codebooks have other sizes"),
        ({"codebook_sizes": [16] * 10**6}, "its codebooks have other sizes"),
        ({"feature_options": {"log_mel": {"fft_samples": 10**9}}}, "fft_samples=1000000000: numbers from 0 to 131,072"),
        ({"feature_options": {"log_mel": {"fft_samples": 2**17, "bins": 2**17}}}, "their product may be"),
        ({"feature_options": {"log_mel": {"surprise": 1}}}, "feature_options.log_mel: .*surprise"),
        ({"feature_options": {"log_mel": 3}}, "feature_options"),
        ({"hop_samples": 0}, "hop_samples=0"),
        ({"sampling_rate": 10**12}, r"sampling_rate=1e\+12"),
        ({"features": "log_mel"}, "features is 'log_mel'"),
    ],
)
def test_absurd_descriptions_are_refused_before_memory_is_taken(tmp_path, change, message):
    saved = ResidualKMeansTeacher([16], ["log_mel"], {"log_mel": {"bins": 40}}).fit(clips(2))
    saved.save_pretrained(tmp_path)
    description = json.loads((tmp_path / "teacher.json").read_text())
    (tmp_path / "teacher.json").write_text(json.dumps({**description, **change}))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(InputError, match=message) as refused:
        KMeansTeacher.from_pretrained(tmp_path)
    assert time.perf_counter() - started < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert "\n" not in str(refused.value)


SEVERAL = {
    "codebook_sizes": [16, 8, 12, 8],
    "features": ["log_mel", "chroma"],
    "feature_options": SMALL["kmeans_parallel"]["feature_options"],
}


def test_several_features_have_several_residual_codebooks_each(tmp_path):
    """The codebooks of a feature are those of a residual teacher of that feature alone."""
    teacher = KMeansTeacher(**SEVERAL, books=[3, 1]).fit(clips())
    batch = torch.stack(clips(2))
    codes = teacher(batch)
    assert codes.shape == (2, 4, 226)
    alone = ResidualKMeansTeacher([16, 8, 12], ["log_mel"], {"log_mel": {"bins": 40}}).fit(clips())
    assert torch.equal(codes[:, :3], alone(batch))
    chroma = teacher.spectra[1](batch)
    assert torch.equal(codes[:, 3], torch.cdist(chroma, teacher.centroids_3).argmin(-1))
    torch.testing.assert_close(teacher.decode(codes[:, 3:], feature=1), teacher.centroids_3[codes[:, 3]])
    teacher.save_pretrained(tmp_path)
    again = KMeansTeacher.from_pretrained(tmp_path)
    assert (type(again), again.books, again.fingerprint()) == (KMeansTeacher, [3, 1], teacher.fingerprint())
    assert torch.equal(again(batch), codes)
    assert KMeansTeacher(**SEVERAL, books=[2, 2]).fit(clips()).fingerprint() != teacher.fingerprint()


def test_one_kind_says_what_the_two_older_ones_say():
    batch = torch.stack(clips(2))
    for name, form in FORMS.items():
        codes, older = (kind(**SMALL[name]).fit(clips())(batch) for kind in (KMeansTeacher, form))
        assert torch.equal(codes, older)


def test_settings_of_one_kind():
    settings = TeacherSettings(kind="kmeans", **SEVERAL, books=[3, 1])
    teacher = KMeansTeacher.from_settings(settings, 24000, 320)
    assert teacher.settings() == KMeansTeacher.describe(settings)
    assert teacher.settings()["books"] == [3, 1]
    assert TeacherSettings(kind="kmeans", codebook_sizes=[8, 8]).books is None
    for given, message in [
        ({"kind": "kmeans", **SEVERAL}, r"teacher.books=\[1, 1\] must name 1 or more .* codebook_sizes has: 4"),
        ({"kind": "kmeans", **SEVERAL, "books": [4, 0]}, r"teacher.books=\[4, 0\]"),
        ({"kind": "kmeans", **SEVERAL, "books": [4]}, r"teacher.books=\[4\]"),
        ({"kind": "kmeans", **SEVERAL, "features": []}, r"teacher.books=\[\]"),
        ({"kind": "kmeans_residual", "books": [8]}, "teacher.books is for teacher.kind=kmeans; kmeans_residual knows"),
    ]:
        with pytest.raises(InputError, match=message) as refused:
            TeacherSettings(**given)
        assert "\n" not in str(refused.value)
