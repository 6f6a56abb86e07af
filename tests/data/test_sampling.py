"""The samplers against the rules of the released code, written out here by hand."""

from __future__ import annotations

import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mvit_edu.data import VideoInfo
from mvit_edu.data.sampling import ClipSpec


def footage(frames, fps=30.0):
    return SimpleNamespace(frames=frames, fps=fps, seconds=frames / fps)


def numbers(times, fps=30.0):
    """Frames on screen at these times, at a constant rate."""
    return np.floor(np.asarray(times) * fps + 1e-3).astype(int).tolist()


def window(frames_in_video, T, tau, fps, start):
    """T frames evenly from `start` to the end of a window of T·τ/30 seconds, cut down to whole frames."""
    span = T * tau / 30 * fps
    positions = torch.linspace(start, start + span - 1, T, dtype=torch.float64)
    return positions.add(1e-9).long().clamp(0, frames_in_video - 1).tolist()


def test_the_first_16x4_clip_has_steps_of_4_and_5():
    """The released code does not take every 4th frame: 16 frames over 64 are 4.2 apart."""
    spec = ClipSpec(16, 4)
    assert spec.step == pytest.approx(4.2)
    clip = numbers(spec.views(footage(300), count=5)[0])
    assert clip == [0, 4, 8, 12, 16, 21, 25, 29, 33, 37, 42, 46, 50, 54, 58, 63]
    assert ClipSpec(32, 3).step == pytest.approx(95 / 31)
    assert ClipSpec(16, 4, sampling="stride").step == 4


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 30000 / 1001, 30.0, 60.0])
@pytest.mark.parametrize(("T", "tau"), [(16, 4), (32, 3), (8, 8), (1, 4)])
def test_window_views_follow_the_released_rule(fps, T, tau):
    for frames in (300, 71, 20, 1):
        video = footage(frames, fps)
        room = max(0.0, frames - T * tau / 30 * fps)
        for count in (1, 2, 5, 10):
            views = ClipSpec(T, tau).views(video, count)
            assert views.shape == (count, T) and views.dtype == np.float64
            for view in range(count):
                start = math.floor(room / 2) if count == 1 else view * math.floor(room / (count - 1))
                assert numbers(views[view], fps) == window(frames, T, tau, fps, start)


def test_five_views_of_ten_seconds():
    views = ClipSpec(16, 4).views(footage(300), 5)
    assert [numbers(view)[0] for view in views] == [0, 59, 118, 177, 236]
    assert numbers(views[-1])[-1] == 299, "the last view ends with the video"


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0])
def test_random_windows_fill_the_room(fps):
    """The clip always lasts T·τ/30 seconds, begins anywhere, and never leaves the video."""
    video = footage(round(10 * fps), fps)
    generator = torch.Generator().manual_seed(0)
    clips = np.stack([ClipSpec(16, 4).random(video, generator) for _ in range(2000)])
    room = 10 - 64 / 30
    assert clips.min() >= 0 and clips.max() < 10
    assert clips[:, 0].max() > 0.98 * room and clips[:, 0].min() < 0.02 * room
    assert abs(clips[:, 0].mean() - room / 2) < 0.05 * room + 1 / fps
    assert np.abs(clips[:, -1] - clips[:, 0] - (64 / 30 - 1 / fps)).max() <= 1.001 / fps
    starts = np.bincount((clips[:, 0] / room * 10).astype(int).clip(0, 9), minlength=10)
    assert ((starts - 200) ** 2 / 200).sum() < 28, "starts are uniform (chi-square, 9 degrees of freedom)"


def test_window_starts_between_two_frames():
    """The start is a real number, as in the released code, so all the patterns of 4s and 5s occur."""
    generator = torch.Generator().manual_seed(0)
    patterns = {tuple(np.diff(numbers(ClipSpec().random(footage(300), generator)))) for _ in range(200)}
    assert len(patterns) == 5


