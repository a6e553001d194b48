"""Folders of k-means teachers that are damaged: refused, or the teacher that was saved."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from fuzzing import damage_bytes, damage_values

from mert_hf.common.errors import InputError
from mert_hf.teachers import KMeansTeacher, ParallelKMeansTeacher

DOCUMENTED = (InputError,)


def prepare(folder: Path):
    """A small teacher with centroids at random."""
    options = {"log_mel": {"bins": 20, "fft_samples": 1024}, "mfcc": {"coefficients": 4, "mel_bins": 20}}
    saved = ParallelKMeansTeacher([8, 4], ["log_mel", "mfcc"], options)
    generator = torch.Generator().manual_seed(0)
    for book in range(2):
        saved._centroids(book).copy_(torch.randn(saved._centroids(book).shape, generator=generator))
    whole, damaged = folder / "whole", folder / "damaged"
    saved.save_pretrained(whole)
    meant = (saved.fingerprint(), saved.sampling_rate, saved.frame_rate, saved.context_samples)

    def strike(rng: np.random.Generator) -> None:
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(whole, damaged)
        file = damaged / ("teacher.json", "teacher.safetensors")[int(rng.integers(2))]
        if file.suffix == ".json" and rng.random() < 0.7:
            file.write_text(json.dumps(damage_values(rng, json.loads(file.read_text()))))
        else:
            file.write_bytes(damage_bytes(rng, file.read_bytes()))
        loaded = KMeansTeacher.from_pretrained(damaged)
        assert (loaded.fingerprint(), loaded.sampling_rate, loaded.frame_rate, loaded.context_samples) == meant, "unnoticed"

    return strike
