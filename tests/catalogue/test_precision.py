"""Which type is chosen where a user leaves it open: by the time that both take, and by what it does to a vector."""

import logging
import time
from itertools import count

import pytest
import torch
from support.catalogues import read_rows, save_model, write_songs

from mert_hf import MusicEncoder
from mert_hf.catalogue import embed, precision
from mert_hf.catalogue.precision import choose_dtype


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    # of fewer than 16 channels a group, torch 2.14 on CPUs with AMX computes another convolution in bfloat16
    return save_model(tmp_path_factory.mktemp("model"), num_conv_pos_embedding_groups=2)


@pytest.fixture
def clock(monkeypatch):
    """A clock that runs as fast as is said for each type, whatever the machine does."""

    def set_speed(rough: float):
        ticks, encode = count(), MusicEncoder.encode
        now = [0.0]

        def timed(self, *arguments, **options):
            now[0] += rough if self.dtype == torch.bfloat16 else 1.0
            next(ticks)
            return encode(self, *arguments, **options)

        monkeypatch.setattr(MusicEncoder, "encode", timed)
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    monkeypatch.setattr(precision, "PIECE_S", 1.0)
    return set_speed


@pytest.mark.parametrize(("took", "chosen"), [(0.5, "bfloat16"), (0.8, "bfloat16"), (0.9, "float32"), (2.0, "float32")])
def test_bfloat16_is_taken_where_it_pays(model, clock, caplog, took, chosen):
    clock(took)
    with caplog.at_level(logging.INFO):
        assert choose_dtype(model, "cpu") == chosen
    assert f"Computing in {chosen}: bfloat16 is {1 / took:.2f} times as fast here" in caplog.text


def test_it_is_not_taken_where_it_moves_vectors_or_fails(model, clock, monkeypatch, caplog):
    clock(0.5)
    monkeypatch.setattr(precision, "LEAST_COSINE", 1.1)
    assert choose_dtype(model, "cpu") == "float32"

    def fail(encoder, piece, times):
        if encoder.dtype == torch.bfloat16:
            raise RuntimeError("no kernel\nfor it")
        return encoder.encode(piece, sampling_rate=24000, progress=False)

    monkeypatch.setattr(precision, "_time", fail)
    with caplog.at_level(logging.INFO):
        assert choose_dtype(model, "cpu") == "float32"
    assert "bfloat16 does not work here (no kernel)" in caplog.text


def test_a_catalogue_keeps_the_type_it_was_begun_with(model, tmp_path, monkeypatch):
    songs = write_songs(tmp_path / "music", 2)
    chosen = iter(["bfloat16"])
    monkeypatch.setattr("mert_hf.catalogue.embedding.choose_dtype", lambda *_: next(chosen))
    embed(songs[:1], tmp_path / "out", model, progress=False)
    assert embed(songs, tmp_path / "out", model, progress=False).new == 1 and len(read_rows(tmp_path / "out")) == 2
