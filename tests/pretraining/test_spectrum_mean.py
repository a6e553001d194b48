"""The head of the constant-Q spectrum may begin at the mean of its target."""

import json

import numpy as np
import pytest
import torch
from support.sounds import make_tones

from mert_hf import MERTForPreTraining
from mert_hf.cli import main
from mert_hf.common.errors import InputError
from mert_hf.models.spectra_mert import compress_magnitudes
from mert_hf.pretraining.teachers import MEAN, mean_spectrum
from mert_hf.teachers import CQTTeacher

RATE = 24000


@pytest.fixture
def clips():
    return [torch.from_numpy(make_tones(1.0, RATE, seed=seed)) for seed in range(4)]


def test_it_is_the_mean_over_the_frames_of_as_many_seconds_and_kept(clips, tmp_path):
    teacher = CQTTeacher(RATE, 960, bins=36, bins_per_octave=12, compression="log")
    mean = mean_spectrum(teacher, iter(clips), 2.5, tmp_path)
    frames = [compress_magnitudes(teacher.transform(clip[None]), "log", teacher.log_level)[0] for clip in clips[:3]]
    np.testing.assert_allclose(mean, torch.cat(frames).numpy().mean(0), rtol=1e-5)

    def unread():
        raise AssertionError("it is known")
        yield

    assert torch.equal(mean_spectrum(teacher, unread(), 2.5, tmp_path), mean)
    kept = tmp_path / MEAN
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"mean": [1.0]}))
    with pytest.raises(InputError, match=r"constant_q_mean\.json is not as it was written: damaged; delete it"):
        mean_spectrum(teacher, unread(), 2.5, tmp_path)
    # of other audio, or of another spectrum, it is another
    other = mean_spectrum(teacher, iter(clips), 1.0, tmp_path)
    assert not torch.equal(other, mean)
    plain = CQTTeacher(RATE, 960, bins=36, bins_per_octave=12)
    assert not torch.equal(mean_spectrum(plain, iter(clips), 1.0, tmp_path), other)
    with pytest.raises(InputError, match=r"cqt\.mean_s: there is no audio"):
        mean_spectrum(plain, iter([]), 3.0, tmp_path)


@pytest.mark.parametrize("mean_s", [0.0, 60.0])
def test_a_run_begins_there_and_one_that_goes_on_with_a_model_keeps_its_head(tmp_path, mean_s):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 32, "num_conv_pos_embeddings": 16}
    options = {f"model.{name}": size for name, size in sizes.items()} | {
        "model.conv_dim": [16] * 7,
        "model.num_conv_pos_embedding_groups": 4,
        "teacher.codebook_sizes": [4, 4],
        "teacher.fit_s": 2,
        "cqt.bins": 24,
        "cqt.compression": "log",
        "data.crop_s": 1,
        "data.synthetic_pieces": 4,
        "data.workers": 0,
        "training.max_steps": 0,
        "validation.share": 0,
        "cqt.mean_s": mean_s,
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value).replace(" ", ""))]
    run = tmp_path / "run"
    main(["pretrain", "--recipe", "mert_small", *arguments, "--output_dir", str(run)])
    bias = MERTForPreTraining.from_pretrained(run / "model").cqt_head.bias.detach()
    kept = run / "teacher" / MEAN
    assert kept.exists() == (mean_s > 0)
    if mean_s == 0:
        assert bias.min() < 0  # as it is drawn
        return
    assert bias.tolist() == json.loads(kept.read_text())["mean"] and bias.min() >= 0 and bias.max() > 0.05
    on = ["--init.model", str(run / "model"), "--output_dir", str(tmp_path / "on")]
    main(["pretrain", "--recipe", "mert_small", *arguments, *on, "--cqt.mean_s", "1"])
    assert torch.equal(MERTForPreTraining.from_pretrained(tmp_path / "on" / "model").cqt_head.bias, bias)
    assert not (tmp_path / "on" / "teacher" / MEAN).exists()
