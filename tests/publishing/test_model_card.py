import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from support.small_runs import MODEL
from transformers import Data2VecAudioConfig

from mert_hf import MERT2Config, MERTConfig, MERTForSequenceClassification, MultiViewConfig
from mert_hf.common.errors import InputError
from mert_hf.encoding.licences import weights_licence
from mert_hf.publishing.model_card import CardFacts, check_license, inherit_base, read_facts, write_card, write_own_card

CARDS = Path(__file__).parents[2] / "model_cards"
TEMPLATE = CARDS / "template.md"
RESULTS = {
    "steps": 12345,
    "loss_start": 9.87654,
    "loss_end": 4.32109,
    "audio_hours": 1234.56,
    "masked_accuracy_end": [0.12345, 0.0678],
    "training_s": 36000.0,
}
TESTED = {"test": {"accuracy": 1.0}, "test_without_hearing": {"accuracy": 0.5}, "classes": ["a", "b"], "tracks": {"test": 2}}
ROWS = [
    {
        "task": "gtzan_genre",
        "title": "GTZAN genre",
        "dataset": {"id": "user/gtzan", "name": "GTZAN", "split": "test", "revision": "abc"},
        "metric": "accuracy",
        "metric_title": "Accuracy",
        "value": 71.25,
        "low": 68.0,
        "high": 74.5,
        "baselines": {"random weights": {"value": 40.04}},
        "published": {"MERT-v1-95M": 74.8},
    },
    {
        "task": "emo",
        "title": "EmoMusic",
        "dataset": {"name": "EmoMusic"},
        "metric": "r2",
        "value": 51.0,
        "published": {"MULE": 60.7},
    },
]


def render(**changes) -> ModelCard:
    arguments = {"facts": CardFacts(license="mit"), "config": MERTConfig(), "parameters": 94_371_712, "repo_id": "user/name"}
    return write_card(TEMPLATE, **{**arguments, **changes})


@pytest.mark.parametrize("name", sorted(file.parent.name for file in CARDS.glob("*/facts.yaml")))
def test_every_card_is_whole(name):
    facts = read_facts(CARDS / name / "facts.yaml")
    facts.license = facts.license or "cc-by-4.0"
    configs = {"music2vec": Data2VecAudioConfig, "multiview": MultiViewConfig}
    config = configs.get(name, MERT2Config if name.startswith("mert2") else MERTConfig)()
    card = render(facts=facts, config=config, repo_id=f"user/{name}")
    assert card.data.license == facts.license
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "feature-extraction")
    assert card.data.base_model == facts.base_model
    # the authors of MERT-v2 published no recipe
    has_recipe = facts.recipe and (CARDS.parent / "training" / "recipes" / f"{facts.recipe}.yaml").is_file()
    assert has_recipe or (facts.recipe is None and name.startswith("mert2"))
    text = card.text
    for part in (facts.title, facts.summary, facts.training_data, facts.objective, *facts.limits, *facts.ethics):
        assert part and part in text
    for heading in ("## Use", "## Training", "## Results", "## Limits", "## Ethics and licence"):
        assert heading in text
    assert "{{" not in text and "{%" not in text and "None" not in text and "Undefined" not in text
    assert not any(line.count("|") == 1 for line in text.splitlines())  # tables are tables


def test_cards_exist_for_all_models_of_the_project():
    names = {file.parent.name for file in CARDS.glob("*/facts.yaml")}
    assert names == {"mert-95m", "mert-330m", "mert-small", "quickstart", "musichubert", "music2vec", "multiview"} | {
        "mert2-30s",
        "mert2-full-song",
    }


def test_numbers_come_from_the_results_and_missing_ones_are_left_out():
    bare = render().text
    for absent in ("Updates", "Audio heard", "Training loss", "Masked accuracy", "Time"):
        assert absent not in bare
    assert "has not been evaluated" in bare
    full = render(results=RESULTS).text
    for present in ("| 12,345 |", "1,234.6 hours", "9.877 → 4.321", "12.3 %, 6.8 %", "| 10.0 hours |"):
        assert present in full
    half = render(results={**RESULTS, "masked_accuracy_end": [0.5, None]}).content  # of a codebook without a label
    assert "50.0 %, –" in half
    untrained = render(results={**RESULTS, "steps": 0, "loss_start": None, "loss_end": None}).text
    assert "Updates" not in untrained and "Training loss" not in untrained
    without_hours = render(results={name: value for name, value in RESULTS.items() if name != "audio_hours"}).text
    assert "Audio heard" not in without_hours and "12,345" in without_hours
    assert "94,371,712 parameters" in bare and "24000 Hz" in bare and "75 vectors a second" in bare


