"""Training on more and more devices: the parts of a step, the efficiency, and predicted beside measured (Chapter 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mvit_edu.visualize.labels import FONT, EndLabel, end_labels, ink
from mvit_edu.visualize.rows import Row
from mvit_edu.visualize.style import BLUE, COLORS, GRAY, GREEN, ORANGE

HEIGHTS = (2.5, 2.3, 2.5)  # inches of the panels
PARTS = {
    "compute": ("compute", BLUE),
    "exposed": ("all-reduce that is not hidden", ORANGE),
    "waiting": ("waiting for clips", GREEN),
}
MARKERS = "os^DvPX"


def draw_scaling(
    predictions: Mapping[str, Sequence[Row]],
    measured: Mapping[str, Sequence[Row]] | None = None,
    *,
    title: str = "a training step",
) -> Figure:
    """Draw what a cost model predicts against the number of devices, and how well it did where it was checked.

    Above, the parts of a step of the first prediction, in milliseconds; then the efficiency of each prediction, which
    is its rate over that of as many devices alone; below, if given, measured rates beside predicted ones.

    Args:
        predictions: name -> rows with `devices` (growing), `compute`, `exposed` and `waiting` in seconds, and
            `efficiency` from 0 to 1, such as the rows of `mvit_edu.studies.scaling.StepCost`; 1 to 7 of them.
        measured: name -> rows with `devices` (growing, from 1 on), and `predicted`, `measured`, `low` and `high` in
            clips/s. `low` and `high` are the ends of the line through a measured point.
        title: of the first panel.
    """
    named = [(predictions, ("devices", "compute", "exposed", "waiting", "efficiency"))]
    named += [(measured, ("devices", "predicted", "measured", "low", "high"))] if measured else []
    for curves, columns in named:
        if not 1 <= len(curves) <= len(COLORS):
            raise ValueError(f"There are {len(curves)} curves; a figure tells 1 to {len(COLORS)} apart.")
        for name, rows in curves.items():
            _check(name, rows, columns)
    heights = HEIGHTS[: 1 + len(named)]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(6.4, sum(heights)), height_ratios=heights, layout="constrained"
    )
    first, rows = next(iter(predictions.items()))
    axes[0].set_title(f"{title} (ms){f', {first}' if len(predictions) > 1 else ''}")
    _draw_parts(axes[0], rows)
    axes[1].set(title="efficiency (%)", xlabel="devices")
    _draw_efficiency(axes[1], predictions)
    if measured:
        axes[2].set(title="clips/s over one process: ● measured, ○ predicted", xlabel="processes")
        _draw_measured(axes[2], measured)
    return figure


def _check(name: str, rows: Sequence[Row], columns: Sequence[str]) -> None:
    for row in rows:
        missing = [column for column in columns if not isinstance(row.get(column), (int, float))]
        if missing:
            raise ValueError(f"A row of {name!r} has no number {missing[0]!r}; it needs {', '.join(columns)}.")
    devices = [row["devices"] for row in rows]
    if len(rows) < 2 or devices[0] < 1 or not (np.diff(devices) > 0).all():
        raise ValueError(f"{name!r} needs at least two rows with growing numbers of devices; it has {devices}.")


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], dtype=float)


def _draw_parts(ax: Axes, rows: Sequence[Row]) -> None:
    """A bar for each number of devices, its parts on top of each other, their names beside the last bar.

    A part that the last bar lacks has its name above the bar in which it is largest.
    """
    x, bottom, labels, lost = np.arange(len(rows)), np.zeros(len(rows)), [], []
    for part, (text, color) in PARTS.items():
        seconds = 1e3 * _column(rows, part)
        ax.bar(x, seconds, bottom=bottom, width=0.7, color=color)
        if seconds[-1]:
            labels.append(EndLabel(x[-1] + 0.35, bottom[-1] + seconds[-1] / 2, text, color))
        elif seconds.any():
            lost.append((int(seconds.argmax()), text, color))
        bottom = bottom + seconds
    for number, text, color in lost:
        place = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right" if number > 1 else "left"}
        at = number + (0.35 if number > 1 else -0.35)
        ax.annotate(text, (at, bottom[: number + 1].max()), color=ink(color), fontsize=FONT, **place)
    ax.set(xticks=x, xlim=(-0.6, len(rows) - 0.4), ylim=(0, 1.08 * bottom.max()))
    ax.set_xticklabels([f"{row['devices']:g}" for row in rows])
    ax.grid(axis="y")
    end_labels(ax, labels)


def _doubling(ax: Axes, devices: Sequence[float], margin: float = 1.15) -> None:
    """An axis on which each doubling is as long as the next one."""
    ax.set_xscale("log", base=2)
    ax.set_xticks(devices, [f"{number:g}" for number in devices], minor=False)
    ax.set_xlim(devices[0] / margin, devices[-1] * margin)


def _draw_efficiency(ax: Axes, predictions: Mapping[str, Sequence[Row]]) -> None:
    labels, devices = [], sorted({row["devices"] for rows in predictions.values() for row in rows})
    for (name, rows), color, marker in zip(predictions.items(), COLORS, MARKERS, strict=False):
        percent = 100 * _column(rows, "efficiency")
        ax.plot(_column(rows, "devices"), percent, color=color, marker=marker, markersize=5, clip_on=False)
        text = f"{name} {percent[-1]:.0f}%" if len(predictions) > 1 else f"{percent[-1]:.0f}%"
        labels.append(EndLabel(rows[-1]["devices"], percent[-1], text, color))
    ax.axhline(100, color=GRAY, linestyle=":")
    _doubling(ax, devices)
    ax.set_ylim(0, 108)
    ax.grid(axis="y")
    end_labels(ax, labels)


def _draw_measured(ax: Axes, measured: Mapping[str, Sequence[Row]]) -> None:
    """Rates over the rate of the first row; a line through each measured point from the lowest to the highest turn."""
    labels, top = [], 1.0
    devices = sorted({row["devices"] for rows in measured.values() for row in rows})
    for number, ((name, rows), color) in enumerate(zip(measured.items(), COLORS, strict=False)):
        x, alone = _column(rows, "devices"), rows[0]["measured"] / rows[0]["devices"]
        x = x * 2 ** (0.05 * (number - (len(measured) - 1) / 2))  # side by side
        predicted, seen, low, high = (_column(rows, key) / alone for key in ("predicted", "measured", "low", "high"))
        ax.plot(x, predicted, ":", color=color, marker="o", markersize=9, markerfacecolor="none", linewidth=1.2)
        ax.plot(x, seen, "o", color=color, markersize=5)
        ax.vlines(x, low, high, color, linewidth=1.5)
        labels.append(EndLabel(x[-1], seen[-1], name, color))
        top = max(top, predicted.max(), high.max())
    _doubling(ax, devices, margin=1.25)
    ax.set_ylim(0, 1.1 * top)
    ax.grid(axis="y")
    end_labels(ax, labels)
