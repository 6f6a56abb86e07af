"""Videos on a page: MP4 bytes, a player with a still picture, a film strip (Chapter 1)."""

from __future__ import annotations

import base64
import html
import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from IPython.display import HTML


def encode_mp4(frames: np.ndarray, fps: float = 30, crf: int = 23, keyframe_every: int = 12) -> bytes:
    """An H.264 file of some frames, as bytes: what a browser plays and `read_frames` reads.

    The same frames and library versions give the same bytes. Odd heights and widths grow by one row or
    column (a copy of the last), since the format stores color at half the resolution.

    Args:
        frames: uint8 RGB array (T, H, W, 3).
        fps: frames per second.
        crf: 0 (no loss, large) to 51 (small, poor).
        keyframe_every: frames from one key frame to the next.
    """
    frames = _checked_frames(frames)
    odd_rows, odd_columns = frames.shape[1] % 2, frames.shape[2] % 2
    frames = np.pad(frames, ((0, 0), (0, odd_rows), (0, odd_columns), (0, 0)), mode="edge")
    options = {"crf": str(crf), "g": str(keyframe_every), "sc_threshold": "0", "threads": "1"}
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def show_video(video: bytes | str | Path | np.ndarray, alt: str, fps: float = 30, width: int = 480) -> HTML:
    """A player for a notebook page: MP4 inside the page, controls, no sound, never starts by itself.

    The first frame is the still picture shown before the reader presses play, and instead of the video
    where a page cannot play it.

    Args:
        video: MP4 bytes, the path of an MP4 file, or frames (T, H, W, 3) in uint8.
        alt: what the video shows, for readers who do not see it.
        fps: frames per second, where frames are given.
        width: width on the page in pixels; a narrower page makes it smaller.
    """
    from IPython.display import HTML  # only notebooks have IPython, and only they need this function

    if isinstance(video, np.ndarray):
        first, video = _checked_frames(video)[0], encode_mp4(video, fps=fps)
    else:
        if not isinstance(video, bytes):
            video = Path(video).read_bytes()
        with av.open(io.BytesIO(video)) as container:
            first = next(container.decode(video=0)).to_ndarray(format="rgb24")  # (H, W, 3)
    still = f"data:image/jpeg;base64,{_base64(_jpeg(first))}"
    label = html.escape(alt, quote=True)
    return HTML(
        f'<video controls muted loop playsinline preload="metadata" aria-label="{label}" poster="{still}" '
        f'style="width:{width}px;max-width:100%;height:auto;background:transparent">'
        f'<source src="data:video/mp4;base64,{_base64(video)}" type="video/mp4">'
        f'<img src="{still}" alt="{label}" style="max-width:100%"></video>'
    )


def film_strip(
    frames: np.ndarray, indices: list[int] | None = None, columns: int = 4, labels: list[str] | None = None
) -> Figure:
    """Frames side by side in the order of time, as a figure.

    Args:
        frames: uint8 RGB array (T, H, W, 3).
        indices: which frames to draw; None draws all.
        columns: frames in a row.
        labels: one text above each drawn frame; None writes its index.
    """
    frames = _checked_frames(frames)
    indices = list(range(len(frames))) if indices is None else list(indices)
    labels = [f"frame {index}" for index in indices] if labels is None else list(labels)
    if len(labels) != len(indices):
        raise ValueError(f"There are {len(labels)} labels for {len(indices)} frames; give one each.")
    columns = min(columns, len(indices))
    rows = -(-len(indices) // columns)
    cell_width = 6.4 / columns
    cell_height = cell_width * frames.shape[1] / frames.shape[2] + 0.3
    figure, axes = plt.subplots(rows, columns, figsize=(6.4, rows * cell_height), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, index, label in zip(axes.flat, indices, labels, strict=False):
        ax.imshow(frames[index])
        ax.set_title(label, fontsize=11, pad=3, weight="normal", loc="center")
    return figure


def _checked_frames(frames: np.ndarray) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(
            f"Frames are a uint8 array (T, H, W, 3) with T >= 1; got {frames.dtype} {tuple(frames.shape)}. "
            "For a normalized clip, use mvit_edu.data.clip_to_frames first."
        )
    return frames


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _jpeg(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    plt.imsave(buffer, frame, format="jpeg", pil_kwargs={"quality": 80})
    return buffer.getvalue()
