"""The look of the book's figures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure
from PIL import Image

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
def photographs(quality: int = 85) -> Iterator[None]:
    """Show figures of photographs as JPEG within a notebook: a third of the size of a PNG."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats  # every Jupyter kernel has it

    set_matplotlib_formats("jpeg", pil_kwargs={"quality": quality, "optimize": True})
    try:
        yield
    finally:
        set_matplotlib_formats("png")


@contextmanager
def drawings() -> Iterator[None]:
    """Show figures of few colors as PNG with a palette within a notebook: a quarter of the size."""
    from IPython import get_ipython

    formatter = get_ipython().display_formatter.formatters["image/png"]
    before = formatter.for_type(Figure, palette_png)
    try:
        yield
    finally:
        formatter.for_type(Figure, before)


def palette_png(figure: Figure) -> bytes:
    """A figure as a PNG of 64 colors, cropped to what is drawn."""
    drawn, saved = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", bbox_inches="tight")
    picture = Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    picture.save(saved, "png", optimize=True)
    return saved.getvalue()


def stage_color(stage: int) -> str:
    """The color of stage 0, 1, 2, ... in every figure."""
    return STAGE_COLORS[stage % len(STAGE_COLORS)]
