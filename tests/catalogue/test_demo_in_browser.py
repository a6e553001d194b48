"""The page of `mert-hf demo`, used in a headless Chromium: songs are dropped, results looked at, played and downloaded.

Slow (half a minute), and skipped, with the reason, where there is no Chromium, or the packages gradio and playwright are not
installed. The browser reaches this machine alone; so does the server, which notes what else it wanted to reach.
"""

import importlib.util
import io
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from support.browser import open_browser, require_browser, watch
from support.catalogues import save_model
from support.demo_server import serve_demo
from support.small_runs import CONTEXT
from support.sounds import make_tones

from mert_hf import MusicEncoder

KEPT_S = 8
LONGEST_S = 30
# Gradio's own client, in browsers where a page asks for no streams
NOISE = "Method not implemented."
SECONDS = 1000  # playwright counts milliseconds


@pytest.fixture
def served(tmp_path):
    """The folder of the server, which holds its address and the model."""
    require_browser()
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("gradio, which serves the page, is not installed (the extra demo)")
    save_model(tmp_path / "model")
    (tmp_path / "temp").mkdir()
    server = CONTEXT.Process(target=serve_demo, args=(tmp_path / "model", tmp_path, KEPT_S, LONGEST_S))
    server.start()
    until = time.monotonic() + 90
    while not (tmp_path / "address").exists():
        assert server.is_alive() and time.monotonic() < until
        time.sleep(0.1)
    yield tmp_path
    (tmp_path / "end").touch()
    server.join(20)
    assert server.exitcode == 0
    assert not [*(tmp_path / "temp").iterdir()]
    assert not (tmp_path / "reached").exists(), (tmp_path / "reached").read_text()


def drop(page, file) -> None:
    page.set_input_files("#song input[type=file]", file)


def wait_for_song(page, name: str) -> None:
    page.frame_locator("#picture").locator("h1", has_text=name).wait_for(timeout=60 * SECONDS)


def check_vectors(page, song, encoder) -> None:
    """What is downloaded is what MusicEncoder makes of the song."""
    with page.expect_download() as download:
        page.click("#vectors")
    assert download.value.suggested_filename == f"{song.stem}.vectors.parquet"
    found = pq.read_table(io.BytesIO(download.value.path().read_bytes()))["vector"].to_pylist()
    how = dict(normalize=False, progress=False)
    expected = [encoder.encode(str(song), pool=pool, **how) for pool in ("mean", "second")]
    np.testing.assert_allclose(found, np.concatenate([expected[0][None], expected[1]]), rtol=1e-5, atol=1e-6)


def uploads(folder) -> set[str]:
    return {file.name for place in (folder / "temp").glob("mert_hf_uploads.*") for file in place.rglob("*.*")}


def test_songs_are_dropped_looked_at_played_and_downloaded(served, tmp_path, monkeypatch):
    torch.set_num_threads(2)
    encoder = MusicEncoder(served / "model", device="cpu")
    songs = [tmp_path / "first song.flac", tmp_path / "second.wav"]
    for number, song in enumerate(songs):
        soundfile.write(song, make_tones(12.0 + 3 * number, 44100, seed=number), 44100)
    (tmp_path / "text.mp3").write_text("no audio")
    soundfile.write(tmp_path / "short.wav", np.zeros(100), 24000)
    soundfile.write(tmp_path / "long.flac", np.zeros(31 * 24000), 24000)
    address = (served / "address").read_text()
    with open_browser(tmp_path / "profile", closed_network=True) as page:
        page.goto(address)
        page.locator("#message", has_text="No file is chosen: drop an audio file above").wait_for()

        drop(page, songs[0])
        wait_for_song(page, songs[0].name)
        picture = page.frame_locator("#picture").locator("#picture img")
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 900
        assert page.locator("#nearest tbody tr").count() == 5
        scores = [float(text) for text in page.locator("#nearest tbody td:first-child").all_inner_texts()]
        assert scores == sorted(scores, reverse=True) and -1 <= scores[-1] < scores[0] <= 1
        sound = page.locator("#nearest audio").first
        sound.evaluate("audio => audio.play()")
        page.wait_for_function("document.querySelector('#nearest audio').currentTime > 0.3")
        assert abs(sound.evaluate("audio => audio.duration") - 10) < 0.2
        frame = page.frame_locator("#picture")
        frame.locator("#sections button").first.click()
        assert abs(frame.locator("audio").evaluate("audio => audio.duration") - 12) < 0.1
        check_vectors(page, songs[0], encoder)

        assert songs[0].name in uploads(served)

        # two people at once, each with a song of their own
        other = watch(page.context.new_page())
        other.goto(address)
        other.locator("#message").wait_for()
        page.click("#song button[aria-label='Clear']")
        page.locator("#message", has_text="No file is chosen").wait_for()
        drop(page, songs[0])
        drop(other, songs[1])
        for one, song in ((page, songs[0]), (other, songs[1])):
            wait_for_song(one, song.name)
            check_vectors(one, song, encoder)

        refusals = {
            "text.mp3": "text.mp3: not an audio file that libsndfile or FFmpeg can read",
            "short.wav": "short.wav is too short: 100 samples at 24000 Hz",
            "long.flac": f"long.flac lasts 0.5 minutes, and this page takes at most {LONGEST_S / 60:g}",
        }
        for name, message in refusals.items():
            other.click("#song button[aria-label='Clear']")
            drop(other, tmp_path / name)
            other.locator("#message", has_text=message).wait_for()
            assert "Traceback" not in other.content() and not other.locator("#nearest").count()

        for one in (page, other):
            assert one.asked and all(url.startswith((address, "data:", "blob:", "about:")) for url in one.asked)
            assert set(one.complaints) <= {NOISE}
        until = time.monotonic() + 4 * KEPT_S
        while uploads(served):
            assert time.monotonic() < until, uploads(served)
            time.sleep(0.2)
