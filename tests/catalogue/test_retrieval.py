"""The retrieval benchmark: its measures against other ones, what it must find in pieces that are easy to tell, its files."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from support.encoders import MODELS, SIZES

from mert_hf.catalogue.projection import KINDS
from mert_hf.catalogue.retrieval.benchmark import ALL, RetrievalSettings, Trial, choose, judge_system, run_retrieval
from mert_hf.catalogue.retrieval.disturbances import TITLES
from mert_hf.catalogue.retrieval.measures import average_precision, chance, cosines, cosines_of_others, places, recall_at_1
from mert_hf.catalogue.retrieval.pieces import PieceClips
from mert_hf.catalogue.retrieval.systems import POOLINGS, ChromaSystem, MelSystem, Model, System, load_systems, pooled
from mert_hf.cli import main
from mert_hf.encoding.encoder import MusicEncoder
from mert_hf.models.feature_extraction_mert import MERTFeatureExtractor
from mert_hf.probing.features.encoders import load_encoder


@pytest.fixture(autouse=True)
def one_thread():
    """So small a model gains nothing from a second core, and waits for it where others use it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small"
    config_class, model_class, _ = MODELS["mert"]
    model_class(config_class(**SIZES)).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    return folder


class Bar:
    def set_postfix_str(self, told):
        pass


def test_places_are_those_of_a_search_one_by_one():
    random = np.random.default_rng(0)
    gallery = random.standard_normal((40, 8))
    queries = gallery + 0.9 * random.standard_normal((40, 8))
    found = places(cosines(queries, gallery))
    for number, query in enumerate(queries):
        similar = [float(query @ row / np.sqrt(query @ query) / np.sqrt(row @ row)) for row in gallery]
        ordered = sorted(range(40), key=lambda row, similar=similar: -similar[row])
        assert ordered[found[number] - 1] == number
        wanted = average_precision_score(np.arange(40) == number, similar)
        assert average_precision(found)[number] == pytest.approx(wanted)
        assert recall_at_1(found)[number] == (ordered[0] == number)
    assert 0 < recall_at_1(found).mean() < 1


def test_who_tells_nothing_apart_finds_nothing():
    assert (places(cosines(np.ones((5, 3)), np.ones((5, 3)))) == 5).all()


def test_pieces_alike_to_seven_digits_are_told_apart():
    random = np.random.default_rng(0)
    gallery = (1 + 1e-4 * random.standard_normal((30, 64))).astype(np.float32)
    similarities = cosines(gallery, gallery)
    assert cosines_of_others(similarities).min() > 1 - 1e-7
    assert (places(similarities) == 1).all()


def test_guessing_is_what_random_vectors_come_to():
    random = np.random.default_rng(0)
    found = np.concatenate([places(cosines(*random.standard_normal((2, 25, 16)))) for _ in range(200)])
    expected = chance(25)
    assert expected["recall_at_1"] == 0.04
    assert recall_at_1(found).mean() == pytest.approx(expected["recall_at_1"], abs=0.01)
    assert average_precision(found).mean() == pytest.approx(expected["map"], abs=0.012)


class Same:
    """Every query is the piece itself."""

    what, made, most = "tones", dict.fromkeys(TITLES, "left as it is"), 6
    left_out = {}

    def clips(self, rate):
        time = np.arange(rate) / rate
        for number in range(self.most):
            clip = (0.3 * np.sin(2 * np.pi * 220 * 2 ** (number / 12) * time)).astype(np.float32)
            yield PieceClips(f"tone {number}", clip, dict.fromkeys(TITLES, clip))


def test_pieces_left_as_they_are_find_themselves(monkeypatch, model_folder):
    monkeypatch.setattr(RetrievalSettings, "make_pieces", lambda self: Same())
    _, systems = load_systems(str(model_folder), "all", 0, torch.device("cpu"))
    results = run_retrieval(systems, 24000, RetrievalSettings(pieces=6))
    assert len(results["rows"]) == (4 + 4 + 1 + 1) * len(POOLINGS) * len(KINDS)
    for row in (*results["rows"], *results["chosen"]):
        for measure in ("recall_at_1", "map"):
            assert set(row[measure]) == {*TITLES, ALL}
            assert all(found == {"value": 100.0, "low": 100.0, "high": 100.0} for found in row[measure].values())


