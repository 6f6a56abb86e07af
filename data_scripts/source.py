"""Read a video from start to end, or a piece of it: every frame once, in the order shown, with its time.

Training needs single frames and has `mvit_edu.data.read_frames`. This reads all frames of files that come from
anywhere, and finds out whether a file is whole.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

MIN_SHARE = 0.9  # a source of which less than this share can be decoded was cut off or is damaged


class SourceError(RuntimeError):
    """A file that cannot be turned into what was asked for. The message is the cause, without the path."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """The file and its first video stream, read by one thread; what FFmpeg cannot read becomes a SourceError."""
    if not path.is_file():
        raise SourceError("there is no such file.")
    if path.stat().st_size == 0:
        raise SourceError("the file is empty (0 bytes); the download was cut off.")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            streams = [s for s in container.streams.video if s.codec_context is not None]
            if not streams:
                raise SourceError("the file holds no video that can be decoded.")
            streams[0].codec_context.thread_count = 1
            yield container, streams[0]
    except av.error.FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EIO, errno.EROFS):
            raise OSError(error.errno, os.strerror(error.errno)) from error
        raise SourceError(f"it cannot be read as a video ({error.strerror}).") from error


def pictures(container, stream, start: float | None, end: float | None) -> Iterator[tuple[av.VideoFrame, int]]:
    """Decoded frames in the order shown, with the time of each in ticks of the stream, 0 for the first."""
    base = stream.time_base
    clock = Fraction(container.start_time or 0, av.time_base)  # where the container's second 0 lies
    first = None if start is None else math.floor((Fraction(start) + clock) / base + Fraction(1, 100))
    last = None if end is None else math.ceil((Fraction(end) + clock) / base - Fraction(1, 100))
    step = max(1, round(1 / (usual_rate(stream) * base)))
    held, offset, until = None, first, None
    for frame, tick in ticks(container, stream, first, step):
        if last is not None and tick >= last:
            until = last
            break
        until = tick + (frame.duration or step)
        if first is not None and tick <= first:
            held = frame  # on screen at `start`, unless a later one is
            continue
        if held is not None:
            yield held, 0
            held = None
        offset = tick if offset is None else offset
        yield frame, tick - offset
    if held is not None and until > first:
        yield held, 0
    require_enough(container, stream, first, last, until)


def ticks(container, stream, first: int | None, step: int) -> Iterator[tuple[av.VideoFrame, int]]:
    """Frames with strictly rising times; a packet that cannot be decoded is left out, and counted."""
    if first is not None and first > 0:
        container.seek(first, stream=stream)
        probe = next((frame for frame in decoded(container, stream, []) if frame.pts is not None), None)
        # Not every container can seek; then everything before the cut is decoded.
        container.seek(first if probe is not None and probe.pts <= first else 0, stream=stream)
    counts = [0, 0]  # packets, frames
    before = None
    for frame in decoded(container, stream, counts):
        tick = frame.pts
        if before is not None and (tick is None or tick <= before):
            tick = before + step
        before = tick = 0 if tick is None else tick
        yield frame, tick
    if counts[1] < MIN_SHARE * counts[0]:
        raise SourceError(f"only {counts[1]} of its {counts[0]} frames can be decoded; the file is damaged.")


def decoded(container, stream, counts: list[int]) -> Iterator[av.VideoFrame]:
    for packet in container.demux(stream):
        if counts:
            counts[0] += bool(packet.size and not packet.is_discard)
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        if counts:
            counts[1] += len(frames)
        yield from frames


def require_enough(container, stream, first: int | None, last: int | None, until: int | None) -> None:
    """Raise if the frames stop well before the file, or the cut, says that they do."""
    base = stream.time_base
    begin = stream.start_time or 0
    if stream.duration:
        announced = begin + stream.duration
    elif container.duration:
        announced = round(Fraction((container.start_time or 0) + container.duration, av.time_base) / base)
    else:
        announced = until or 0
    if until is None:
        raise SourceError("no frame of it can be decoded; the file is empty or damaged.")
    if first is not None and until <= first:
        raise SourceError(f"it ends at {float(until * base):.1f} s, before the cut begins.")
    begin = max(begin, first or begin)
    wanted = min(announced, last) if last is not None else announced
    if until - begin < MIN_SHARE * (wanted - begin):
        have, want = float((until - begin) * base), float((wanted - begin) * base)
        raise SourceError(f"only {have:.1f} s of {want:.1f} s can be read; the download was cut off or is damaged.")


def quarter_turns(frame: av.VideoFrame) -> int:
    """How often the picture must be turned left by 90 degrees to stand upright: 0 to 3."""
    return round(frame.rotation / 90) % 4


def usual_rate(stream) -> Fraction:
    """Frames per second as the file has it; 30 where it says nothing or something impossible."""
    rate = stream.average_rate or stream.guessed_rate
    return Fraction(rate).limit_denominator(1001) if rate and 1 <= rate <= 240 else Fraction(30)
