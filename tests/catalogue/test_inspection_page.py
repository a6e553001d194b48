"""Pictures and pages of tracks: what stands in them, names of every kind, audio for browsers, a page used in Chromium."""

import base64
import html.parser
import io
import json

import numpy as np
import pytest
import soundfile
from support.browser import open_browser
from support.sounds import encode_by_ffmpeg, make_tones, write_constant_mp3

from mert_hf.audio import read_audio, read_info
from mert_hf.catalogue.inspection import playable as playable_module
from mert_hf.catalogue.inspection.analysis import Inspection
from mert_hf.catalogue.inspection.beats import Beats
from mert_hf.catalogue.inspection.page import make_page, write_page
from mert_hf.catalogue.inspection.picture import draw_picture, format_time, time_label, time_ticks, write_picture
from mert_hf.catalogue.inspection.playable import Playable, choose_bit_rate, make_playable
from mert_hf.common.errors import InputError

NAMES = (
    'a <b>bold</b> & "quoted" \'name\' </title><script>document.title = "taken"</script>.wav',
    "{{audio}} $x_1$ $\\broken{ 😀🎵 \u05e9\u05d9\u05e8 \u202e.mp3",
    "two\nlines\r\t</script>\u2028.ogg",
)


def make_inspection(name="song.wav", duration_s=6.0, beats=False) -> Inspection:
    random = np.random.default_rng(0)
    steps = 60
    similarity = np.corrcoef(random.standard_normal((steps, 8))).astype(np.float32)
    return Inspection(
        name=name,
        model="models/<small>",
        layer=2,
        duration_s=duration_s,
        sampling_rate=24000,
        step_s=duration_s / steps,
        mel_db=random.uniform(-80, 0, (200, 96)).astype(np.float32),
        energy_db=random.uniform(-5, 5, (13, steps)).astype(np.float32),
        similarity=similarity,
        novelty=random.uniform(0, 0.5, steps).astype(np.float32),
        borders_s=np.array([0.25, 0.5]) * duration_s,
        beats=Beats(np.arange(0.0, duration_s, 0.5), "onsets, no model") if beats else None,
    )


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and the text within them by tag."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts, self._open = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data):
        if self._open:
            self.texts[self._open[-1]] = self.texts.get(self._open[-1], "") + data

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass


def decode(url: str) -> bytes:
    return base64.b64decode(url.partition(";base64,")[2], validate=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_holds_everything_and_its_names_are_text(name, tmp_path):
    inspection, audio = make_inspection(name), Playable(b"<sound>", "audio/wav", "as it is")
    write_page(inspection, audio, tmp_path / "page.html")
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    page = (tmp_path / "page.html").read_bytes().decode("utf-8")
    found = Reader(page)
    assert found.texts["title"] == name
    assert found.texts["bdi"].startswith(name) and found.texts["bdi"].endswith("models/<small>")
    assert [tag for tag, _ in found.tags].count("script") == 2 and "b" not in dict(found.tags)
    sources = [attributes["src"] for _, attributes in found.tags if "src" in attributes]
    assert [decode(source)[:8] for source in sources] == [b"<sound>", b"\x89PNG\r\n\x1a\n"]
    assert not [attributes for _, attributes in found.tags if {"href", "srcset", "action"} & set(attributes)]
    assert any("default-src 'none'" in attributes.get("content", "") for _, attributes in found.tags)
    data = json.loads(found.texts["script"].partition('\n  "use strict"')[0])
    assert data["duration_s"] == 6.0 and data["starts_s"] == [0.0, 1.5, 3.0]
    assert list(data["panels"]) == ["mel", "energy", "novelty", "similarity"]
    assert found.texts["button"] == "1: 0.0 – 1.52: 1.5 – 3.03: 3.0 – 6.0"


@pytest.mark.parametrize("beats", [False, True])
def test_panels_lie_over_the_same_seconds_where_the_picture_says(beats, tmp_path):
    file = io.BytesIO()
    frames = draw_picture(make_inspection(beats=beats), file)
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(file.getvalue()))[..., :3]
    height, width = pixels.shape[:2]
    assert list(frames) == ["mel", "energy", *(["beats"] if beats else []), "novelty", "similarity"]
    assert len({(round(frame.left * width), round(frame.right * width)) for frame in frames.values()}) == 1
    tops = [frame.top for frame in frames.values()]
    assert tops == sorted(tops) and frames["similarity"].bottom < 1
    for frame in frames.values():
        # the black line around a panel
        row = pixels[round((frame.top + frame.bottom) / 2 * height)]
        for edge in (frame.left, frame.right):
            place = round(edge * width)
            assert row[place - 2 : place + 2].max(axis=1).min() < 0.3
        assert row[round(frame.right * width) + 3].min() > 0.9
    write_picture(make_inspection(beats=beats), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("time_s", "duration_s", "digits", "written"),
    [
        (12.5, 60, None, "12.5"),
        (7, 60, 1, "7.0"),
        (59.96, 200, 1, "1:00.0"),
        (65, 200, None, "1:05"),
        (3599.99, 4000, 1, "1:00:00.0"),
        (125, 7200, None, "0:02:05"),
    ],
)
def test_times_are_written_by_the_length_of_the_track(time_s, duration_s, digits, written):
    assert format_time(time_s, duration_s, digits) == written


@pytest.mark.parametrize("duration_s", [0.02, 1, 5.3, 45, 119, 120, 610, 3700, 7200, 90000])
def test_marks_of_time_are_few_and_told_apart(duration_s):
    ticks = time_ticks(duration_s)
    assert 1 <= len(ticks) <= 16 and ticks[-1] <= duration_s
    assert len({format_time(tick, duration_s) for tick in ticks}) == len(ticks)
    assert ("m:ss" in time_label(duration_s)) == (duration_s >= 120)


