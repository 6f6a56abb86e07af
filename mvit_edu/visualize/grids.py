"""Frames cut into tokens, and pooling windows on a grid of tokens (Chapters 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from mvit_edu.model.pooling import default_padding, pooled_size
from mvit_edu.visualize.style import COLORS, GRAY, ORANGE


def draw_grid(
    ax: Axes | None,
    image: np.ndarray,
    patch: int | tuple[int, int],
    highlight: Iterable[tuple[int, int]] = (),
    color: str = "white",
) -> tuple[int, int]:
    """Draw a frame and the lines that cut it into patches.

    Args:
        image: one frame, (H, W, 3) or (H, W).
        patch: height and width of a patch in pixels, or (height, width).
        highlight: patches (row, column) to frame in orange.
        color: of the lines.

    Returns:
        Rows and columns of the grid; what is left at the bottom and the right is no patch.
    """
    ax = plt.subplots()[1] if ax is None else ax
    patch_h, patch_w = (patch, patch) if isinstance(patch, int) else patch
    height, width = image.shape[:2]
    rows, columns = height // patch_h, width // patch_w
    if rows < 1 or columns < 1:
        raise ValueError(f"A frame of {height}x{width} pixels holds no patch of {patch_h}x{patch_w}.")
    ax.imshow(image, extent=(0, width, height, 0), cmap="gray")
    thin = 1.2 if max(rows, columns) <= 16 else 0.6
    for lines, line_width in (("black", thin + 1), (color, thin)):  # a dark rim keeps the lines visible
        alpha = 0.35 if lines == "black" else 0.9
        ax.hlines(np.arange(rows + 1) * patch_h, 0, columns * patch_w, lines, linewidth=line_width, alpha=alpha)
        ax.vlines(np.arange(columns + 1) * patch_w, 0, rows * patch_h, lines, linewidth=line_width, alpha=alpha)
    for row, column in highlight:
        corner = (column * patch_w, row * patch_h)
        ax.add_patch(Rectangle(corner, patch_w, patch_h, fill=False, edgecolor=ORANGE, linewidth=3, zorder=3))
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.axis("off")
    return rows, columns


def draw_window(
    ax: Axes | None,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int] | None = None,
    outputs: Iterable[tuple[int, int]] = ((0, 0), (0, 1)),
    image: np.ndarray | None = None,
) -> tuple[int, int]:
    """Draw the windows of a pooling operator on a grid of tokens, in space.

    Tokens are squares, and the padding around them is dotted. Each window is a colored frame with a dot in
    its middle.

    Args:
        size: rows and columns of the token grid.
        kernel, stride, padding: of the pooling, (rows, columns); padding None takes `TokenPool`'s.
        outputs: which output tokens (row, column) to draw the windows of.
        image: a frame to show under the grid, stretched over it.

    Returns:
        Rows and columns of the pooled grid.
    """
    ax = plt.subplots()[1] if ax is None else ax
    if padding is None:
        padding = default_padding((1, *kernel), (1, *stride))[1:]
    pooled = pooled_size((1, *size), (1, *kernel), (1, *stride), (0, *padding))[1:]
    (rows, columns), (pad_y, pad_x) = size, padding
    for row in range(-pad_y, rows + pad_y):
        for column in range(-pad_x, columns + pad_x):
            inside = 0 <= row < rows and 0 <= column < columns
            look = {
                "edgecolor": GRAY,
                "linewidth": 0.8,
                "facecolor": "none" if image is not None else "#eef3f8",
            }
            if not inside:
                look |= {"linestyle": ":", "facecolor": "#f4f4f4"}
            ax.add_patch(Rectangle((column, row), 1, 1, **look))
    if image is not None:
        ax.imshow(image, extent=(0, columns, rows, 0), cmap="gray", alpha=0.75, zorder=0)
    for number, (row, column) in enumerate(outputs):
        if not (0 <= row < pooled[0] and 0 <= column < pooled[1]):
            raise ValueError(f"There is no output ({row}, {column}) in a pooled grid of {pooled[0]}x{pooled[1]}.")
        color = COLORS[number % len(COLORS)]
        x, y = column * stride[1] - pad_x, row * stride[0] - pad_y
        rim = 0.06 * (number % 3)  # windows that overlap stay visible
        frame = (kernel[1] - 2 * rim, kernel[0] - 2 * rim)
        if image is None:
            ax.add_patch(Rectangle((x + rim, y + rim), *frame, facecolor=color, alpha=0.18, zorder=2))
        ax.add_patch(Rectangle((x + rim, y + rim), *frame, fill=False, edgecolor=color, linewidth=3, zorder=3))
        ax.plot(x + kernel[1] / 2, y + kernel[0] / 2, "o", color=color, markersize=7, zorder=4)
    ax.set(xlim=(-pad_x - 0.1, columns + pad_x + 0.1), ylim=(rows + pad_y + 0.1, -pad_y - 0.1), aspect="equal")
    ax.axis("off")
    return pooled
