import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from sounds import make_tones, remove_mp3_length, write_variable_mp3

from mert_hf.audio import AudioError, check_audio, read_audio, read_info

FORMATS = ["wav", "flac", "ogg", "mp3"]


def write(file, seconds=6.0, rate=44100, channels=2):
    tones = np.stack([make_tones(seconds, rate, seed) for seed in range(channels)], axis=1)
    soundfile.write(file, tones, rate)
    return tones.mean(axis=1)


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


def test_the_length_of_an_mp3_that_does_not_tell_it_is_counted(tmp_path):
    file = tmp_path / "bare.mp3"
    tones = np.stack([make_tones(6.0, 44100, seed) for seed in range(2)], axis=1)
    soundfile.write(file, tones, 44100, bitrate_mode="CONSTANT", compression_level=0.5)
    remove_mp3_length(file)
    assert soundfile.info(file).frames / 44100 != pytest.approx(6.0, abs=0.2)
    assert check_audio(file)[0].duration_s == pytest.approx(6.0, abs=0.1)
    assert read_info(file).duration_s == pytest.approx(6.0, abs=0.1)
    whole = read_audio(file, 24000)
    assert len(whole) == pytest.approx(6 * 24000, abs=2400)
    # its last second by itself, though the guess promises samples behind it
    np.testing.assert_allclose(read_audio(file, 24000, len(whole) - 24000, 24000), whole[-24000:], atol=1e-5)
    with pytest.raises(AudioError, match="ends before its header says"):
        read_audio(file, 24000, len(whole) - 12000, 24000)


def test_an_mp3_of_unknown_length_and_variable_bit_rate_is_refused_not_cut(tmp_path):
    """libsndfile would guess too short a length from a quiet beginning and silently read no further."""
    file = tmp_path / "variable.mp3"
    write_variable_mp3(file)
    assert check_audio(file)[0].duration_s == pytest.approx(12.0, abs=0.1)
    remove_mp3_length(file)
    for function in (check_audio, read_info, read_audio):
        with pytest.raises(AudioError, match="variable bit rate that does not tell its length.*ffmpeg -i"):
            function(file)


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
    with pytest.raises(ValueError, match="start=-1 and num_samples=5000 must be 0 or more"):
        read_audio(file, 24000, -1, 5000)
    with pytest.raises(ValueError, match="got -24000"):
        read_audio(file, -24000)


def test_m4a_is_read_by_ffmpeg_or_the_message_names_it(tmp_path):
    """Whichever of the two holds on this machine; both are asserted."""
    file, source = tmp_path / "song.m4a", tmp_path / "song.wav"
    write(source)
    if shutil.which("ffmpeg"):
        subprocess.run(["ffmpeg", "-loglevel", "error", "-i", source, "-c:a", "aac", "-aac_pns", "0", file], check=True)
        whole = read_audio(file, 24000)
        assert check_audio(file)[0].duration_s == pytest.approx(6.0, abs=0.1)
        np.testing.assert_allclose(read_audio(file, 24000, 30001, 48000), whole[30001:78001], atol=1e-4)
        reference = read_audio(source, 24000)
        assert np.corrcoef(whole, reference[: len(whole)])[0, 1] > 0.99
    else:
        file.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
        with pytest.raises(AudioError, match="FFmpeg"):
            read_audio(file, 24000)
