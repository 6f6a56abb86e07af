"""Read exact frames of a video file with PyAV, and turn them into a clip (Chapters 1 and 7).

A clip of T frames, τ frames apart, is written T×τ: MViT-B 16×4 sees 16 frames spread over 64, which
is about two seconds of a 30 fps video.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mvit_edu.data.packets import VideoError
from mvit_edu.data.reader import Video, VideoInfo

__all__ = [
    "MEAN",
    "STD",
    "Video",
    "VideoError",
    "VideoInfo",
    "clip_indices",
    "clip_to_frames",
    "example_clip",
    "load_clip",
    "open_video",
    "read_frames",
    "video_info",
]

MEAN = 0.45  # of every color channel, for pixel values in [0, 1]
STD = 0.225
MARGIN = 256 / 224  # the paper resizes the short side to 256 and crops 224 out of it


def example_clip() -> Path:
    """The path of the book's running example: a camera moving over a cup of coffee, 108 frames at 30 fps.

    The photograph is in the public domain (CC0, Rachel Michetti); see `media/README.md`.
    """
    return Path(__file__).parent / "media" / "coffee.mp4"


def video_info(path: str | Path) -> VideoInfo:
    """Number of frames, rate, size, duration and key frames of a video file.

    The frames are counted from the packets in the file, not read from a header; one frame is decoded, because
    it alone tells the rotation.

    Raises:
        VideoError: if the file is missing, empty, not a video, or has no video stream.
    """
    with Video(path) as video:
        return video.info


def read_frames(
    path: str | Path,
    indices: Iterable[int] | None = None,
    *,
    times: Iterable[float] | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Exactly the frames asked for, by number or by time.

    Args:
        indices: frame numbers, counted from 0 in the order in which the video shows them.
        times: instead of `indices`, seconds after the first frame; each gives the frame on screen at that time.
            Numbers and times may repeat and need not be sorted.
        threads: decoder threads. One is right in the workers of a `DataLoader`, which are many already; 0 lets
            FFmpeg choose, which helps with pictures much larger than the 340x256 used here.

    Returns:
        uint8 RGB array (T, H, W, 3), T = len(indices), in the order of `indices`.

    Raises:
        VideoError: if the file is missing, damaged, not a video, has no video stream, or has no such frame.
        TypeError, ValueError: if `indices` or `times` are no possible values.
    """
    with Video(path, threads=threads) as video:
        return video.read(indices, times=times)


def open_video(path: str | Path, threads: int = 1) -> Video:
    """An open video, for a `with` statement: what it holds, and its frames by number or time. See `Video`."""
    return Video(path, threads=threads)


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
    with Video(path) as video:
        pixels = video.read(clip_indices(video.frames, frames, stride, start))  # (T, H, W, 3)
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
