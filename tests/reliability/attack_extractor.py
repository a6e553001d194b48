"""The feature extractor: settings, audio and options."""

from audio_attacks import draw_item, draw_rate, hostile, prepare_files
from fuzzing import damage_values

from mert_hf import MERTFeatureExtractor

DOCUMENTED = (ValueError,)


def prepare(folder):
    """Settings as a file may hold them, then audio as it may be handed over."""
    files = prepare_files(folder)
    settings = MERTFeatureExtractor(do_normalize=True).to_dict()
    options = {"padding": True, "max_length": 2000, "truncation": True, "pad_to_multiple_of": 320, "return_tensors": "pt"}

    def strike(rng):
        damaged = damage_values(rng, settings) if rng.random() < 0.3 else settings
        extractor = MERTFeatureExtractor.from_dict(damaged)
        chosen = {name: value for name, value in options.items() if rng.random() < 0.3}
        if chosen and rng.random() < 0.3:
            chosen[list(chosen)[int(rng.integers(len(chosen)))]] = hostile(rng)
        audio = draw_item(rng, folder, files)
        rate = None if rng.random() < 0.2 else draw_rate(rng)
        batch = extractor(audio, sampling_rate=rate, **chosen)
        if chosen.get("return_tensors") == "pt":
            assert batch["input_values"].isfinite().all() and batch["input_values"].ndim == 2

    return strike