def test_exact_stride():
    spec = ClipSpec(8, 6, sampling="stride")
    generator = torch.Generator().manual_seed(0)
    starts = set()
    for _ in range(500):
        clip = numbers(spec.random(footage(50), generator))
        assert np.diff(clip).tolist() == [6] * 7
        starts.add(clip[0])
    assert starts == set(range(0, 50 - 43 + 1)), "every start from which 43 frames are left"
    assert [numbers(view)[0] for view in spec.views(footage(100), 4)] == [0, 19, 38, 57]


def test_exact_stride_counts_at_30_whatever_the_rate_of_the_file():
    assert ClipSpec(4, 6, sampling="stride").views(footage(240, 24.0), 2)[0] == pytest.approx([0, 0.2, 0.4, 0.6])
    own = ClipSpec(4, 6, sampling="stride", fps=None)
    assert own.views(footage(240, 24.0), 2)[0] == pytest.approx([0, 0.25, 0.5, 0.75])


def test_a_short_video_repeats_its_last_frame():
    for sampling in ("window", "stride"):
        clip = numbers(ClipSpec(16, 4, sampling=sampling).random(footage(10)))
        assert clip[0] == 0 and clip[-1] == 9 and clip == sorted(clip)
    assert numbers(ClipSpec(4, 3).views(footage(1), 3)[2]) == [0, 0, 0, 0]


def test_centered_on_a_key_second():
    """AVA: the frames c - T·τ/2, then every τ-th, at 30 per second; kept inside the video."""
    spec = ClipSpec(8, 8, sampling="stride")
    assert numbers(spec.centered(footage(900), 10)) == list(range(300 - 32, 300 + 32, 8))
    assert numbers(spec.centered(footage(900), 0)) == [0, 0, 0, 0, 0, 8, 16, 24]
    assert numbers(spec.centered(footage(900), 30))[-4:] == [899] * 4
    with pytest.raises(ValueError, match="second=31 is outside the video, which lasts 30.000 s"):
        spec.centered(footage(900), 31)


def test_segments():
    """Something-Something-v2: a random frame of each segment for training, its middle for testing."""
    spec = ClipSpec(8, sampling="segments")
    for frames in (100, 37, 9, 8, 3, 1):
        segment = (frames - 1) / 8
        edges = [(round(segment * i), round(segment * (i + 1))) for i in range(8)]
        (middle,) = spec.views(footage(frames))
        assert numbers(middle) == [(low + high) // 2 for low, high in edges]
        generator = torch.Generator().manual_seed(0)
        clips = np.array([numbers(spec.random(footage(frames), generator)) for _ in range(300)])
        for i, (low, high) in enumerate(edges):
            assert set(clips[:, i]) == set(range(low, high + 1)), "both ends occur, and nothing outside"
    with pytest.raises(ValueError, match="one view of it; got count=2"):
        spec.views(footage(100), 2)


def test_randomness_comes_from_the_generator_or_from_torch():
    for sampling in ("window", "stride", "segments"):
        spec = ClipSpec(8, 2, sampling=sampling)
        first, second = (spec.random(footage(300), torch.Generator().manual_seed(3)) for _ in range(2))
        assert np.array_equal(first, second)
        torch.manual_seed(1)
        random.seed(0)
        third = spec.random(footage(300))
        torch.manual_seed(1)
        np.random.seed(5)
        assert np.array_equal(third, spec.random(footage(300)))
        assert not np.array_equal(third, first)


def test_info_of_a_file_is_enough():
    info = VideoInfo(
        frames=300, fps=30.0, height=2, width=2, seconds=10.0, constant_rate=True, key_frames=(0,), codec="", rotation=0
    )
    assert np.array_equal(ClipSpec().views(info, 5), ClipSpec().views(footage(300), 5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": 0}, "frames=0 and stride=4 must both be at least 1"),
        ({"stride": 0}, "stride=0"),
        ({"sampling": "dense"}, "sampling='dense' is unknown; use one of window, stride, segments"),
        ({"fps": 0.0}, "fps=0.0 must be a number above 0"),
        ({"fps": math.inf}, "fps=inf"),
    ],
)
def test_impossible_values(change, message):
    with pytest.raises(ValueError, match=message):
        ClipSpec(**change)
    with pytest.raises(ValueError, match="count=0"):
        ClipSpec().views(footage(10), 0)
