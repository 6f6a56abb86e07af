"""Small made videos. Every frame carries its number as bars, and a mark in its top left corner."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.data.painted import turn

BITS = 7


def painted(index: int, height: int, width: int) -> np.ndarray:
    """A frame whose columns spell `index` in black and white, with a red block at the top left."""
    frame = np.full((height, width, 3), 128, dtype=np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for bit in range(BITS):
        frame[height // 4 :, edges[bit] : edges[bit + 1]] = 235 if index >> bit & 1 else 20
    frame[: height // 4, : width // 4] = (220, 20, 20)
    return frame


def number_in(frame: np.ndarray) -> int:
    """The number that `painted` wrote, from a frame of any size (H, W, 3), standing upright."""
    height, width = frame.shape[:2]
    edges = np.linspace(0, width, BITS + 1)
    row = frame[height // 2 : height * 7 // 8].mean(axis=(0, 2))  # (W,)
    centers = [int((edges[bit] + edges[bit + 1]) / 2) for bit in range(BITS)]
    return sum(int(row[center] > 128) << bit for bit, center in enumerate(centers))


def make_video(
    path: Path,
    count: int = 40,
    size: tuple[int, int] = (96, 64),  # width, height
    fps: int = 25,
    key_frames: int = 250,
    codec: str = "libx264",
    times: list[int] | None = None,  # in ticks of 1/1000 s, for a variable frame rate
    rotation: int = 0,
    aspect: Fraction | None = None,
    audio: bool = False,
    first: int = 0,  # the number that the first frame carries
    pix_fmt: str = "yuv420p",
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    base = Fraction(1, 1000) if times else Fraction(1, fps)
    options = {"g": str(key_frames), "preset": "ultrafast", "bf": "2"} if codec == "libx264" else {"g": str(key_frames)}
    if codec == "libvpx":
        options |= {"deadline": "realtime", "cpu-used": "8"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = base
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream("aac", rate=16000) if audio else None
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(painted(first + index, size[1], size[0]), format="rgb24")
            frame.pts, frame.time_base = times[index] if times else index, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound:
            for block in range(int(count / fps * 16000) // 1024):
                noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
                noise.sample_rate, noise.pts = 16000, block * 1024
                container.mux(sound.encode(noise))
            container.mux(sound.encode(None))
    if rotation:
        turn(path, rotation % 360)
    return path


def watch(path: Path) -> tuple[list[int], list[float], tuple[int, int]]:
    """Numbers and times in seconds of all frames as shown, and the size (width, height)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        numbers = [number_in(frame.to_ndarray(format="rgb24")) for frame in frames]
        return numbers, [frame.time for frame in frames], (frames[0].width, frames[0].height)


def key_frames(path: Path) -> list[int]:
    """Which frames of a file, as shown, are key frames."""
    with av.open(str(path)) as container:
        return [i for i, frame in enumerate(container.decode(container.streams.video[0])) if frame.key_frame]