class Deaf(System):
    """Vectors that have nothing to do with what is heard."""

    title, layers, fixed_layer, pooling = "deaf", ("0", "1"), "1", "mean"

    def __init__(self):
        self._random = np.random.default_rng(0)

    def __call__(self, clip):
        return self._random.standard_normal((2, 24)).astype(np.float32)


def test_vectors_of_nothing_find_what_guessing_does():
    deaf = Deaf()
    names = list(TITLES)
    vectors = {name: np.stack([deaf(None) for _ in range(60)]) for name in ("original", *names)}
    trials = judge_system(0, deaf, vectors, names, Bar())
    assert len(trials) == 2 * len(POOLINGS) * len(KINDS)
    for trial in trials:
        assert trial.places.shape == (60, len(names))
        assert 100 * recall_at_1(trial.places).mean() == pytest.approx(100 / 60, abs=2.0)
        # some setting is always the luckiest; what it is told of, it was not chosen by
    assert choose(trials, names)["recall_at_1"][ALL]["value"] == pytest.approx(100 / 60, abs=2.0)


def test_a_setting_is_never_told_of_the_pieces_that_chose_it():
    even = np.arange(10) % 2 == 0

    def trial(layer, found):
        return Trial(0, layer, "mean", "none", np.tile(found[:, None], (1, 2)), np.zeros(2), 0.0, 0.0, 0.0)

    good_on_even, good_on_odd = trial("1", np.where(even, 1, 10)), trial("2", np.where(even, 10, 1))
    chosen = choose([good_on_even, good_on_odd], ["mp3", "gain"])
    assert [setting["layer"] for setting in chosen["settings"]] == ["2", "1"]
    assert chosen["recall_at_1"][ALL]["value"] == 0.0
    assert chosen["map"]["gain"]["value"] == pytest.approx(10.0)


def test_anisotropy_is_measured_and_centred_away():
    deaf = Deaf()
    vectors = {name: 5 + np.stack([deaf(None) for _ in range(50)]) for name in ("original", "mp3")}
    plain, centred, _ = judge_system(0, deaf, vectors, ["mp3"], Bar())[:3]
    rows = vectors["original"][:, 0, :12].astype(np.float64)
    rows /= np.sqrt((rows**2).sum(axis=1, keepdims=True))
    pairs = [rows[one] @ rows[other] for one in range(50) for other in range(50) if one != other]
    assert plain.random_cosine == pytest.approx(np.mean(pairs), abs=1e-6) and plain.random_cosine > 0.9
    assert plain.random_cosine_std == pytest.approx(np.std(pairs), abs=1e-6)
    assert plain.own_cosines[0] == pytest.approx(plain.random_cosine, abs=0.02)
    assert plain.random_cosine < plain.nearest_cosine < 1
    assert abs(centred.random_cosine) < 0.05


def test_vectors_are_those_of_the_encoder(model_folder):
    clip = next(Same().clips(24000)).original
    found = Model(load_encoder(str(model_folder)), [1, 3])(clip)
    for pooling in POOLINGS:
        theirs = MusicEncoder(model_folder).encode(
            clip, [1, 3], pool=pooling, normalize=False, sampling_rate=24000, progress=False
        )
        assert np.allclose(pooled(found, pooling), theirs, atol=1e-5)


def test_spectra_hear_what_they_should():
    time = np.arange(24000) / 24000
    a4, a5, d5 = (np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (440.0, 880.0, 587.33))
    chroma = ChromaSystem(24000)
    means = [pooled(chroma(clip), "mean")[0] for clip in (a4, a5, d5)]
    assert [int(mean.argmax()) for mean in means] == [9, 9, 2]
    mel = MelSystem(24000)(a4)
    assert mel.shape == (1, 256) and pooled(mel, "mean").shape == (1, 128)


