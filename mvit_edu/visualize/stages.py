"""A stage table as pictures: the pyramid drawn to scale, and the cost of each block (Chapter 5)."""

from __future__ import annotations

from math import prod, sqrt

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from mvit_edu.model.stages import StageTable, by
from mvit_edu.visualize.style import BLACK, stage_color

CHANNEL = 0.25  # length of one channel in the pyramid, in units of one token's edge
SLANT = 0.3  # how far a box leans back, as a share of its height

COSTS = {
    "macs": ("multiply-adds (G)", 1e9, "{:.2f} G multiply-adds"),
    "params": ("parameters (M)", 1e6, "{:.2f} M parameters"),
    "activations": ("kept activations (M)", 1e6, "{:.1f} M kept activations"),
}


def stage_pyramid(table: StageTable, ax: Axes | None = None) -> Axes:
    """Draw each stage as a box to scale: as high as the square root of its tokens, as long as its channels.

    The volume of a box is proportional to the numbers that leave one of its blocks. All pyramids have the
    same scale, so that two of them in axes with equal limits can be compared.
    """
    ax = plt.subplots(figsize=(6.4, 3.4))[1] if ax is None else ax
    stages = table.stages
    heights = [sqrt(prod(stage.thw)) for stage in stages]
    lengths = [stage.dim * CHANNEL for stage in stages]
    slants = [height * SLANT for height in heights]
    columns = [length + slant for length, slant in zip(lengths, slants, strict=True)]
    room = max(0.24 * sum(columns), max(columns) / 3)  # of the labels
    columns = [max(column, room) for column in columns]
    gap = 0.05 * sum(columns)
    left = gap / 2
    for stage, height, length, slant, column in zip(stages, heights, lengths, slants, columns, strict=True):
        _box(ax, left + (column - length - slant) / 2, height, length, slant, stage_color(stage.stage))
        blocks = f"{stage.depth} block{'s' if stage.depth > 1 else ''}"
        size = f"{blocks}\n{by(stage.thw).replace('x', '×')}\n{stage.dim} channels"
        below = {"xy": (left + column / 2, 0), "textcoords": "offset points", "ha": "center", "va": "top"}
        ax.annotate(f"scale{stage.stage + 2}", xytext=(0, -4), weight="bold", fontsize=12, **below)
        ax.annotate(size, xytext=(0, -20), fontsize=11, **below)
        left += column + gap
    ax.set(
        xlim=(0, left - gap / 2),
        ylim=(-0.02 * max(heights), max(heights) * (1 + SLANT / 2) * 1.02),
        aspect="equal",
    )
    ax.axis("off")
    return ax


def _box(ax: Axes, x: float, height: float, length: float, slant: float, color: str) -> None:
    """A box seen from the side: the front, the top and the right end."""
    rise = slant / 2
    front = [(x, 0), (x + length, 0), (x + length, height), (x, height)]
    top = [(x, height), (x + length, height), (x + length + slant, height + rise), (x + slant, height + rise)]
    end = [
        (x + length, 0),
        (x + length + slant, rise),
        (x + length + slant, height + rise),
        (x + length, height),
    ]
    for corners, alpha in ((front, 0.85), (top, 0.45), (end, 0.65)):
        ax.add_patch(Polygon(corners, facecolor="white", edgecolor="none"))
        ax.add_patch(Polygon(corners, facecolor=color, edgecolor="white", linewidth=0.8, alpha=alpha))


def cost_bars(table: StageTable, ax: Axes | None = None, what: str = "macs") -> Axes:
    """Draw a cost of each block in the color of its stage; above, each stage's share of all blocks.

    Args:
        what: "macs", "params" or "activations" as bars; or "tokens": dots for the length of the queries and
            black lines for the length of the keys and values, on a logarithmic axis.
    """
    if what != "tokens" and what not in COSTS:
        raise ValueError(f"what is {what!r}; use one of {', '.join(COSTS)}, tokens.")
    ax = plt.subplots()[1] if ax is None else ax
    blocks = range(len(table.rows))
    colors = [stage_color(row.stage) for row in table.rows]
    if what == "tokens":
        top, shares = _token_dots(table, ax, blocks, colors), [""] * len(table.stages)
    else:
        label, unit, title = COSTS[what]
        values = [getattr(row, what) / unit for row in table.rows]
        ax.bar(blocks, values, color=colors, width=0.8)
        ax.set(ylabel=label, ylim=(0, max(values) * 1.45), title=f"{title.format(sum(values))} in the blocks")
        top = max(values) * 1.06
        parts = [sum(values[b.index] for b in stage.blocks) / sum(values) for stage in table.stages]
        shares = [f"\n{100 * part:.0f}%" if part >= 0.01 else "\n<1%" for part in parts]
    for stage, share in zip(table.stages, shares, strict=True):
        first, last = stage.blocks[0].index, stage.blocks[-1].index
        ax.hlines(top, first - 0.4, last + 0.4, stage_color(stage.stage), linewidth=4)
        name = f"scale{stage.stage + 2}{share}"
        offset = {"xytext": (0, 4), "textcoords": "offset points", "ha": "center", "va": "bottom"}
        ax.annotate(name, ((first + last) / 2, top), fontsize=9.5, annotation_clip=False, **offset)
    ax.set(xlabel="block", xticks=blocks if len(blocks) <= 16 else blocks[::2])
    return ax


def _token_dots(table: StageTable, ax: Axes, blocks: range, colors: list[str]) -> float:
    """Dots for queries and lines for keys and values; returns the height of the stages' labels."""
    queries = [row.tokens_q for row in table.rows]
    keys = [row.tokens_kv for row in table.rows]
    ax.set_yscale("log")
    ax.hlines(keys, [block - 0.4 for block in blocks], [block + 0.4 for block in blocks], BLACK)
    ax.scatter(blocks, queries, s=50, color=colors, zorder=3)
    ticks = sorted({*queries, *keys})
    ticks = [tick for i, tick in enumerate(ticks) if i == 0 or tick > 1.2 * ticks[i - 1]]  # no overlaps
    ax.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.set_yticks([], minor=True)
    ax.set(title="● queries   ━ keys, values", ylabel="tokens", ylim=(min(ticks) / 2, max(ticks) * 4))
    ax.grid(axis="y")
    return max(ticks) * 1.7
