import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import soundfile
import torch
from support.sounds import make_tones
from transformers import AutoFeatureExtractor, AutoModel, EncodecConfig, EncodecModel

from mert_hf import MERTForPreTraining, MERTModel
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.conversion.fairseq import convert_fairseq_checkpoint, measure_code_offset
from mert_hf.teachers import ResidualKMeansTeacher

CHECKPOINT = Path(__file__).parents[1] / "equivalence" / "golden" / "fairseq_95m_like" / "checkpoint.pt"


@pytest.fixture
def state():
    return torch.load(CHECKPOINT, weights_only=True)


def converted(state, folder, **arguments):
    torch.save(state, folder / "checkpoint.pt")
    return convert_fairseq_checkpoint(folder / "checkpoint.pt", folder / "model", **arguments)


def test_the_folder_holds_configuration_heads_and_extractor(tmp_path):
    model = convert_fairseq_checkpoint(CHECKPOINT, tmp_path)
    config = MERTForPreTraining.from_pretrained(tmp_path).config
    assert config.codebook_sizes == [1028] * 8
    assert (config.code_offset, config.code_dim, config.logit_temperature, config.cqt_bins) == (4, 16, 0.1, 336)
    assert (config.feature_penalty_weight, config.cqt_loss_weight, config.feature_grad_mult) == (10, 1, 0.1)
    assert (config.conv_kernel, config.conv_stride) == ([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    assert (extractor.sampling_rate, extractor.do_normalize) == (24000, False)
    base = AutoModel.from_pretrained(tmp_path)
    assert type(base) is MERTModel
    assert torch.equal(base.masked_spec_embed, model.mert.masked_spec_embed)


def fairseq_dictionary():
    """What a real checkpoint pickles beside its weights: an instance of a class of a package that is not here."""
    module = types.ModuleType("fairseq.data.dictionary")
    module.Dictionary = type("Dictionary", (), {"__module__": "fairseq.data.dictionary"})
    dictionary = module.Dictionary()
    dictionary.symbols, dictionary.indices, dictionary.bos_index = ["<s>", "<pad>", "0"], {"<s>": 0}, 0
    return module, dictionary


def test_a_checkpoint_with_fairseqs_dictionary_is_read_without_fairseq(state, tmp_path, monkeypatch):
    module, dictionary = fairseq_dictionary()
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        monkeypatch.setitem(sys.modules, name, module)
    state["task_state"] = {"dictionaries": [dictionary] * 8}
    torch.save(state, tmp_path / "checkpoint.pt")
    for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary"):
        monkeypatch.delitem(sys.modules, name)
    model = convert_fairseq_checkpoint(tmp_path / "checkpoint.pt", tmp_path / "model")
    assert torch.equal(model.mert.masked_spec_embed.data, state["model"]["mask_emb"])


class Hostile:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


def test_a_hostile_pickle_is_refused_and_not_run(state, tmp_path):
    state["task_state"] = Hostile(tmp_path / "it ran".replace(" ", "_"))
    with pytest.raises(InputError, match=r"is refused: it names posix\.system, which weights have no need of"):
        converted(state, tmp_path)
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Hostile(tmp_path / "it_ran")))
    with pytest.raises(InputError, match=r"refused|cannot be read"):
        convert_fairseq_checkpoint(tmp_path / "bare.pt", tmp_path / "model")
    assert not (tmp_path / "it_ran").exists()
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("model"), "it has no 'model'"),
        (lambda s: s["model"].pop("mask_emb"), "masked_spec_embed is missing"),
        (lambda s: s["model"].update(strange=torch.zeros(1)), "strange is unknown"),
        (lambda s: s["model"].update(mask_emb=torch.zeros(5)), r"masked_spec_embed has the shape \(5,\) instead of \(48,\)"),
        (lambda s: s["model"].pop("final_proj.weight"), "no pre-training heads"),
        (lambda s: s["cfg"]["model"].update(learnable_temp=True), "learnable_temp=True"),
        (lambda s: s["cfg"]["model"].update(conv_feature_layers="__import__('os').system('x')"), "is no list of"),
        (lambda s: s["cfg"].update(model={"_name": "hubert"}), "cfg.model.encoder_layers is missing"),
    ],
)
def test_what_does_not_fit_is_named(state, tmp_path, spoil, message):
    spoil(state)
    with pytest.raises(InputError, match=message):
        converted(state, tmp_path)


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        convert_fairseq_checkpoint(tmp_path / "no.pt", tmp_path / "model")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match=r"refused|cannot be read"):
        convert_fairseq_checkpoint(tmp_path / "text.pt", tmp_path / "model")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="it holds a list"):
        convert_fairseq_checkpoint(tmp_path / "list.pt", tmp_path / "model")