def run(folder, output, *arguments):
    main(["retrieval", "--model", str(folder), "-o", str(output), "--pieces", "4", "--clip_s", "1", *arguments])
    return json.loads((output / "retrieval.json").read_text())


def test_the_command_writes_numbers_table_and_picture(model_folder, tmp_path, capsys):
    results = run(model_folder, tmp_path / "out", "--device", "cpu")
    printed = capsys.readouterr()
    table = (tmp_path / "out" / "retrieval.md").read_text()
    assert (tmp_path / "out" / "retrieval.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["retrieval.json", "retrieval.md", "retrieval.png"]
    assert [system["title"] for system in results["systems"]] == ["small", "random weights", "log-mel", "chroma"]
    # seven twelfths of three layers
    assert results["systems"][0]["layers"] == ["0", "1", "2", "3"] and results["systems"][0]["fixed_layer"] == "2"
    assert results["chance"]["recall_at_1"] == 25.0
    assert set(results["versions"]) >= {"mert_hf", "torch"} and results["model"] == "small"
    row = next(row for row in results["rows"] if (row["layer"], row["pooling"], row["projection"]) == ("2", "mean", "whiten"))
    value = row["recall_at_1"]["mp3"]
    line = next(line for line in printed.out.splitlines() if line.startswith("| small | 2, mean, whitened |"))
    assert line.split("|")[4].strip() == f"{value['value']:.0f} ({value['low']:.0f}–{value['high']:.0f})"
    assert line in table and all(one["made"] in table for one in results["disturbances"].values())

    # whatever was computed before, and of layer 1 alone
    torch.rand(7)
    np.random.seed(3)
    some = run(model_folder, tmp_path / "some", "--layers", "1")
    assert some["systems"][0] == {"title": "small", "layers": ["1"], "fixed_layer": "1", "fixed_pooling": "mean"}
    assert some["rows"] == [row for row in results["rows"] if row["layer"] in ("1", "log-mel", "chroma")]


def test_the_command_looks_among_tracks(model_folder, music_folder, tmp_path):
    results = run(model_folder, tmp_path / "out", "--music", str(music_folder), "--layers", "3,0", "--seed", "2")
    assert set(results["disturbances"]) == set(TITLES) - {"recording", "instruments"}
    assert results["pieces"] == 4 and set(results["piece_names"]) < {
        *("a.wav", "b.flac", "c.ogg", "d.mp3", "album/e.wav", "album/f.flac")
    }
    assert results["systems"][0]["layers"] == ["3", "0"] and results["systems"][0]["fixed_layer"] == "3"
    assert str(music_folder) not in (tmp_path / "out" / "retrieval.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pieces", "3"], "--pieces 3 must lie from 4 to 2000"),
        (["--clip_s", "0.5"], "--clip_s 0.5 must lie from 1 to 30 seconds"),
        (["--clip_s", "nan"], "--clip_s nan must lie"),
        (["--seed", "-1"], "--seed -1 must lie from 0"),
        (["--layers", "7/12"], '--layers 7/12 is unknown; give "all", or numbers'),
        (["--layers", "1,9"], "layer 9 does not exist; this model has layers 0 (input of the first) to 3"),
        (["--device", "abacus"], "device='abacus' is none that torch knows"),
        (["--music", "{folder}/nowhere"], "nowhere is no folder; give one of audio files"),
        (["--music", "{music}", "--clip_s", "4"], "has 2 tracks of 8 s or more that can be used, and 4 are needed"),
        (["--model", "{folder}/nowhere"], "nowhere cannot be loaded"),
        (["-o", "{folder}/file"], "file cannot be used: File exists"),
    ],
)
def test_mistakes_end_in_a_line(model_folder, music_folder, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    places = {"folder": str(tmp_path), "music": str(music_folder)}
    given = ["--model", str(model_folder), "-o", str(tmp_path / "out"), *(one.format(**places) for one in arguments)]
    with pytest.raises(SystemExit) as stopped:
        main(["retrieval", *given])
    said = str(stopped.value.code)
    assert said.startswith("error: ") and message in said and "\n" not in said
