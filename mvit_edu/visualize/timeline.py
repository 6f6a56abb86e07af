"""A video as a line of time: its frames, its key frames, and the frames that a sampler takes (Chapter 7)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvit_edu.data import open_video
from mvit_edu.visualize.style import COLORS, GRAY, RED

LANE = 0.62  # inches for the title and the line of one lane


def draw_lanes(ax: Axes, times: np.ndarray, key_frames: tuple[int, ...], lanes: Mapping[str, np.ndarray]) -> Axes:
    """Draw the frames of a video on a line of time, and below it a lane for each sampler.

    Args:
        times: (frames,), when each frame is shown, in seconds: thin ticks, long and red for key frames.
        lanes: title -> the times that were asked for, (T,) or (K, T) for K clips. A dot stands at the frame on
            screen then, that is at the last one shown at or before that time.
    """
    level, titles = 0.0, [(0.0, "frames of the file; key frames red")]
    keys = np.asarray(key_frames, dtype=int)
    ax.vlines(np.delete(times, keys), -0.12, 0.12, GRAY, linewidth=0.8)
    ax.vlines(times[keys], -0.28, 0.28, RED, linewidth=2)
    for number, (title, asked) in enumerate(lanes.items()):
        clips = np.atleast_2d(asked)  # (K, T)
        level -= 1.0
        titles.append((level, title))
        for clip in clips:
            shown = times[np.searchsorted(times, clip + 1e-6, side="right") - 1]  # (T,)
            ax.plot([shown[0], shown[-1]], [level, level], color=COLORS[number % 3], linewidth=1.2)
            ax.plot(shown, np.full(len(shown), level), "o", color=COLORS[number % 3], markersize=4.5)
            level -= 0.26
        level += 0.26
    for height, title in titles:
        ax.text(0, height + 0.32, title, ha="left", va="bottom", fontsize=11)
    margin = 0.015 * times[-1]
    ax.set(xlim=(-margin, times[-1] + margin), ylim=(level - 0.25, 0.85), yticks=[], xlabel="seconds")
    ax.spines["left"].set_visible(False)
    return ax


def draw_timeline(path: str | Path, lanes: Mapping[str, np.ndarray], pictures: int = 6) -> Figure:
    """A strip of frames, spread evenly over a video, above its line of time. See `draw_lanes`.

    Args:
        pictures: how many frames the strip has.
    """
    with open_video(path) as video:
        times, key_frames = video.times, video.key_frames
        numbers = ((np.arange(pictures) + 0.5) * video.frames / pictures).astype(int)
        strip = np.concatenate(list(video.read(numbers)), axis=1)  # (H, pictures * W, 3)
    rows = 1 + sum(1 + 0.26 * (len(np.atleast_2d(asked)) - 1) for asked in lanes.values())
    heights = [6.2 * strip.shape[0] / strip.shape[1], LANE * rows + 0.5]
    figure, (top, below) = plt.subplots(2, 1, figsize=(6.4, sum(heights)), height_ratios=heights)
    top.imshow(strip, aspect="auto")
    top.axis("off")
    draw_lanes(below, times, key_frames, lanes)
    return figure
