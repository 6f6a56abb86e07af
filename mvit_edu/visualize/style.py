"""The look of the book's figures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito's colors: told apart by readers with any kind of color vision, and in print.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#222222", "#777777"
COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
STAGE_COLORS = (BLUE, GREEN, ORANGE, RED, PURPLE, SKY)  # stage 0, 1, 2, ...

STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "figure.figsize": (6.4, 3.4),
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.facecolor": "white",
    "axes.prop_cycle": cycler(color=COLORS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 12,
    "font.size": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "grid.color": "#dddddd",
    "image.interpolation": "nearest",
    "legend.frameon": False,
    "legend.fontsize": 11,
    "lines.linewidth": 2,
}


def set_style() -> None:
    """Give matplotlib the book's look: 640 pixels wide, letters readable on a phone, white ground."""
    mpl.rcParams.update(STYLE)


@contextmanager
def photographs() -> Iterator[None]:
    """Show figures of photographs as JPEG within a notebook: a third of the size of a PNG."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats  # every Jupyter kernel has it

    set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85, "optimize": True})
    try:
        yield
    finally:
        set_matplotlib_formats("png")


def stage_color(stage: int) -> str:
    """The color of stage 0, 1, 2, ... in every figure."""
    return STAGE_COLORS[stage % len(STAGE_COLORS)]
