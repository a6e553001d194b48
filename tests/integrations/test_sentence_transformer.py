"""MERTModule in a SentenceTransformer beside MusicEncoder: the same vectors, a training, processes, folders, the Hub."""

import json
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from support.encoders import MODELS, SIZES
from support.small_runs import MERT2_MODEL, MODEL
from support.sounds import encode_by_ffmpeg, make_tones
from transformers import AutoModel, Wav2Vec2FeatureExtractor

pytest.importorskip("sentence_transformers", reason='pip install "mert_hf[sentence-transformers]"')

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator, TripletEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)

from mert_hf import MERT2Config, MERT2Model, MERTConfig, MERTFeatureExtractor, MERTModel, MusicEncoder
from mert_hf.common.errors import InputError
from mert_hf.integrations.sentence_transformer import MERTModule

WINDOWS = {"window_s": 0.5, "overlap_s": 0.2}
WITHOUT_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0}


def wrap(model, *arguments, **options) -> SentenceTransformer:
    return SentenceTransformer(modules=[MERTModule(model, *arguments, **options)], device="cpu")


def by_encoder(model_folder, inputs, **options) -> np.ndarray:
    return MusicEncoder(model_folder, device="cpu").encode(inputs, progress=False, **options)


@pytest.mark.parametrize(
    "options",
    [{}, WINDOWS, {"pool": "mean_std", "layers": 1}, {"layers": {0: 0.25, 2: 0.5}, "normalize": False, **WINDOWS}],
)
def test_songs_become_what_music_encoder_makes_of_them(model_folder, songs, options):
    model = wrap(model_folder, **options)
    found = model.encode(songs, batch_size=4)
    np.testing.assert_allclose(found, by_encoder(model_folder, songs, **options), atol=2e-5)
    assert model.get_embedding_dimension() == found.shape[1]
    np.testing.assert_allclose(model.encode(songs[0]), found[0], atol=2e-5)


@pytest.mark.parametrize("kind", ["mert", "mert_pre_norm", "hubert", "data2vec"])
def test_every_kind_of_model_is_heard_alike_with_gradients_and_without(kind):
    torch.manual_seed(0)
    config_class, model_class, changes = MODELS[kind]
    base = model_class(config_class(**{**SIZES, **changes, **WITHOUT_DROPOUT})).eval()
    extractor = MERTFeatureExtractor() if kind.startswith("mert") else Wav2Vec2FeatureExtractor(sampling_rate=16000)
    rate = extractor.sampling_rate
    model = wrap(base, extractor, layers={1: 0.5, 3: 1.0}, pool="mean_std")
    clips = [{"array": make_tones(seconds, rate, seed), "sampling_rate": rate} for seed, seconds in enumerate((0.9, 0.4, 0.9))]
    expected = MusicEncoder(base, extractor).encode(clips, layers={1: 0.5, 3: 1.0}, pool="mean_std", progress=False)
    np.testing.assert_allclose(model.encode(clips), expected, atol=2e-5)
    model.train()
    heard = model(model.preprocess(clips))["sentence_embedding"]
    np.testing.assert_allclose(heard.detach(), expected, atol=2e-5)
    heard.square()[:, :7].sum().backward()
    for name, weights in model[0].model.named_parameters():
        if "layers." in name and "k_proj.bias" not in name:  # to which a softmax is blind
            assert weights.grad.abs().max() > 0, name


def test_mert_v2_is_heard_with_gradients_as_without():
    torch.manual_seed(0)
    base, extractor = MERT2Model(MERT2Config(**MERT2_MODEL)), MERTFeatureExtractor(min_samples=1025)
    model = wrap(base, extractor, layers=1)
    clips = [{"array": make_tones(seconds, 24_000), "sampling_rate": 24_000} for seconds in (0.5, 0.8)]
    expected = model.encode(clips)
    np.testing.assert_allclose(expected, MusicEncoder(base, extractor).encode(clips, layers=1, progress=False), atol=2e-5)
    heard = model(model.preprocess(clips))["sentence_embedding"]  # in eval(), where gradients are wanted
    np.testing.assert_allclose(heard.detach(), expected, atol=2e-5)
    heard[:, 0].sum().backward()
    assert any(weights.grad is not None and weights.grad.abs().max() > 0 for weights in base.parameters())


