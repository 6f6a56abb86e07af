"""Videos as tensors. Imports torch, torchvision and PyAV, and nothing of the model."""

from mvit_edu.data.clips import (
    MEAN,
    STD,
    VideoError,
    VideoInfo,
    clip_indices,
    clip_to_frames,
    example_clip,
    load_clip,
    read_frames,
    video_info,
)

__all__ = [
    "MEAN",
    "STD",
    "VideoError",
    "VideoInfo",
    "clip_indices",
    "clip_to_frames",
    "example_clip",
    "load_clip",
    "read_frames",
    "video_info",
]
