"""An open video file from which exact frames are read (Chapter 7)."""

from __future__ import annotations

import operator
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from mvit_edu.data.packets import (
    LARGEST_PICTURE,
    PacketIndex,
    VideoError,
    as_video_error,
    index_of,
    opened,
    runs_to_decode,
    video_packets,
)

SKIPS_PACKETS = {"h264", "hevc", "mpeg4"}  # FFmpeg's own decoders, which read `skip_frame` for every packet
ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}  # before, there was only one
SEEK_BEYOND = 64  # packets; to pass fewer by reading them is faster than to seek
CACHED_INDEXES = 512  # packet lists kept in memory
_INDEXES: OrderedDict[tuple[str, int, int], PacketIndex] = OrderedDict()  # by path, size and time of change


@dataclass(frozen=True)
class VideoInfo:
    """What `video_info` found out about the first video stream of a file.

    Attributes:
        frames: how many frames are shown (those cut off by an edit list do not count).
        fps: frames per second, on average where the rate varies.
        height, width: in pixels, after the rotation that the file asks for.
        seconds: from the first frame to the end of the last one.
        constant_rate: whether all frames are equally far apart, but for the rounding of the container.
        key_frames: the numbers of the frames at which decoding can start.
        codec: the name of the codec, such as "h264".
        rotation: degrees counterclockwise by which the stored picture is turned before it is shown.
    """

    frames: int
    fps: float
    height: int
    width: int
    seconds: float
    constant_rate: bool
    key_frames: tuple[int, ...]
    codec: str
    rotation: int

    @property
    def key_frame_distance(self) -> int:
        """The most frames from one key frame to the next, or to the end."""
        return int(np.diff([*self.key_frames, self.frames]).max())


