"""Rows of a catalogue made by others who deal out work: the same ones, also where a worker is killed."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from support.catalogues import read_rows, save_model, write_songs

from mert_hf.catalogue import Catalogue, Embedder, embed
from mert_hf.common.errors import InputError

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A model, music with a bad track, and the catalogue that one process makes of them."""
    folder = tmp_path_factory.mktemp("filled")
    save_model(folder / "model")
    songs = write_songs(folder / "music", 8, 0.2)
    (folder / "music" / "bad.wav").write_bytes(b"no audio")
    embed([folder / "music"], folder / "alone", folder / "model", dtype="float32", progress=False)
    return folder, songs


def embedder_of(folder: Path) -> Embedder:
    return Embedder(folder / "model", device="cpu")


def assert_same(found: dict[str, dict], expected: dict[str, dict]) -> None:
    assert set(found) == set(expected)
    for path, row in found.items():
        np.testing.assert_allclose(row["vector"], expected[path]["vector"], atol=1e-5)
        assert {name: row[name] for name in ("name", "sha256", "duration_s", "layers", "model", "window_s")} == {
            name: expected[path][name] for name in ("name", "sha256", "duration_s", "layers", "model", "window_s")
        }


def test_a_table_gets_the_columns_of_a_catalogue_and_keeps_its_own(filled, tmp_path):
    folder, songs = filled
    paths = [str(song) for song in (*songs, folder / "music" / "bad.wav")]
    embedder = embedder_of(folder)
    made = embedder(pa.table({"path": paths, "artist": [f"a{number}" for number in range(9)]}))
    assert made["artist"].to_pylist() == [f"a{number}" for number in range(9)]
    failures = made["failure"].to_pylist()
    assert failures[:8] == [None] * 8 and "not an audio file" in failures[8] and made["vector"][8].as_py() is None
    embedder.begin(tmp_path / "out")
    pa.parquet.write_table(made, tmp_path / "out" / "data" / "0.parquet")
    assert_same({row["path"]: row for row in made.slice(0, 8).to_pylist()}, read_rows(folder / "alone"))
    # the folder is a catalogue, without what failed; and `embed` goes on with it
    found, alone = Catalogue(tmp_path / "out"), Catalogue(folder / "alone")
    assert len(found) == 8
    assert [hit.path for hit in found.search(songs[2], 5)] == [hit.path for hit in alone.search(songs[2], 5)]
    write_songs(folder / "more", 1, 0.7)
    again = embed([*songs, folder / "more"], tmp_path / "out", folder / "model", dtype="float32", progress=False)
    assert (again.new, again.known) == (1, 8)


def test_lists_encoded_audio_and_pickling(filled):
    folder, songs = filled
    rows = read_rows(folder / "alone")
    embedder = embedder_of(folder)
    first = embedder({"path": list(map(str, songs[:2]))})
    assert embedder._encoder is not None
    again = pickle.loads(pickle.dumps(embedder))
    assert again._encoder is None and len(pickle.dumps(embedder)) < 5000
    audio = [{"bytes": songs[0].read_bytes(), "path": None}, {"bytes": None, "path": str(songs[1])}, None]
    second = again({"audio": audio})
    for made in (first, second):
        np.testing.assert_allclose(made["vector"][1], rows[str(songs[1])]["vector"], atol=1e-5)
        np.testing.assert_array_equal(made["vector"][0], first["vector"][0])
    assert second["failure"][2] and np.isnan(second["vector"][2]).all() and second["failure"][:2] == ["", ""]
    with pytest.raises(InputError, match='needs the column "path" or "audio"'):
        embedder({"song": []})
    with pytest.raises(InputError, match="all frames"):
        Embedder(folder / "model", pool=None)({"path": []})


