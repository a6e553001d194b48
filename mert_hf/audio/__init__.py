"""Audio files and bytes to mono waveforms: the package's face of the reader, which travels to the Hub with the pipeline."""

from mert_hf.common.errors import AudioError
from mert_hf.models.audio_reading_mert import (
    AudioFile,
    AudioInfo,
    AudioSource,
    check_audio,
    read_audio,
    read_info,
    require_duration,
)

# What is audio by its name, whether or not it can be read here: a file of a format that cannot is listed as skipped with the
# reader's reason, never passed over in silence.
AUDIO_EXTENSIONS = frozenset(
    """
    .wav .wave .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mp1 .mpa .mpga .aiff .aif .aifc .au .snd .caf .voc .sph .nist
    .m4a .m4b .m4r .m4p .mp4 .aac .adts .alac .wma .asf .webm .weba .mka .ac3 .ec3 .eac3 .dts .dtshd .thd .mlp .amr .awb .3ga
    .ra .rm .aa .aax .ape .mac .wv .tta .tak .ofr .shn .la .mpc .mp+ .mpp .dsf .dff .oma .aa3 .at3 .at9 .vqf .gsm
    """.split()  # noqa: SIM905 (a list would take a line for each)
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
