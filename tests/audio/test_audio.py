import logging
import tracemalloc

import numpy as np
import pytest
import soundfile
from support.sounds import encode_by_ffmpeg, make_tones, remove_mp3_length, write_constant_mp3, write_variable_mp3

from mert_hf.audio import AudioError, AudioFile, check_audio, read_audio, read_info
from mert_hf.common.errors import InputError
from mert_hf.models import ffmpeg_decoders_mert

FORMATS = ["wav", "flac", "ogg", "mp3"]


def write(file, seconds=6.0, rate=44100, channels=2):
    tones = np.stack([make_tones(seconds, rate, seed) for seed in range(channels)], axis=1)
    soundfile.write(file, tones, rate)
    return tones.mean(axis=1)


def likeness(found, expected):
    """Correlation of two waveforms after the best shift; codecs begin a little earlier or later."""
    size = 2 ** int(np.ceil(np.log2(len(found) + len(expected))))
    shifts = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(expected, size).conj())
    return shifts.max() / np.sqrt((found**2).sum() * (expected**2).sum())


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("rate", [24000, 44100, 22051])
def test_a_crop_is_the_same_samples_as_in_the_whole_file(tmp_path, extension, rate):
    file = tmp_path / f"song.{extension}"
    write(file)
    whole = read_audio(file, rate)
    assert len(whole) == read_info(file).resampled_length(rate)
    for start in (0, 1, 777, rate + 13, len(whole) - 2 * rate):
        crop = read_audio(file, rate, start, 2 * rate)
        np.testing.assert_allclose(crop, whole[start : start + 2 * rate], atol=2e-6)


def test_resampling_keeps_pitch_level_and_time(tmp_path):
    file = tmp_path / "sine.wav"
    time = np.arange(3 * 44100) / 44100
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * 1000 * time), 44100, subtype="FLOAT")
    resampled = read_audio(file, 24000)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(resampled)) / 24000)
    np.testing.assert_allclose(resampled[1000:-1000], expected[1000:-1000], atol=1e-4)


def test_channels_are_averaged(tmp_path):
    file = tmp_path / "stereo.wav"
    mono = write(file, rate=24000)
    np.testing.assert_allclose(read_audio(file, 24000), mono, atol=1e-4)


def test_bytes_are_read_like_the_file(tmp_path):
    file = tmp_path / "song.ogg"
    write(file)
    np.testing.assert_array_equal(read_audio(file.read_bytes(), 24000), read_audio(file, 24000))
    assert read_info(file.read_bytes()) == read_info(file)


@pytest.mark.parametrize("extension", FORMATS)
def test_a_whole_file_passes_and_half_of_it_does_not(tmp_path, extension):
    whole, half = tmp_path / f"whole.{extension}", tmp_path / f"half.{extension}"
    write(whole)
    info, silent = check_audio(whole, 3.0)
    assert (info.sampling_rate, info.channels, silent) == (44100, 2, False)
    assert info.duration_s == pytest.approx(6.0, abs=0.06)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(AudioError, match="truncated|cannot be decoded"):
        check_audio(half)
    with pytest.raises(AudioError, match="truncated|cannot be decoded"):
        check_audio(half.read_bytes())


