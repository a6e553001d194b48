"""Run as a script in a fresh process: loads a published folder as someone does who does not have this package.

    python -P without_package.py FOLDER SCRATCH

Reads SCRATCH/waveform.npy; writes SCRATCH/features_<way>.npy for every way to load the model.
"""

import sys

sys.modules["mert_hf"] = None  # importing it is an error from here on, also where it is installed

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402


def main(folder: str, scratch: Path) -> None:
    """Load, compute, write."""
    waveform = np.load(scratch / "waveform.npy")
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
    inputs = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    values = inputs[extractor.model_input_names[0]]
    names = [name for name in getattr(config, "auto_map", {}) if name.startswith("AutoModel")] or ["AutoModel"]
    architecture = (config.architectures or [""])[0]
    for name in names:
        # a head that the checkpoint does not hold would be drawn at random
        if name == "AutoModel" or config.auto_map[name].endswith("." + architecture):
            model = getattr(transformers, name).from_pretrained(folder, trust_remote_code=True).eval()
            with torch.no_grad():
                given = values.to(getattr(model, "input_dtype", model.dtype))
                np.save(scratch / f"features_{name}.npy", model.base_model(given)[0].float().numpy())
    for task in getattr(config, "custom_pipelines", {}):
        extract = transformers.pipeline(task, model=folder, trust_remote_code=True, device="cpu")
        np.save(scratch / "features_pipeline.npy", extract(waveform, return_tensors=True).float().numpy())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
