"""training/publish.py against the Hub: what arrives, in how many commits, and what a refusal looks like."""

import re
import runpy
import sys

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError
from loopback_hub.client import ROOT, run_with_hub
from transformers import AutoModel, pipeline

from mert_hf import MERTFeatureExtractor, MERTForPreTraining
from mert_hf.common.errors import InputError
from mert_hf.publishing.hub import next_tag, require_write_access, upload
from mert_hf.publishing.model_card import CardFacts, find_facts, read_results, write_card

PUBLISH = ROOT / "training" / "publish.py"
REPO = "ada/tiny-mert"
CARD = ROOT / "model_cards" / "template.md"


@pytest.fixture
def folder(tiny_config, tmp_path):
    """A folder as staging makes it."""
    folder = tmp_path / "staged"
    torch.manual_seed(0)
    MERTForPreTraining(tiny_config).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)
    write_card(CARD, CardFacts(license="mit"), tiny_config, 1, REPO).save(folder / "README.md")
    return folder


@pytest.fixture
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    return hub


def test_one_command_publishes_a_model_that_loads(hub, folder, tmp_path):
    arguments = (str(folder), REPO, "--license", "mit", "--private", "--message", "The first model")
    ran = run_with_hub(PUBLISH, hub, tmp_path / "home", token="hf_writer", arguments=arguments)
    assert ran.returncode == 0, ran.stderr
    assert "hf_writer" not in ran.stdout + ran.stderr
    for line in ("loaded without mert_hf, from the files of the folder alone: equal features", "model.safetensors", "tag v1"):
        assert line in ran.stdout
    assert hub.is_private(REPO)
    commits = hub.commits(REPO)
    assert [commit.title for commit in commits] == ["The first model", "initial commit"]
    assert hub.tags(REPO) == {"v1": commits[0].oid}
    assert set(hub.files(REPO)) - {".gitattributes"} == {file.name for file in folder.iterdir()}
    shown = set(re.findall(r"^  (\S+) +\d+\.\d+ MB$", ran.stdout, flags=re.M))
    assert shown == {file.name for file in folder.iterdir()}
    extract = pipeline("feature-extraction", model=REPO, token="hf_reader", revision="v1")
    assert extract.model.config.hidden_size == 32


def run_here(monkeypatch, *arguments: str) -> None:
    """The script in this process, which saves the seconds of imports."""
    monkeypatch.setattr(sys, "argv", [str(PUBLISH), *arguments])
    runpy.run_path(str(PUBLISH), run_name="__main__")


