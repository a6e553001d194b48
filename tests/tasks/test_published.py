import pytest

from mert_hf.tasks import PUBLISHED, SUITES, TASKS, average_score
from mert_hf.tasks.published import JAMENDO_COLUMNS


def test_printed_averages_follow_from_the_rows():
    """Values of a task first, then tasks: all 14 (MARBLE), or the nine datasets without Jamendo (music2vec)."""
    count = 0
    for table in PUBLISHED:
        for model, printed in table.averages.items():
            values = table.values(model)
            if table.source == "music2vec paper":
                values = {task: numbers for task, numbers in values.items() if not task.startswith("jamendo")}
            assert len(values) == (9 if table.source == "music2vec paper" else 14), model
            # one average of 19 was rounded up from 61.744
            assert average_score(values) == pytest.approx(printed, abs=0.06), model
            count += 1
    assert count == 19


def test_columns_are_values_of_tasks():
    for table in PUBLISHED:
        for row in table.rows.values():
            assert len(row) == len(table.columns)
        for task, _ in table.columns:
            assert task in SUITES["marble"]
    assert {task for table in PUBLISHED for task, _ in table.columns} == set(SUITES["marble"])


def test_published_numbers_of_a_task():
    rhythm = TASKS["gtzan_rhythm"].published
    assert rhythm["MERT-v1-95M"] == {"beat_f1": 88.3}
    assert "Jukebox-5B" not in rhythm
    assert TASKS["musdb18"].published["MERT-v1-330M"] == {
        "sdr_vocals": 5.3,
        "sdr_drums": 5.6,
        "sdr_bass": 3.6,
        "sdr_other": 3.0,
    }
    assert TASKS["giantsteps_key"].published["music2vec vanilla"] == {"refined_accuracy": 19.0}
    assert TASKS["deezer_msd100"].published == {}
    assert JAMENDO_COLUMNS[0] == ("jamendo_instrument", "roc_auc")


@pytest.mark.parametrize(
    "model", ["MERT-v0", "MERT-v1-95M", "MERT-v1-330M", "music2vec-95M", "musicHuBERT k2000 MFCC39", "MULE", "Jukebox-5B"]
)
def test_the_compared_models_are_there(model):
    assert sum(model in table.rows for table in PUBLISHED) == 1
