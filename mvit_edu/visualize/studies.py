"""Studies as pictures: every seed a point, the mean with its interval; variants side by side, or along an axis."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Protocol

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mvit_edu.visualize.labels import EndLabel, end_labels, ink
from mvit_edu.visualize.style import BLUE, COLORS, GRAY

ROW = 0.42  # inches of height for a variant
MARKERS = "os^DvPX"


class Points(Protocol):
    """The values of several seeds, their mean, and the half width of its interval (infinite with one seed)."""

    values: Sequence[float]
    mean: float
    half: float


def draw_variants(
    points: Mapping[str, Points],
    *,
    label: str = "top-1 accuracy (%)",
    chance: float | None = None,
    limits: tuple[float, float] = (0.0, 100.0),
) -> Figure:
    """One line a variant: a dot for each seed, the mean and its 95 % interval.

    Args:
        points: name of a variant -> its values, in the order of the lines from above.
        label: of the axis. chance: drawn as a dotted line.
        limits: that no value can pass; an interval is cut there.
    """
    if not points:
        raise ValueError("There is nothing to draw: no variant has a run.")
    figure, ax = plt.subplots(figsize=(6.4, 1.1 + ROW * len(points)), layout="constrained")
    for y, found in enumerate(points.values()):
        ax.plot(found.values, [y] * len(found.values), "o", color=GRAY, markersize=4, alpha=0.7)
        ax.plot(found.mean, y + 0.22, "D", color=BLUE, markersize=5)
        if np.isfinite(found.half):
            low, high = max(found.mean - found.half, limits[0]), min(found.mean + found.half, limits[1])
            ax.hlines(y + 0.22, low, high, color=BLUE, linewidth=2)
    if chance is not None:
        ax.axvline(chance, color=GRAY, linestyle=":")
        ax.annotate("chance", (chance, -0.7), color=ink(GRAY), ha="center", fontsize=10, annotation_clip=False)
    ax.set_yticks(range(len(points)), list(points))
    ax.set(ylim=(len(points) - 0.4, -0.6), xlabel=label)
    ax.grid(axis="x")
    return figure


def draw_sweep(
    curves: Mapping[str, Mapping[float, Points]],
    *,
    axis: str,
    label: str = "top-1 accuracy (%)",
    bounds: Mapping[str, Mapping[float, float]] | None = None,
) -> Figure:
    """Curves along an axis: the mean of each point with its interval, and every seed as a dot.

    Args:
        curves: name -> {x: values}.
        axis: what x is. bounds: name -> {x: y}, drawn dotted.
    """
    if not curves or len(curves) > len(COLORS):
        raise ValueError(f"There are {len(curves)} curves; a figure tells 1 to {len(COLORS)} apart.")
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    labels, lines = [], []
    for number, ((name, found), color, marker) in enumerate(zip(curves.items(), COLORS, MARKERS, strict=False)):
        size = max(9 - 1.5 * number, 4)  # smaller and smaller, so that a curve shows under one with the same values
        x = sorted(found)
        means = np.array([found[one].mean for one in x])
        halves = np.nan_to_num([found[one].half for one in x], posinf=0.0)
        ax.plot(x, means, color=color, marker=marker, markersize=size, clip_on=False)
        ax.fill_between(x, means - halves, means + halves, color=color, alpha=0.15, linewidth=0)
        for one in x:
            ax.plot([one] * len(found[one].values), found[one].values, ".", color=color, markersize=4, alpha=0.6)
        lines.append((x[-1], means[-1], name, color))
    for name, line in (bounds or {}).items():
        x = sorted(line)
        ax.plot(x, [line[one] for one in x], ":", color=GRAY, linewidth=1.5)
        lines.append((x[-1], line[x[-1]], name, GRAY))
    ax.set(xlabel=axis, ylabel=label, ylim=(-2, 104))
    ax.grid(axis="y")
    figure.canvas.draw()  # the layout has to be known before texts are placed
    labels = [EndLabel(*line) for line in lines]
    end_labels(ax, labels)
    return figure


def draw_against_cost(
    points: Mapping[str, tuple[float, Points]], *, cost: str, label: str = "top-1 accuracy (%)", joined: bool = False
) -> Figure:
    """Every variant at its cost: the mean with its interval, each seed as a dot, the name beside it.

    Args:
        points: name of a variant -> (cost, values).
        cost: what the cost is, with its unit. joined: connect the means in the order of cost.
    """
    if not points:
        raise ValueError("There is nothing to draw: no variant has a run.")
    figure, ax = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    labels = []
    for (name, (x, found)), color in zip(points.items(), itertools.cycle(COLORS)):
        ax.plot([x] * len(found.values), found.values, ".", color=color, markersize=5, alpha=0.5)
        half = found.half if np.isfinite(found.half) else 0.0
        ax.errorbar(x, found.mean, half, fmt="D", color=color, markersize=6, capsize=3)
        labels.append((x, found.mean, name, color))
    if joined:
        line = sorted((x, found.mean) for x, found in points.values())
        ax.plot(*zip(*line, strict=True), color=GRAY, linewidth=0.8, zorder=0)
    ax.set(xlabel=cost, ylabel=label)
    ax.margins(x=0.22, y=0.12)
    ax.grid(axis="y")
    for x, y, name, color in labels:
        ax.annotate(name, (x, y), (7, 4), textcoords="offset points", color=ink(color), fontsize=10)
    return figure
