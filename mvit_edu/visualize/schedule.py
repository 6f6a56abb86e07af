"""A learning rate over the epochs (Chapter 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mvit_edu.visualize.labels import FONT, format_rate, ink
from mvit_edu.visualize.style import COLORS, GRAY

LINE = 0.085  # height of a line of text above the curves, as a share of the axes
STYLES = ("-", "--", "-.", ":")


def draw_schedule(
    epochs: Sequence[float],
    rates: Sequence[float],
    warmup_epochs: float | None = None,
    other: Mapping[str, Sequence[float]] | None = None,
    *,
    name: str = "",
) -> Figure:
    """Draw a learning rate over the epochs, with its peak, its end and its warm-up.

    Args:
        epochs: (n,), growing.
        rates: (n,), the learning rate there.
        warmup_epochs: how long the rate grows at the start; drawn as a gray band.
        other: name -> (n,) further rates at the same epochs, each with its name.
        name: of `rates`, to tell it from `other`.
    """
    curves = {name: rates, **(other or {})}
    x = np.asarray(epochs, dtype=float)
    if x.ndim != 1 or len(x) < 2 or not (np.diff(x) > 0).all():
        raise ValueError(f"epochs must be at least two growing numbers; got {x.size} of shape {x.shape}.")
    if other and (name in other or len(curves) > len(STYLES)):
        raise ValueError(
            f"{len(other)} other curves; give up to {len(STYLES) - 1}, none named {name!r} as the first is."
        )
    curves = {label: np.asarray(values, dtype=float) for label, values in curves.items()}
    for label, values in curves.items():
        what = f"The rates of {label!r}" if label else "rates"
        if values.shape != x.shape or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(
                f"{what} must be {len(x)} numbers from 0 up, one for each epoch; got shape {values.shape}."
            )
    if warmup_epochs is not None and not 0 <= warmup_epochs <= x[-1]:
        raise ValueError(f"warmup_epochs is {warmup_epochs:g}, but the epochs end at {x[-1]:g}; make it shorter.")
    figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
    colors = dict(zip(curves, COLORS, strict=False))
    for (label, values), style in zip(curves.items(), STYLES, strict=False):
        ax.plot(x, values, style, color=colors[label])
    top = max(values.max() for values in curves.values()) or 1.0
    names = [label for label in curves if label]
    ax.set(xlim=(x[0], x[-1]), ylim=(0, top / (1 - LINE * (1.4 + len(names)))), xlabel="epoch", title="learning rate")
    ax.set_yticks([tick for tick in MaxNLocator(6, steps=(1, 2, 5, 10)).tick_values(0, top) if tick <= top * 1.001])
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)))
    ax.yaxis.set_major_formatter(lambda rate, _: format_rate(rate, top))
    ax.grid(axis="y")
    _name_peak_and_end(ax, x, curves[name], top)
    _name_curves(ax, x, curves, colors)
    if warmup_epochs:
        _name_warmup(ax, x, warmup_epochs)
    return figure


def _name_peak_and_end(ax: Axes, x: np.ndarray, rates: np.ndarray, top: float) -> None:
    """The peak above all curves, the end at the right of the axes."""
    peak = int(rates.argmax())
    part = (x[peak] - x[0]) / (x[-1] - x[0])
    side = "left" if part < 0.12 else "right" if part > 0.88 else "center"
    text = {"textcoords": "offset points", "fontsize": FONT, "color": ink(COLORS[0]), "annotation_clip": False}
    ax.plot(x[[peak, -1]], rates[[peak, -1]], "o", color=COLORS[0], markersize=6, clip_on=False, zorder=3)
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}  # over the lines to other names
    place = {"xytext": (3 if side == "left" else 0, 7), "ha": side, "va": "bottom", "bbox": ground, "zorder": 5}
    ax.annotate(f"peak {format_rate(rates[peak])}", (x[peak], top), **place, **text)
    if rates[peak] < 0.97 * top:
        ax.vlines(x[peak], rates[peak], top * 1.02, COLORS[0], linewidth=1, linestyles=":")
    ax.annotate(f"end\n{format_rate(rates[-1])}", (x[-1], rates[-1]), xytext=(9, -5), va="bottom", **text)


def _name_curves(ax: Axes, x: np.ndarray, curves: Mapping[str, np.ndarray], colors: Mapping[str, str]) -> None:
    """Names above all curves, right of the middle, each tied to a point where its curve is far from the others."""
    part, height = (x - x[0]) / (x[-1] - x[0]), ax.get_ylim()[1]
    points = []
    for name, rates in curves.items():
        others = [values for label, values in curves.items() if label != name]
        apart = np.min([np.abs(values - rates) for values in others] or [rates], axis=0)
        later = np.where((part > 0.15) & (part < 0.48), apart, -1)  # the peak and its text are left of it, mostly
        at = int(later.argmax() if later.max() > 0.03 * height else np.where(part < 0.48, apart * part, -1).argmax())
        points.append(((1 - rates[at] / height) / (0.5 - part[at]), at, name))  # how steeply a line would fall from 0.5
    for level, (_, at, name) in enumerate(sorted(point for point in points if point[2])):
        ax.plot(x[at], curves[name][at], "o", color=colors[name], markersize=4)
        ax.annotate(
            name,
            (x[at], curves[name][at]),
            xytext=(0.5, 1 - LINE * (level + 0.6)),
            textcoords="axes fraction",
            va="center",
            fontsize=FONT,
            color=ink(colors[name]),
            parse_math=False,  # a name may hold a dollar sign
            arrowprops={"arrowstyle": "-", "color": colors[name], "linewidth": 1, "relpos": (0, 0.5), "shrinkB": 0},
        )


def _name_warmup(ax: Axes, x: np.ndarray, warmup_epochs: float) -> None:
    """A gray band; its name stands below the curve, beside the band."""
    ax.axvspan(x[0], warmup_epochs, color=GRAY, alpha=0.15, linewidth=0)
    early = warmup_epochs < x[0] + 0.55 * (x[-1] - x[0])
    text = f"warm-up, {warmup_epochs:g} epoch{'s' if warmup_epochs != 1 else ''}"
    ax.annotate(
        f"← {text}" if early else f"{text} →",
        (warmup_epochs if early else x[0] + 0.45 * (x[-1] - x[0]), 0),
        xytext=(5, 8),
        textcoords="offset points",
        ha="left",
        fontsize=FONT,
    )
