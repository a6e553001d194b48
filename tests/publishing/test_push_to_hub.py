"""`pretrain.py --push_to_hub`: refused before the training where it would be refused after it, and one commit at its end."""

import pytest
from loopback_hub.client import ROOT, run_with_hub
from transformers import AutoModel

from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.publication import plan_publication
from mert_hf.pretraining.settings import PretrainSettings, PublishSettings

CARDS = ROOT / "model_cards"
REPO = "ada/mine"
# smaller than small: what is tested is the beginning and the end of it
SETTINGS = (
    "--recipe mert_small --model.hidden_size 32 --model.num_hidden_layers 1 --model.intermediate_size 32 --training.max_steps 1"
    " --model.conv_dim [8,8,8,8,8,8,8] --model.num_conv_pos_embeddings 8 --model.num_conv_pos_embedding_groups 4"
    " --teacher.codebook_sizes [8] --teacher.fit_s 10 --cqt.enabled false --data.workers 0 --validation.share 0"
    " --training.tracker none"
)


def settings(**publish) -> PretrainSettings:
    return PretrainSettings(push_to_hub=REPO, publish=PublishSettings(**publish))


def test_nothing_is_planned_where_nothing_is_wanted(hub):
    assert plan_publication(PretrainSettings(), CARDS) is None
    assert not hub.requests


@pytest.mark.parametrize(
    ("token", "publish", "message"),
    [
        ("hf_writer", {}, "no licence is stated"),
        ("hf_writer", {"card": "quikstart"}, "there is no card 'quikstart'; give one of"),
        (None, {"license": "mit"}, "no token of the Hub was found"),
        ("hf_other", {"license": "mit"}, "cannot publish as ada"),
        ("hf_writer", {"license": "mit", "tag": "v1"}, "already has the tag v1"),
    ],
)
def test_what_cannot_be_published_is_told_before_the_training(hub, monkeypatch, token, publish, message):
    hub.add_repository(REPO)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if "tag" in publish:
        from huggingface_hub import HfApi

        HfApi().create_tag(REPO, tag="v1")
    with pytest.raises(InputError, match=message):
        plan_publication(settings(**publish), CARDS)


def test_the_model_of_a_run_is_published(hub, monkeypatch, tiny_config, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr("mert_hf.publishing.staging._check_without_package", lambda *_: None)  # tested with publish.py
    run = RunFolder(tmp_path / "night")
    MERTForPreTraining(tiny_config).save_pretrained(run.model)
    MERTFeatureExtractor().save_pretrained(run.model)
    plan_publication(settings(card="quickstart", private=True, tag="paper"), CARDS).publish(run)
    assert [commit.title for commit in hub.commits(REPO)] == ["Publish night", "initial commit"]
    assert hub.is_private(REPO) and set(hub.tags(REPO)) == {"paper"}
    assert "license: apache-2.0" in hub.files(REPO)["README.md"].decode()


def test_one_command_trains_and_publishes(hub, music_folder, tmp_path):
    arguments = f"{SETTINGS} --data.folder {music_folder} --output_dir {tmp_path / 'run'} --push_to_hub {REPO}"
    arguments += " --publish.card quickstart"
    ran = run_with_hub(ROOT / "training" / "pretrain.py", hub, tmp_path / "home", "hf_writer", arguments=arguments.split())
    assert ran.returncode == 0, ran.stderr
    assert f"/{REPO}, commit {hub.tags(REPO)['v1']}, tag v1" in ran.stderr
    assert "hf_writer" not in ran.stdout + ran.stderr
    assert AutoModel.from_pretrained(REPO).config.hidden_size == 32
    assert "| Updates | 1 |" in hub.files(REPO)["README.md"].decode()
