"""Corpora of sampled instruments, and by several processes: what a piece is depends on its number alone."""

import json
import os

import numpy as np
import pytest
import soundfile
from support.sounds import make_tones

from mert_hf.common.errors import InputError
from mert_hf.common.settings import read_settings
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining import sources
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.synthetic import corpus, generate_piece, write_corpus
from mert_hf.synthetic.score.composition import compose
from mert_hf.synthetic.score.labels import PieceLabels
from mert_hf.synthetic.sound.render import add_room


class Player:
    """Stands in for fluidsynth: a tone of its own for every score and seed; tells how many it played at once."""

    corpus_version = "player 2, soundfont 0123"

    def __init__(self):
        self.played = []

    def render_all(self, clips, num_samples, sampling_rate):
        clips = list(clips)
        self.played.append(len(clips))
        for score, seed, vocabulary in clips:
            assert vocabulary.name == "corpus"
            yield make_tones(num_samples / sampling_rate, sampling_rate, len(score.notes) + sum(seed.entropy))


@pytest.fixture
def player(monkeypatch):
    player = Player()
    monkeypatch.setattr(corpus, "find_fluidsynth", lambda: player)
    return player


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pieces_take_turns(tmp_path, player):
    write_corpus(tmp_path / "both", 5, 1.0, seed=3, renderer="both")
    assert player.played == [2]
    write_corpus(tmp_path / "builtin", 5, 1.0, seed=3)
    write_corpus(tmp_path / "sampled", 5, 1.0, seed=3, renderer="fluidsynth")
    both, builtin, sampled = (content(tmp_path / name) for name in ("both", "builtin", "sampled"))
    for index in range(5):
        audio, labels = f"piece_0000{index}.flac", f"piece_0000{index}.json"
        assert both[labels] == builtin[labels] == sampled[labels]
        assert builtin[audio] != sampled[audio]
        assert both[audio] == (builtin if index % 2 == 0 else sampled)[audio]
    # they are written down as what they are
    told = [json.loads(found["corpus.json"]) for found in (both, builtin, sampled)]
    assert [one["renderer"] for one in told] == ["both", "builtin", "fluidsynth"]
    assert [one.get("sampled_instruments") for one in told] == [player.corpus_version, None, player.corpus_version]


def test_sampled_pieces_stand_in_a_room_and_are_what_their_labels_say(tmp_path, player):
    write_corpus(tmp_path, 1, 1.0, seed=3, renderer="fluidsynth")
    waveform, rate = soundfile.read(tmp_path / "piece_00000.flac", dtype="float32")
    labels = PieceLabels.from_dict(json.loads((tmp_path / "piece_00000.json").read_text()))
    assert labels == generate_piece([3, 0], 1.0).labels
    seed = np.random.SeedSequence([3, 0], spawn_key=(1_000_000,))
    (dry,) = player.render_all([(labels, seed, corpus.CORPUS)], rate, rate)
    np.testing.assert_allclose(waveform, add_room(dry, rate, seed), atol=1.01 / 32768)
    assert 0.5 - 1e-3 < np.abs(waveform).max() < 0.95
    # an impulse rings on: the decaying noise of the room, and nothing before
    impulse = np.zeros(rate, dtype=np.float32)
    impulse[6000] = 1.0
    wet = add_room(impulse, rate, np.random.SeedSequence(1))
    assert np.abs(wet[:5000]).max() < 0.003 < np.abs(wet[6300:9000]).max() < np.abs(wet).max() == np.abs(wet[6000])


def test_a_sampled_corpus_is_made_longer(tmp_path, player):
    write_corpus(tmp_path, 3, 50.0, sampling_rate=8000, renderer="fluidsynth")
    assert player.played == [2, 1]  # two minutes a job
    before = content(tmp_path)
    (tmp_path / "piece_00001.json").unlink()
    write_corpus(tmp_path, 4, 50.0, sampling_rate=8000, renderer="fluidsynth")
    assert player.played == [2, 1, 2]
    after = content(tmp_path)
    assert {name: after[name] for name in before} == before and len(after) == len(before) + 2


def test_corpora_of_before_are_builtin(tmp_path, player):
    write_corpus(tmp_path, 1, 1.0, seed=2)
    note = tmp_path / "corpus.json"
    told = json.loads(note.read_text())
    del told["renderer"]
    note.write_text(json.dumps(told))
    os.utime(tmp_path / "piece_00000.flac", (1, 1))
    write_corpus(tmp_path, 2, 1.0, seed=2)
    assert (tmp_path / "piece_00000.flac").stat().st_mtime == 1 and (tmp_path / "piece_00001.flac").exists()
    with pytest.raises(InputError, match="other settings: renderer is None there and 'both' here; sampled_instruments is None"):
        write_corpus(tmp_path, 2, 1.0, seed=2, renderer="both")


def test_soundfonts_are_not_mixed(tmp_path, player):
    write_corpus(tmp_path, 1, 1.0, renderer="both")
    player.corpus_version = "player 2, soundfont 4567"
    with pytest.raises(
        InputError, match="sampled_instruments is 'player 2, soundfont 0123' there and 'player 2, soundfont 4567'"
    ):
        write_corpus(tmp_path, 2, 1.0, renderer="both")


def test_processes_make_the_same_pieces(tmp_path, monkeypatch):
    write_corpus(tmp_path / "one", 5, 1.0, seed=4)
    monkeypatch.setattr(corpus, "_LEAST_S_A_WORKER", 1.0)
    write_corpus(tmp_path / "several", 5, 1.0, seed=4, workers=3)
    assert content(tmp_path / "several") == content(tmp_path / "one")


def test_an_error_in_a_process_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "_LEAST_S_A_WORKER", 1.0)
    (tmp_path / "piece_00002.flac").mkdir(parents=True)
    (tmp_path / "corpus.json").write_text(
        json.dumps({"generator_version": 1, "duration_s": 1.0, "seed": 4, "sampling_rate": 24000})
    )
    with pytest.raises(IsADirectoryError, match="piece_00002.flac"):
        write_corpus(tmp_path, 5, 1.0, seed=4, workers=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"renderer": "piano"}, "renderer 'piano' is unknown; known renderers: builtin, fluidsynth, both"),
        ({"workers": 0}, "workers is 0; pass 1 or more"),
        ({"renderer": "both"}, "the program fluidsynth is not installed .*; install it, or use the renderer builtin"),
    ],
)
def test_what_cannot_be_rendered_is_refused(tmp_path, monkeypatch, given, message):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=message):
        write_corpus(tmp_path / "music", 1, 1.0, **given)
    assert not (tmp_path / "music").exists()


def test_a_run_trains_on_what_its_settings_name(tmp_path, player):
    given = {"pieces": "3", "piece_s": "4", "renderer": "both", "workers": "2"}
    given = {f"data.synthetic_{name}": text for name, text in given.items()} | {"training.seed": "6"}
    settings = read_settings(PretrainSettings, None, "", given)
    run = RunFolder(tmp_path / "run")
    found = sources.open_corpus(settings, 16000, run)
    assert len(found.tracks) == 3 and player.played == [1]
    write_corpus(tmp_path / "same", 3, 4.0, seed=6, sampling_rate=16000, renderer="both")
    music = content(run.folder / "synthetic_music")
    assert music == content(tmp_path / "same")
    assert json.loads(music["piece_00001.json"])["key"] == compose([6, 1], 4.0).key
    with pytest.raises(InputError, match="data.synthetic_renderer"):
        read_settings(PretrainSettings, None, "", {"data.synthetic_renderer": "midi"})
