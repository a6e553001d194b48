"""Heads on labelled music: losses against torch's, padding, the layer sum, the Auto classes, the pipeline, Trainer, LoRA."""

import numpy as np
import peft
import pytest
import torch
import torch.nn.functional as F
from support.sounds import make_tones
from transformers import (
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

from mert_hf import (
    MERTFeatureExtractor,
    MERTForAudioFrameClassification,
    MERTForPreTraining,
    MERTForSequenceClassification,
    MERTModel,
)


@pytest.fixture
def config(tiny_config):
    tiny_config.num_labels = 3
    tiny_config.classifier_proj_size = 8
    tiny_config.use_weighted_layer_sum = True
    tiny_config.mask_time_prob = 0.0
    return tiny_config


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    model = MERTForSequenceClassification(config).eval()
    torch.nn.init.normal_(model.layer_sum.weights)
    return model


@torch.no_grad()
def test_logits_are_those_of_the_formula(model):
    clip = torch.from_numpy(make_tones(1.0, 24000))[None]
    states = model.mert(clip, output_hidden_states=True).hidden_states
    shares = model.layer_sum.weights.exp() / model.layer_sum.weights.exp().sum()
    mixed = torch.einsum("l,lfh->fh", shares, torch.cat(states))
    expected = model.classifier(model.projector(mixed).mean(0))
    torch.testing.assert_close(model(clip).logits[0], expected, atol=1e-5, rtol=1e-5)
    assert model.mert.config.layerdrop == 0.0  # a weight belongs to a layer


@torch.no_grad()
def test_padding_changes_neither_logits_nor_losses(model, config):
    clips = [torch.from_numpy(make_tones(seconds, 24000)) for seconds in (0.5, 1.0)]
    inputs = MERTFeatureExtractor()(clips, sampling_rate=24000, return_tensors="pt")
    together = model(**inputs).logits
    for clip, logits in zip(clips, together, strict=True):
        torch.testing.assert_close(model(clip[None]).logits[0], logits, atol=1e-5, rtol=1e-5)
    torch.manual_seed(0)
    frames = MERTForAudioFrameClassification(config).eval()
    labels = torch.randint(0, 3, (2, 75))
    alone = [frames(clip[None]).logits[0] for clip in clips]
    assert [len(logits) for logits in alone] == [37, 74]
    expected = F.cross_entropy(torch.cat(alone), torch.cat([labels[0, :37], labels[1, :74]]))
    torch.testing.assert_close(frames(**inputs, labels=labels).loss, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("problem_type", "labels", "loss"),
    [
        ("single_label_classification", torch.tensor([0, 2]), F.cross_entropy),
        ("multi_label_classification", torch.tensor([[0.0, 1, 1], [1, 0, 0]]), F.binary_cross_entropy_with_logits),
        ("regression", torch.tensor([[0.1, -2.0, 3.0], [0.0, 1.0, 0.5]]), F.mse_loss),
    ],
)
def test_losses(model, config, problem_type, labels, loss):
    config.problem_type = problem_type
    clips = torch.from_numpy(np.stack([make_tones(0.5, 24000, seed) for seed in (1, 2)]))
    outputs = model(clips, labels=labels)
    torch.testing.assert_close(outputs.loss, loss(outputs.logits, labels))
    frames = MERTForAudioFrameClassification(config).eval()
    every = labels.unsqueeze(1).repeat_interleave(40, 1)  # more frames than the model's 37
    outputs = frames(clips, labels=every)
    torch.testing.assert_close(outputs.loss, loss(outputs.logits.flatten(0, 1), every[:, :37].flatten(0, 1)))
    config.problem_type = None
    if problem_type != "regression":
        model(clips, labels=labels)
        assert config.problem_type == problem_type
    outputs.loss.backward()
    assert frames.layer_sum.weights.grad.abs().sum() > 0


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("kind", [MERTForSequenceClassification, MERTForAudioFrameClassification])
@torch.no_grad()
def test_what_a_call_says_of_hidden_states_goes_before_the_configuration(config, kind, weighted):
    """As in transformers: True, False, or left out, which is what the configuration says."""
    config.use_weighted_layer_sum = weighted
    model, clip = kind(config).eval(), torch.from_numpy(make_tones(0.5, 24000))[None]
    for configured in (True, False):
        model.config.output_hidden_states = configured
        for given, returned in ((True, True), (False, False), (None, configured)):
            states = model(clip, output_hidden_states=given).hidden_states
            assert (states is not None) == returned, (configured, given)
            assert not returned or len(states) == config.num_hidden_layers + 1
        assert (model(clip).hidden_states is not None) == configured


def test_labels_that_do_not_fit(model, config):
    clip = torch.from_numpy(make_tones(0.5, 24000))[None]
    with pytest.raises(ValueError, match="labels has 36 frames, fewer than the 37 of the model"):
        MERTForAudioFrameClassification(config)(clip, labels=torch.zeros(1, 36, dtype=torch.long))
    config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match=r"needs labels of shape \(1, 3\); got \(1, 2\)"):
        model(clip, labels=torch.zeros(1, 2))
    config.problem_type = "single_label_classification"
    with pytest.raises(ValueError, match=r"int64 classes, one an item; got torch.float32 of shape \(1, 3\)"):
        model(clip, labels=torch.zeros(1, 3))