def test_a_wav_whose_size_was_not_known_when_it_was_written_is_whole(tmp_path):
    """Programs that write into a pipe leave 0xFFFFFFFF where the size belongs."""
    file = tmp_path / "piped.wav"
    write(file)
    content = bytearray(file.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff\xff\xff\xff"
    file.write_bytes(content)
    assert check_audio(file)[0].duration_s == pytest.approx(6.0)


@pytest.mark.parametrize("write_mp3", [write_variable_mp3, write_constant_mp3])
def test_an_mp3_that_does_not_tell_its_length_is_read_whole(tmp_path, write_mp3):
    """libsndfile would guess a length from the first frame and silently read no further."""
    file = tmp_path / "bare.mp3"
    write_mp3(file)
    whole = read_audio(file, 44100)
    assert len(whole) == pytest.approx(12 * 44100, abs=2)
    remove_mp3_length(file)
    bare = read_audio(file, 44100)
    assert len(bare) == check_audio(file)[0].resampled_length(44100) == read_info(file).resampled_length(44100)
    assert 0 < len(bare) - len(whole) < 4410  # what the encoder added, which the tag told of
    assert likeness(bare, whole) > 0.99
    np.testing.assert_allclose(read_audio(file, 44100, len(bare) - 44100, 44100), bare[-44100:], atol=1e-5)
    with pytest.raises(AudioError, match="lie outside"):
        read_audio(file, 44100, len(bare) - 22050, 44100)


@pytest.mark.parametrize("frames", [0, 7, None])
def test_a_tag_that_counts_too_few_frames_cuts_nothing(tmp_path, frames):
    file = tmp_path / "wrong.mp3"
    write_variable_mp3(file)
    expected = read_audio(file, 24000)
    content = bytearray(file.read_bytes())
    tag = content.index(b"Xing")
    if frames is None:
        content[tag + 7] &= ~1  # the tag does not tell
        del content[tag + 8 : tag + 12]
        content[tag + 200 : tag + 200] = bytes(4)
    else:
        content[tag + 8 : tag + 12] = frames.to_bytes(4, "big")
    file.write_bytes(content)
    found = read_audio(file, 24000)
    assert 0 <= len(found) - len(expected) < 2400
    np.testing.assert_allclose(found[: len(expected) - 100], expected[:-100], atol=1e-5)


def test_a_tag_that_counts_more_frames_than_there_are_tells_a_cut_file(tmp_path):
    file = tmp_path / "cut.mp3"
    write_variable_mp3(file)
    file.write_bytes(file.read_bytes()[:-2000])
    for function in (check_audio, read_info, read_audio):
        with pytest.raises(AudioError, match=r"truncated: 11\.\d\d s of 12\.\d\d s are there"):
            function(file)


def test_files_that_were_joined_are_read_one_behind_the_other(tmp_path):
    for extension, options in [("mp3", {}), ("ogg", {}), ("opus", {"format": "OGG", "subtype": "OPUS"})]:
        parts = [tmp_path / f"{name}.{extension}" for name in ("one", "two")]
        stereo = np.stack([make_tones(3.0, 48000, seed) for seed in (1, 2)], axis=1)
        soundfile.write(parts[0], make_tones(4.0, 48000), 48000, **options)  # mono, then stereo
        soundfile.write(parts[1], stereo, 48000, **options)
        one, two = (read_audio(part, 24000) for part in parts)
        joined = tmp_path / f"joined.{extension}"
        joined.write_bytes(
            parts[0].read_bytes() + b"TAG" * (extension == "mp3") + bytes(125) * (extension == "mp3") + parts[1].read_bytes()
        )
        both = read_audio(joined, 24000)
        assert len(both) == check_audio(joined)[0].resampled_length(24000)
        assert len(both) == pytest.approx(len(one) + len(two), abs=2400)
        np.testing.assert_allclose(both[: len(one) - 2000], one[:-2000], atol=1e-4)
        assert likeness(both[len(one) :], two) > 0.99
        np.testing.assert_allclose(read_audio(joined, 24000, len(one) - 500, 5000), both[len(one) - 500 :][:5000], atol=1e-5)


def test_joined_files_of_other_rates_are_refused(tmp_path):
    one, two = tmp_path / "one.mp3", tmp_path / "two.mp3"
    soundfile.write(one, make_tones(0.5, 22050), 22050)
    soundfile.write(two, make_tones(4.0, 44100), 44100)
    with pytest.raises(AudioError, match=r"changes at 0\.5\d s from 22050 to 44100 Hz .*; write it anew: ffmpeg"):
        check_audio(one.read_bytes() + two.read_bytes())
    flac = tmp_path / "one.flac"
    soundfile.write(flac, make_tones(2.0, 44100), 44100)
    with pytest.raises(AudioError, match="bytes lie behind the 88200 samples"):
        check_audio(2 * flac.read_bytes())


def test_the_last_frame_of_an_mp3_may_be_cut_and_a_hole_may_not_be(tmp_path, caplog):
    file = tmp_path / "stream.mp3"
    write_constant_mp3(file)
    remove_mp3_length(file)
    content, whole = file.read_bytes(), read_audio(file, 24000)
    with caplog.at_level(logging.WARNING, "mert_hf"):
        file.write_bytes(content[:-100])
        assert len(whole) - 700 < len(read_audio(file, 24000)) < len(whole)
    assert "stream.mp3: its last frame is cut" in caplog.text
    middle = len(content) * 2 // 3
    with pytest.raises(AudioError, match=r"damaged: \d+ bytes at \d\.\d\d s hold no frames of mp3"):
        check_audio(content[:middle] + bytes(5000) + content[middle + 5000 :])


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"hello, this is text " * 100, "not a(n audio file| format)")]
)
def test_what_is_no_audio_is_named(tmp_path, content, message):
    file = tmp_path / "song.wav"
    file.write_bytes(content)
    for source in (file, content):
        with pytest.raises(AudioError, match=message):
            check_audio(source)
    with pytest.raises(AudioError, match="does not exist"):
        read_info(tmp_path / "missing.wav")


