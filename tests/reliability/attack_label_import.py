"""Official manifests, labels and dictionaries that are damaged or absurd: imported, or refused."""

import shutil
from pathlib import Path

import numpy as np
from fuzzing import HOSTILE, damage_bytes

from mert_hf.common.errors import InputError
from mert_hf.conversion.fairseq_labels import import_labels
from mert_hf.data.label_store import LabelStore

DOCUMENTED = (InputError,)
FRAMES = {"a.wav": 150, "album/b.flac": 75}
ABSURD = ("99999999999999999999999", "-1", "1e9", "٣", "0x10", "1_000", "\x00", "\u2028", "9" * 5000, "a\tb", " ", "\t")


def prepare(folder: Path):
    """A manifest of two tracks, labels as text and as a matrix, and a dictionary."""
    drawn = np.random.default_rng(0)
    codes = {name: drawn.integers(16, size=frames) for name, frames in FRAMES.items()}
    matrix = np.full((2, 150), -1)
    for row, found in zip(matrix, codes.values(), strict=True):
        row[: len(found)] = found
    np.save(folder / "b.npy", matrix)
    texts = {
        "m.tsv": "/music\n" + "".join(f"{name}\t{320 * frames}\n" for name, frames in FRAMES.items()),
        "a.km": "".join(" ".join(map(str, found)) + "\n" for found in codes.values()),
        "dict.km.txt": "".join(f"{code} 1\n" for code in range(16)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    whole = {name: (folder / name).read_bytes() for name in (*texts, "b.npy")}
    output = folder / "labels"

    def strike(rng: np.random.Generator) -> None:
        shutil.rmtree(output, ignore_errors=True)
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        settings = {"codebook_size": 16, "sampling_rate": 24000, "frame_rate": 75.0}
        kind, file = rng.random(), folder / list(whole)[int(rng.integers(len(whole)))]
        if kind < 0.5:
            file.write_bytes(damage_bytes(rng, file.read_bytes()))
        elif kind < 0.7:
            name = list(texts)[int(rng.integers(len(texts)))]
            words = texts[name].split(" ")
            words[int(rng.integers(len(words)))] = ABSURD[int(rng.integers(len(ABSURD)))]
            (folder / name).write_text(" ".join(words))
        elif kind < 0.85:
            name = list(settings)[int(rng.integers(len(settings)))]
            settings[name] = HOSTILE[int(rng.integers(len(HOSTILE)))]
        else:
            shape = [(10**9, 10**9), (2, 10**12), (0, 0), (2,), (2, 150, 1), (2, 0)][int(rng.integers(6))]
            descr = ["<i8", "|O", "<f4", "|u1", "<U9", "|b1", "<c8", "[('a', '<i4')]"][int(rng.integers(8))]
            head = {"descr": descr, "fortran_order": bool(rng.integers(2)), "shape": shape}
            with (folder / "b.npy").open("wb") as out:
                np.lib.format.write_array_header_1_0(out, head)
                out.write(bytes(int(rng.integers(4096))))
        dictionary = folder / "dict.km.txt" if rng.random() < 0.5 else None
        import_labels(folder / "m.tsv", [folder / "a.km", folder / "b.npy"], output, dictionary=dictionary, **settings)
        store = LabelStore(output)
        for name in store.rows:
            store.read(name)

    return strike
