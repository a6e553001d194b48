"""Runs that go on from a trained model."""

import logging

import pytest
import torch
from support.small_runs import MODEL

from mert_hf import MERTConfig, MERTForPreTraining, MERTModel
from mert_hf.architectures.initial_weights import InitSettings
from mert_hf.common.errors import InputError
from mert_hf.objectives.masked_prediction import PredictionSettings
from mert_hf.pretraining.settings import PretrainSettings
from mert_hf.pretraining.setup import Setup, build_config
from mert_hf.teachers import CQTSettings, TeacherSettings


@pytest.fixture
def folders(tmp_path):
    """A model without heads as the Hub has it, and one with the heads of a converted official checkpoint."""
    torch.manual_seed(1)
    MERTModel(MERTConfig(**MODEL)).save_pretrained(tmp_path / "encoder")
    converted = MERTConfig(**{**MODEL, "codebook_sizes": [20, 16]}, code_offset=4)
    MERTForPreTraining(converted).save_pretrained(tmp_path / "heads")
    return tmp_path


def settings(folder, new_heads=False, sizes=(16, 12), **model) -> PretrainSettings:
    return PretrainSettings(
        model=model,
        teacher=TeacherSettings(codebook_sizes=list(sizes)),
        cqt=CQTSettings(bins=24, bins_per_octave=12),
        init=InitSettings(str(folder), new_heads=new_heads),
    )


def build(*arguments, **model):
    given = settings(*arguments, **model)
    return Setup(given).build_model()


def test_heads_are_drawn_anew_only_where_that_was_agreed_and_are_named(folders, caplog):
    with pytest.raises(
        InputError, match=r"holds no heads that fit: code_head\.code_embeddings, .*--init.new_heads true, or give"
    ):
        build(folders / "encoder")
    with caplog.at_level(logging.INFO, "mert_hf"):
        model = build(folders / "encoder", True)
    assert "drawn anew: code_head.code_embeddings, code_head.projection.bias" in caplog.text
    expected = MERTModel.from_pretrained(folders / "encoder").state_dict()
    assert all(value.equal(expected[name]) for name, value in model.mert.state_dict().items())
    again = build(folders / "encoder", True)
    assert again.code_head.projection.weight.equal(model.code_head.projection.weight)
    assert model.config.codebook_sizes == [16, 12]


def test_heads_of_a_converted_checkpoint_are_kept_with_their_offset(folders, caplog):
    with caplog.at_level(logging.INFO, "mert_hf"):
        model = build(folders / "heads", feature_grad_mult=0.1)
    assert "drawn anew: nothing" in caplog.text
    expected = MERTForPreTraining.from_pretrained(folders / "heads").state_dict()
    assert all(value.equal(expected[name]) for name, value in model.state_dict().items())
    config = model.config
    assert (config.codebook_sizes, config.code_offset, config.feature_grad_mult) == ([20, 16], 4, 0.1)


def test_heads_for_another_teacher_are_drawn_anew_over_old_ones(folders, caplog):
    with caplog.at_level(logging.INFO, "mert_hf"):
        model = build(folders / "heads", True, (10, 10, 10))
    assert "drawn anew: code_head.code_embeddings, code_head.projection.bias, code_head.projection.weight" in caplog.text
    assert (model.config.codebook_sizes, model.config.code_offset) == ([10, 10, 10], 0)
    old = MERTForPreTraining.from_pretrained(folders / "heads")
    assert model.cqt_head.weight.equal(old.cqt_head.weight)


def test_an_encoder_is_never_random(folders):
    with pytest.raises(InputError, match="does not hold the encoder that model.* describes: .* would be random"):
        build(folders / "encoder", True, num_hidden_layers=3)
    with pytest.raises(InputError, match="does not hold the encoder"):
        build(folders / "encoder", True, intermediate_size=128)
    with pytest.raises(InputError, match="init.model='/nowhere' cannot be loaded"):
        build("/nowhere", True)


@pytest.mark.parametrize("encoder", ["mert", "mert2"])
def test_a_configuration_says_what_its_heads_predict(encoder):
    told = {"cqt": CQTSettings(compression="log", log_level=0.3, standardise=True, bins=84, bins_per_octave=12)}
    settings = PretrainSettings(**told, prediction=PredictionSettings(encoder=encoder))
    config = build_config(settings)
    assert (config.cqt_bins, config.cqt_compression, config.cqt_log_level, config.cqt_standardise) == (84, "log", 0.3, True)
    plain = build_config(PretrainSettings(prediction=PredictionSettings(encoder=encoder)))
    assert (plain.cqt_bins, plain.cqt_compression, plain.cqt_standardise, plain.unmasked_loss_weight) == (336, "none", False, 0)


def test_fresh_weights_are_trained_on_a_fast_constant_q_input():
    """As accurate as the teacher's; what is loaded keeps what its configuration says, which is exact by default."""
    assert build_config(PretrainSettings()).feature_extractor_cqt_tolerance == CQTSettings().tolerance
    assert MERTConfig().feature_extractor_cqt_tolerance == 0