def test_nan_short_silent_and_empty_tracks(tmp_path):
    file = tmp_path / "song.wav"
    samples = make_tones(4.0, 24000)
    samples[50000] = np.nan
    soundfile.write(file, samples, 24000, subtype="FLOAT")
    with pytest.raises(AudioError, match="NaN"):
        check_audio(file)
    with pytest.raises(AudioError, match="NaN"):
        read_audio(file, 24000)
    assert read_audio(file, 24000, 60000, 1000).shape == (1000,)
    soundfile.write(file, np.zeros(96000), 24000)
    assert check_audio(file) == (read_info(file), True)
    soundfile.write(file, make_tones(2.9, 24000), 24000)
    with pytest.raises(AudioError, match=r"too short: 2\.90 s, at least 3 s"):
        check_audio(file, 3.0)
    soundfile.write(file, np.zeros(0), 24000)
    with pytest.raises(AudioError, match="no samples"):
        check_audio(file)


def test_a_crop_outside_the_file_or_a_negative_rate_is_refused(tmp_path):
    file = tmp_path / "song.wav"
    write(file, rate=24000)
    with pytest.raises(AudioError, match="lie outside .* which has 144000"):
        read_audio(file, 24000, 140000, 5000)
    with pytest.raises(ValueError, match="start must be a whole number of samples, 0 or more; got -1"):
        read_audio(file, 24000, -1, 5000)
    with pytest.raises(ValueError, match="got -24000"):
        read_audio(file, -24000)