def test_evaluation_becomes_a_table_and_a_model_index():
    card = render(evaluation={"results": ROWS})
    assert "| GTZAN genre | Accuracy | 71.2 (68.0 to 74.5) | 40.0 | 74.8 |  |" in card.text
    assert "| EmoMusic | r2 | 51.0 |  |  | 60.7 |" in card.text
    header = yaml.safe_load(card.content.split("---\n")[1])
    assert header["model-index"][0]["name"] == "name"
    first = header["model-index"][0]["results"][0]
    assert first["dataset"] == {"name": "GTZAN", "type": "user/gtzan", "split": "test", "revision": "abc"}
    assert first["metrics"] == [{"type": "accuracy", "value": 71.25, "name": "Accuracy"}]
    again = ModelCard(card.content)
    assert [result.metric_value for result in again.data.eval_results] == [71.25, 51.0]


def test_updates_that_were_left_out_are_told_by_their_reason():
    def updates(**counts):
        return next(line for line in render(results={**RESULTS, **counts}).text.splitlines() if line.startswith("| Updates |"))

    assert updates(skipped_steps=0, spike_steps=0) == updates() == "| Updates | 12,345 |"
    assert updates(skipped_steps=3, spike_steps=3).endswith("; 3 of them left out as spikes of the loss or the gradient |")
    broken = "for a loss or gradient that was not finite |"
    assert updates(skipped_steps=5, spike_steps=0).endswith(f"; 5 of them left out {broken}")
    assert updates(skipped_steps=5).endswith(f"; 5 of them left out {broken}")
    mixed = updates(skipped_steps=5, spike_steps=3)
    assert mixed.endswith(f"; 3 of them left out as spikes of the loss or the gradient, 2 {broken}")


def test_a_fine_tuned_run_shows_what_it_was_trained_on_and_its_test():
    results = {
        "test": {"accuracy": 0.875, "macro_f1": 0.8333333},
        "test_without_hearing": {"accuracy": 0.5, "macro_f1": 0.3333333},
        "tracks": {"train": 1200, "validation": 4, "test": 8},
        "split": "given by the column 'split'",
        "classes": ["calm", "wild"],
        "base": "/somewhere",
        "random_weights": False,
        "method": "lora",
        "epochs": 2.0,
        "updates": 1234,
        "trained_parameters": 56789,
        "versions": {"torch": "2.14"},
    }
    text = render(results=results).text
    assert "2 outputs: calm, wild. On 8 test tracks (split given by the column 'split')" in text
    assert "| accuracy | 0.875 | 0.5 |\n| macro_f1 | 0.8333 | 0.3333 |\n" in text
    assert "| Fine-tuned | method lora, 56,789 trained parameters |\n| Updates | 1,234, in 2 epochs |\n" in text
    assert (
        "| Tracks | train 1,200, validation 4, test 8; split given by the column 'split' |\n| Made with | torch 2.14 |\n"
        in text
    )
    assert "has not been evaluated" not in text and "/somewhere" not in text
    probed = render(results=results, evaluation={"results": ROWS}).text
    assert "| macro_f1 | 0.8333 | 0.3333 |\n\nFrozen features, probed" in probed and "| GTZAN genre |" in probed


def test_the_own_page_of_a_fine_tuned_model_is_that_of_the_template(tmp_path):
    model = MERTForSequenceClassification(MERTConfig(**MODEL, num_labels=2))
    model.save_pretrained(tmp_path / "partial")
    results = {
        **{
            "base": "m-a-p/MERT-v1-95M",
            "base_licence": "cc-by-nc-4.0",
            "method": "full",
            "trained_parameters": 1,
            "updates": 1,
        },
        **{"epochs": 1.0, "tracks": {"train": 5, "validation": 2, "test": 3}, "split": "drawn", "classes": ["calm", "wild"]},
        **{"problem_type": "single_label_classification", "clip_s": 5.0, "test": {}, "test_without_hearing": {}},
    }
    write_own_card(TEMPLATE, tmp_path / "partial", Path('my "runs"/genres/model'), model, results)
    card = ModelCard((tmp_path / "partial" / "README.md").read_text())
    assert (card.data.license, card.data.base_model) == ("cc-by-nc-4.0", "m-a-p/MERT-v1-95M")
    assert card.data.pipeline_tag == "audio-classification" and "arxiv:2306.00107" in card.data.tags
    assert card.text.strip().startswith("# genres\n\nMERT, fine-tuned on labelled music to tell calm, wild.")
    for block in re.findall(r"```python\n(.*?)```", card.text, re.DOTALL):
        compile(block, "block", "exec")
    assert 'model="my \\"runs\\"/genres/model"' in card.text
    published = render(
        facts=inherit_base(CardFacts(license="cc-by-nc-4.0"), results["base"], results["base_licence"]),
        config=type(model.config).from_pretrained(tmp_path / "partial"),
        parameters=sum(parameter.numel() for parameter in model.mert.parameters()),
        repo_id="my/genres",
        results=results,
    )
    address = 'my \\"runs\\"/genres/model'
    assert card.content.replace(address, "my/genres") == published.content  # one template, of which both are made


