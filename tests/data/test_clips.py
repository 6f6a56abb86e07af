"""From a file to a normalized clip, and back to pictures. Reading itself is in `test_reader.py`."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch

from mvit_edu.data import (
    clip_to_frames,
    example_clip,
    load_clip,
    read_frames,
    video_info,
)

BITS = 7
FRAMES = 50


def painted(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that carries its index: a row of black or white bars, one a bit."""
    bits = [(index >> bit) & 1 for bit in range(BITS)]
    bars = np.repeat(np.array(bits, dtype=np.uint8) * 255, width // BITS)
    row = np.pad(bars, (0, width - len(bars)))
    return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def index_in(frame: np.ndarray) -> int:
    step = frame.shape[1] // BITS
    return sum(int(frame[:, bit * step + step // 2].mean() > 127) << bit for bit in range(BITS))


def write_video(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(painted(index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("videos") / "painted.mp4")


def test_clip_sits_in_the_middle(video):
    frames = clip_to_frames(load_clip(video, frames=8, stride=4, size=(42, 56)))
    assert [index_in(frame) for frame in frames] == list(range(10, 42, 4))  # 10 before, 10 after


@pytest.mark.parametrize(
    ("frames", "stride", "start", "indices"),
    [
        (4, 5, 0, [0, 5, 10, 15]),
        (4, 5, 40, [40, 45, 49, 49]),
        (3, 100, None, [0, 49, 49]),
        (1, 4, None, [24]),
    ],
)
def test_clip_frames(video, frames, stride, start, indices):
    clip = load_clip(video, frames=frames, stride=stride, size=(42, 56), start=start)
    assert [index_in(frame) for frame in clip_to_frames(clip)] == indices


def test_clip_shape_and_values(video):
    clip = load_clip(video, frames=2, stride=3, size=32, start=0)
    assert clip.shape == (1, 3, 2, 32, 32) and clip.dtype == torch.float32 and clip.is_contiguous()
    assert abs(clip.min() - (0 - 0.45) / 0.225) < 0.1  # black
    assert abs(clip.max() - (1 - 0.45) / 0.225) < 0.4  # white, a little dimmed by the codec and the resizing
    assert load_clip(video, frames=2, stride=3, size=224).shape == (
        1,
        3,
        2,
        224,
        224,
    )  # larger than the video


def test_clip_of_the_example_is_its_center():
    """The example is 256 high, so a crop of 224 is cut out of it without resizing."""
    path = example_clip()
    clip = load_clip(path, frames=16, stride=4)
    assert clip.shape == (1, 3, 16, 224, 224)
    expected = read_frames(path, range(23, 87, 4))[:, 16:240, 48:272]
    assert np.array_equal(clip_to_frames(clip), expected)


def test_bad_clip_arguments(video):
    with pytest.raises(ValueError, match="at least 1"):
        load_clip(video, stride=0)
    with pytest.raises(ValueError, match="start=50 is outside the video, which has frames 0 to 49"):
        load_clip(video, start=50)
    with pytest.raises(ValueError, match=r"got \(4, 2, 8, 8\)"):
        clip_to_frames(torch.zeros(4, 2, 8, 8))


def test_example_clip():
    info = video_info(example_clip())
    assert (info.frames, info.fps, info.height, info.width) == (108, 30.0, 256, 320)
    assert example_clip().stat().st_size < 250_000
    first, last = read_frames(example_clip(), [0, 107]).astype(int)
    assert abs(first - last).mean() > 10, "the camera should move"
