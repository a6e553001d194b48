import json

import pytest
from transformers import AutoConfig

from mert_hf import MERTConfig
from mert_hf.models.configuration_multiview import MultiViewConfig


def test_defaults_are_those_of_mert_v1_95m():
    config = MERTConfig()
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (768, 12, 12)
    assert (config.sample_rate, config.sampling_rate, config.frame_rate, config.hop_samples) == (24000, 24000, 75.0, 320)
    assert list(config.codebook_sizes) == [1024] * 8
    assert (config.activation_dropout, config.layerdrop, config.feat_proj_dropout) == (0.0, 0.05, 0.1)


def test_survives_saving_and_auto_config(tmp_path):
    MERTConfig(hidden_size=96, codebook_sizes=[300, 200], cqt_loss_weight=2, sample_rate=16000).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "mert_model"
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is MERTConfig
    assert (loaded.hidden_size, loaded.codebook_sizes, loaded.cqt_loss_weight) == (96, [300, 200], 2)
    assert loaded.frame_rate == 50.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sample_rate": -24000}, "sample_rate must be a whole number .* got -24000"),
        ({"codebook_sizes": []}, "at least one codebook"),
        ({"codebook_sizes": [1024, 1]}, "2 or more classes"),
        ({"codebook_sizes": [16], "code_offset": 16}, "code_offset=16"),
        ({"logit_temperature": 0.0}, "logit_temperature=0.0; accepted: a positive temperature"),
        ({"feature_penalty_weight": -1.0}, "feature_penalty_weight=-1.0"),
        ({"num_attention_heads": 7}, "num_attention_heads=7; accepted: a divisor of hidden_size=768"),
        ({"hidden_size": "large"}, "hidden_size"),
        ({"sample_rate": 44.1}, "44.1"),
        ({"sample_rate": 44}, "got 44; did you mean 44000"),
        ({"attention_relax": 0}, "attention_relax=0; accepted: a divisor from 0.01 to 1000, or -1 for none"),
        ({"attention_relax": -2.0}, "attention_relax=-2.0"),
        ({"attention_relax": float("nan")}, "attention_relax=nan"),
        ({"hidden_size": 10**9}, "hidden_size=1000000000; accepted: a whole number from 1 to 16384"),
        (
            {"hidden_size": 16384, "num_attention_heads": 16, "num_hidden_layers": 256},
            "a model of 3.03e.11 parameters",
        ),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000"),
        ({"codebook_sizes": [2**31]}, "codebook_sizes=.2147483648."),
        ({"hidden_act": "gelou"}, "hidden_act='gelou'; accepted: an activation"),
        ({"conv_stride": [0] * 7}, "conv_stride=.0, 0, 0"),
        ({"conv_kernel": [10, 3]}, "conv_kernel"),
        ({"layerdrop": float("nan")}, "layerdrop=nan; accepted: a probability"),
        ({"cqt_compression": "cube"}, "cqt_compression='cube'; accepted: 'none' or 'sqrt' or 'log'"),
        ({"cqt_log_level": 0}, "cqt_log_level=0"),
        ({"unmasked_loss_weight": -1}, "unmasked_loss_weight=-1"),
        ({"feature_extractor_cqt_tolerance": 1}, "feature_extractor_cqt_tolerance=1"),
        ({"code_loss_weight": float("inf")}, "code_loss_weight=inf"),
        ({"dtype": "float33"}, "dtype='float33'"),
        ({"id2label": ["a", "b"]}, "id2label"),
        ({"num_labels": 10**9}, "num_labels=1000000000"),
    ],
)
def test_refuses_what_no_model_can_be_made_of(fields, message):
    with pytest.raises(Exception, match=r"(?s)" + message):
        MERTConfig(**fields)


@pytest.mark.parametrize("config_class", [MERTConfig, MultiViewConfig])
@pytest.mark.parametrize(
    "content", [None, [], "x", 1.5, {"hidden_size": "x" * 9999}, {"hidden_size": 10**9}, {"sample_rate": 1.0}]
)
def test_what_is_read_is_refused_in_one_line(config_class, content, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    for read in (lambda: config_class.from_dict(content), lambda: config_class.from_pretrained(tmp_path)):
        with pytest.raises(ValueError) as told:
            read()
        assert "\n" not in str(told.value) and len(str(told.value)) < 600
