"""The card validation of the loopback Hub, asked through huggingface_hub's own `ModelCard`."""

import pytest
from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import BadRequestError

RESULT = EvalResult("audio-classification", "ada/music", "Music", "accuracy", 0.5)
GOOD = ModelCardData(
    license="apache-2.0",
    library_name="transformers",
    pipeline_tag="feature-extraction",
    tags=["music"],
    datasets=["ada/music"],
    base_model="m-a-p/MERT-v1-95M",
    model_name="tiny",
    eval_results=[RESULT],
)


@pytest.fixture
def api(hub) -> HfApi:
    """A user who has a repository to upload cards to: as bytes, since ModelCard mends or drops what it finds malformed."""
    api = HfApi(token="hf_writer")
    api.create_repo("ada/tiny")
    return api


def test_a_good_card_passes_and_is_pushed(hub, api):
    good = ModelCard(f"---\n{GOOD.to_yaml()}\n---\n# A model\n")
    good.validate()
    good.push_to_hub("ada/tiny", token="hf_writer")
    assert hub.files("ada/tiny")["README.md"].decode() == str(good)
    info = HfApi().model_info("ada/tiny")
    assert (info.pipeline_tag, info.library_name, info.card_data.license) == (
        "feature-extraction",
        "transformers",
        "apache-2.0",
    )
    assert info.card_data.eval_results == [RESULT]
    assert ModelCard.load("ada/tiny").data.datasets == ["ada/music"]


INDEX = "model-index:\n- name: tiny\n  results:\n  - "


@pytest.mark.parametrize(
    ("front_matter", "message"),
    [
        ("license: mine", r'"license" must be one of \[.*apache-2.0'),
        ("license: mit\npipeline_tag: [feature-extraction]", '"pipeline_tag" must be a string'),
        ("tags: music", '"tags" must be an array'),
        ("tags: [2024]", r'"tags\[0\]" must be a string'),
        ("datasets: [two words]", r'"datasets\[0\]" with value "two words" fails to match the required pattern'),
        ("model-index: {}", '"model-index" must be an array'),
        ("a: [", "Invalid YAML metadata"),
        ("- a\n- b", '"value" must be of type object'),
        (INDEX + "task: {type: a}\n    metrics: [{type: m, value: 1}]", r'"model-index\[0\].results\[0\].dataset" is required'),
        (
            INDEX + "task: {}\n    dataset: {type: d, name: D}\n    metrics: []",
            r'"model-index\[0\].results\[0\].task.type" is required',
        ),
        (
            INDEX + "task: {type: a}\n    dataset: {type: d, name: D}\n    metrics: [{type: m}]",
            r'"model-index\[0\].results\[0\].metrics\[0\].value" is required',
        ),
    ],
)
def test_a_bad_card_is_refused_and_not_committed(hub, api, front_matter, message):
    with pytest.raises(ValueError, match="Invalid metadata in README.md.\n- " + message):
        api.upload_file(path_or_fileobj=f"---\n{front_matter}\n---\n".encode(), path_in_repo="README.md", repo_id="ada/tiny")
    assert not hub.asked("commit")
    assert "README.md" not in hub.files("ada/tiny")


def test_validate_raises_the_words_of_the_server(hub):
    with pytest.raises(ValueError, match=r'^"license" must be one of \['):
        ModelCard("---\nlicense: mine\n---\n").validate()
    with pytest.raises(ValueError, match=r'^"datasets\[0\]" with value "two words" fails'):
        ModelCard("---\ndatasets: [two words]\n---\n").validate()


def test_a_client_that_does_not_ask_is_refused_at_the_commit(hub, api, monkeypatch):
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *args, **options: None)
    with pytest.raises(BadRequestError, match="Invalid metadata in README.md"):
        api.upload_file(path_or_fileobj=b"---\nlicense: mine\n---\n", path_in_repo="README.md", repo_id="ada/tiny")
    assert "README.md" not in hub.files("ada/tiny")


def test_an_empty_card_and_an_unknown_task_are_warned_about_and_taken(hub, api):
    for content, warning in {
        b"# nothing": "empty or missing yaml metadata",
        b"---\npipeline_tag: feature-extracting\n---\n": 'The pipeline tag "feature-extracting" is not in the official list',
    }.items():
        with pytest.warns(UserWarning, match=warning):
            api.upload_file(path_or_fileobj=content, path_in_repo="README.md", repo_id="ada/tiny")
        assert hub.files("ada/tiny")["README.md"] == content
