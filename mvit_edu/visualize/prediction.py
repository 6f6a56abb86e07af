"""What a model says about one video: frames of the clip above, the best scores below (Chapter 10)."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvit_edu.visualize.style import BLACK, BLUE, GRAY, GREEN
from mvit_edu.visualize.video import _checked_frames

FRAMES = 8  # at most, in up to two rows
SMALL = 128  # pixels; narrower frames are enlarged with sharp pixels
BAR = 0.44  # inches for a bar and the name above it


def draw_prediction(
    frames: np.ndarray,
    names: Sequence[str],
    scores: Sequence[float],
    title: str | None = None,
    truth: str | None = None,
    best: int = 5,
) -> Figure:
    """A film strip of a clip, and the classes with the best scores as bars in percent.

    Args:
        frames: uint8 RGB array (T, H, W, 3); 8 of them, spread evenly, are shown.
        names: (C,), the classes.
        scores: (C,), each from 0 to 1: probabilities, not logits. Equal ones stand in the order of the classes.
        title: above the frames, such as the name of the file.
        truth: name of the true class; its bar is green and says so, and stands last where it is not among the best.
        best: how many bars, besides.
    """
    frames, scores = _checked_frames(frames), np.asarray(scores, dtype=float)
    names = [str(name) for name in names]
    if scores.shape != (len(names),) or not names:
        raise ValueError(f"There are {len(names)} names for scores of shape {scores.shape}; give one score a class.")
    if not np.isfinite(scores).all() or scores.min() < 0 or scores.max() > 1 + 1e-4:
        raise ValueError(
            f"Scores are shares from 0 to 1; got {scores.min():g} to {scores.max():g}. "
            "For logits, take the softmax first."
        )
    if truth is not None and truth not in names:
        raise ValueError(f"truth is {truth!r}, which is none of the {len(names)} names; give one of them, or None.")
    if best < 1:
        raise ValueError(f"best is {best}; show at least 1 class.")
    ranking = np.argsort(-scores, kind="stable")
    shown = ranking[:best].tolist()
    if truth is not None and names.index(truth) not in shown:
        shown.append(names.index(truth))
    figure, axes, bars = _layout(frames, len(shown))
    for ax, number in zip(axes, _spread_evenly(len(frames), len(axes)), strict=True):
        sharp = frames.shape[2] <= SMALL
        ax.imshow(frames[number], interpolation="nearest" if sharp else "antialiased")
        ax.set_title(f"frame {number}", fontsize=10, pad=3, weight="normal", loc="center")
    rank = {int(number): place for place, number in enumerate(ranking, start=1)}
    _draw_bars(bars, [(rank[number], names[number], scores[number], names[number] == truth) for number in shown])
    if title:
        figure.suptitle(textwrap.fill(title, 54), x=0.01, ha="left", fontsize=13, weight="bold", parse_math=False)
    return figure


def _spread_evenly(count: int, shown: int) -> list[int]:
    return ((np.arange(shown) + 0.5) * count / shown).astype(int).tolist()


def _layout(frames: np.ndarray, bars: int) -> tuple[Figure, list[Axes], Axes]:
    """A figure with axes for up to 8 frames in one or two rows, and axes for the bars."""
    shown = min(len(frames), FRAMES)
    rows = 1 if shown <= 4 else 2
    columns = -(-shown // rows)
    cell = min(6.2 / columns * frames.shape[1] / frames.shape[2], 1.7) + 0.25
    heights = [cell] * rows + [BAR * bars + 0.1]
    figure = plt.figure(figsize=(6.4, sum(heights) + 0.35), layout="constrained")
    grid = figure.add_gridspec(rows + 1, columns, height_ratios=heights)
    axes = [figure.add_subplot(grid[number // columns, number % columns]) for number in range(shown)]
    below = figure.add_subplot(grid[rows, :])
    for ax in (*axes, below):
        ax.axis("off")
    return figure, axes, below


def _draw_bars(ax: Axes, rows: list[tuple[int, str, float, bool]]) -> None:
    """A bar for each (rank, name, score, is it the truth), the name above it and the percentage behind it."""
    places = len(rows)
    for place, (rank, name, score, true) in enumerate(rows):
        color = GREEN if true else BLUE if place == 0 else GRAY
        note = " (true class)" if true else ""
        name = textwrap.shorten(name, 60, placeholder="…") if len(name) > 60 else name
        text = f"{rank}. {name}{note}"
        ax.barh(place, 100 * score, height=0.38, color=color)
        ax.text(0.6, place - 0.26, text, va="bottom", weight="bold" if place == 0 else "normal", parse_math=False)
        ax.text(100 * score + 1, place, format_percent(score), va="center", color=BLACK)
    ax.axvline(0, color=BLACK, linewidth=1)
    ax.set(xlim=(0, 116), ylim=(places - 0.6, -0.9))


def format_percent(share: float) -> str:
    """A share as a percentage with one decimal, never rounded to 0 or 100 where it is not that."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as a PNG file that is complete or not there at all; an older one of the name is replaced."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: figures are written as PNG; give a name that ends in .png.")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}; make it first.")
    if path.is_dir():
        raise ValueError(f"{path}: this is a folder; give the name of a file in it.")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        figure.savefig(part, format="png")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
