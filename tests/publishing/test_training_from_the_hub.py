"""`pretrain.py` on a dataset of the Hub that is read as a stream: shards come by name, a run goes on in the middle of one."""

import io
import json
import shutil

import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from loopback_hub.client import ROOT, run_with_hub
from safetensors.numpy import load_file
from support.sounds import make_tones

REPO = "ada/shards"
SETTINGS = (
    "--recipe mert_small --model.hidden_size 32 --model.num_hidden_layers 1 --model.intermediate_size 32"
    " --model.conv_dim [8,8,8,8,8,8,8] --model.num_conv_pos_embeddings 8 --model.num_conv_pos_embedding_groups 4"
    " --teacher.codebook_sizes [8] --teacher.fit_s 10 --cqt.enabled false --mixture.probability 0 --data.workers 1"
    f" --data.dataset {REPO} --data.streaming true --validation.share 0 --training.tracker none"
    " --training.max_steps 6 --training.batch_size 2 --training.checkpoint_every 4 --training.log_every 1"
)


@pytest.fixture
def shards(tmp_path):
    """Three Parquet shards of four tracks."""
    folder = tmp_path / "shards"
    (folder / "data").mkdir(parents=True)
    for shard in range(3):
        tracks = []
        for number in range(4):
            audio = io.BytesIO()
            soundfile.write(audio, make_tones(3.5, 24000, seed=4 * shard + number), 24000, format="FLAC")
            tracks.append({"bytes": audio.getvalue(), "path": f"{number}.flac"})
        name = f"train-{shard:05d}-of-00003.parquet"
        pyarrow.parquet.write_table(pyarrow.table({"audio": tracks}), folder / "data" / name)
    return folder


def test_a_stream_of_the_hub_is_trained_on_and_gone_on_with(hub, shards, tmp_path):
    hub.add_repository(REPO, shards, repo_type="dataset")
    run = tmp_path / "run"

    def pretrain(*more):
        arguments = [*SETTINGS.split(), "--output_dir", str(run), *more]
        ran = run_with_hub(ROOT / "training" / "pretrain.py", hub, tmp_path / "home", arguments=arguments)
        assert ran.returncode == 0, ran.stderr
        return load_file(run / "model" / "model.safetensors")

    whole = pretrain()
    results = json.loads((run / "results.json").read_text())
    assert (results["stream"], results["shards"], results["steps"]) == (REPO, 3, 6)
    shutil.rmtree(run / "checkpoints" / "step_00000006")
    shutil.rmtree(run / "model")
    resumed = pretrain("--training.resume")
    assert all((resumed[name] == value).all() for name, value in whole.items())
