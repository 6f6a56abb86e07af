"""Texts at the ends of curves, in place of a legend."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb

FONT = 11  # points
LINE = FONT * 1.3 / 72  # height of a line of text in inches
WIDTH = 18  # letters in a line


class EndLabel(NamedTuple):
    """The last point of a curve in the units of the data, and its text."""

    x: float
    y: float
    text: str
    color: str


def ink(color: str) -> str:
    """A color dark enough for letters on white."""
    return to_hex(0.65 * np.array(to_rgb(color)))


def end_labels(ax: Axes, labels: Sequence[EndLabel]) -> None:
    """Write texts at the right of the axes, as near to the ends of their curves as they go without touching.

    Call it once the limits of the axes are set. A curve that ends above them has an arrow up behind its text.
    """
    data_to_axes = ax.transScale + ax.transLimits
    order = sorted(labels, key=lambda label: label.y)
    bottom, top = ax.get_ylim()
    texts = [textwrap.fill(label.text + (" ↑" if label.y > top else ""), WIDTH) for label in order]
    wanted = [float(np.clip(data_to_axes.transform((label.x, label.y))[1], 0, 1)) for label in order]
    height = ax.get_position().height * ax.figure.get_figheight()  # in inches
    sizes = [(text.count("\n") + 1) * LINE / height for text in texts]
    for label, text, at in zip(order, texts, spread(wanted, sizes), strict=True):
        end = (label.x, np.clip(label.y, bottom, top))
        line = {"arrowstyle": "-", "color": label.color, "linewidth": 1, "linestyle": ":", "relpos": (0, 0.5)}
        ax.annotate(
            text,
            end,
            xytext=(1.03, at),
            textcoords="axes fraction",
            va="center",
            color=ink(label.color),
            fontsize=FONT,
            arrowprops=line | {"shrinkA": 1, "shrinkB": 2},
            annotation_clip=False,
            parse_math=False,  # a name may hold a dollar sign
        )


def spread(wanted: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Middles of intervals of given sizes, near the wanted ones (ascending), without overlaps, up to 1."""
    at = list(wanted)
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + (sizes[i - 1] + sizes[i]) / 2)
    if at and at[-1] > 1:
        at[-1] = 1.0
        for i in range(len(at) - 2, -1, -1):
            at[i] = min(at[i], at[i + 1] - (sizes[i] + sizes[i + 1]) / 2)
    return at


def format_rate(rate: float, top: float | None = None) -> str:
    """A learning rate as papers write it: 1.6e-3, and 0.6 where the highest one of the plot is above 0.01."""
    top = rate if top is None else top
    if rate == 0 or (top >= 0.01 and rate >= 1e-3):
        return f"{rate:.3g}"
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
