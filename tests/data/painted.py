"""Videos made for the tests. Every frame carries its own number, painted as black and white squares."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 12
SQUARE = 16


def painted(number: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A picture (height, width, 3) with `number` in its upper left corner: 3 rows of 4 squares, lowest bit first."""
    ramp = np.add.outer(np.arange(height) * 2 + number * 3, np.arange(width)) % 256
    picture = np.stack([ramp, ramp[::-1], 255 - ramp], axis=-1).astype(np.uint8)
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        color = 235 if number >> bit & 1 else 20
        picture[row * SQUARE : (row + 1) * SQUARE, column * SQUARE : (column + 1) * SQUARE] = color
    return picture


def number_in(picture: np.ndarray) -> int:
    """The number painted into a picture, read from the middle of each square."""
    number = 0
    for bit in range(BITS):
        row, column = divmod(bit, 4)
        middle = picture[row * SQUARE + 4 : (row + 1) * SQUARE - 4, column * SQUARE + 4 : (column + 1) * SQUARE - 4]
        number |= int(middle.mean() > 128) << bit
    return number


def write_video(
    path: Path,
    frames: int = 60,
    codec: str = "libx264",
    height: int = 64,
    width: int = 96,
    rate: int = 30,
    key_frame_every: int = 12,
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode the pictures `painted(0)`, `painted(1)` ...; `times` are their times in ticks of 1/rate seconds."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.gop_size = key_frame_every
        stream.codec_context.time_base = Fraction(1, rate)
        stream.options = options or {}
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(painted(number, height, width), format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if rotation:
        turn(path, rotation)
    return path


def turn(path: Path, rotation: int) -> None:
    """Let an MP4 ask to be shown turned by 90, 180 or 270 degrees counterclockwise, as telephones do."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation]
    one = 1 << 16
    matrix = struct.pack(">9i", cos * one, -sin * one, 0, sin * one, cos * one, 0, 0, 0, 1 << 30)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    data[place : place + len(matrix)] = matrix
    path.write_bytes(data)


def all_frames(path: Path) -> np.ndarray:
    """Every frame of a file, decoded by PyAV from its start: (frames, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
