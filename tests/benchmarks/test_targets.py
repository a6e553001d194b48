"""The references of the benchmark of targets are the same numbers as the package's."""

import torch
from benchmarks.benchmark_targets import exact_constant_q, expanded_code_loss
from support.small_runs import MODEL
from support.sounds import make_tones

from mert_hf import MERTConfig
from mert_hf.models.code_head_mert import MERTCodeHead
from mert_hf.teachers import CQTTeacher


def test_the_expanded_code_loss_is_the_heads():
    torch.manual_seed(0)
    head = MERTCodeHead(MERTConfig(**{**MODEL, "codebook_sizes": [16, 16]}))
    frames, labels = torch.randn(20, 32), torch.randint(0, 16, (20, 2))
    losses = head.loss(frames, labels)[0], expanded_code_loss(frames, labels, head)
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    gradients = [torch.autograd.grad(loss, head.code_embeddings)[0] for loss in losses]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_the_exact_constant_q_is_the_teachers():
    numbers = {"bins": 24, "bins_per_octave": 12, "min_hz": 65.4}
    clips = torch.from_numpy(make_tones(1.0, 24000))[None]
    exact = exact_constant_q(clips, **numbers)
    assert (exact.shape, exact.dtype) == ((1, 76, 24), torch.float64)
    assert (CQTTeacher(**numbers)(clips).double() - exact).norm() < 1e-3 * exact.norm()
