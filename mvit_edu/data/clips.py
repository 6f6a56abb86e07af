"""Read exact frames of a video file with PyAV, and turn them into a clip (Chapter 1).

A clip of T frames, τ frames apart, is written T×τ: MViT-B 16×4 sees 16 frames spread over 64, which
is about two seconds of a 30 fps video.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

MEAN = 0.45  # of every color channel, for pixel values in [0, 1]
STD = 0.225
MARGIN = 256 / 224  # the paper resizes the short side to 256 and crops 224 out of it


class VideoError(RuntimeError):
    """A video file that cannot be used. The message names the file and the cause."""


@dataclass(frozen=True)
class VideoInfo:
    """What `video_info` found: the number of frames, frames per second, and the size in pixels."""

    frames: int
    fps: float
    height: int
    width: int

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def example_clip() -> Path:
    """The path of the book's running example: a camera moving over a cup of coffee, 108 frames at 30 fps.

    The photograph is in the public domain (CC0, Rachel Michetti); see `media/README.md`.
    """
    return Path(__file__).parent / "media" / "coffee.mp4"


def video_info(path: str | Path) -> VideoInfo:
    """Frames, fps, height, width and seconds of the first video stream of a file.

    The frames are counted from the packets in the file, not read from a header, and nothing is decoded.

    Raises:
        VideoError: if the file is missing, empty, not a video, or has no video stream.
    """
    with _open(path) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        if not rate:
            raise VideoError(f"{path}: the video stream does not say how many frames it shows per second.")
        frames = sum(1 for packet in container.demux(stream) if packet.size and not packet.is_discard)
        return VideoInfo(frames, float(rate), stream.codec_context.height, stream.codec_context.width)


def read_frames(path: str | Path, indices: Iterable[int]) -> np.ndarray:
    """Exactly the frames asked for, counted from 0 in the order in which the video shows them.

    The file is decoded from its start up to the largest index. That is exact for every codec; it is
    also slow at the end of a long video, where seeking to a key frame first would help.

    Args:
        indices: frame numbers. They may repeat and need not be sorted.

    Returns:
        uint8 RGB array (T, H, W, 3), T = len(indices), in the order of `indices`.

    Raises:
        VideoError: if the file is missing, empty, not a video, has no video stream, or has no such frame.
    """
    indices = _checked_indices(indices)
    wanted = set(indices)
    last = max(indices)
    found: dict[int, np.ndarray] = {}
    count = 0
    with _open(path) as (container, stream):
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            if count in wanted:
                found[count] = frame.to_ndarray(format="rgb24")  # (H, W, 3)
            count += 1
            if count > last:
                break
    if count <= last:
        raise VideoError(f"{path}: there is no frame {last}; the video has {count} frames, counted from 0.")
    return np.stack([found[index] for index in indices])  # (T, H, W, 3)


def clip_indices(length: int, frames: int = 16, stride: int = 4, start: int | None = None) -> list[int]:
    """Which frames of a video make a T×τ clip.

    Args:
        length: frames in the video.
        frames: T, the number of frames in the clip.
        stride: τ, the step from one frame to the next.
        start: index of the first frame; None puts the clip in the middle of the video. Where the video ends
            before the clip does, its last frame is repeated.
    """
    if min(length, frames, stride) < 1:
        raise ValueError(f"length={length}, frames={frames} and stride={stride} must all be at least 1.")
    if start is None:
        start = max(0, (length - (frames - 1) * stride - 1) // 2)
    if not 0 <= start < length:
        raise ValueError(f"start={start} is outside the video, which has frames 0 to {length - 1}.")
    return [min(start + stride * t, length - 1) for t in range(frames)]


def load_clip(
    path: str | Path,
    frames: int = 16,
    stride: int = 4,
    size: int | tuple[int, int] = 224,
    start: int | None = None,
) -> torch.Tensor:
    """One clip of a video, ready for the model: read, resized, cropped in the center, normalized.

    The frames are resized so that the crop fits with a margin of 256/224 (for `size=224` the short side
    becomes 256, as in the paper's single-crop test), and the center is cut out.

    Args:
        frames, stride, start: T, τ and the first frame, as in `clip_indices`; they count frames of the file.
        size: height and width of the crop in pixels, or (H, W).

    Returns:
        float32 tensor (1, 3, T, H, W): pixel values in [0, 1], minus 0.45, divided by 0.225.

    Raises:
        VideoError: as in `read_frames`.
        ValueError: if `frames`, `stride`, `size` or `start` is not a possible value.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ValueError(f"size={size} must be at least 1.")
    pixels = read_frames(path, clip_indices(video_info(path).frames, frames, stride, start))
    clip = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255  # (T, 3, H, W)
    scale = MARGIN * max(height / clip.shape[-2], width / clip.shape[-1])
    resized = [max(height, round(clip.shape[-2] * scale)), max(width, round(clip.shape[-1] * scale))]
    clip = F.resize(clip, resized, interpolation=InterpolationMode.BILINEAR, antialias=True)
    clip = F.center_crop(clip, [height, width])  # (T, 3, height, width)
    clip = (clip - MEAN) / STD
    return clip.transpose(0, 1).unsqueeze(0).contiguous()  # (1, 3, T, height, width)


def clip_to_frames(clip: torch.Tensor) -> np.ndarray:
    """Pictures of a clip: undo the normalization of `load_clip`.

    Args:
        clip: (3, T, H, W), or (1, 3, T, H, W).

    Returns:
        uint8 RGB array (T, H, W, 3).
    """
    if clip.ndim == 5 and clip.shape[0] == 1:
        clip = clip[0]  # (3, T, H, W)
    if clip.ndim != 4 or clip.shape[0] != 3:
        raise ValueError(f"A clip has shape (3, T, H, W) or (1, 3, T, H, W), got {tuple(clip.shape)}.")
    pixels = (clip.detach().float().cpu() * STD + MEAN) * 255
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0).numpy()  # (T, H, W, 3)


def _checked_indices(indices: Iterable[int]) -> list[int]:
    try:
        checked = [operator.index(index) for index in indices]
    except TypeError as error:
        raise TypeError(f"indices must be whole numbers, such as [0, 4, 8], got {indices!r}.") from error
    if not checked:
        raise ValueError("indices is empty: ask for at least one frame.")
    if min(checked) < 0:
        raise ValueError(f"Frames are counted from 0; got index {min(checked)}.")
    return checked


@contextmanager
def _open(path: str | Path) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The opened file and its first video stream; whatever goes wrong inside becomes a VideoError."""
    file = Path(path)
    if not file.is_file():
        raise VideoError(f"{path}: there is no such file.")
    if file.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); was the download cut off?")
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
                raise VideoError(f"{path}: the file has no video stream (it holds: {kinds}).")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise VideoError(f"{path}: this build of FFmpeg has no decoder for the video stream.")
            yield container, stream
    except av.error.FFmpegError as error:
        raise VideoError(f"{path}: the file cannot be read as a video ({error.strerror}).") from error