def written(folder, name, **options):
    soundfile.write(folder / name, make_tones(2.0, 44100), 44100, **options)
    return folder / name


def test_what_browsers_play_stays_as_it_is(tmp_path):
    write_constant_mp3(tmp_path / "a.mp3")
    kinds = {
        written(tmp_path, "a.wav"): "audio/wav",
        written(tmp_path, "b.wav", subtype="FLOAT"): "audio/wav",
        written(tmp_path, "a.flac"): "audio/flac",
        written(tmp_path, "a.ogg"): "audio/ogg",
        tmp_path / "a.mp3": "audio/mpeg",
    }
    (tmp_path / "named.wav").write_bytes((tmp_path / "a.mp3").read_bytes())  # a name says nothing
    for file, mime in {**kinds, tmp_path / "named.wav": "audio/mpeg"}.items():
        assert make_playable(file) == Playable(file.read_bytes(), mime, "as it is")


def test_everything_else_becomes_an_mp3_of_the_same_sound(tmp_path, monkeypatch):
    monkeypatch.setattr(playable_module, "BLOCK_S", 1)
    encode_by_ffmpeg(tmp_path / "a.m4a", make_tones(2.5, 44100), 44100, "aac")
    files = [tmp_path / "a.m4a", written(tmp_path, "a.aiff"), written(tmp_path, "law.wav", subtype="IMA_ADPCM")]
    monkeypatch.setattr(playable_module, "MOST_ORIGINAL_BYTES", 150_000)
    files.append(written(tmp_path, "large.wav"))
    for file in files:
        made = make_playable(file)
        assert (made.mime, made.note) == ("audio/mpeg", "as an mp3, mono, 96 kbit/s")
        heard, expected = read_audio(made.content, 24000), read_audio(file, 24000)
        assert abs(len(heard) - len(expected)) < 0.06 * 24000
        # at the same time, too: the cursor stands where the sound is
        inner = slice(4000, 40000)
        assert np.corrcoef(heard[inner], expected[inner])[0, 1] > 0.98
        kbps = len(made.content) * 8 / 1000 / read_info(made.content).duration_s
        assert 90 < kbps < 110


def test_long_tracks_become_small_and_longer_ones_are_refused(tmp_path, monkeypatch):
    assert choose_bit_rate(240) == (44100, 96)
    for duration_s in (240, 1900, 3600, 7200, 6 * 3600):
        rate, kbps = choose_bit_rate(duration_s)
        assert kbps * duration_s * 1000 / 8 <= playable_module.MOST_BYTES
    assert choose_bit_rate(7200) == (24000, 24)
    with pytest.raises(InputError, match=r"a page holds a track of at most 6.4 h, this one has 7.0 h; write a picture"):
        choose_bit_rate(7 * 3600)
    # the encoder keeps to it
    file = tmp_path / "long.aiff"
    soundfile.write(file, make_tones(20.0, 44100), 44100)
    monkeypatch.setattr(playable_module, "MOST_BYTES", 24 * 1000 * 20 / 8)
    made = make_playable(file)
    assert made.note == "as an mp3, mono, 24 kbit/s" and len(made.content) <= 1.02 * 24 * 1000 * 20 / 8
    assert read_info(made.content).sampling_rate == 24000


@pytest.fixture
def browser_page(tmp_path):
    """A page of a headless Chromium, with what it asked for and complained of."""
    with open_browser(tmp_path / "profile") as page:
        yield page


def wait_until(page, condition: str, seconds: float = 15.0) -> None:
    """Playwright's own waiting is refused by the page, which evaluates no text."""
    for _ in range(round(10 * seconds)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never came true: {condition}")


def test_the_page_plays_and_follows_in_a_browser(browser_page, tmp_path):
    name = NAMES[0]
    song = written(tmp_path, "song.flac")
    soundfile.write(song, make_tones(6.0, 44100), 44100)
    (tmp_path / "page.html").write_text(make_page(make_inspection(name), make_playable(song)), encoding="utf-8")
    address = (tmp_path / "page.html").as_uri()
    browser_page.goto(address)
    wait_until(browser_page, "audio.readyState >= 1")
    assert browser_page.title() == name and browser_page.inner_text("h1") == name
    assert abs(browser_page.evaluate("audio.duration") - 6.0) < 0.05
    cursor = "parseFloat(document.querySelector('[data-name=similarity] .{}').style.{})"

    browser_page.click("#sections li:nth-child(2) button")
    wait_until(browser_page, "!audio.paused && audio.currentTime > 1.7")
    browser_page.evaluate("audio.pause()")
    browser_page.wait_for_timeout(200)
    now = browser_page.evaluate("audio.currentTime")
    assert 1.7 < now < 5
    for kind, side in (("across", "left"), ("down", "top")):
        assert abs(browser_page.evaluate(cursor.format(kind, side)) - 100 * now / 6) < 1.5

    for panel, share in (("mel", 0.75), ("similarity", 0.1)):
        # where one clicks in the picture, there it plays
        box = browser_page.locator(f".panel[data-name={panel}]").bounding_box()
        browser_page.locator(f".panel[data-name={panel}]").click(position={"x": share * box["width"], "y": 20})
        browser_page.evaluate("audio.pause()")
        assert abs(browser_page.evaluate("audio.currentTime") - 6 * share) < 0.7
        browser_page.wait_for_timeout(100)
        button = f"#sections li:nth-child({3 if share > 0.5 else 1}) button"
        assert browser_page.get_attribute(button, "aria-current") == "true"
    assert {url.partition(":")[0] for url in browser_page.asked} <= {"file", "data"} and browser_page.asked[0] == address
    assert browser_page.complaints == []
