"""Audio files and bytes to mono waveforms: the package's face of the reader, which travels to the Hub with the pipeline."""

from mert_hf.audio_reading_mert import (
    AudioFile,
    AudioInfo,
    AudioSource,
    check_audio,
    read_audio,
    read_info,
    require_duration,
)
from mert_hf.errors import AudioError

# By these names files are known as audio in a folder; each is read, whatever it truly holds.
AUDIO_EXTENSIONS = frozenset(
    [
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".mp2",
        ".aiff",
        ".aif",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
        ".m4a",
        ".m4b",
        ".mp4",
        ".aac",
        ".wma",
        ".webm",
        ".mka",
        ".ac3",
        ".eac3",
        ".wv",
        ".tta",
    ]
)

__all__ = [
    "AUDIO_EXTENSIONS",
    "AudioError",
    "AudioFile",
    "AudioInfo",
    "AudioSource",
    "check_audio",
    "read_audio",
    "read_info",
    "require_duration",
]
