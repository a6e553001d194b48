import dataclasses

import numpy as np
import pytest
import soundfile
import torch

from mert_hf import MERTModel
from mert_hf.common.errors import InputError
from mert_hf.probing.probes.mask_network import MaskNetwork, separate_song
from mert_hf.probing.probes.separation_training import score_separation, train_separation_probe
from mert_hf.tasks import TASKS
from mert_hf.tasks.base import Windows

RATE = 24000
STEMS = ("vocals", "drums", "bass", "other")


def write_song(folder, seed, seconds=3.0):
    """Four stems that share no frequencies: a voice, clicks, a low and a high tone, switched on and off."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    gates = [np.sin(2 * np.pi * random.uniform(0.5, 1.5) * time + phase) > -0.3 for phase in random.uniform(0, 6, 4)]
    vocals = 0.2 * np.sin(2 * np.pi * 700 * time + 3 * np.sin(2 * np.pi * 5 * time))
    drums = 0.2 * random.standard_normal(len(time)) * np.exp(-30 * (time % 0.25))
    bass = 0.2 * np.sin(2 * np.pi * 90 * time)
    other = 0.2 * np.sin(2 * np.pi * 4000 * time)
    stems = [stem * gate for stem, gate in zip((vocals, drums, bass, other), gates, strict=True)]
    folder.mkdir(parents=True)
    for name, samples in zip((*STEMS, "mixture"), (*stems, sum(stems)), strict=True):
        soundfile.write(folder / f"{name}.wav", np.stack([samples, samples], axis=1), RATE, subtype="FLOAT")


@pytest.fixture
def task():
    protocol = dataclasses.replace(
        TASKS["musdb18"].protocol,
        batch_size=2,
        max_epochs=12,
        steps_per_epoch=3,
        learning_rate=3e-3,
        hidden_size=24,
        dropout=0.0,
    )
    return dataclasses.replace(
        TASKS["musdb18"], protocol=protocol, train_windows=Windows(duration_s=1.5), windows=Windows(duration_s=2.0, least_s=0.5)
    )


@pytest.fixture
def data(task, tmp_path):
    for seed, song in enumerate(["train/A - One", "train/Leaf - Summerghost", "test/B - Two", "test/C - Three"]):
        write_song(tmp_path / "musdb18" / song, seed)
    return task.load(tmp_path)


@pytest.fixture
def embed(tiny_config):
    torch.manual_seed(0)
    model = MERTModel(tiny_config).eval().requires_grad_(False)

    def features(waveform):
        return torch.stack(model(waveform, output_hidden_states=True).hidden_states, dim=1)

    return features


def test_a_probe_learns_to_separate_songs_it_has_not_heard(embed, data):
    result = train_separation_probe(embed, data, RATE, 320, seed=1)
    assert len(result.losses) == len(result.validation) == 12
    assert result.losses[-1] < 0.5 * result.losses[0]
    assert result.validation[result.best_epoch - 1] == max(result.validation)
    scores = score_separation(embed, result.network, data, "test", RATE)
    assert set(scores.values) == {"sdr", *(f"sdr_{stem}" for stem in STEMS)}

    # a quarter of the mixture for every stem, the best that knows nothing, has less
    def quarter(features, frames):
        return torch.full((len(features), 4, 1025, frames), 0.25)

    blind = MaskNetwork(3, 32, 4, 320, lstm_size=24)
    blind.forward = quarter
    baseline = score_separation(embed, blind, data, "test", RATE)
    assert scores.values["sdr"] > baseline.values["sdr"] + 3
    assert scores.values["sdr_bass"] > baseline.values["sdr_bass"] + 3


def test_the_same_seed_gives_the_same_probe(embed, data):
    short = dataclasses.replace(
        data,
        task=dataclasses.replace(data.task, protocol=dataclasses.replace(data.task.protocol, max_epochs=2, steps_per_epoch=1)),
    )
    first, second = (train_separation_probe(embed, short, RATE, 320, seed=3) for _ in range(2))
    other = train_separation_probe(embed, short, RATE, 320, seed=4)
    assert first.losses == second.losses != other.losses


def test_what_the_masks_let_through_comes_back_as_it_was(embed, data):
    """Spectrum, phase, windows and their joining lose nothing."""
    song = data.splits["test"][0]
    mixture = song.read(RATE)
    probe = MaskNetwork(3, 32, 4, 320, lstm_size=24)
    probe.forward = lambda features, frames: (
        torch.nn.functional.one_hot(torch.tensor(0), 4).float().reshape(1, 4, 1, 1).expand(len(features), 4, 1025, frames)
    )
    separated = separate_song(embed, probe, mixture, data, RATE)
    assert separated.shape == (4, len(mixture))
    np.testing.assert_allclose(separated[0], mixture, atol=1e-5)
    assert not separated[1:].any()


def test_the_frozen_model_is_not_trained(tiny_config, data):
    model = MERTModel(tiny_config).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    short = dataclasses.replace(data.task.protocol, max_epochs=1, steps_per_epoch=1)
    data = dataclasses.replace(data, task=dataclasses.replace(data.task, protocol=short))
    train_separation_probe(lambda waveform: model(waveform).last_hidden_state.unsqueeze(1), data, RATE, 320)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_stops_where_nothing_gets_better(embed, data):
    protocol = dataclasses.replace(data.task.protocol, learning_rate=0.0, max_epochs=50, steps_per_epoch=1, stop_patience=2)
    data = dataclasses.replace(data, task=dataclasses.replace(data.task, protocol=protocol))
    result = train_separation_probe(embed, data, RATE, 320, learning_rate=1e-30)
    assert (len(result.losses), result.best_epoch) == (3, 1)


def test_a_stopped_training_goes_on_to_the_same_weights(embed, data, tmp_path):
    protocol = dataclasses.replace(data.task.protocol, max_epochs=4, steps_per_epoch=1, plateau_patience=0, dropout=0.2)
    data = dataclasses.replace(data, task=dataclasses.replace(data.task, protocol=protocol))
    straight = train_separation_probe(embed, data, RATE, 320, seed=3)
    calls = []

    def stopping(waveform):
        calls.append(len(waveform))
        if len(calls) == 8:  # in the third epoch: one call to begin with, then one for training and two windows to validate
            raise KeyboardInterrupt
        return embed(waveform)

    file = tmp_path / "probe.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_separation_probe(stopping, data, RATE, 320, seed=3, checkpoint=file)
    resumed = train_separation_probe(embed, data, RATE, 320, seed=3, checkpoint=file)
    assert (resumed.losses, resumed.validation) == (straight.losses, straight.validation)
    for name, tensor in straight.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], tensor), name
    # a finished run is read, not trained
    again = train_separation_probe(stopping, data, RATE, 320, seed=3, checkpoint=file)
    assert again.validation == straight.validation
    content = file.read_bytes()
    for place in (3, 200, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(InputError, match=r"probe\.safetensors (is not as it was written|is damaged)"):
            train_separation_probe(embed, data, RATE, 320, seed=3, checkpoint=file)
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"probe\.safetensors is no checkpoint of this run: .*'seed': 3.*'seed': 4"):
        train_separation_probe(embed, data, RATE, 320, seed=4, checkpoint=file)
    with pytest.raises(InputError, match="no checkpoint of this run: .*'model': {'weights': 'abc'}"):
        train_separation_probe(embed, data, RATE, 320, seed=3, checkpoint=file, model={"weights": "abc"})


def test_mistakes_are_named(embed, data, tmp_path):
    with pytest.raises(InputError, match="gtzan_genre is a multiclass task"):
        train_separation_probe(embed, dataclasses.replace(data, task=TASKS["gtzan_genre"]), RATE, 320)
    with pytest.raises(InputError, match=r"features hold NaN or infinity"):
        train_separation_probe(lambda waveform: embed(waveform) * float("nan"), data, RATE, 320)
    with pytest.raises(InputError, match=r"must be \(batch, layers, frames, hidden\)"):
        train_separation_probe(lambda waveform: embed(waveform)[:, 0], data, RATE, 320)
    with pytest.raises(InputError, match="train/A - One: .*does not exist"):
        (tmp_path / "musdb18" / "train" / "A - One" / "bass.wav").unlink()
        train_separation_probe(embed, data, RATE, 320)