CONTAINERS = {
    "song.m4a": ("aac", {}),
    "fragmented.mp4": ("aac", {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"}),
    "song.aac": ("aac", {}),
    "song.wma": ("wmav2", {}),
    "song.webm": ("libopus", {}),
    "live.webm": ("libopus", {"live": "1"}),  # without a duration
    "song.mka": ("vorbis", {}),
    "late.mka": ("vorbis", {"start_s": 3.0}),
    "late.webm": ("libopus", {"start_s": 3.0}),
    "song.ac3": ("ac3", {}),
    "song.mp2": ("mp2", {}),
    "song.wv": ("wavpack", {}),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_are_read_to_their_end_and_cut_ones_refused(tmp_path, name):
    file, (codec, options) = tmp_path / name, CONTAINERS[name]
    tones = np.stack([make_tones(8.0, 48000, seed) for seed in range(2)], axis=1)
    encode_by_ffmpeg(file, tones, 48000, codec, **options)
    info, _ = check_audio(file, 3.0)
    assert (info.channels, info.sampling_rate) == (2, 48000)
    assert info.duration_s == pytest.approx(8.0, abs=0.06)
    assert read_info(file.read_bytes()) == info
    whole = read_audio(file, 24000)
    assert len(whole) == info.resampled_length(24000)
    assert likeness(whole, tones.mean(axis=1)[::2]) > (0.85 if codec == "vorbis" else 0.98)  # FFmpeg's own is a poor one
    with AudioFile(file) as audio:
        for start in (0, 30001, 100000, 90000, 777, len(whole) - 9000):
            np.testing.assert_allclose(audio.read(24000, start, 9000), whole[start : start + 9000], atol=1e-6)
    half = file.read_bytes()[: file.stat().st_size // 2]
    if name in ("song.aac", "song.ac3", "song.mp2", "live.webm", "fragmented.mp4"):  # nothing in them tells how long they were
        assert check_audio(half)[0].duration_s == pytest.approx(4.0, abs=0.6)
    else:
        with pytest.raises(AudioError, match="truncated|cannot be decoded"):
            check_audio(half)


def test_aac_whose_bit_rate_changes_is_read_whole(tmp_path):
    parts = [tmp_path / "low.aac", tmp_path / "high.aac"]
    for part, kbps in zip(parts, (24, 192), strict=True):
        encode_by_ffmpeg(part, make_tones(5.0, 44100, kbps), 44100, "aac", kbps=kbps)
    content = b"".join(part.read_bytes() for part in parts)
    info, _ = check_audio(content)
    assert info.num_samples == sum(read_info(part).num_samples for part in parts)
    whole = read_audio(content, 44100)
    np.testing.assert_allclose(read_audio(content, 44100, 300000, 50000), whole[300000:350000], atol=1e-6)


def test_a_length_that_was_not_known_is_counted(tmp_path):
    """2**63 - 1 samples are none."""
    tones, file = make_tones(4.0, 24000), tmp_path / "song.flac"
    soundfile.write(file, tones, 24000)
    content = bytearray(file.read_bytes())
    content[21] &= 0xF0  # the 36 bits of STREAMINFO that count the samples
    content[22:26] = bytes(4)
    file.write_bytes(content)
    assert read_info(file).num_samples == check_audio(file)[0].num_samples == 96000
    np.testing.assert_allclose(read_audio(file, 24000, 50000, 1000), tones[50000:51000], atol=1e-4)
    for name, mark in [("song.wav", b"data"), ("song.au", None)]:
        soundfile.write(tmp_path / name, tones, 24000)
        content = bytearray((tmp_path / name).read_bytes())
        place = 8 if mark is None else content.index(mark) + 4
        for size in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f")[: 3 if mark else 1]:
            content[place : place + 4] = size
            assert check_audio(bytes(content))[0].num_samples == 96000
    content[place : place + 4] = (1000).to_bytes(4, "big")
    with pytest.raises(AudioError, match="header is wrong: 191000 bytes lie behind the 500 samples"):
        check_audio(bytes(content))


@pytest.mark.parametrize("hertz", [0, 1, 999, 2**31 - 1])
def test_rates_that_no_file_has_are_refused(tmp_path, hertz):
    file = tmp_path / "song.wav"
    soundfile.write(file, make_tones(1.0, 24000), 24000)
    content = bytearray(file.read_bytes())
    content[24:28] = hertz.to_bytes(4, "little")
    for function in (read_info, read_audio, check_audio):
        with pytest.raises(AudioError):
            function(bytes(content))


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), 1e300, 1.0, 44.1, "44100", None])
def test_what_is_no_rate_is_refused_before_anything_is_read(rate):
    with pytest.raises(InputError, match="sampling_rate must be a whole number of samples per second"):
        read_audio("nowhere.wav", rate)


def test_channels_that_cancel_each_other_out_are_silent(tmp_path, caplog):
    file, tones = tmp_path / "inverse.wav", make_tones(4.0, 24000)
    soundfile.write(file, np.stack([tones, -tones], axis=1), 24000)
    with caplog.at_level(logging.WARNING, "mert_hf"):
        assert check_audio(file)[1] is True
        read_audio(file), read_audio(file)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "inverse.wav: its channels cancel each other out" in said


def test_many_channels_take_no_more_memory_than_few(tmp_path):
    file, tones = tmp_path / "many.wav", make_tones(1.0, 8000)
    soundfile.write(file, np.repeat(tones[:, None], 1024, axis=1), 8000)
    content = bytearray(file.read_bytes())
    content[24:28] = (768_000).to_bytes(4, "little")
    tracemalloc.start()
    try:
        info, silent = check_audio(bytes(content))
        read_audio(bytes(content), 768_000)
        assert tracemalloc.get_traced_memory()[1] < len(content) + 150 * 2**20
    finally:
        tracemalloc.stop()
    assert (info.channels, info.num_samples, silent) == (1024, 8000, False)
    np.testing.assert_allclose(read_audio(file, 8000), tones, atol=1e-4)


def test_other_files_are_not_opened(tmp_path):
    """A playlist is text that names files, of this machine or another."""
    soundfile.write(tmp_path / "song.wav", make_tones(1.0, 24000), 24000)
    for text in (
        f"ffconcat version 1.0\nfile {tmp_path}/song.wav\n",
        f"#EXTM3U\n#EXTINF:1,\n{tmp_path}/song.wav\n#EXT-X-ENDLIST\n",
    ):
        (tmp_path / "list.wav").write_text(text)
        with pytest.raises(AudioError, match="not an audio file|holds no"):
            read_audio(tmp_path / "list.wav")


def test_without_ffmpeg_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ffmpeg_decoders_mert, "av", None)
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    with pytest.raises(AudioError, match="needs PyAV, .* pip install av"):
        read_audio(tmp_path / "song.m4a")
