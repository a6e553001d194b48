"""Windows of long audio: every frame once, in its place, whatever the lengths."""

import numpy as np
import pytest
import torch
from support.sounds import make_tones
from transformers import pipeline

from mert_hf import MERTConfig, MERTFeatureExtractor, MERTModel
from mert_hf.models.windows_mert import FrameGrid, Window, join_windows, plan_windows

GRID = FrameGrid(24000, 320, 400)


def test_the_grid_of_the_convolutions_counts_frames_as_the_model_does(tiny_config):
    model = MERTModel(tiny_config)
    grid = FrameGrid.of_convolutions(tiny_config.conv_kernel, tiny_config.conv_stride, 24000)
    assert grid == GRID
    for num_samples in (0, 399, 400, 719, 720, 24000, 120000, 122880, 1_000_001):
        assert grid.count_frames(num_samples) == model.count_frames(num_samples)


@pytest.mark.parametrize("overlap_s", [0.0, 0.5, 1.0, 1.9])
@pytest.mark.parametrize("num_samples", [48000, 48001, 48320, 50000, 95999, 100_003, 777_777])
def test_the_kept_frames_are_those_of_the_whole_clip_each_once(num_samples, overlap_s):
    windows = plan_windows(num_samples, GRID, window_s=2.0, overlap_s=overlap_s)
    kept = []
    for window in windows:
        assert window.start % 320 == 0
        assert window.stop - window.start <= 48000
        # a frame's number is the place of its first sample on the grid
        frames = np.arange(GRID.count_frames(window.stop - window.start)) + window.start // 320
        kept.append(window.keep(torch.from_numpy(frames)[:, None]))
    assert windows[-1].stop == num_samples
    np.testing.assert_array_equal(join_windows(kept).squeeze(1), np.arange(GRID.count_frames(num_samples)))
    assert len(windows) == 1 or all(window.stop - window.start > 48000 - 320 for window in windows)


def test_half_of_each_overlap_is_thrown_away():
    first, second, _ = plan_windows(80000, GRID, window_s=2.0, overlap_s=1.0)
    assert (first.start, first.stop, second.start) == (0, 48000, 24000)
    # frames 75 to 148 are in both; 75 + 74 // 2 = 112 is the first that the second window gives
    assert (first.end_frame, second.first_frame, second.skipped_frames) == (112, 112, 37)


def test_up_to_the_window_a_clip_passes_whole_and_none_means_always():
    whole = [Window(0, 720_000, 0, 2249, 0)]
    assert plan_windows(720_000, GRID) == whole
    assert len(plan_windows(720_001, GRID)) == 2
    assert len(plan_windows(72_000_000, GRID, window_s=None)) == 1


@pytest.mark.parametrize(
    ("window_s", "overlap_s", "message"),
    [
        (0.01, 0.0, r"window_s=0.01 must be a number of seconds, at least 0.0167 \(one frame\), None"),
        (float("nan"), 0.0, "window_s=nan"),
        (2.0, 2.0, "overlap_s=2.0 must lie between 0 and window_s less one frame"),
        (2.0, -1.0, "overlap_s=-1.0"),
    ],
)
def test_windows_that_cannot_be(window_s, overlap_s, message):
    with pytest.raises(ValueError, match=message):
        plan_windows(100_000, GRID, window_s, overlap_s)


@pytest.fixture
def folder(tiny_config, tmp_path):
    torch.manual_seed(0)
    MERTModel(tiny_config).save_pretrained(tmp_path)
    MERTFeatureExtractor().save_pretrained(tmp_path)
    return str(tmp_path)


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_pipeline_joins_what_the_model_gives_window_by_window(folder, batch_size):
    clips = [make_tones(seconds, 24000, seed=number) for number, seconds in enumerate((5.3, 0.7, 2.0))]
    extract = pipeline("feature-extraction", model=folder, window_s=2.0, overlap_s=1.0)
    model = MERTModel.from_pretrained(folder).eval()
    found = extract(clips, return_tensors=True, output_hidden_states=True, batch_size=batch_size)
    for clip, features in zip(clips, found, strict=True):
        expected = torch.full((1, 3, model.count_frames(len(clip)), 32), torch.nan)
        # written anew, frame by frame: each from the window in whose middle it lies
        starts = [*range(0, max(len(clip) - 48000, 0), 24000)]
        starts.append(-(-max(len(clip) - 48000, 0) // 320) * 320)
        for number, start in enumerate(starts):
            piece = torch.from_numpy(clip[start : start + 48000])[None]
            states = torch.stack(model(piece, output_hidden_states=True).hidden_states, 1)
            first = start // 320
            if number:
                first = (first + starts[number - 1] // 320 + 149) // 2
            expected[:, :, first : start // 320 + states.shape[2]] = states[:, :, first - start // 320 :]
        torch.testing.assert_close(features, expected, atol=2e-5, rtol=1e-5)


def test_without_windows_the_pipeline_is_the_official_behaviour(folder):
    clip = make_tones(3.0, 24000)
    extract = pipeline("feature-extraction", model=folder)
    whole = MERTModel.from_pretrained(folder).eval()(torch.from_numpy(clip)[None]).last_hidden_state
    torch.testing.assert_close(extract(clip, return_tensors=True, window_s=None), whole)
    torch.testing.assert_close(extract(clip, return_tensors=True), whole)  # 30 s by default
    windowed = extract(clip, return_tensors=True, window_s=2.0, overlap_s=1.0)
    assert windowed.shape == whole.shape
    assert float((windowed - whole.detach()).abs().max()) > 1e-3


def test_a_local_model_does_not_notice_the_windows(tiny_config):
    """Without what spans a whole clip (attention, normalisation over time) joined windows equal the whole, frame by frame."""
    torch.manual_seed(0)
    config = MERTConfig(**{**tiny_config.to_dict(), "feat_extract_norm": "layer", "num_hidden_layers": 1})
    model = MERTModel(config).eval()
    torch.nn.init.zeros_(model.encoder.layers[0].attention.out_proj.weight)
    clip = torch.from_numpy(make_tones(7.3, 24000))[None]
    with torch.no_grad():
        whole = model(clip).last_hidden_state
        windows = plan_windows(clip.shape[1], GRID, window_s=2.0, overlap_s=1.0)
        joined = join_windows([w.keep(model(clip[:, w.start : w.stop]).last_hidden_state) for w in windows])
    torch.testing.assert_close(joined, whole, atol=1e-5, rtol=1e-5)


def test_a_fault_far_behind_the_first_window_is_named_by_its_place(folder):
    clip = make_tones(5.0, 24000)
    clip[100_000] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity .first at sample 100000"):
        pipeline("feature-extraction", model=folder, window_s=2.0, overlap_s=0.5)(clip)
