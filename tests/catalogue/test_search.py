"""A catalogue, searched: what is found is what a direct computation finds, whatever is asked, and whatever was before."""

import os
import shutil
import threading

import numpy as np
import pytest
import soundfile
from support.catalogues import read_rows, save_model, write_songs
from support.sounds import make_tones

from mert_hf import MusicEncoder
from mert_hf.catalogue import Catalogue, embed, find_duplicates, nearest
from mert_hf.catalogue.nearest import build_graph, open_graph, search_exactly, search_graph
from mert_hf.common.errors import InputError

QUIET = dict(dtype="float32", progress=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def filled(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("filled")
    write_songs(folder / "music", 9, 0.3)
    embed([folder / "music"], folder / "catalogue", model, layers=[0, 2], **QUIET)
    return folder


@pytest.fixture
def place(filled, tmp_path):
    """A copy that may be changed; its rows still name the files of the original."""
    shutil.copytree(filled / "catalogue", tmp_path / "catalogue")
    return tmp_path / "catalogue"


def cosines(rows: dict, column: str, query, projection: str) -> dict[str, float]:
    """Cosine of every row with a query, by the definition."""
    paths = list(rows)
    units = np.array([rows[path][column] for path in paths], np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    query = np.asarray(query, np.float64) / np.linalg.norm(query)
    if projection != "none":
        mean = units.mean(axis=0)
        units, query = units - mean, query - mean
    if projection == "whiten":
        covariance = 0.9 * np.cov(units.T, bias=True) + 0.1 * np.eye(units.shape[1]) * np.var(units, axis=0).mean()
        values, directions = np.linalg.eigh(covariance)
        matrix = directions / np.sqrt(values)
        units, query = units @ matrix, query @ matrix
    scores = units @ query / np.linalg.norm(units, axis=1) / np.linalg.norm(query)
    return dict(zip(paths, scores, strict=True))


@pytest.mark.parametrize("projection", ["none", "centre", "whiten"])
def test_every_kind_of_query_finds_what_the_definition_does(filled, place, model, tmp_path, projection):
    rows = read_rows(place)
    catalogue = Catalogue(place, "layer_02", projection)
    path = str(filled / "music" / "song 03.wav")
    row = catalogue.rows["path"].to_pylist().index(path)
    expected = cosines(rows, "layer_02", rows[path]["layer_02"], projection)
    ranked = sorted((one for one in rows if one != path), key=lambda one: -expected[one])
    for query in (path, "song 03.wav", row, np.int64(row)):
        hits = catalogue.search(query, 4)
        assert [hit.path for hit in hits] == ranked[:4]
        np.testing.assert_allclose([hit.score for hit in hits], [expected[one] for one in ranked[:4]], atol=2e-4)
        assert all(catalogue.rows["path"][hit.row].as_py() == hit.path for hit in hits)
    # a vector, and another file with the same content, find the track itself first
    shutil.copy(path, tmp_path / "elsewhere.wav")
    np.save(tmp_path / "vector.npy", np.array(rows[path]["layer_02"], np.float32))
    for query in (np.array(rows[path]["layer_02"]), tmp_path / "vector.npy", tmp_path / "elsewhere.wav"):
        hits = catalogue.search(query, 4)
        assert [hit.path for hit in hits] == [path, *ranked[:3]] and hits[0].score == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", [" spaces .wav", "new\nline.wav", "a = b.wav", "'quotes\".wav", "☂.wav"])
def test_a_track_of_any_name_is_found_by_it(model, tmp_path, name):
    songs = write_songs(tmp_path / "music", 3, 0.3)
    songs[1].rename(tmp_path / "music" / name)
    embed([tmp_path / "music"], tmp_path / "out", model, **QUIET)
    catalogue = Catalogue(tmp_path / "out")
    for query in (name, tmp_path / "music" / name):
        hits = catalogue.search(query, 5)
        assert len(hits) == 2 and name not in [hit.name for hit in hits]


def test_a_file_at_another_rate_is_embedded_as_the_catalogue_was(place, model, tmp_path):
    soundfile.write(tmp_path / "query.wav", make_tones(0.5, 44100, 42), 44100)
    vector = MusicEncoder(model).encode(str(tmp_path / "query.wav"), [0, 2], normalize=False, progress=False)[1]
    expected = cosines(read_rows(place), "layer_02", vector, "none")
    catalogue = Catalogue(place)
    hits = catalogue.search(tmp_path / "query.wav", 100)
    assert len(hits) == 9 and [hit.path for hit in hits] == sorted(expected, key=lambda one: -expected[one])
    shutil.rmtree(model.parent / "moved", ignore_errors=True)
    model.rename(model.parent / "moved")  # a second query does not load the model again
    try:
        assert catalogue.search(tmp_path / "query.wav", 100) == hits
    finally:
        (model.parent / "moved").rename(model)


def test_conditions(filled, place):
    catalogue = Catalogue(place)
    lengths = dict(zip(catalogue.rows["name"].to_pylist(), catalogue.rows["duration_s"].to_pylist(), strict=True))
    cases = [
        ("duration_s > 0.33", {name for name, length in lengths.items() if length > 0.33}),
        ("duration_s<=0.3", {name for name, length in lengths.items() if length <= 0.3}),
        ("name ~ SONG 0", set(lengths)),
        ("name = song 04.wav", {"song 04.wav"}),
        (["name != song 04.wav", "duration_s >= 0.35"], {n for n, s in lengths.items() if s >= 0.35 and n != "song 04.wav"}),
        ("sampling_rate = 44100", set()),
    ]
    for where, expected in cases:
        assert {hit.name for hit in catalogue.search(0, 20, where)} == expected - {lengths and next(iter(lengths))}
    for where, told in [("duration_s", "is none"), ("loudness > 3", "no column 'loudness'"), ("size > big", "'big' is none")]:
        with pytest.raises(InputError, match=told):
            catalogue.search(0, where=where)
    with pytest.raises(InputError, match="~ is for texts"):
        catalogue.search(0, where="size ~ 3")


def test_what_is_embedded_later_is_found_by_who_opens_it_later(model, tmp_path):
    songs = write_songs(tmp_path / "music", 4, 0.3)
    embed(songs[:2], tmp_path / "out", model, **QUIET)
    before = Catalogue(tmp_path / "out")
    assert [hit.name for hit in before.search(0, 9)] == ["song 01.wav"]
    embed(songs, tmp_path / "out", model, **QUIET)
    assert {hit.name for hit in Catalogue(tmp_path / "out").search(0, 9)} == {"song 01.wav", "song 02.wav", "song 03.wav"}
    soundfile.write(songs[3], make_tones(0.4, 24000, 99), 24000)  # not embedded yet: the file is another than its row
    hits = Catalogue(tmp_path / "out").search(songs[3], 9)
    assert len(hits) == 4
    # what was built of the rows of before is gone
    assert len(list((tmp_path / "out" / "index").iterdir())) == 1


def test_vectors_are_never_those_of_other_rows_than_were_opened(model, tmp_path):
    """As many rows as before, in another order: what was opened must not take the new vectors for its own."""
    songs = write_songs(tmp_path / "music", 3, 0.3)
    embed(songs, tmp_path / "out", model, **QUIET)
    opened = Catalogue(tmp_path / "out")
    soundfile.write(songs[0], make_tones(0.4, 24000, 99), 24000)
    embed(songs, tmp_path / "out", model, **QUIET)
    with pytest.raises(InputError, match="has changed since it was opened; open it again"):
        opened.search(1, 3)
    rows, again = read_rows(tmp_path / "out"), Catalogue(tmp_path / "out")
    for path, vector in zip(again.rows["path"].to_pylist(), again.vectors, strict=True):
        np.testing.assert_array_equal(vector, np.float32(rows[path]["vector"]))
    # who had looked before keeps what was there
    used = Catalogue(tmp_path / "out")
    before = used.search(1, 3)
    soundfile.write(songs[1], make_tones(0.4, 24000, 98), 24000)
    embed(songs, tmp_path / "out", model, **QUIET)
    assert used.search(1, 3) == before


def test_a_catalogue_that_may_not_be_written_is_searched_all_the_same(place, monkeypatch):
    expected = Catalogue(place).search(0, 5)
    shutil.rmtree(place / "index")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("mert_hf.catalogue.matrices.Path.mkdir", refuse)
    assert Catalogue(place).search(0, 5) == expected and not (place / "index").exists()


def test_threads_that_open_it_at_once_find_the_same(place):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(Catalogue(place, projection="centre").search(1, 5))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(hits == found[0] for hits in found)


def test_the_exact_search_is_that_of_a_sorted_product(monkeypatch):
    random = np.random.default_rng(0)
    units = random.standard_normal((500, 8)).astype(np.float32)
    units[100:130] = units[7]  # many equal ones, also over the borders of chunks
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    queries = units[[7, 3, 250]]
    allowed = random.random(500) < 0.5
    for rows in (7, 64, 1000):
        monkeypatch.setattr(nearest, "CHUNK_ROWS", rows)
        for count in (1, 5, 31, 600):
            for mask in (None, allowed):
                found, scores = search_exactly(units, queries, count, mask)
                for query, one, score in zip(queries, found, scores, strict=True):
                    product = (units.astype(np.float64) @ query).round(5)
                    choice = np.arange(500) if mask is None else np.flatnonzero(mask)
                    expected = sorted(choice, key=lambda row: (-product[row], row))[:count]
                    np.testing.assert_allclose(product[one], product[expected], atol=2e-5)
                    assert len(set(one)) == len(expected)
                    np.testing.assert_allclose(score, product[one], atol=2e-5)


def test_the_graph_finds_most_of_the_nearest(place, tmp_path):
    random = np.random.default_rng(0)
    centres = random.standard_normal((40, 32))
    units = (centres[random.integers(0, 40, 3000)] + 0.6 * random.standard_normal((3000, 32))).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    build_graph(units, tmp_path / "graph.usearch", progress=False)
    rows, scores = search_graph(open_graph(tmp_path / "graph.usearch"), units, units[:100], 10)
    exact, best = search_exactly(units, units[:100], 10)
    assert np.mean([len(set(one) & set(other)) / 10 for one, other in zip(rows, exact, strict=True)]) > 0.97
    # the graph is built by several threads: which few it misses differs from time to time
    found = rows[:, 0] == exact[:, 0]
    assert found.mean() > 0.97
    np.testing.assert_allclose(scores[found, 0], best[found, 0], atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    (tmp_path / "bad.usearch").write_bytes(b"no index")
    with pytest.raises(InputError, match="is damaged"):
        open_graph(tmp_path / "bad.usearch")
    # of a catalogue: taken where it is there, and only for the rows and the projection that it is of
    with pytest.raises(InputError, match="has no graph"):
        Catalogue(place).search(0, method="graph")
    Catalogue(place).build_graph(progress=False)
    one, other = (Catalogue(place).search(2, 3, method=method) for method in ("graph", "exact"))
    assert [hit.path for hit in one] == [hit.path for hit in other]
    with pytest.raises(InputError, match="has no graph"):
        Catalogue(place, projection="centre").search(0, method="graph")
    with pytest.raises(InputError, match="conditions"):
        Catalogue(place).search(0, where="size > 0", method="graph")


def test_duplicates_are_equal_files_and_near_ones(model, tmp_path):
    music = tmp_path / "music"
    songs = write_songs(music, 6, 0.5)
    shutil.copy(songs[0], music / "copy.wav")
    wave, _ = soundfile.read(songs[1], dtype="float32")
    soundfile.write(music / "quieter.flac", 0.5 * wave, 24000)
    embed([music], tmp_path / "out", model, **QUIET)
    catalogue = Catalogue(tmp_path / "out", projection="centre")
    names = catalogue.rows["name"].to_pylist()
    groups = find_duplicates(catalogue, 0.98)
    assert groups[0].same_content and {names[row] for row in groups[0].rows} == {"copy.wav", "song 00.wav"}
    assert groups[0].least_score == 1
    # the definition: connected by pairs at or above the threshold
    units = catalogue.units.astype(np.float64)
    for threshold in (0.98, 0.5, 0.1):
        reached = (units @ units.T >= threshold) | np.eye(8, dtype=bool)
        for _ in range(8):
            reached = reached @ reached
        expected = {tuple(np.flatnonzero(one)) for one in reached if one.sum() > 1}
        assert {group.rows for group in find_duplicates(catalogue, threshold)} == expected
    with pytest.raises(InputError, match="threshold is 1.5"):
        find_duplicates(catalogue, 1.5)


def test_what_cannot_be_searched_is_told_in_a_line(filled, place, model, tmp_path):
    catalogue = Catalogue(place)
    np.save(tmp_path / "long.npy", np.zeros(77))
    np.save(tmp_path / "nan.npy", np.full(32, np.nan))
    (tmp_path / "text.mp3").write_text("no audio")
    cases = [
        (9, "there is no row 9"),
        (-1, "there is no row -1"),
        (True, "a query is a path"),
        (None, "a query is a path"),
        ("gone.wav", "is no file and no track"),
        (os.fsdecode(b"\xff.wav"), "is no file and no track"),
        (tmp_path / "long.npy", "must hold 32 finite numbers"),
        (tmp_path / "nan.npy", "must hold 32 finite numbers"),
        (np.zeros((2, 32)), "must hold 32 finite numbers"),
        (tmp_path / "text.mp3", "text.mp3"),
    ]
    for query, told in cases:
        with pytest.raises(InputError, match=told):
            catalogue.search(query)
    for count in (0, -1, 2.5, True):
        with pytest.raises(InputError, match="whole number"):
            catalogue.search(0, count)
    for how, told in [
        (dict(column="layer_09"), "no vectors 'layer_09'"),
        (dict(projection="rotate"), "there are none, centre"),
    ]:
        with pytest.raises(InputError, match=told):
            Catalogue(place, **how)
    with pytest.raises(InputError, match="is no catalogue"):
        Catalogue(tmp_path)
    embed([filled / "music"], tmp_path / "seconds", model, pool="second", **QUIET)
    with pytest.raises(InputError, match="one vector a second, not one a track"):
        Catalogue(tmp_path / "seconds")


def test_another_model_than_the_catalogue_s_is_refused(filled, tmp_path):
    moved = save_model(tmp_path / "model")
    embed([filled / "music"], tmp_path / "out", moved, **QUIET)
    save_model(moved, seed=3)
    soundfile.write(tmp_path / "query.wav", make_tones(0.5, 24000, 42), 24000)
    with pytest.raises(InputError, match="holds other weights now"):
        Catalogue(tmp_path / "out").search(tmp_path / "query.wav")
    shutil.rmtree(moved)
    with pytest.raises(InputError, match="there is no such folder"):
        Catalogue(tmp_path / "out").search(tmp_path / "query.wav")
    assert len(Catalogue(tmp_path / "out").search(0, 3)) == 3 and os.path.exists(tmp_path / "query.wav")