def test_a_dry_run_asks_the_hub_nothing(logged_in, folder, monkeypatch, capsys):
    monkeypatch.setattr("mert_hf.publishing.staging._check_without_package", lambda *_: None)  # tested above
    run_here(monkeypatch, str(folder), REPO, "--license", "mit", "--dry-run")
    shown = capsys.readouterr().out
    assert "model.safetensors" in shown and "nothing was uploaded" in shown
    assert not logged_in.requests and not logged_in.repositories()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", REPO, "--license", "mit"), "error: there is no folder nowhere; give the folder of a run, or of a model."),
        ((".", "tiny", "--license", "mit"), "error: 'tiny' is no name of a repository; give it as user/name."),
        ((".", REPO), "error: no licence is stated for the weights; state one in the facts of the card, or with --license."),
        (
            (".", REPO, "--card", "quikstart"),
            "error: there is no card 'quikstart'; give one of mert-330m, mert-95m, mert-small, mert2-30s,",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_here(monkeypatch, *arguments, "--dry-run")
    assert str(ended.value).startswith(message) and "\n" not in str(ended.value)


def test_tags_count_up_and_never_move(logged_in, folder):
    assert upload(folder, REPO, "one").tag == "v1"
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nmore\n")
    assert upload(folder, REPO, "two").tag == "v2"
    first, second = logged_in.tags(REPO)["v1"], logged_in.tags(REPO)["v2"]
    assert first != second
    with pytest.raises(InputError, match="already has the tag v1, which people may have pinned; choose another --tag"):
        upload(folder, REPO, "three", tag="v1")
    assert logged_in.tags(REPO) == {"v1": first, "v2": second}
    assert upload(folder, REPO, "paper", tag="ismir").tag == "ismir"
    assert next_tag(REPO) == "v3"


def test_an_upload_that_is_cut_publishes_nothing_and_can_be_repeated(logged_in, folder):
    before = upload(folder, REPO, "one").commit
    with torch.no_grad():
        model = MERTForPreTraining.from_pretrained(folder)
        model.cqt_head.bias.add_(1)
        model.save_pretrained(folder)
    logged_in.cut_upload_after(1000)
    with pytest.raises(InputError, match="the upload to ada/tiny-mert broke off; nothing was published, try again"):
        upload(folder, REPO, "two")
    assert logged_in.commits(REPO)[0].oid == before
    assert logged_in.tags(REPO) == {"v1": before}
    logged_in.mend()
    assert upload(folder, REPO, "two").tag == "v2"
    assert torch.equal(MERTForPreTraining.from_pretrained(REPO).cqt_head.bias, model.cqt_head.bias)


def test_a_commit_that_the_hub_fails_publishes_nothing(logged_in, folder):
    logged_in.fail_next("commit", status=503, times=10)
    with pytest.raises(InputError, match="the Hub answered 503 for ada/tiny-mert; nothing was published"):
        upload(folder, REPO, "one")
    assert logged_in.tags(REPO) == {}
    assert set(logged_in.files(REPO)) == {".gitattributes"}


@pytest.mark.parametrize("fault", ["an error", "no answer"])
def test_a_tag_that_the_hub_fails_leaves_the_model_published_and_is_said_so(logged_in, folder, monkeypatch, fault):
    """The commit is there by then, and whoever reads that it is not would publish a second time."""
    if fault == "an error":
        logged_in.fail_next("create_tag", status=503)
    else:
        monkeypatch.setattr(HfApi, "create_tag", cut_off)
    with pytest.raises(InputError) as told:
        upload(folder, REPO, "one", token="hf_writer")
    commit = logged_in.commits(REPO)[0]
    assert commit.title == "one" and logged_in.tags(REPO) == {}
    assert "model.safetensors" in logged_in.files(REPO)
    expected = f"the model is published as commit {commit.oid} of ada/tiny-mert, but the Hub did not confirm its tag v1"
    assert str(told.value).startswith(expected)
    assert "nothing was published" not in str(told.value)
    # what it says to do is right
    *_, repo_id, tag, option, revision = str(told.value).split("hf repos tag create")[1].split()
    assert (repo_id, tag, option, revision) == (REPO, "v1", "--revision", commit.oid)
    monkeypatch.undo()


def cut_off(*_, **__):
    raise HTTPError("the server disconnected")


@pytest.mark.parametrize("arrived", [True, False])
def test_a_commit_whose_answer_is_lost_is_looked_for(logged_in, folder, monkeypatch, arrived):
    create = HfApi.create_commit

    def lost(self, *arguments, **options):
        if arrived:
            create(self, *arguments, **options)
        cut_off()

    monkeypatch.setattr(HfApi, "create_commit", lost)
    moved = "its newest commit is another now, this one or somebody else's: look at its page"
    outcome = moved if arrived else "nothing was published"
    with pytest.raises(InputError, match=rf"cannot be reached \(HTTPError\); {outcome}\. Try again"):
        upload(folder, REPO, "one")


def test_a_commit_of_which_nobody_can_tell_is_said_to_be_one(logged_in, folder, monkeypatch):
    def lost(*_, **__):
        monkeypatch.setattr(HfApi, "model_info", cut_off)
        cut_off()

    monkeypatch.setattr(HfApi, "create_commit", lost)
    with pytest.raises(InputError, match="whether anything was published is not known: look at its page"):
        upload(folder, REPO, "one")


def test_a_repository_that_changes_meanwhile_is_not_overwritten(logged_in, folder, monkeypatch):
    upload(folder, REPO, "one")
    (folder / "README.md").write_text((folder / "README.md").read_text() + "\nmore\n")
    create = HfApi.create_commit

    def someone_is_faster(self, *arguments, **options):
        logged_in.commit(REPO, {"note.md": b"mine"}, "Faster")
        return create(self, *arguments, **options)

    monkeypatch.setattr(HfApi, "create_commit", someone_is_faster)
    with pytest.raises(InputError, match="ada/tiny-mert changed while the upload ran; nothing was published"):
        upload(folder, REPO, "two")
    assert logged_in.commits(REPO)[0].title == "Faster"


def test_pickles_of_before_are_named(logged_in, folder):
    logged_in.add_repository(REPO, None)
    logged_in.commit(REPO, {"pytorch_model.bin": b"a pickle"})
    assert upload(folder, REPO, "one").remaining_pickles == ["pytorch_model.bin"]


def test_a_card_the_hub_refuses_is_told_before_anything_is_made(logged_in, folder):
    (folder / "README.md").write_text("---\nlicense: made-up\n---\n# A model\n")
    with pytest.raises(InputError, match="the Hub does not accept the card: .*license"):
        upload(folder, REPO, "one")
    assert not logged_in.repositories()


@pytest.mark.parametrize(
    ("token", "repo_id", "message"),
    [
        (None, REPO, "no token of the Hub was found; log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_wrong", REPO, "the Hub does not accept your token; log in"),
        ("hf_reader", REPO, "the token may only read; make one that may write"),
        ("hf_other", REPO, "the token belongs to eve, who cannot publish as ada; one of: eve"),
        ("hf_writer", "m-a-p/one/two", "is no name of a repository"),
        ("hf_writer", "bad name/x", "is no name of a repository"),
    ],
)
def test_who_may_not_write_is_told_so_at_once(hub, folder, monkeypatch, token, repo_id, message):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    for refused in (lambda: require_write_access(repo_id), lambda: upload(folder, repo_id, "one")):
        with pytest.raises(InputError, match=message) as caught:
            refused()
        assert not token or token not in str(caught.value)
    assert not hub.repositories()


def test_without_a_network_it_says_so(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(InputError, match="HF_HUB_OFFLINE is set, so the Hub is not asked; unset it"):
            upload(folder, REPO, "one")
    with monkeypatch.context() as closed:
        closed.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(InputError, match=r"the Hub at http://127.0.0.1:9 cannot be reached \(ConnectError\); nothing was"):
            require_write_access(REPO)


def test_an_existing_repository_stays_private(logged_in, folder):
    upload(folder, REPO, "one", private=True)
    upload(folder, REPO, "two", private=False)
    assert logged_in.is_private(REPO)
    with pytest.raises(OSError, match="not a valid model identifier"):
        AutoModel.from_pretrained(REPO, token=False)


@pytest.mark.parametrize("name", sorted(file.parent.name for file in CARD.parent.glob("*/facts.yaml")))
def test_the_hub_accepts_every_card_of_the_project(hub, tiny_config, name):
    facts = find_facts(CARD.parent, name, "cc-by-nc-4.0")
    results, evaluation = (read_results(CARD.parent / name / file) for file in ("results.json", "evaluation.json"))
    write_card(CARD, facts, tiny_config, 1, f"ada/{name}", results, evaluation).validate()
    assert [request.status for request in hub.asked("validate_yaml")] == [200]
