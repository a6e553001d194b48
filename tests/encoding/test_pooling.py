"""Frames that are written as they come: what is mapped is what was computed, whoever else writes there or was killed there."""

import os
import threading

import numpy as np
import pytest

from mert_hf.encoding.pooling import AllFrames
from mert_hf.models.windows_mert import FrameGrid

GRID = FrameGrid(24000, 320, 400)


def pieces(seed, frames=30):
    return np.random.default_rng(seed).standard_normal((3, frames, 4)).astype(np.float32)


def write(file, content, step=7):
    frames = AllFrames(GRID, content.shape[-2], file)
    for start in range(0, content.shape[-2], step):
        frames.add(content[..., start : start + step, :])
    return frames.result()


@pytest.mark.parametrize("layers", [(), (3,)])
def test_what_is_mapped_is_what_was_written(tmp_path, layers):
    content = pieces(0) if layers else pieces(0)[0]
    mapped = write(tmp_path / "a.npy", content)
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, content)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), content)
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_what_a_killed_run_left_is_not_gone_on_with(tmp_path):
    for left in (f"a.npy.{os.getpid()}.partial", "a.npy.partial"):
        np.save(tmp_path / "old.npy", pieces(1, 60))
        (tmp_path / "old.npy").rename(tmp_path / left)
    np.testing.assert_array_equal(write(tmp_path / "a.npy", pieces(0)), pieces(0))


def test_two_that_write_one_name_do_not_mix(tmp_path):
    one, two = (AllFrames(GRID, 30, tmp_path / "a.npy") for _ in range(2))
    for start in (0, 15):
        for frames, seed in ((one, 1), (two, 2)):
            frames.add(pieces(seed)[:, start : start + 15])
    first, second = one.result(), two.result()
    np.testing.assert_array_equal(first, pieces(1))
    np.testing.assert_array_equal(second, pieces(2))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), pieces(2))


def test_threads_that_write_one_name_each_get_their_own(tmp_path):
    found = {}

    def run(seed):
        for _ in range(10):
            found.setdefault(seed, []).append(np.array_equal(write(tmp_path / "a.npy", pieces(seed)), pieces(seed)))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {seed: [True] * 10 for seed in range(4)}
    assert [file.name for file in tmp_path.iterdir()] == ["a.npy"]


def test_what_was_not_finished_is_removed(tmp_path):
    frames = AllFrames(GRID, 30, tmp_path / "a.npy")
    frames.discard()
    frames.add(pieces(0)[:, :5])
    frames.discard()
    assert not list(tmp_path.iterdir())