class Video:
    """An open video file; use it in a `with` statement.

    Attributes:
        frames, fps, seconds: as in `VideoInfo`, known without decoding anything.
        times: float64 (frames,), when each frame is shown, in seconds after the first.
        key_frames: the numbers of the frames at which decoding can start.

    Raises:
        VideoError: as in `read_frames`.
    """

    def __init__(self, path: str | Path, threads: int = 1):
        if threads < 0:
            raise ValueError(f"threads={threads} must be 0 (FFmpeg's choice), 1 or more.")
        self.path = Path(path)
        self.threads = threads
        self._container: av.container.InputContainer | None = None
        self._at = 0  # the packet that comes next
        self._reformatter = VideoReformatter()
        try:
            with as_video_error(self.path):
                self._open()
                self._index = self._cached_index()
        except BaseException:
            self.close()
            raise
        self.times = self._index.times
        self.frames = len(self.times)
        self.seconds = self._index.seconds
        self.fps = self._average_rate()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @cached_property
    def key_frames(self) -> tuple[int, ...]:
        """The numbers of the frames at which decoding can start."""
        return tuple(np.flatnonzero(self._index.key[self._index.shown]).tolist())

    @cached_property
    def info(self) -> VideoInfo:
        """Everything known about the video. One frame is decoded for it."""
        with as_video_error(self.path):
            frame = next(self._decode(0, len(self._index.pts) - 1), None)
        if frame is None:
            raise VideoError(f"{self.path}: not one frame could be decoded; the file is damaged.")
        turn = 90 * _quarter_turns(frame)
        context = self._stream.codec_context
        height, width = context.height, context.width
        steps = np.diff(self.times)
        return VideoInfo(
            frames=self.frames,
            fps=self.fps,
            height=width if turn % 180 else height,
            width=height if turn % 180 else width,
            seconds=self.seconds,
            constant_rate=bool(len(steps) == 0 or np.ptp(steps) <= 2.01 * self._index.tick),
            key_frames=self.key_frames,
            codec=context.codec.canonical_name,
            rotation=turn,
        )

    def numbers(self, times: Iterable[float]) -> list[int]:
        """The number of the frame on screen at each time, in seconds after the first frame.

        Containers round times to their ticks (a millisecond in Matroska), so a frame counts as shown from one
        tick, and at most a millisecond, before its time on. The last frame is shown until `seconds`.
        """
        asked = np.asarray(list(times), dtype=np.float64)
        if asked.ndim != 1 or asked.size == 0 or not np.isfinite(asked).all() or asked.min() < 0:
            raise ValueError(f"times must be one or more numbers of seconds, 0 or later, got {asked.tolist()}.")
        slack = min(float(self._index.tick), 0.001) + 1e-9
        if asked.max() > self.seconds + slack:
            raise VideoError(f"{self.path}: there is no frame at {asked.max():.3f} s; it lasts {self.seconds:.3f} s.")
        return (np.searchsorted(self.times, asked + slack, side="right") - 1).clip(0).tolist()

    def read(self, indices: Iterable[int] | None = None, *, times: Iterable[float] | None = None) -> np.ndarray:
        """Exactly the frames asked for: uint8 RGB (T, H, W, 3). See `read_frames`."""
        if (indices is None) == (times is None):
            raise TypeError("Give the frames either by number or by time: indices=[0, 4, 8] or times=[0.0, 0.5].")
        numbers = _checked_indices(indices) if times is None else self.numbers(times)
        if max(numbers) >= self.frames:
            raise VideoError(
                f"{self.path}: there is no frame {max(numbers)}; the video has {self.frames} frames, counted from 0."
            )
        with as_video_error(self.path):
            wanted = sorted(set(numbers))
            found = self._frames_by_time(wanted) if self._index.ordered else {}
            if len(found) < len(wanted):  # no usable times, or the decoder could not start at that key frame
                found |= self._frames_by_counting(wanted)
        missing = [number for number in wanted if number not in found]
        if missing:
            raise VideoError(f"{self.path}: frame {missing[0]} could not be decoded; the file is damaged.")
        if len({pixels.shape for pixels in found.values()}) > 1:
            raise VideoError(f"{self.path}: the size of the picture changes within the video.")
        return np.stack([found[number] for number in numbers])  # (T, H, W, 3)

    def _frames_by_time(self, wanted: list[int]) -> dict[int, np.ndarray]:
        """Decode from the key frame before each wanted frame, and from nowhere else."""
        index = self._index
        number_at = {index.pts[index.shown[number]]: number for number in wanted}
        found = {}
        for first, last in runs_to_decode(index, wanted):
            for frame in self._decode(first, last, needed=number_at):
                number = number_at.get(frame.pts)
                if number is not None and not frame.is_corrupt:
                    found[number] = self._pixels(frame)
        return found

    def _frames_by_counting(self, wanted: list[int]) -> dict[int, np.ndarray]:
        """Decode from the start and count: right for every file, and slow at the end of a long one."""
        index = self._index
        number_at = {index.pts[place]: number for number, place in enumerate(index.shown)} if index.ordered else {}
        found = {}
        self._open()
        for count, frame in enumerate(self._decode(0, len(index.pts) - 1)):
            number = number_at.get(frame.pts) if index.ordered else count
            if number in wanted and not frame.is_corrupt:
                found[number] = self._pixels(frame)
                if len(found) == len(wanted):
                    break
        return found

    def _decode(self, first: int, last: int, needed: dict[int, int] | None = None) -> Iterator[av.VideoFrame]:
        """The frames of the packets `first` to `last`, in the order in which they are shown.

        Frames that no other frame refers to need not be decoded, unless their time is in `needed`.
        """
        if not 0 <= first - self._at <= SEEK_BEYOND:
            self._seek(first)
        context = self._stream.codec_context
        context.flush_buffers()
        for packet in self._packets(first, last):
            if needed is not None and context.name in SKIPS_PACKETS:
                context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            yield from context.decode(packet)
        context.skip_frame = "DEFAULT"
        yield from context.decode(None)  # those held back to be sorted by time

    def _packets(self, first: int, last: int) -> Iterator[av.Packet]:
        """The packets at the places `first` to `last` in decoding order; the file stands at `first` or before."""
        while self._at <= last:
            packet = next(self._demuxer, None)
            if packet is None:
                return
            self._at += 1
            if self._at > first:
                yield packet

    def _seek(self, place: int) -> None:
        """Move to a packet or to one before it.

        Containers disagree whether a seek goes by the time shown or by the time decoded. If neither leads to the
        packet or before it, the file is opened anew.
        """
        for target in (self._index.pts[place], self._index.dts[place]):
            if target is None:
                continue
            try:
                self._container.seek(target, stream=self._stream, backward=True)
                packets = video_packets(self._container, self._stream)
                packet = next(packets, None)
            except av.error.FFmpegError:
                continue
            at = self._index.place.get(packet.pts) if packet else None
            if at is not None and at <= place:
                self._at, self._demuxer = at, chain([packet], packets)
                return
        self._open()

    def _open(self) -> None:
        self.close()
        self._container, self._stream = opened(self.path)
        context = self._stream.codec_context
        context.thread_count = self.threads
        context.thread_type = "SLICE" if self.threads == 1 else "AUTO"
        self._at, self._demuxer = 0, video_packets(self._container, self._stream)

    def _pixels(self, frame: av.VideoFrame) -> np.ndarray:
        if frame.width * frame.height > LARGEST_PICTURE:
            raise VideoError(f"{self.path}: a picture of {frame.width}x{frame.height} pixels is too large.")
        pixels = self._reformatter.reformat(frame, format="rgb24", **ONE_THREAD).to_ndarray()  # (H, W, 3)
        return np.rot90(pixels, _quarter_turns(frame))

    def _average_rate(self) -> float:
        """Frames per second: what the header says where the times of the frames agree with it."""
        header = self._stream.average_rate
        last = float(self.times[-1])
        if header and abs((self.frames - 1) / float(header) - last) <= self._index.tick:
            return float(header)
        return (self.frames - 1) / last if last > 0 else 1 / self.seconds

    def _cached_index(self) -> PacketIndex:
        """The packet list of the file, read again when the file has changed."""
        status = os.stat(self.path)
        key = (os.path.abspath(self.path), status.st_size, status.st_mtime_ns)
        if key not in _INDEXES:
            _INDEXES[key] = index_of(self.path, self._demuxer, self._stream)
            self._at = len(_INDEXES[key].pts)
            while len(_INDEXES) > CACHED_INDEXES:
                _INDEXES.popitem(last=False)
        _INDEXES.move_to_end(key)
        return _INDEXES[key]


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


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Quarter turns counterclockwise by which the stored picture has to be turned; other angles are ignored."""
    return round(frame.rotation / 90) % 4
