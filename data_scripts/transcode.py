"""One source file in, one file that training can read quickly out: the work of `data_scripts`.

A random clip is cheap to read when the pictures are no larger than the model needs (short side 256) and when
a key frame, the only place where decoding can start, is never far away (12 frames at most). Chapter 7 shows
both. This file needs PyAV and NumPy only, so that a worker process starts quickly; no ffmpeg program is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter

from data_scripts.atomic import replacing
from data_scripts.source import SourceError, opened, pictures, quarter_turns, usual_rate

COPYABLE = {"mov", "mp4"}  # containers whose packets go into an MP4 file as they are
# Newer versions of PyAV scale with all cores unless told; here every core has a process of its own already.
ONE_THREAD = {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
FAST_START = {"movflags": "+faststart"}  # the index comes first: a reader needs no seek to find it


@dataclass(frozen=True)
class Settings:
    """What the written videos are like.

    Attributes:
        short_side: pixels of the shorter side. The aspect ratio is kept, both sides are made even.
        key_frames: a key frame comes at least every this many frames.
        crf: constant rate factor of x264; 23 is its default, 18 is close to the source, each 6 halves the size.
        preset: speed of x264, from "ultrafast" to "veryslow": slower makes smaller files of the same look.
        upscale: enlarge what is smaller than `short_side`; otherwise it keeps its size.
    """

    short_side: int = 256
    key_frames: int = 12
    crf: int = 23
    preset: str = "medium"
    upscale: bool = False

    def __post_init__(self) -> None:
        if self.short_side < 2 or self.short_side % 2:
            raise ValueError(f"short_side={self.short_side} must be an even number of pixels, at least 2.")
        if self.key_frames < 1:
            raise ValueError(f"key_frames={self.key_frames} must be at least 1.")
        if not 0 <= self.crf <= 51:
            raise ValueError(f"crf={self.crf} must be from 0 (lossless) to 51 (worst).")


@dataclass(frozen=True)
class Scan:
    """What the packets of a file say, without decoding: frames, the longest way from one key frame to the next."""

    codec: str
    pix_fmt: str
    width: int
    height: int
    frames: int
    key_distance: int
    plain: bool  # no frames that an edit list hides


def target_size(width: int, height: int, settings: Settings, pixel_aspect: Fraction | float = 1) -> tuple[int, int]:
    """Width and height of the written video: short side as asked, long side rounded down to an even number.

    640x480 and 341x256 become 340x256 (the paper's files are that size), 1280x720 becomes 454x256. A video
    whose pixels are not square becomes as wide as it is shown.
    """
    shown = width * float(pixel_aspect)
    scale = settings.short_side / min(shown, height)
    if scale > 1 and not settings.upscale:
        scale = 1.0
    return tuple(max(2, int(side * scale + 1e-6) // 2 * 2) for side in (shown, height))


def transcode(
    source: Path,
    target: Path,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    start: float | None = None,
    end: float | None = None,
) -> str:
    """Write `target`, an H.264 MP4 without sound that is quick to read at random; it appears whole or not at all.

    Rotation that the source only notes is applied to the pixels. Frames keep their times, so a variable frame
    rate stays one; the first frame is moved to 0. A source that already has the form is copied, not encoded again.

    Args:
        start, end: seconds of the source's own clock, to cut a piece out. The frame on screen at `start` becomes
            the first, so second x of the result shows what second `start + x` of the source shows.

    Returns:
        "encoded" or "copied".

    Raises:
        SourceError: the source cannot be read, holds no video, ends before `start`, or is damaged.
        OSError: the target cannot be written.
    """
    if start is not None and end is not None and end <= start:
        raise SourceError(f"the cut from {start:g} s to {end:g} s is empty.")
    with replacing(target) as temporary:
        if start is None and end is None and is_ready(source, settings):
            copy(source, temporary)
            if not problem(temporary, settings):
                return "copied"
        with opened(source) as (container, stream):
            frames = encode(pictures(container, stream, start, end), stream, temporary, settings)
        fault = problem(temporary, settings, frames)
        if fault:
            raise SourceError(f"the written file is wrong: {fault}")
    return "encoded"


def problem(path: Path, settings: Settings, frames: int | None = None) -> str:
    """What keeps a written video from being used, in words, or "". Opens it and looks at every packet."""
    try:
        with opened(path) as (container, stream):
            found = scan(container, stream)
    except SourceError as error:
        return str(error)
    if found.codec != "h264" or found.pix_fmt != "yuv420p" or found.width % 2 or found.height % 2:
        return f"it is {found.codec} {found.pix_fmt} {found.width}x{found.height}, not H.264 yuv420p with even sides."
    if not found.frames:
        return "it has no frames."
    if frames is not None and found.frames != frames:
        return f"it has {found.frames} frames; {frames} were written."
    if found.key_distance > settings.key_frames:
        return f"{found.key_distance} frames lie between two key frames, more than {settings.key_frames}."
    return ""


def scan(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Scan:
    keys, frames, plain = [], 0, True
    for packet in container.demux(stream):
        if not packet.size:
            continue
        plain = plain and not packet.is_discard and packet.pts is not None and packet.dts is not None
        if packet.is_keyframe:
            keys.append(frames)
        frames += 1
    plain = plain and keys[:1] == [0]
    distance = max((after - before for before, after in zip([0, *keys], [*keys, frames], strict=True)), default=0)
    context = stream.codec_context
    return Scan(context.name, str(context.pix_fmt), context.width, context.height, frames, distance, plain)


def is_ready(source: Path, settings: Settings) -> bool:
    """Whether the packets can be taken as they are: H.264 of the right size, enough key frames, upright."""
    with opened(source) as (container, stream):
        context = stream.codec_context
        size = (context.width, context.height)
        if context.name != "h264" or not set(container.format.name.split(",")) & COPYABLE:
            return False
        if target_size(*size, settings, stream.sample_aspect_ratio or 1) != size:
            return False
        first = next(container.decode(stream), None)
        if first is None or quarter_turns(first):
            return False
    with opened(source) as (container, stream):
        found = scan(container, stream)
    return found.plain and found.pix_fmt == "yuv420p" and found.key_distance <= settings.key_frames


def copy(source: Path, target: Path) -> None:
    """Take the video packets over into a new MP4 file, the first shown frame at time 0."""
    with opened(source) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size]
        first = min(packet.pts for packet in packets)
        with av.open(str(target), "w", format="mp4", options=FAST_START) as output:
            out = output.add_stream_from_template(stream)
            for packet in packets:
                packet.pts, packet.dts, packet.stream = packet.pts - first, packet.dts - first, out
                output.mux(packet)


def encode(frames: Iterator[tuple[av.VideoFrame, int]], stream, target: Path, settings: Settings) -> int:
    """Encode frames with one thread; returns how many."""
    options = {"crf": str(settings.crf), "preset": settings.preset, "g": str(settings.key_frames), "flags": "+cgop"}
    count = 0
    with av.open(str(target), "w", format="mp4", options=FAST_START) as output:
        out = None
        scaler = VideoReformatter()
        for frame, tick in frames:
            turns = quarter_turns(frame)
            if out is None:
                out = output.add_stream("libx264", rate=usual_rate(stream), options=options)
                size = target_size(frame.width, frame.height, settings, stream.sample_aspect_ratio or 1)
                out.pix_fmt, out.codec_context.thread_count = "yuv420p", 1
                out.width, out.height = size[::-1] if turns % 2 else size
                out.codec_context.time_base = out.time_base = stream.time_base
                if frame.format.name.startswith("yuv"):  # the matrix of the colors stays what it was
                    out.codec_context.colorspace = frame.colorspace
                    out.codec_context.color_primaries = frame.color_primaries
                    out.codec_context.color_trc = frame.color_trc
                    out.codec_context.color_range = ColorRange.MPEG if frame.color_range else ColorRange.UNSPECIFIED
            duration = frame.duration
            how = dict(ONE_THREAD)
            if frame.color_range == ColorRange.JPEG:  # black is 0 and white 255; video has 16 and 235
                how |= {"src_color_range": ColorRange.JPEG, "dst_color_range": ColorRange.MPEG}
            picture = scaler.reformat(frame, *size, format="yuv420p", interpolation="BICUBIC", **how)
            if turns:
                picture = av.VideoFrame.from_ndarray(turned(picture.to_ndarray(), turns), format="yuv420p")
            picture.pict_type = PictureType.NONE  # x264 would repeat the source's choice of key frames
            picture.pts, picture.time_base, picture.duration = tick, stream.time_base, duration
            output.mux(out.encode(picture))
            count += 1
        if out is None:
            raise SourceError("no frame of it can be decoded; the file is empty or damaged.")
        output.mux(out.encode(None))
    return count


def turned(planes: np.ndarray, turns: int) -> np.ndarray:
    """Turn a yuv420p picture (H * 3/2, W), its three planes stacked, left by quarter turns."""
    width, height = planes.shape[1], planes.shape[0] * 2 // 3
    luma, chroma = planes[:height], planes[height:].reshape(2, height // 2, width // 2)
    luma = np.rot90(luma, turns)
    chroma = np.stack([np.rot90(plane, turns) for plane in chroma])
    return np.ascontiguousarray(np.concatenate([luma, chroma.reshape(-1, luma.shape[1])]))
