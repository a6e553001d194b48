"""The page of `mert-hf demo`, without Gradio: what is computed of a song, what is refused, and the HTML of it."""

import base64
import html.parser
import io
import json
import re
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml
from support.catalogues import save_model
from support.sounds import make_tones

from mert_hf.audio import read_audio
from mert_hf.catalogue.demo import listening
from mert_hf.catalogue.demo.listening import Listener
from mert_hf.catalogue.demo.markup import show, show_message
from mert_hf.catalogue.demo.server import KEPT_S, require_address
from mert_hf.common.errors import InputError

ROOT = Path(__file__).parents[2]
RATE = 24000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    save_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def listener(folder) -> Listener:
    return Listener(folder / "model", folder / "index", 7)


@pytest.fixture
def song(tmp_path) -> Path:
    soundfile.write(tmp_path / "song.wav", make_tones(3.4, 44100), 44100)
    return tmp_path / "song.wav"


def test_the_vectors_are_those_of_the_frames(listener, song):
    found = pq.read_table(io.BytesIO(listener.listen(song).vectors))
    layer, encoder = listener.encoder.default_layer, listener.encoder
    frames = encoder.encode(str(song), layers=layer, pool=None, normalize=False, progress=False)
    seconds = np.arange(len(frames)) * encoder.grid.hop_samples // RATE
    expected = [frames.mean(axis=0), *(frames[seconds == second].mean(axis=0) for second in range(4))]
    np.testing.assert_allclose(found["vector"].to_pylist(), expected, rtol=1e-4, atol=1e-5)
    assert found["part"].to_pylist() == ["track", *["second"] * 4]
    assert found["start_s"].to_pylist() == [0, 0, 1, 2, 3]
    np.testing.assert_allclose(found["end_s"].to_pylist(), [3.4, 1, 2, 3, 3.4])
    assert found.schema.metadata == {b"model": listener.model.encode(), b"layer": str(layer).encode()}
    assert "vector" in found.column_names and str(found.schema.field("vector").type.value_type) == "float"


def test_neighbours_are_those_by_the_centred_cosine(listener, folder, song):
    pieces = sorted((folder / "index" / "music").glob("*.flac"))
    encode = {"layers": listener.encoder.default_layer, "progress": False}
    vectors = listener.encoder.encode([str(piece) for piece in pieces], **encode).astype(np.float64)
    query = listener.encoder.encode(str(song), **encode) - vectors.mean(axis=0)
    centred = vectors - vectors.mean(axis=0)
    cosines = centred @ query / np.linalg.norm(centred, axis=1) / np.linalg.norm(query)
    order = np.argsort(-cosines)[:5]
    neighbours = listener.listen(song).neighbours
    assert [one.hit.name for one in neighbours] == [pieces[place].name for place in order]
    np.testing.assert_allclose([one.hit.score for one in neighbours], cosines[order], atol=1e-4)


def test_a_piece_of_the_index_finds_itself_and_can_be_played(listener, folder):
    piece = folder / "index" / "music" / "piece_00003.flac"
    first = listener.listen(piece).neighbours[0]
    labels = json.loads(piece.with_suffix(".json").read_text())
    assert first.hit.name == piece.name and first.hit.score > 0.9999
    assert (first.key, first.tempo_bpm, list(first.instruments)) == tuple(
        labels[name] for name in ("key", "tempo_bpm", "instruments")
    )
    heard, expected = read_audio(first.mp3, RATE), read_audio(piece, RATE)
    assert abs(len(heard) - 10 * RATE) < 0.1 * RATE
    assert np.corrcoef(heard[4000 : 9 * RATE], expected[4000 : 9 * RATE])[0, 1] > 0.95


