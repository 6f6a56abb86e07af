"""Where a model looks: heat maps over the frames of a clip, and attention distances of all heads (Chapter 14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mvit_edu.visualize.labels import EndLabel, end_labels
from mvit_edu.visualize.style import COLORS, GRAY
from mvit_edu.visualize.video import _checked_frames

MARKERS = "os^DvPX"
BRIGHTNESS = (0.30, 0.59, 0.11)  # of red, green and blue in the brightness of a pixel


def draw_heat_maps(
    frames: np.ndarray,
    maps: Mapping[str, np.ndarray],
    indices: Sequence[int] | None = None,
    show_frames: bool = True,
) -> Figure:
    """Heat maps over a clip: the frames in a first row, then a row for each map, over the frames in gray.

    In each row, yellow is the highest value of that row, over all its frames, and a dark frame is zero. So rows do
    not compare, and frames of one row do.

    Args:
        frames: uint8 RGB array (T, H, W, 3).
        maps: title of a row -> values (T, H, W), none below zero.
        indices: which frames to draw; None draws up to four, evenly spread.
        show_frames: whether the row of plain frames is there.

    Raises:
        ValueError: frames or values of another shape, values below zero or not finite, frames that do not exist,
            or nothing to draw.
    """
    frames = _checked_frames(frames)
    maps = {name: _checked_heat(name, heat, frames) for name, heat in maps.items()}
    if indices is None:
        indices = np.linspace(0, len(frames) - 1, min(4, len(frames))).round().astype(int).tolist()
    if len(indices) == 0 or not all(0 <= index < len(frames) for index in indices):
        raise ValueError(f"The frames {list(indices)} cannot be drawn; choose some of 0 to {len(frames) - 1}.")
    titles = (["frames"] if show_frames else []) + list(maps)
    if not titles:
        raise ValueError("There is nothing to draw: give a map, or leave show_frames on.")
    cell = 6.4 / len(indices)
    height = cell * frames.shape[1] / frames.shape[2]
    figure, axes = plt.subplots(len(titles), len(indices), figsize=(6.4, len(titles) * (height + 0.3)), squeeze=False)
    gray = frames @ np.array(BRIGHTNESS, dtype=np.float32)  # (T, H, W)
    for row, title in zip(axes, titles, strict=True):
        row[0].set_title(title, fontsize=12, pad=3, loc="left")
        top = maps[title].max() if title in maps else 0.0
        for ax, index in zip(row, indices, strict=True):
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
            if title not in maps:
                ax.imshow(frames[index])
                ax.set_title(f"t = {index}", fontsize=11, pad=3, weight="normal", loc="right")
                continue
            ax.imshow(gray[index], cmap="gray", vmin=0, vmax=255)
            heat = maps[title][index] / (top or 1.0)
            ax.imshow(heat, cmap="inferno", vmin=0, vmax=1.1, alpha=0.3 + 0.5 * heat)
    return figure


def _checked_heat(name: str, heat: np.ndarray, frames: np.ndarray) -> np.ndarray:
    heat = np.asarray(heat, dtype=np.float32)
    if heat.shape != frames.shape[:3]:
        raise ValueError(f"The map {name!r} has shape {heat.shape}; these frames want {frames.shape[:3]}.")
    if not np.isfinite(heat).all() or heat.min() < 0:
        raise ValueError(f"The map {name!r} has values that are below zero or not finite; a heat map has neither.")
    return heat


def draw_attention_distance(models: Mapping[str, Sequence[Mapping]]) -> Figure:
    """Mean attention distance in space (above) and in time (below): a dot for each head of each block.

    Distances are shares of the clip's short side and of its length, so that clips of different sizes compare. A gray
    dash is the distance of a head that attends to all keys alike.

    Args:
        models: name -> one row a block, as `BlockDistance.as_row` of `mvit_edu.evaluation` gives them: block, space
            and time (a number a head), uniform_space, uniform_time, clip (frames, height, width). "X, before" and
            "X, after" are one model before and after training: one color, open and filled.

    Raises:
        ValueError: no model or too many, or a row without one of these.
    """
    if not models or len(models) > len(COLORS):
        raise ValueError(f"There are {len(models)} models; a figure tells 1 to {len(COLORS)} apart.")
    for name, rows in models.items():
        _check_rows(name, rows)
    figure, axes = plt.subplots(2, 1, figsize=(6.4, 6.2), sharex=True, layout="constrained")
    panels = (("space", "in space (short sides)"), ("time", "in time (lengths of the clip)"))
    named = []
    looks = _looks(list(models))
    for ax, (what, title) in zip(axes, panels, strict=True):
        named.append([_draw_heads(ax, number, models, name, what, looks[name]) for number, name in enumerate(models)])
        ax.set_title(title)
        ax.grid(axis="y")
    axes[1].set_xlabel("block")
    axes[1].xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.canvas.draw()  # the layout has to be known before texts are placed
    end_labels(axes[0], named[0])
    first = next(iter(models.values()))
    end_labels(axes[1], [EndLabel(first[-1]["block"], first[-1]["uniform_time"] / first[-1]["clip"][0], "even", GRAY)])
    return figure


def _looks(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Color, marker and face of every model."""
    found, pairs = {}, {}
    for name in names:
        model, _, when = name.rpartition(", ")
        other = f"{model}, {'after' if when == 'before' else 'before'}"
        known = pairs.setdefault(model if when in ("before", "after") and other in names else name, len(pairs))
        color = COLORS[known]
        found[name] = color, MARKERS[known], "white" if when == "before" and other in names else color
    return found


def _draw_heads(
    ax: Axes, number: int, models: Mapping[str, Sequence[Mapping]], name: str, what: str, look: tuple[str, str, str]
) -> EndLabel:
    """The dots of one model; returns its name at the mean of its last block."""
    shift = 0.7 * ((number + 0.5) / len(models) - 0.5)
    color, marker, face = look
    for row in models[name]:
        unit = row["clip"][0] if what == "time" else min(row["clip"][1:])
        x = row["block"] + shift
        even = row[f"uniform_{what}"] / unit
        ax.hlines(even, row["block"] - 0.4, row["block"] + 0.4, color=GRAY, linewidth=1.5)
        heads = np.array(row[what]) / unit
        style = {"color": color, "markerfacecolor": face, "markersize": 4, "alpha": 0.75, "linestyle": "none"}
        ax.plot(np.full(len(heads), x), heads, marker, **style)
    return EndLabel(x, heads.mean(), name, color)


def _check_rows(name: str, rows: Sequence[Mapping]) -> None:
    wanted = ("block", "space", "time", "uniform_space", "uniform_time", "clip")
    missing = {key for row in rows for key in wanted if key not in row}
    if not rows or missing:
        what = f"lack {', '.join(sorted(missing))}" if rows else "are missing"
        raise ValueError(f"The rows of {name!r} {what}; give one a block, with {', '.join(wanted)}.")
