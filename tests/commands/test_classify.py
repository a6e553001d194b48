"""`mert-hf classify`: the scores of the fine-tuning's own test, on any files, as a table that nothing breaks."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import soundfile
import torch
from support.small_runs import MODEL
from support.sounds import make_tones

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTForPreTraining, MERTForSequenceClassification, cli
from mert_hf.finetuning.classify import Song, SongClassifier, to_csv
from mert_hf.finetuning.data import open_data
from mert_hf.finetuning.run import finetune
from mert_hf.finetuning.run_folder import FinetuneFolder
from mert_hf.finetuning.settings import FinetuneSettings, FinetuneTrainingSettings, LabelledDataSettings, ModelSettings

ODD_NAMES = ("with, comma.wav", "two\nlines.wav", "\N{GUITAR}.wav", "-minus.wav", "=1+1.wav", 'a "quote".wav')


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A fine-tuning on twelve tracks of 0.6 to 1.7 s, with clips of half a second, and what its test answered."""
    place = tmp_path_factory.mktemp("classify")
    torch.manual_seed(0)
    MERTForPreTraining(MERTConfig(**MODEL)).save_pretrained(place / "base")
    MERTFeatureExtractor().save_pretrained(place / "base")
    for label in ("calm", "wild"):
        (place / "music" / label).mkdir(parents=True)
        for number in range(6):
            tones = make_tones(0.6 + 0.22 * number, 24000, seed=number + 20 * (label == "wild"))
            soundfile.write(place / "music" / label / f"{number}.wav", tones, 24000)
    settings = FinetuneSettings(
        output_dir=str(place / "run"),
        model=ModelSettings(base=str(place / "base"), method="frozen"),
        data=LabelledDataSettings(folder=str(place / "music"), clip_s=0.5, validation_share=0.2, test_share=0.4),
        training=FinetuneTrainingSettings(epochs=1.0, batch_size=4, use_cpu=True),
    )
    with FinetuneFolder(place / "run").hold() as folder:
        _, predicted, results = finetune(settings, folder)
        data = open_data(settings, folder, 24000)
    names = [data.tracks.tracks[track].name for track in data.splits["test"]]
    assert len(names) >= 4 and results["clip_s"] == 0.5
    return place, dict(zip(names, predicted, strict=True))


def rows_of(file) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"), newline="")))


@pytest.mark.parametrize("model", ["run", "run/model"])
def test_scores_are_those_of_the_test_of_the_fine_tuning(run, tmp_path, capsys, model):
    place, expected = run
    cli.main(["classify", str(place / "music"), "--model", str(place / model), "-o", str(tmp_path / "out.csv")])
    rows = {row["file"]: row for row in rows_of(tmp_path / "out.csv")}
    assert len(rows) == 12 and list(rows) == sorted(rows)
    for name, values in expected.items():
        row = rows[str(place / "music" / name)]
        np.testing.assert_allclose([float(row["calm"]), float(row["wild"])], values, atol=1e-5)
        assert row["label"] == ("calm", "wild")[int(values.argmax())]
    assert capsys.readouterr().out == f"{tmp_path / 'out.csv'}: 12 songs, clips of 0.5 s\n"


def test_odd_names_are_quoted_and_what_cannot_be_read_is_counted(run, tmp_path, monkeypatch, capsys):
    place, _ = run
    monkeypatch.chdir(tmp_path)
    for name in ODD_NAMES:
        shutil.copy(place / "music" / "calm" / "0.wav", name)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    with pytest.raises(SystemExit, match=r"^error: 1 of 7 files could not be read; why is said above\.$"):
        cli.main(["classify", ".", "--model", str(place / "run"), "-o", "out.csv"])
    rows = rows_of(tmp_path / "out.csv")
    assert {row["file"].removeprefix("./") for row in rows} == set(ODD_NAMES)
    assert not any(row["file"].startswith(("=", "-")) for row in rows)
    assert all((tmp_path / row["file"]).is_file() for row in rows)
    assert len({(row["label"], row["calm"], row["wild"]) for row in rows}) == 1
    assert "skipped broken.wav: " in capsys.readouterr().err


def test_without_a_file_the_table_is_printed(run, capsys):
    place, _ = run
    cli.main(["classify", str(place / "music" / "calm" / "0.wav"), "--model", str(place / "run"), "--clip_s", "0.3"])
    header, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["file", "label", "calm", "wild"] and row[0].endswith("0.wav")


def save_classifier(folder, problem_type: str, labels: list[str]) -> None:
    torch.manual_seed(1)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: number for number, label in enumerate(labels)}}
    MERTForSequenceClassification(MERTConfig(**MODEL, problem_type=problem_type, **names)).save_pretrained(folder)
    MERTFeatureExtractor().save_pretrained(folder)


def test_several_labels_and_numbers(run, tmp_path):
    place, _ = run
    save_classifier(tmp_path / "tags", "multi_label_classification", ["=loud", "slow", "odd"])
    save_classifier(tmp_path / "numbers", "regression", ["valence", "arousal"])
    (song,) = SongClassifier(tmp_path / "tags", 0.5).classify([place / "music" / "calm" / "0.wav"])
    tags = SongClassifier(tmp_path / "tags", 0.5)
    assert song.values.shape == (3,) and ((song.values > 0) & (song.values < 1)).all()
    assert tags.choose(np.array([0.9, 0.5, 0.1])) == ["=loud", "slow"]
    assert tags.choose(np.array([0.9, 0.5, 0.1]), 0.05) == ["=loud", "slow", "odd"]
    table = to_csv(tags, [Song("a.wav", np.array([0.9, 0.5, 0.1])), Song("b.wav", unreadable_because="x")]).decode()
    assert table == "file,label,'=loud,slow,odd\na.wav,'=loud;slow,0.9,0.5,0.1\n"
    numbers = SongClassifier(tmp_path / "numbers", 0.5)
    assert to_csv(numbers, [Song("a.wav", np.array([-1.5, 2.0]))]) == b"file,valence,arousal\na.wav,-1.5,2\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "{base}"}, "was not fine-tuned to label music; give a run of `mert-hf finetune`, or its model"),
        ({"model": "{place}/nothing"}, "nothing"),
        ({"model": "{bare}"}, "the length of its clips is not known; give that of its training, such as --clip_s 5"),
        ({"--clip_s": "-1"}, r"--clip_s -1 must lie within \(0, 3600\]"),
        ({"--batch_size": "0"}, "--batch_size 0: at least one clip is needed"),
        ({"source": "{place}/no.wav"}, r"no\.wav does not exist; give audio files, or folders of them"),
        ({"source": "{place}/run/model"}, "holds no audio file"),
        ({"-o": "{place}/none/out.csv"}, "there is no folder .*none; make it first"),
    ],
)
def test_mistakes_end_in_a_line(run, tmp_path, change, message):
    place, _ = run
    shutil.copytree(place / "run" / "model", tmp_path / "bare")
    places = {"place": place, "base": place / "base", "bare": tmp_path / "bare"}
    given = {"source": str(place / "music"), "model": str(place / "run"), "-o": str(tmp_path / "out.csv")} | change
    given = {name: value.format(**places) for name, value in given.items()}
    options = [word for name, value in given.items() if name.startswith("-") for word in (name, value)]
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        cli.main(["classify", given["source"], "--model", given["model"], *options])
    assert not (tmp_path / "out.csv").exists()


def test_results_of_the_run_tell_the_length_of_clips(run):
    place, _ = run
    assert SongClassifier(place / "run").clip_s == json.loads((place / "run" / "results.json").read_text())["clip_s"]