def test_whatever_music_encoder_takes_is_taken_here(model_folder, tmp_path):
    tones = make_tones(0.5, 48_000)
    encode_by_ffmpeg(tmp_path / "song.m4a", tones, 48_000, "aac")
    encode_by_ffmpeg(tmp_path / "film.mp4", tones, 48_000, "aac")
    soundfile.write(tmp_path / "a.flac", tones, 48_000)
    given = [
        str(tmp_path / "song.m4a"),
        str(tmp_path / "film.mp4"),
        tmp_path / "a.flac",
        (tmp_path / "a.flac").read_bytes(),
        {"array": tones, "sampling_rate": 48_000},
        {"audio": str(tmp_path / "a.flac")},
    ]
    model = wrap(model_folder)
    found = model.encode(given)
    np.testing.assert_allclose(found, by_encoder(model_folder, [*given[:5], tmp_path / "a.flac"]), atol=1e-4)
    alone = model.encode([tones, torch.from_numpy(tones)], sampling_rate=48_000)
    np.testing.assert_allclose(alone, found[[4, 4]], atol=1e-5)
    np.testing.assert_allclose(model.encode_query(given[2]), found[2], atol=1e-5)
    assert model.similarity(found[2:3], found[3:4]).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["nowhere.mp3"], {}, "nowhere.mp3 does not exist"),
        (["a song about rain"], {}, "a song about rain does not exist"),
        ([np.zeros(24_000, np.float32)], {}, r"inputs\[0\]: a waveform alone does not tell its rate; pass sampling_rate"),
        ([np.zeros(99, np.float32)], {"sampling_rate": 24_000}, "is too short: 99 samples"),
        ([np.zeros(24_000, np.float32)], {"sampling_rate": 24_000, "prompt": "jazz: "}, "music takes no prompt; got 'jazz: '"),
    ],
)
def test_what_cannot_be_heard_is_told_in_a_line(model_folder, given, options, message):
    with pytest.raises(InputError, match=message):
        wrap(model_folder).encode(given, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [1, 2]}, "has one vector a song; give one layer"),
        ({"layers": "all"}, "has one vector a song"),
        ({"layers": 9}, "layer 9 does not exist"),
        ({"pool": "second"}, "pool='second' makes no vector of a clip; take 'mean' or 'mean_std'"),
        ({"train_s": 0.001}, "train_s=0.001 must be a number of seconds, at least 0.0167"),
        ({"train_s": "5"}, "train_s='5' must be a number"),
        ({"train_s": float("inf")}, "train_s=inf must be a number"),
    ],
)
def test_settings_that_make_no_module(model_folder, options, message):
    with pytest.raises(InputError, match=message):
        MERTModule(model_folder, **options)
    with pytest.raises(InputError, match="nowhere/model cannot be loaded"):
        MERTModule("nowhere/model", **options)
    with pytest.raises(InputError, match="model=Linear is neither a name nor a model of transformers"):
        MERTModule(torch.nn.Linear(1, 1), **options)


@pytest.fixture
def still_model():
    """Nothing of it is random in training."""
    torch.manual_seed(0)
    return MERTModel(MERTConfig(**{**MODEL, **WITHOUT_DROPOUT}))


def test_in_training_a_random_stretch_of_each_song_is_heard(still_model, tmp_path):
    whole = make_tones(1.0, 24_000)
    soundfile.write(tmp_path / "long.wav", whole, 24_000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", whole[:2_400], 24_000, subtype="FLOAT")
    module = MERTModule(still_model, MERTFeatureExtractor(), train_s=0.2)
    starts = set()
    for _ in range(4):
        read = module.train().preprocess([str(tmp_path / "long.wav"), str(tmp_path / "short.wav")])
        assert read["num_samples"].tolist() == [4_800, 2_400]
        assert not read["input_values"][1, 2_400:].any()
        places = np.flatnonzero(whole == read["input_values"][0, 0].item())
        (start,) = [at for at in places if np.array_equal(whole[at : at + 4_800], read["input_values"][0])]
        starts.add(int(start))
    assert len(starts) > 1
    # what was read for an evaluation is cut when it is heard; the draw is torch's
    read = module.eval().preprocess([str(tmp_path / "long.wav")])
    assert read["num_samples"].tolist() == [24_000]
    module.train()
    heard = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heard.append(module(dict(read))["sentence_embedding"].detach().numpy())
    np.testing.assert_array_equal(heard[0], heard[1])
    assert np.abs(heard[0] - heard[2]).max() > 1e-4


def make_trainer(model, songs, folder, loss, **options) -> SentenceTransformerTrainer:
    data = Dataset.from_dict({"anchor": songs, "positive": songs})
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=1,
        per_device_train_batch_size=len(songs),
        per_device_eval_batch_size=len(songs),
        learning_rate=1e-3,
        eval_strategy="steps",
        eval_steps=1,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return SentenceTransformerTrainer(model, arguments, train_dataset=data, eval_dataset=data, loss=loss, **options)


def test_a_training_on_pairs_of_paths_with_an_evaluator(model_folder, songs, tmp_path):
    model = wrap(model_folder, layers=2, train_s=0.2)
    before = {name: weights.clone() for name, weights in model[0].model.named_parameters()}
    evaluator = TripletEvaluator(songs[:2], songs[:2], songs[2:4], name="same")
    loss = MultipleNegativesRankingLoss(model)
    trainer = make_trainer(model, songs[:4], tmp_path / "run", loss, evaluator=evaluator)
    trainer.train()
    changed = {name for name, weights in model[0].model.named_parameters() if not torch.equal(weights, before[name])}
    assert set(before) - changed == {"masked_spec_embed"}
    seen = [entry for entry in trainer.state.log_history if "eval_same_cosine_accuracy" in entry]
    assert [entry["eval_same_cosine_accuracy"] for entry in seen] == [1.0]
    assert all(np.isfinite(entry["eval_loss"]) for entry in seen)
    assert not np.allclose(model.encode(songs), by_encoder(model_folder, songs, layers=2))
    # and the model that was trained is what is heard now
    expected = MusicEncoder(model[0].model, model[0].feature_extractor).encode(songs, layers=2, progress=False)
    np.testing.assert_allclose(model.encode(songs), expected, atol=2e-5)


def test_retrieval_of_the_same_songs_is_evaluated(model_folder, songs):
    queries = {f"q{number}": song for number, song in enumerate(songs)}
    corpus = {f"d{number}": song for number, song in enumerate(songs)}
    relevant = {f"q{number}": {f"d{number}"} for number in range(len(songs))}
    evaluator = InformationRetrievalEvaluator(queries, corpus, relevant, show_progress_bar=False)
    assert wrap(model_folder).evaluate(evaluator)["cosine_accuracy@1"] == 1.0


def test_a_loss_that_computes_a_batch_twice_has_the_same_gradients(still_model, songs):
    """GradCache embeds small parts of a batch, without gradients and then with them."""
    gradients, features = [], None
    for make_loss in (MultipleNegativesRankingLoss, partial(CachedMultipleNegativesRankingLoss, mini_batch_size=2)):
        model = wrap(still_model, MERTFeatureExtractor(), layers=2, train_s=0.3)
        features = features or [model.train().preprocess(songs[:4]), model.preprocess(songs[2:])]
        still_model.zero_grad()
        make_loss(model)(features, None).backward()
        heard = {name: weights.grad for name, weights in still_model.named_parameters() if weights.grad is not None}
        gradients.append({name: gradient.clone() for name, gradient in heard.items()})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 20
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3, msg=name)


