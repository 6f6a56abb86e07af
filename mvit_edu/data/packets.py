"""What a video file holds, packet by packet: the table from which `Video` reads exact frames (Chapter 7).

A file holds compressed packets. A key frame is stored whole; every other frame is stored as a change to other
frames, so it can only be decoded after the key frame before it. To list the packets is cheap and decodes nothing;
the list tells when each frame is shown and where decoding has to begin.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LARGEST_PICTURE = 2**26  # pixels; a damaged header can ask for gigabytes


class VideoError(RuntimeError):
    """A video file that cannot be used. The message names the file and the cause."""


@dataclass(frozen=True)
class PacketIndex:
    """The packets of a video stream, in the order in which they are decoded, and the frames they make."""

    pts: list[int | None]  # of every packet: when its frame is shown, in ticks
    dts: list[int | None]  # of every packet: when it has to be decoded, in ticks
    place: dict[int, int]  # pts of a packet -> its place in decoding order; empty where times are not to be trusted
    key: np.ndarray  # (packets,) bool: decoding can start here
    shown: np.ndarray  # (frames,) the packet of every frame, in the order in which they are shown
    ordered: bool  # every packet has its own time; otherwise frames have to be counted
    tick: Fraction  # seconds
    times: np.ndarray  # (frames,) float64: seconds after the first frame
    seconds: float


def index_of(path: Path, packets: Iterable[av.Packet], stream: av.video.stream.VideoStream) -> PacketIndex:
    """List all packets of a video stream; nothing is decoded."""
    pts, dts, key, shown, durations = [], [], [], [], []
    hides_frames = stream.codec_context.name == "vp8"  # a VP8 frame says in its header whether it is shown
    joined = stream.container.format.name == "mpegts"  # made to be cut and joined, which is no damage
    for packet in packets:
        if packet.is_corrupt and not joined:
            raise VideoError(f"{path}: the file ends early or is damaged (after {len(pts)} frames); get it again.")
        pts.append(packet.pts)
        dts.append(packet.dts)
        key.append(packet.is_keyframe)
        shown.append(not packet.is_discard and not (hides_frames and not bytes(packet)[0] & 0x10))
        durations.append(packet.duration or 0)
    if not any(shown):
        raise VideoError(f"{path}: the video stream holds no frames.")
    if not any(key):
        raise VideoError(f"{path}: the video stream holds no key frame, so nothing of it can be decoded.")
    rate = stream.average_rate or stream.guessed_rate
    order = np.flatnonzero(shown)  # (frames,) their packets
    invented = stream.container.format.name == "avi" and stream.codec_context.name in ("h264", "hevc")
    ordered = not invented and None not in pts and len(set(pts)) == len(pts)  # an AVI stores no times
    if ordered:
        order = order[np.argsort([pts[place] for place in order], kind="stable")]
        start = pts[order[0]]
        ticks = np.array([pts[place] - start for place in order], dtype=np.float64)  # (frames,)
        times = ticks * float(stream.time_base)
        step = durations[order[-1]] * float(stream.time_base) or (1 / float(rate) if rate else 0.0)
        if len(times) > 1 and not 0 < step < 10 * np.median(np.diff(times)):
            step = float(np.median(np.diff(times)))
    elif rate:
        step = 1 / float(rate)
        times = np.arange(len(order)) * step
    else:
        raise VideoError(f"{path}: the video stream says neither when its frames are shown nor how many per second.")
    place = {time: number for number, time in enumerate(pts)} if ordered else {}
    return PacketIndex(
        pts, dts, place, np.array(key), order, ordered, stream.time_base, times, float(times[-1] + (step or 1))
    )


def runs_to_decode(index: PacketIndex, wanted: list[int]) -> list[tuple[int, int]]:
    """The stretches of packets, first and last, from a key frame to the last frame wanted after it (Chapter 7)."""
    keys = np.flatnonzero(index.key)
    stretches: dict[int, int] = {}
    for number in wanted:
        place = int(index.shown[number])
        before = keys[: np.searchsorted(keys, place, side="right")]
        # A frame shown before its key frame but stored after it refers to the key frame before that one.
        while len(before) and index.pts[before[-1]] > index.pts[place]:
            before = before[:-1]
        first = int(before[-1]) if len(before) else 0
        stretches[first] = max(stretches.get(first, 0), place)
    runs: list[tuple[int, int]] = []
    for first, last in sorted(stretches.items()):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    return runs


def video_packets(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Iterator[av.Packet]:
    return (packet for packet in container.demux(stream) if packet.size)


def opened(path: Path) -> tuple[av.container.InputContainer, av.video.stream.VideoStream]:
    """The opened file and its first video stream."""
    if path.is_dir():
        raise VideoError(f"{path}: this is a directory, not a video file.")
    if not path.exists():
        raise VideoError(f"{path}: there is no such file.")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); was the download cut off?")
    container = av.open(str(path), metadata_errors="ignore")
    try:
        if not container.streams.video:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise VideoError(f"{path}: the file has no video stream (it holds: {kinds}).")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{path}: this build of FFmpeg has no decoder for the video stream.")
        if context.width * context.height > LARGEST_PICTURE:
            raise VideoError(f"{path}: pictures of {context.width}x{context.height} pixels are too large.")
    except BaseException:
        container.close()
        raise
    return container, stream


@contextmanager
def as_video_error(path: Path) -> Iterator[None]:
    """Whatever FFmpeg objects to becomes a VideoError."""
    try:
        yield
    except av.error.FFmpegError as error:
        hint = "; its index is missing, so it was cut off or is no MP4" if _lacks_index(path) else ""
        raise VideoError(f"{path}: the file cannot be read as a video ({error.strerror}{hint}).") from error
    except (ValueError, OverflowError, MemoryError) as error:
        raise VideoError(f"{path}: the file cannot be decoded ({error}).") from error


def _lacks_index(path: Path) -> bool:
    """Whether a file that begins like an MP4 has no `moov` box, which lists its frames."""
    boxes = set()
    try:
        with path.open("rb") as file:
            while len(header := file.read(8)) == 8 and len(boxes) < 100:
                size = int.from_bytes(header[:4], "big")
                boxes.add(header[4:])
                if size == 1:  # the size follows in 8 more bytes
                    size = int.from_bytes(file.read(8), "big") - 8
                if size < 8:  # 0: to the end of the file
                    break
                file.seek(size - 8, os.SEEK_CUR)
    except OSError:
        return False
    return b"ftyp" in boxes and b"moov" not in boxes
