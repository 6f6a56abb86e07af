"""A training run as curves: its loss, accuracy and learning rate, alone or next to other runs (Chapter 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mvit_edu.visualize.labels import LINE, WIDTH, EndLabel, end_labels, format_rate
from mvit_edu.visualize.rows import Row, column, common_axis, rows_of, running_mean
from mvit_edu.visualize.style import BLUE, COLORS, GRAY, GREEN, ORANGE

PANEL = 2.2  # inches of height, with title and ticks
AXES = 0.7  # share of it that is left for the axes
MARKERS = "os^DvPX"
TITLES = {
    "top1": "top-1 accuracy (%)",
    "top5": "top-5 accuracy (%)",
    "mean_average_precision": "mean average precision (%)",
}


def draw_run(rows: Sequence[Row], *, accuracy: str = "top1", chance: float | None = None) -> Figure:
    """Loss, accuracy and learning rate of a run, one above the other; a panel without a number is left out.

    Args:
        rows: of a run log, see `read_rows`. The axis is "epoch" where training rows tell it finely enough.
        accuracy: the share (0 to 1) in the validation rows that is drawn.
        chance: the share that guessing gets right, as a dotted line.
    """
    axis, training, validation = common_axis([rows]), rows_of(rows, "train"), rows_of(rows, "validation")
    losses = {"training": column(training, axis, "loss"), "validation": column(validation, axis, "loss")}
    losses = {name: curve for name, curve in losses.items() if len(curve[0])}
    rates = column(training, axis, "lr")
    panels = {
        "loss": bool(losses),
        TITLES.get(accuracy, accuracy): bool(validation),
        "learning rate": len(rates[0]) > 0,
    }
    if not any(panels.values()):
        raise ValueError(f"Nothing to draw: {len(rows)} rows, none of kind train or validation with numbers.")
    figure, axes = _panels([title for title, drawn in panels.items() if drawn], axis)
    left = iter(axes)
    if losses:
        _draw_losses(next(left), losses, raw=True)
    if validation:
        _draw_accuracies(next(left), {"": _percent(validation, axis, accuracy)}, (GREEN,), chance)
    if len(rates[0]):
        ax = next(left)
        ax.plot(*rates, color=GRAY, marker="o" if len(rates[0]) == 1 else "")
        ax.set_ylim(0, max(rates[1].max(), 1e-12) * 1.1)
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
        ax.yaxis.set_major_formatter(lambda rate, _: format_rate(rate, rates[1].max()))
    return figure


def compare_runs(runs: Mapping[str, Sequence[Row]], *, accuracy: str = "top1", chance: float | None = None) -> Figure:
    """Training loss and validation accuracy of several runs, each with its name at the end of its curve.

    Args:
        runs: name -> rows of a run log; 1 to 7 of them, as many as there are colors.
        accuracy, chance: see `draw_run`.
    """
    if not 1 <= len(runs) <= len(COLORS):
        raise ValueError(f"There are {len(runs)} runs; a figure tells 1 to {len(COLORS)} apart, so choose among them.")
    axis, losses, shares = common_axis(runs.values()), {}, {}
    for name, rows in runs.items():
        losses[name] = column(rows_of(rows, "train"), axis, "loss")
        if not len(losses[name][0]):
            raise ValueError(f"The run {name!r} has no training row with a loss; pass the rows of a whole run.")
        shares[name] = _percent(rows_of(rows, "validation"), axis, accuracy, f"The run {name!r}: ")
    lines = sum(1 + len(f"{name} 99.9%") // WIDTH for name in runs) + (chance is not None)
    height = max(PANEL, LINE * lines / AXES)
    figure, (above, below) = _panels(["training loss", TITLES.get(accuracy, accuracy)], axis, height)
    _draw_losses(above, losses)
    _draw_accuracies(below, shares, COLORS, chance)
    return figure


def _panels(titles: list[str], axis: str, height: float = PANEL) -> tuple[Figure, np.ndarray]:
    """Axes one above the other that share the axis of time."""
    size = (6.4, height * len(titles) + 0.3)
    figure, axes = plt.subplots(len(titles), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_title(title)
        ax.grid(axis="y")
        ax.margins(x=0.01)
    axes[-1, 0].set_xlabel(axis)
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)))
    return figure, axes[:, 0]


def _draw_losses(ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], raw: bool = False) -> None:
    """Lines with their names. A long, noisy one is drawn as its running mean; `raw` shows its values, pale, behind.

    The panel ends at twice the highest start, so that a run that breaks loose leaves it and the others stay readable.
    """
    colors = (BLUE, ORANGE) if raw else COLORS
    labels, lowest = [], 0.0
    for (name, (x, loss)), color, marker in zip(curves.items(), colors, MARKERS, strict=False):
        window = 2 * (len(loss) // 30) + 1
        mean = running_mean(loss, window)
        if raw and window > 1:
            ax.plot(x, loss, color=color, linewidth=0.8, alpha=0.35)
        ax.plot(x, mean, color=color, marker=marker if len(x) <= 30 else "", markersize=4)
        labels.append(EndLabel(x[-1], mean[-1], name, color))
        lowest = min(lowest, loss.min())
    highest = max(loss.max() for _, loss in curves.values())
    start = max(loss[0] for _, loss in curves.values())
    ax.set_ylim(lowest, 1.08 * (min(highest, 2 * start) if start > 0 else highest) or 1.0)
    end_labels(ax, labels)


def _draw_accuracies(
    ax: Axes,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    colors: Sequence[str],
    chance: float | None,
) -> None:
    """Lines from 0 to 100% with their names and last values, and what guessing gets."""
    labels = []
    for (name, (x, percent)), color, marker in zip(curves.items(), colors, MARKERS, strict=False):
        ax.plot(x, percent, color=color, marker=marker, markersize=4, clip_on=False)
        labels.append(EndLabel(x[-1], percent[-1], f"{name} {percent[-1]:.1f}%".strip(), color))
    if chance is not None:
        if not 0 <= chance <= 1:
            raise ValueError(f"chance is a share from 0 to 1; got {chance}. For 8 classes it is 1 / 8.")
        ax.axhline(100 * chance, color=GRAY, linestyle=":")
        right = max(x[-1] for x, _ in curves.values())
        labels.append(EndLabel(right, 100 * chance, f"chance {100 * chance:.3g}%", GRAY))
    ax.set_ylim(0, 100)
    end_labels(ax, labels)


def _percent(validation: list[Row], axis: str, name: str, whose: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Steps or epochs and a share of the validation rows there, in percent."""
    x, share = column(validation, axis, name)
    if not len(x):
        known = sorted({key for row in validation for key in row} - {"kind", "step", "epoch"})
        raise ValueError(f"{whose}no validation row has a number {name!r}; there is {', '.join(known) or 'none'}.")
    if share.min() < 0 or share.max() > 1:
        raise ValueError(f"{whose}{name} is a share from 0 to 1; the rows hold {share.min():g} to {share.max():g}.")
    return x, 100 * share
