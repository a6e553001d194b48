"""What people hand over as audio, and what they hand over by mistake."""

import io
from pathlib import Path

import numpy as np
import soundfile
import torch
from fuzzing import HOSTILE, damage_bytes

RATE = 24000


class Decoder:
    """As torchcodec's AudioDecoder, which rows of `datasets` hold."""

    def __init__(self, data, sample_rate, error: Exception | None = None):
        self.data, self.sample_rate, self.error = data, sample_rate, error

    def get_all_samples(self):
        if self.error is not None:
            raise self.error
        return self


def hostile(rng: np.random.Generator):
    """One of the values that stand where something else is meant."""
    return HOSTILE[int(rng.integers(len(HOSTILE)))]


def prepare_files(folder: Path) -> dict[str, bytes]:
    """Small files of three formats, written into the folder as well."""
    waveform = np.random.default_rng(0).normal(0, 0.1, 2000).astype(np.float32)
    files = {}
    for ending in ("wav", "flac", "ogg"):
        soundfile.write(folder / f"song.{ending}", waveform, RATE)
        files[ending] = (folder / f"song.{ending}").read_bytes()
    return files


def draw_array(rng: np.random.Generator):
    """An array or a tensor; half of them of any type, shape and content."""
    if rng.random() < 0.5:
        return rng.normal(0, 0.1, int(rng.integers(400, 2000))).astype(np.float32)
    shapes = [(2000,), (450,), (399,), (0,), (), (1, 900), (2, 900), (900, 2), (0, 900), (2, 0), (1, 1, 900), (1,) * 30]
    shape = shapes[int(rng.integers(len(shapes)))] if rng.random() < 0.5 else (int(rng.integers(400, 2000)),)
    scales = [1e-300, 1e-30, 0.1, 0.1, 0.1, 1e4, 1e9, 1e18, 1e30, 1e300]
    values = np.asarray(rng.normal(0, 1, shape) * scales[int(rng.integers(len(scales)))])
    if values.size and rng.random() < 0.15:
        values.flat[int(rng.integers(values.size))] = [np.nan, np.inf, -np.inf][int(rng.integers(3))]
    kinds = [np.float16, np.float32, np.float32, np.float64, np.longdouble, np.int16, np.int64, np.uint8, bool]
    kinds += [np.complex64, object, "U8", "S8", "M8[s]", "m8[s]"]
    kind = kinds[int(rng.integers(len(kinds)))] if rng.random() < 0.5 else np.float32
    with np.errstate(all="ignore"):
        values = np.nan_to_num(values).astype("i8").astype(kind) if str(kind)[0] in "Mm" else values.astype(kind)
    if rng.random() < 0.3 and values.dtype.kind in "fiub" and values.dtype != np.longdouble:
        tensor = torch.as_tensor(values)
        changes = [
            lambda t: t,
            lambda t: t.bfloat16(),
            lambda t: t.requires_grad_(t.is_floating_point()),
            lambda t: t.to("meta"),
        ]
        changes += [
            lambda t: t.to_sparse() if t.ndim else t,
            lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
        ]
        return changes[int(rng.integers(len(changes)))](tensor)
    return values


def draw_rate(rng: np.random.Generator):
    """Mostly the right one."""
    rates = [44.1, 1.0, 16000, 44100, "24000", "24 kHz", np.int64(24000), np.float32(24000), np.array([24000]), 24000 + 0j]
    return RATE if rng.random() < 0.8 else rates[int(rng.integers(len(rates)))] if rng.random() < 0.5 else hostile(rng)


def draw_item(rng: np.random.Generator, folder: Path, files: dict[str, bytes], depth: int = 0):
    """One thing handed over as audio."""
    kind = int(rng.integers(13 if depth < 2 else 11))
    ending = list(files)[int(rng.integers(len(files)))]
    content = files[ending] if rng.random() < 0.5 else damage_bytes(rng, files[ending])
    if kind <= 2:
        return draw_array(rng)
    if kind == 3:
        return hostile(rng)
    if kind == 4:
        forms = [bytes, bytearray, memoryview, io.BytesIO, lambda given: io.StringIO(given.decode("latin1"))]
        return forms[int(rng.integers(len(forms)))](content)
    if kind == 5:
        names = [
            folder / f"song.{ending}",
            str(folder / f"song.{ending}"),
            folder,
            folder / "nowhere.mp3",
            "",
            "data:,",
            "data:x",
        ]
        names += ["data:audio/wav;base64,====", "http://", "https://[", "http://127.0.0.1:9/x.mp3", "song\0.mp3", b"song.mp3"]
        return names[int(rng.integers(len(names)))]
    if kind in (6, 7):
        audio = draw_array(rng) if rng.random() < 0.8 else hostile(rng)
        given = {["array", "raw"][int(rng.integers(2))]: audio, "sampling_rate": draw_rate(rng)}
        if rng.random() < 0.1:
            del given[list(given)[int(rng.integers(2))]]
        return given
    if kind == 8:
        return {"path": hostile(rng) if rng.random() < 0.5 else None, "bytes": content if rng.random() < 0.7 else hostile(rng)}
    if kind == 9:
        errors = [None, None, None, RuntimeError("x\ny"), ValueError("damaged")]
        data = draw_array(rng) if rng.random() < 0.9 else hostile(rng)
        return Decoder(data, draw_rate(rng), errors[int(rng.integers(len(errors)))])
    if kind == 10:
        row = {"audio": draw_array(rng), "label": hostile(rng), "other": {"path": None, "bytes": content}}
        return row if rng.random() < 0.5 else {"audio": {"path": None, "bytes": content}, "label": hostile(rng)}
    items = [draw_item(rng, folder, files, depth + 1) for _ in range(int(rng.integers(0, 4)))]
    if kind == 11:
        return items if rng.random() < 0.7 else tuple(items)
    return (item for item in items)