def test_frames_of_pandas(filled):
    import pandas

    folder, songs = filled
    frames = [pandas.DataFrame({"path": list(map(str, part))}) for part in (songs[:3], songs[3:])]
    made = pandas.concat(embedder_of(folder).in_pandas(iter(frames)))
    assert_same({row["path"]: row for row in made.to_dict("records")}, read_rows(folder / "alone"))


RAY = """
import json, os, signal, sys, threading, time
from pathlib import Path
import ray
from support.catalogues import Slow
from mert_hf.catalogue import Embedder

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
# two CPUs for the workers, one for reading and writing
ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR", _temp_dir=sys.argv[3])
Embedder(folder / "model", device="cpu").begin(out)
songs = ray.data.from_items([{"path": str(path)} for path in sorted((folder / "music").iterdir())])
songs.write_parquet(str(out / ".songs"))
told = folder / "workers"
told.mkdir(exist_ok=True)
killed = []

def kill():
    while not (found := list(told.iterdir())):
        time.sleep(0.01)
    os.kill(int(found[0].name), signal.SIGKILL)
    killed.append(found[0].name)

threading.Thread(target=kill, daemon=True).start()
how = dict(fn_constructor_args=[str(folder / "model"), str(told)], batch_format="pyarrow", batch_size=2, concurrency=2)
ray.data.read_parquet(str(out / ".songs")).map_batches(Slow, **how).write_parquet(str(out / "data"))
print(json.dumps({"killed": len(killed)}))
ray.shutdown()
"""


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='Ray is not installed: pip install "mert_hf[ray]"')
def test_ray_makes_the_same_rows_also_where_a_worker_is_killed(filled, tmp_path_factory):
    folder, _ = filled
    out, short = tmp_path_factory.mktemp("out") / "catalogue", tmp_path_factory.mktemp("r")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    command = [sys.executable, "-c", RAY, str(folder), str(out), str(short)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"killed": 1}
    rows = {path: row for path, row in read_rows(out).items() if row["failure"] is None}
    assert_same(rows, read_rows(folder / "alone"))
    assert len(Catalogue(out)) == 8


SPARK = """
import sys
from pathlib import Path
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema
from mert_hf.catalogue import Embedder

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
local = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
spark = SparkSession.builder.master("local[2]").config(map=local).getOrCreate()
embedder = Embedder(folder / "model", device="cpu")
embedder.begin(out)
songs = spark.createDataFrame([(str(path),) for path in sorted((folder / "music").iterdir())], ["path"]).repartition(2)
made = songs.mapInPandas(embedder.in_pandas, from_arrow_schema(embedder.schema()))
made.write.mode("append").parquet(str(out / "data"))
"""


@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None, reason="PySpark is not installed: pip install pyspark, and Java 17"
)
def test_spark_makes_the_same_rows(filled, tmp_path):
    folder, _ = filled
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    environment["PYSPARK_PYTHON"] = sys.executable  # of the workers; else whatever is called python3
    command = [sys.executable, "-c", SPARK, str(folder), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = {path: row for path, row in read_rows(tmp_path / "out").items() if row["failure"] is None}
    assert_same(rows, read_rows(folder / "alone"))
    assert len(Catalogue(tmp_path / "out")) == 8


def test_accelerate_launch_makes_the_same_rows(filled, tmp_path):
    folder, _ = filled
    out = tmp_path / "out"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "mert_hf", "embed", str(folder / "music")]
    launch += ["-o", str(out), "--model", str(folder / "model"), "--dtype", "float32", "--device", "cpu"]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=240)
    # an exit code of one would end the other in the middle of its work
    assert done.returncode == 0 and "1 tracks failed" in done.stderr, done.stderr[-3000:]
    assert_same(read_rows(out), read_rows(folder / "alone"))
    assert {file.name[:10] for file in (out / "data").iterdir()} == {"part-00000", "part-00001"}
    (listed,) = [line for file in out.glob("failures*.jsonl") for line in file.read_text().splitlines()]
    assert json.loads(listed)["name"] == "bad.wav"