def test_who_listens_at_the_same_time_gets_what_they_get_alone(listener, tmp_path):
    songs = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, song in enumerate(songs):
        soundfile.write(song, make_tones(2.0 + number, 44100, seed=number), 44100)
    alone = [listener.listen(song) for song in songs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(listener.listen, songs))
    for one, other in zip(alone, together, strict=True):
        assert one.inspection.name == other.inspection.name and one.neighbours == other.neighbours
        tables = [pq.read_table(io.BytesIO(found.vectors))["vector"].to_pylist() for found in (one, other)]
        np.testing.assert_allclose(*tables, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_used_is_told_in_a_line_without_the_place_it_lies_at(listener, tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "LONGEST_S", 60)
    soundfile.write(tmp_path / "short.wav", np.zeros(100), RATE)
    soundfile.write(tmp_path / "long.flac", np.zeros(61 * 8000), 8000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    (tmp_path / "text.mp3").write_text("no audio")
    (tmp_path / "nothing.mp3").touch()
    told = {
        "short.wav": "short.wav is too short: 100 samples at 24000 Hz, one frame needs 400.",
        "long.flac": "long.flac lasts 1.0 minutes, and this page takes at most 1; cut it, or use `mert-hf inspect`",
        "empty.wav": "empty.wav",
        "text.mp3": "text.mp3: not an audio file that libsndfile or FFmpeg can read",
        "nothing.mp3": "nothing.mp3",
        "gone.mp3": "gone.mp3 does not exist",
    }
    for name, message in told.items():
        with pytest.raises(InputError) as refused:
            listener.listen(tmp_path / name)
        assert str(refused.value).startswith(message) and str(tmp_path) not in str(refused.value), refused.value
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="No file is chosen: drop an audio file above"):
        listener.listen(None)


def test_an_index_is_kept_and_another_model_refused(listener, folder):
    files = {file: file.stat().st_mtime_ns for file in (folder / "index").rglob("*") if file.is_file()}
    again = Listener(folder / "model", folder / "index", 7)
    assert len(again.catalogue) == 7
    assert {file: file.stat().st_mtime_ns for file in (folder / "index" / "music").iterdir()}.items() <= files.items()
    kept = [file for file in (folder / "index" / "catalogue" / "data").iterdir()]
    assert kept and all(files.get(file) == file.stat().st_mtime_ns for file in kept)
    save_model(folder / "other", seed=1)
    with pytest.raises(InputError, match="was begun with other settings"):
        Listener(folder / "other", folder / "index", 7)


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_html_holds_everything_and_names_are_text(listener, song, tmp_path):
    named = tmp_path / "a \"<b>\" & 'x' onload=alert(1) 😀.wav"
    named.write_bytes(song.read_bytes())
    listened = listener.listen(named)
    found = Reader(show(listened))
    (link,), (frame,) = found.all("a"), found.all("iframe")
    assert link["download"] == f"{named.stem}.vectors.parquet"
    assert base64.b64decode(link["href"].partition("base64,")[2]) == listened.vectors
    assert frame["sandbox"] == "allow-scripts" and not found.all("b") and not found.all("script")
    inner = Reader(frame["srcdoc"])
    assert named.name in inner.text and "default-src 'none'" in frame["srcdoc"]
    sounds = [base64.b64decode(audio["src"].partition("base64,")[2]) for audio in found.all("audio")]
    assert sounds == [one.mp3 for one in listened.neighbours] and len(found.all("tr")) == 6
    for _, attributes in [*found.tags, *inner.tags]:
        for value in (attributes.get("src", ""), attributes.get("href", "")):
            assert not value or value.startswith("data:")
    message = Reader(show_message("<img src=x>"))
    assert message.text == "<img src=x>" and not message.all("img")


def test_the_address_is_looked_at_before_anything_is_computed(monkeypatch):
    import socket

    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} of 127\.0\.0\.1 cannot be listened on \(.*\); give another one\."):
            require_address(None, port)
    require_address(None, port)
    require_address()
    for none in (0, -1, 65536):
        with pytest.raises(InputError, match=f"port {none} is none; give a number from 1 to 65535."):
            require_address(None, none)
    with pytest.raises(InputError, match="host 203.0.113.7 cannot be listened on"):
        require_address("203.0.113.7")


def test_the_space_brings_what_the_page_needs_and_says_what_it_does():
    space = ROOT / "model_cards" / "space"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [line for line in (space / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert lines == [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    _, header, page = (space / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(header)
    assert card["sdk"] == "gradio" and card["license"] == "apache-2.0" and (space / card["app_file"]).is_file()
    assert f"gradio>={card['sdk_version'].rpartition('.')[0]}" in lines[-2] and len(card["short_description"]) <= 60
    limits = re.search(r"at most (\d+) minutes and (\d+) MB", page).groups()
    assert tuple(map(int, limits)) == (listening.LONGEST_S // 60, listening.MOST_MEGABYTES)
    assert f"within {KEPT_S // 60 + 1} minutes" in page