def test_the_paper_is_cited_by_what_is_of_it_and_the_clone_address_is_that_of_the_facts():
    assert "@misc{li2023mert," in render().text and "ADDRESS-OF-MERT_HF" not in render().text  # without code, no clone
    assert "bibtex" not in render(config=MERT2Config()).text
    assert "li2023mert" not in render(facts=CardFacts(license="mit", papers=["2307.05161"])).text
    config = MERTConfig()
    config.auto_map = {"AutoModel": "modeling_mert.MERTModel"}
    assert "git clone ADDRESS-OF-MERT_HF mert_hf\n" in render(config=config).text
    facts = CardFacts(license="mit", clone_address="https://example.org/mert_hf.git")
    assert "git clone https://example.org/mert_hf.git mert_hf\n" in render(config=config, facts=facts).text


def test_pictures_are_shown_only_where_they_are():
    assert "![" not in render(results=RESULTS).text
    card = render(results=RESULTS, evaluation={"results": ROWS}, pictures=["training_curves.png", "layer_heat_map.png"])
    assert "](training_curves.png)" in card.text
    assert "![How well each layer serves each task](layer_heat_map.png)" in card.text
    drawn = render(results={**RESULTS, **TESTED}, pictures=["training_curves.png", "confusion_matrix.png"]).text
    assert drawn.index("](training_curves.png)") < drawn.index("## Results") < drawn.index("](confusion_matrix.png)")


def test_both_ways_of_use_are_shown_where_there_is_code_and_one_where_there_is_none():
    config = MERTConfig()
    config.auto_map = {"AutoModel": "modeling_mert.MERTModel"}
    assert render(config=config).text.count("trust_remote_code=True") == 3
    stock = render(config=Data2VecAudioConfig()).text
    assert "trust_remote_code" not in stock and "import mert_hf" not in stock


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (CardFacts(), "no licence is stated for the weights; state one in the facts of the card, or with --license"),
        (
            CardFacts(license="mit", base_model="m-a-p/MERT-v1-95M"),
            "the weights come from m-a-p/MERT-v1-95M, which is under cc-by-nc-4.0; .* cannot be published under mit",
        ),
    ],
)
def test_a_licence_is_needed_that_the_original_allows(facts, message):
    with pytest.raises(InputError, match=message):
        check_license(facts)
    with pytest.raises(InputError, match=message):
        render(facts=facts)


def test_what_is_trained_from_other_weights_names_them_and_keeps_their_licence(tmp_path):
    mine = CardFacts(license="apache-2.0")
    assert inherit_base(mine, None, None) == mine
    assert inherit_base(mine, "someone/free", "mit").base_model == "someone/free"
    assert inherit_base(mine, str(tmp_path), None).base_model is None  # a folder of this machine is no address
    with pytest.raises(InputError, match="come from mert-small, which is under gpl-3.0; .* under apache-2.0. State gpl-3.0"):
        inherit_base(mine, "mert-small", "gpl-3.0")
    with pytest.raises(InputError, match="come from m-a-p/MERT-v1-95M, which is under cc-by-nc-4.0; .* under apache-2.0"):
        inherit_base(mine, "m-a-p/MERT-v1-95M", weights_licence("m-a-p/MERT-v1-95M"))
    # also of what was trained from that, in a run of this machine
    (tmp_path / "model").mkdir()
    (tmp_path / "results.json").write_text('{"base": "m-a-p/MERT-v1-95M", "base_licence": "cc-by-nc-4.0"}')
    assert weights_licence(tmp_path / "model") == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("titel: x", "unknown fact 'titel'; did you mean 'title'"),
        ("just words", "must hold keys such as title, license"),
        ("limits: one", "limits must be a list; got 'one'"),
        ("title: [a]", "title must be a text"),
        ("a: [", "is no YAML"),
    ],
)
def test_facts_that_cannot_be_read_are_named(tmp_path, content, message):
    file = tmp_path / "facts.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        read_facts(file)
    with pytest.raises(InputError, match="cannot read the facts .*: No such file"):
        read_facts(tmp_path / "none.yaml")


def test_the_numbers_of_the_quickstart_card_are_those_of_its_run():
    results = json.loads((CARDS / "quickstart" / "results.json").read_text())
    text = render(facts=read_facts(CARDS / "quickstart" / "facts.yaml"), results=results).text
    assert f"{results['loss_start']:.3f} → {results['loss_end']:.3f}" in text
    assert f"{results['steps']:,}" in text


def test_a_classifier_is_shown_as_one():
    config = MERTConfig(architectures=["MERTForSequenceClassification"])
    config.auto_map = {"AutoModel": "modeling_mert.MERTModel"}
    card = render(config=config)
    assert card.data.pipeline_tag == "audio-classification"
    assert 'classify = pipeline("audio-classification", model="user/name", trust_remote_code=True)' in card.text
    assert "feature-extraction" not in card.text
    assert "scored by" not in card.text
    scored = render(config=config, results={"clip_s": 5.0}).text
    assert "hears a song as one clip; the model was trained on clips of 5 s, and scored by the mean of its outputs" in scored
    with_package, with_transformers = re.findall(r"```python\n(.*?)```", scored, re.DOTALL)[:2]
    assert 'classify(read_audio("song.mp3", 24000))' in with_package  # decoded by what is installed with the package
    assert "the program ffmpeg, which must be installed" in with_transformers
    assert "`pip install -e .` in a clone" in scored.split("```")[0]
