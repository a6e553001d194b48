"""A catalogue as a dataset of the Hub: what anybody needs to search it, and nothing of the machine it was made on."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mert_hf.catalogue.matrices import Matrices
from mert_hf.catalogue.settings import NOTE, CatalogueSettings, read_settings
from mert_hf.catalogue.store import find_kept, read_tables
from mert_hf.common.files import to_json, write_atomically
from mert_hf.common.redaction import name_only
from mert_hf.encoding.licences import weights_licence
from mert_hf.publishing.hub import Published, require_write_access, upload

# Rows of a shard that is uploaded: 300 MB with one vector of 768.
ROWS_PER_SHARD = 100_000

CARD = """\
---
{metadata}
---

# {title}

{count:,} pieces of music ({hours:.1f} hours) as vectors of {model}, made with [mert_hf](https://arxiv.org/abs/2306.00107).

| | |
| --- | --- |
{table}

`name` is a piece's file, `sha256` the digest of its content; the audio is not part of this dataset. Vectors are as the model
gives them: scale them to length 1 to compare by cosine.

```python
import numpy
from datasets import load_dataset

vectors = load_dataset("{repo_id}", split="train")
vectors.add_faiss_index("{column}")  # needs faiss-cpu
query = numpy.array(vectors[0]["{column}"], "float32")
distances, nearest = vectors.get_nearest_examples("{column}", query, k=5)
```

With mert_hf, which embeds a query as these were embedded:

```python
from huggingface_hub import snapshot_download
from mert_hf.catalogue import Catalogue

catalogue = Catalogue(snapshot_download("{repo_id}", repo_type="dataset"), projection="centre")
hits = catalogue.search("song.mp3", count=5)
```
"""


def push_to_hub(
    folder: str | os.PathLike, repo_id: str, private: bool = True, licence: str | None = None, token: str | None = None
) -> Published:
    """Upload a catalogue in one commit.

    Paths of files become their names, and a model that lies in a folder that folder's name, so that nothing tells of the
    machine. A graph of neighbours ([`mert_hf.catalogue.Catalogue.build_graph`]) goes along where there is one of all rows, and
    is found by who downloads the dataset.

    Args:
        repo_id: `user/name`.
        private: whether a repository that is made can be seen by its owner alone.
        licence: of the vectors, such as "cc-by-nc-4.0"; that of the model's weights by default, where it is known.
        token: of the user; by default the one they logged in with.

    Raises:
        InputError: there is no such catalogue, or the Hub refuses.
    """
    read_settings(folder)
    require_write_access(repo_id, token)
    with tempfile.TemporaryDirectory() as staging:
        count = stage(folder, staging, repo_id, licence)
        return upload(staging, repo_id, f"{count} tracks", private=private, token=token, repo_type="dataset")


def stage(folder: str | os.PathLike, staging: str | os.PathLike, repo_id: str, licence: str | None = None) -> int:
    """Write what is to be uploaded into an empty folder; the number of tracks."""
    folder, staging = Path(folder), Path(staging)
    settings = read_settings(folder)
    public = replace(settings, model=name_only(settings.model))
    (staging / "data").mkdir()
    count, hours = _write_shards(folder, settings, public, staging / "data")
    write_atomically(staging / NOTE, to_json(asdict(public), indent=2) + "\n")
    if settings.pool is None:
        shutil.copytree(folder / "frames", staging / "frames", ignore=shutil.ignore_patterns("*.partial"))
    if settings.pool in ("mean", "mean_std") and count:
        built = Matrices(folder, settings).folder
        graphs = list(built.glob("*.usearch"))
        if graphs:
            place = Matrices(staging, settings).folder
            for kept in (*graphs, *built.glob("*.npz")):
                shutil.copy(kept, place)
    licence = licence or weights_licence(settings.model)
    write_atomically(staging / "README.md", write_card(public, repo_id, count, hours, licence))
    return count


def write_card(settings: CatalogueSettings, repo_id: str, count: int, hours: float, licence: str | None) -> str:
    """The page of the dataset."""
    metadata = [
        *([f"license: {licence}"] if licence else []),
        "tags: [music, audio, embeddings, mert]",
        "configs:",
        "- config_name: default",
        "  data_files: [{split: train, path: data/*.parquet}]",
    ]
    revision = {"revision": settings.revision} if settings.revision else {}
    facts = {
        "model": settings.model,
        **revision,
        "layers": settings.layers,
        "pooled over time": settings.pool or "no: all frames",
    }
    window = "none" if settings.window_s is None else f"{settings.window_s:g} s, overlapping by {settings.overlap_s:g} s"
    facts |= {"windows": window, "computed in": settings.dtype, "dimensions": settings.dimensions}
    facts |= {"mert_hf": settings.version, "licence of the vectors": licence or "not known"}
    return CARD.format(
        metadata="\n".join(metadata),
        title=repo_id.partition("/")[2],
        table="\n".join(f"| {name} | {value} |" for name, value in facts.items()),
        column=settings.columns[len(settings.columns) // 2],
        **dict(count=count, hours=hours, model=settings.model, repo_id=repo_id),
    )


def _write_shards(folder: Path, settings: CatalogueSettings, public: CatalogueSettings, place: Path) -> tuple[int, float]:
    """The rows of a catalogue that count, without paths of this machine; how many there are, and their hours."""
    count, hours, shards = 0, 0.0, 0
    names: Counter[str] = Counter()
    for table in _batches(folder, settings):
        paths = []
        for name in table["name"].to_pylist():
            names[name] += 1
            paths.append(name if names[name] == 1 else f"{name} ({names[name]})")
        model = pa.array([public.model] * len(table), pa.string())
        columns = {name: table[name] for name in table.column_names} | {"path": pa.array(paths, pa.string()), "model": model}
        pq.write_table(pa.table(columns, schema=table.schema), place / f"train-{shards:05d}.parquet", compression="zstd")
        count, shards = count + len(table), shards + 1
        hours += (pc.sum(table["duration_s"]).as_py() or 0.0) / 3600
    return count, hours


def _batches(folder: Path, settings: CatalogueSettings) -> Iterator[pa.Table]:
    """Tables of at least `ROWS_PER_SHARD` rows, but the last."""
    kept = find_kept(folder, settings)
    held: list[pa.Table] = []
    for file, table in read_tables(folder, settings):
        held.append(table.filter(pa.array(kept[file])))
        if sum(map(len, held)) >= ROWS_PER_SHARD:
            yield pa.concat_tables(held)
            held = []
    if sum(map(len, held)):
        yield pa.concat_tables(held)