def test_the_auto_classes_and_the_pipeline_know_the_heads(model, tmp_path):
    model.config.id2label = {0: "happy", 1: "sad", 2: "calm"}
    model.save_pretrained(tmp_path)
    MERTFeatureExtractor().save_pretrained(tmp_path)
    assert type(AutoModelForAudioClassification.from_pretrained(tmp_path)) is MERTForSequenceClassification
    classify = pipeline("audio-classification", model=str(tmp_path), top_k=None)
    clip = make_tones(1.0, 24000)
    found = {one["label"]: one["score"] for one in classify(clip)}
    with torch.no_grad():
        expected = model(torch.from_numpy(clip)[None]).logits[0].softmax(-1)
    assert found == pytest.approx(dict(zip(("happy", "sad", "calm"), expected.tolist(), strict=True)), abs=1e-5)
    base, loaded = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert type(base) is MERTModel
    assert not loaded["missing_keys"] and not loaded["unexpected_keys"]


def test_a_pre_trained_encoder_gets_a_new_head(config, tmp_path):
    torch.manual_seed(0)
    pretrained = MERTForPreTraining(config)
    pretrained.save_pretrained(tmp_path)
    model, loaded = AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=5, output_loading_info=True)
    assert {key.split(".")[0] for key in loaded["missing_keys"]} == {"layer_sum", "projector", "classifier"}
    assert model.classifier.out_features == 5
    for name, weight in pretrained.mert.state_dict().items():
        assert torch.equal(model.mert.state_dict()[name], weight), name
    frames = AutoModelForAudioFrameClassification.from_pretrained(tmp_path, num_labels=2)
    assert type(frames) is MERTForAudioFrameClassification


def test_a_checkpoint_of_another_label_count_is_an_error(model, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=5)


class Clips(torch.utils.data.Dataset):
    """Low tones are 0, high ones 1."""

    def __len__(self):
        return 16

    def __getitem__(self, index):
        hertz = (150, 1200)[index % 2] * (1 + 0.02 * index)
        clip = 0.3 * np.sin(2 * np.pi * hertz * np.arange(6000 + 100 * index) / 24000).astype(np.float32)
        return {"clip": clip, "label": index % 2}


def collate(items):
    batch = MERTFeatureExtractor()([item["clip"] for item in items], sampling_rate=24000, return_tensors="pt")
    return {**batch, "labels": torch.tensor([item["label"] for item in items])}


def test_trainer_trains_and_evaluates(config, tmp_path):
    torch.manual_seed(0)
    config.num_labels = 2
    model = MERTForSequenceClassification(config)
    arguments = TrainingArguments(
        tmp_path,
        max_steps=30,
        learning_rate=3e-3,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=1,
        remove_unused_columns=False,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Clips(),
        eval_dataset=Clips(),
        data_collator=collate,
        compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.5 * before
    assert after["eval_accuracy"] == 1.0


def test_adapters_save_load_and_merge(model, config, tmp_path):
    clip = torch.from_numpy(make_tones(0.5, 24000))[None]
    before = model(clip).logits
    model.save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(
        r=4, target_modules=["q_proj", "k_proj", "v_proj", "out_proj"], modules_to_save=["layer_sum", "projector", "classifier"]
    )
    adapted = peft.get_peft_model(model, settings)
    assert sum("lora_A" in name for name, _ in adapted.named_parameters()) == 4 * config.num_hidden_layers
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=0.5)
    for _ in range(3):
        adapted(input_values=clip, labels=torch.tensor([1])).loss.backward()
        optimizer.step()
    trained = adapted.eval()(input_values=clip).logits
    assert float((trained - before).detach().abs().max()) > 1e-2
    adapted.save_pretrained(tmp_path / "adapter")
    base = MERTForSequenceClassification.from_pretrained(tmp_path / "base")
    again = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(again(input_values=clip).logits, trained, atol=1e-6, rtol=1e-5)
    merged = again.merge_and_unload()
    assert type(merged) is MERTForSequenceClassification
    torch.testing.assert_close(merged(clip).logits, trained, atol=1e-5, rtol=1e-5)
    merged.save_pretrained(tmp_path / "merged")
    loaded = AutoModelForAudioClassification.from_pretrained(tmp_path / "merged").eval()
    torch.testing.assert_close(loaded(clip).logits, trained, atol=1e-5, rtol=1e-5)
