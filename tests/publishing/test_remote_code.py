"""Every way into a published model: with this package and without, with and without consent to remote code."""

import json

import pytest
import torch
from loopback_hub.client import run_with_hub
from support.sounds import make_tones
from transformers import AutoModel, pipeline

from mert_hf import MERTFeatureExtractor, MERTForPreTraining

REPO = "ada/tiny-mert"

# Tries the ways one by one; prints, as JSON, what came of each: the class, or the error.
EVERY_WAY = """
import io, json, sys
import soundfile
repository, with_package = sys.argv[1], sys.argv[2] == "with"
if with_package:
    import mert_hf
import numpy as np
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForPreTraining, pipeline

waveform = np.sin(np.arange(24000) / 20).astype(np.float32)

def run_pipeline(repository, **options):
    extract = pipeline("feature-extraction", model=repository, **options)
    assert extract(waveform, return_tensors=True).shape == (1, 74, 32)
    for name in ("WAV", "MP3"):  # of each library one; the reader travels too
        soundfile.write(encoded := io.BytesIO(), np.stack([waveform, waveform], axis=1), 48000, format=name)
        assert extract(encoded.getvalue(), return_tensors=True).shape == (1, 37, 32), name
    return extract

ways = {
    "AutoModel": AutoModel.from_pretrained,
    "AutoModelForPreTraining": AutoModelForPreTraining.from_pretrained,
    "AutoFeatureExtractor": AutoFeatureExtractor.from_pretrained,
    "pipeline": run_pipeline,
}
consents = {"trusted": {"trust_remote_code": True}, "refused": {"trust_remote_code": False}, "unset": {}}
found = {}
for way, load in ways.items():
    for consent, options in consents.items():
        try:
            found[f"{way} {consent}"] = type(load(repository, **options)).__name__
        except Exception as error:
            found[f"{way} {consent}"] = f"{type(error).__name__}: {error}"
print()  # behind what transformers may have asked
print(json.dumps({"found": found, "package": "mert_hf" in sys.modules}))
"""
CLASSES = {
    "AutoModel": "MERTModel",
    "AutoModelForPreTraining": "MERTForPreTraining",
    "AutoFeatureExtractor": "MERTFeatureExtractor",
    "pipeline": "MERTFeatureExtractionPipeline",
}


@pytest.fixture
def published(hub, tiny_config, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "published"
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    hub.add_repository(REPO, folder)
    return folder


@pytest.mark.parametrize("source", ["the Hub", "a folder"])
def test_without_the_package_consent_opens_every_way_and_nothing_else_does(hub, published, tmp_path, source):
    name = REPO if source == "the Hub" else str(published)
    ran = run_with_hub(EVERY_WAY, hub, tmp_path / "cache", without_package=True, arguments=(name, "without"))
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert not report["package"]
    for way, expected in CLASSES.items():
        assert report["found"][f"{way} trusted"] == expected
        for consent in ("refused", "unset"):
            assert "trust_remote_code=True" in report["found"][f"{way} {consent}"], way


def test_with_the_package_every_way_is_open_and_no_code_of_the_repository_runs(hub, published, tmp_path):
    for file in published.glob("*.py"):
        file.write_text("raise RuntimeError('remote code ran')\n")
    hub.add_repository("ada/booby-trapped", published)
    ran = run_with_hub(EVERY_WAY, hub, tmp_path / "cache", arguments=("ada/booby-trapped", "with"))
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["found"] == {
        f"{way} {consent}": name for way, name in CLASSES.items() for consent in ("trusted", "refused", "unset")
    }


SAVE_AGAIN = """
import sys
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForPreTraining, pipeline
repository = sys.argv[1]
for cls in (AutoModel, AutoModelForPreTraining):
    cls.from_pretrained(repository, trust_remote_code=True).save_pretrained(cls.__name__)
    AutoFeatureExtractor.from_pretrained(repository, trust_remote_code=True).save_pretrained(cls.__name__)
pipeline("feature-extraction", model=repository, trust_remote_code=True).save_pretrained("pipeline")
for folder in ("AutoModel", "AutoModelForPreTraining", "pipeline"):  # and loaded from what was saved
    pipeline("feature-extraction", model=folder, trust_remote_code=True).save_pretrained("again")
"""


@torch.no_grad()
def test_saved_again_from_remote_code_it_is_whole(hub, published, tmp_path):
    cache = tmp_path / "cache"
    ran = run_with_hub(SAVE_AGAIN, hub, cache, without_package=True, arguments=(REPO,))
    assert ran.returncode == 0, ran.stderr
    code = {file.name for file in published.glob("*.py")}
    waveform = make_tones(1.0, 24000)
    expected = pipeline("feature-extraction", model=str(published))(waveform, return_tensors=True)
    for name in ("AutoModel", "AutoModelForPreTraining", "pipeline"):
        assert {file.name for file in (cache / name).glob("*.py")} == code
        config = json.loads((cache / name / "config.json").read_text())
        assert not [reference for reference in config["auto_map"].values() if "--" in reference]  # leans on no other repository
        features = pipeline("feature-extraction", model=str(cache / name))(waveform, return_tensors=True)
        torch.testing.assert_close(features, expected)


FROM_A_POISONED_BASE = """
import sys
from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor, pipeline
repository = sys.argv[1]
AutoModel.from_pretrained(repository, trust_remote_code=True)
AutoFeatureExtractor.from_pretrained(repository, trust_remote_code=True)
try:
    AutoProcessor.from_pretrained(repository, trust_remote_code=True)
except (OSError, ValueError):
    pass  # there is none
pipeline("feature-extraction", model=repository, trust_remote_code=True)
"""


def test_no_code_of_a_stranger_is_asked_for_by_who_reads_what_was_pushed(hub, published, tmp_path):
    foreign = {
        name: "mallory/evil--evil.Evil" for name in ("AutoModel", "AutoFeatureExtractor", "AutoProcessor", "AutoTokenizer")
    }
    for name in ("config.json", "preprocessor_config.json"):
        content = json.loads((published / name).read_text())
        (published / name).write_text(json.dumps({**content, "auto_map": foreign, "processor_class": "Evil"}))
    hub.add_repository("mallory/evil")
    pipeline("feature-extraction", model=str(published)).push_to_hub("ada/from-poisoned", token="hf_writer")
    ran = run_with_hub(FROM_A_POISONED_BASE, hub, tmp_path / "reader", without_package=True, arguments=("ada/from-poisoned",))
    assert ran.returncode == 0, ran.stderr
    assert not [request for request in hub.requests if "mallory" in str(request)]


@torch.no_grad()
def test_the_code_in_a_repository_gives_the_features_of_the_package(hub, published):
    waveform = torch.from_numpy(make_tones(1.0, 24000))[None]
    local = AutoModel.from_pretrained(REPO)
    script = (
        "import sys, torch; from transformers import AutoModel\n"
        "model = AutoModel.from_pretrained(sys.argv[1], trust_remote_code=True).eval()\n"
        "with torch.no_grad(): states = model(torch.load('waveform.pt'), output_hidden_states=True).hidden_states\n"
        "torch.save(list(states), 'states.pt')\n"
    )
    home = published.parent / "remote"
    home.mkdir()
    torch.save(waveform, home / "waveform.pt")
    ran = run_with_hub(script, hub, home, without_package=True, arguments=(REPO,))
    assert ran.returncode == 0, ran.stderr
    states = local.eval()(waveform, output_hidden_states=True).hidden_states
    for remote, own in zip(torch.load(home / "states.pt"), states, strict=True):
        torch.testing.assert_close(remote, own)