@pytest.mark.parametrize("offset", [0, 4])
def test_the_offset_of_the_labels_shows_in_the_accuracy(tiny_config, offset):
    """A model trained a little with labels at one offset is recognised as such."""
    torch.manual_seed(0)
    clips = [torch.from_numpy(make_tones(1.0, 24000, seed)) for seed in range(4)]
    teacher = ResidualKMeansTeacher([8], ["log_mel"], {"log_mel": {"bins": 40}}).fit(clips)
    tiny_config.codebook_sizes, tiny_config.layerdrop = [12], 0.0
    other = ResidualKMeansTeacher([8, 8], ["log_mel"], {"log_mel": {"bins": 40}})
    model = MERTForPreTraining(tiny_config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = torch.stack(clips)
    for _ in range(40):
        mask = torch.rand(4, 74) < 0.5
        model(batch, mask_time_indices=mask, labels=teacher(batch) + offset).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with pytest.raises(InputError, match="the teacher gives 2 codebooks at 24000 Hz .* trained on 1 at 24000 Hz"):
        measure_code_offset(model.eval(), other, clips)
    accuracy = measure_code_offset(model.eval(), teacher, clips)
    assert accuracy[offset] > 0.3
    assert accuracy[4 - offset] < accuracy[offset] / 2


@pytest.fixture
def codec(tmp_path):
    torch.manual_seed(0)
    config = EncodecConfig(
        sampling_rate=24000,
        num_filters=2,
        hidden_size=16,
        codebook_dim=16,
        codebook_size=1024,
        num_lstm_layers=1,
        target_bandwidths=[6.0],
    )
    EncodecModel(config).save_pretrained(tmp_path / "codec")
    return tmp_path / "codec"


def test_the_command_converts_and_reports_the_offset(tmp_path, codec, capsys):
    (tmp_path / "music").mkdir()
    soundfile.write(tmp_path / "music" / "a.wav", make_tones(6.0, 24000), 24000)
    main(["convert", str(CHECKPOINT), str(tmp_path / "model")])
    said = capsys.readouterr().out
    assert "3 layers, 94,048 parameters without heads" in said
    main(["code-offset", str(tmp_path / "model"), str(tmp_path / "music"), "--codec", str(codec), "--clips", "2"])
    said = capsys.readouterr().out
    assert "code_offset 0: masked accuracy" in said
    assert "code_offset 4: masked accuracy" in said
    assert "undecided: neither fits clearly" in said  # a codec with random weights
    with pytest.raises(SystemExit, match="--clips 0: at least one"):
        main(["code-offset", str(tmp_path / "model"), str(tmp_path / "music"), "--clips", "0"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "/nowhere.pt", "/tmp/x"], "error: /nowhere.pt does not exist"),
        (["code-offset", "/nowhere", "/nowhere"], "error: /nowhere cannot be loaded"),
    ],
)
def test_mistakes_of_the_command_end_with_one_line(arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert str(stop.value.code).startswith(message)
    assert len(str(stop.value.code).splitlines()) == 1