def test_two_processes_make_the_same_vectors(model_folder, songs):
    model = wrap(model_folder, layers=1, **WINDOWS)
    expected = model.encode(songs)
    pool = model.start_multi_process_pool(["cpu", "cpu"])
    try:
        found = model.encode_multi_process(songs, pool, batch_size=2, chunk_size=3)
    finally:
        model.stop_multi_process_pool(pool)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_saved_model_is_loaded_with_its_settings(model_folder, songs, tmp_path):
    options = {"layers": {0: 0.25, 2: 0.5}, "pool": "mean_std", "normalize": False, "train_s": 2.0, **WINDOWS}
    (tmp_path / "model" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    model = wrap(model_folder, **options)
    expected = model.encode(songs)
    folder = tmp_path / "saved"
    model.save_pretrained(str(folder))
    (module,) = json.loads((folder / "modules.json").read_text())
    assert (module["type"], module["path"]) == ("mert_hf.integrations.sentence_transformer.MERTModule", "")
    assert (folder / "model.safetensors").is_file() and not list(folder.rglob("*.bin"))
    card = (folder / "README.md").read_text()
    assert "license: cc-by-nc-4.0" in card and "pipeline_tag: feature-extraction" in card and "one.mp3" in card
    again = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")
    np.testing.assert_allclose(again.encode(songs), expected, atol=1e-6)
    assert again[0].get_config_dict() == model[0].get_config_dict()
    # of transformers as well
    assert AutoModel.from_pretrained(folder).config.hidden_size == 32
    del options["train_s"]
    np.testing.assert_allclose(by_encoder(folder, songs, **options), expected, atol=2e-5)
    half = SentenceTransformer(str(folder), trust_remote_code=True, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    assert half[0].model.dtype == torch.bfloat16 and half.encode(songs).dtype == np.float32
    with pytest.raises(InputError, match="model_kwargs has 'attn_implementation'; MERTModule takes 'dtype'"):
        SentenceTransformer(str(folder), trust_remote_code=True, model_kwargs={"attn_implementation": "eager"})
    with pytest.raises(ValueError, match="trust_remote_code=True"):  # theirs: the class is not of their package
        SentenceTransformer(str(folder))


def test_a_checkpoint_that_lacks_weights_is_refused(model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    wrap(model_folder).save(str(tmp_path / "saved"))
    weights = load_file(tmp_path / "saved" / "model.safetensors")
    del weights["encoder.layers.1.attention.q_proj.weight"]
    save_file(weights, tmp_path / "saved" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights of MERTModel: encoder\.layers\.1\.attention\.q_proj\.weight"):
        SentenceTransformer(str(tmp_path / "saved"), trust_remote_code=True)


def test_the_hub_gives_back_what_it_was_given(hub, monkeypatch, model_folder, songs):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    model = wrap(model_folder, layers=1)
    model.push_to_hub("ada/music", private=True)
    files = hub.files("ada/music")
    assert {"modules.json", "config.json", "model.safetensors", "preprocessor_config.json", "README.md"} <= set(files)
    assert json.loads(files["sentence_mert_config.json"])["layers"] == 1
    again = SentenceTransformer("ada/music", trust_remote_code=True, device="cpu")
    np.testing.assert_allclose(again.encode(songs[:2]), model.encode(songs[:2]), atol=1e-6)
    assert MERTModel.from_pretrained("ada/music").config.hidden_size == 32
