"""Draw the cover: frames of the example clip, and the tokens of MViT-B's stages to scale.

python -m book.tools.cover             writes book/media/cover.png

Every size comes from the stage table: a stage is a block whose cells are the tokens of one time step and whose
height is its channels, with a line at each head. A cell has the average color of the pixels it stands for.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from itertools import pairwise
from math import cos, radians, sin
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D
from PIL import Image, PngImagePlugin

from book.tools.chapters import ROOT
from mvit_edu import StageTable, get_config, stage_table
from mvit_edu.data import clip_to_frames, example_clip, load_clip
from mvit_edu.visualize import STAGE_COLORS

PICTURE = ROOT / "book" / "media" / "cover.png"
PRESET = "mvit_b_16x4"
START = 0  # first frame of the clip; its last frames, on top of the stack, show the whole cup
STEP = 7  # the time step whose tokens are drawn: the last of 8
SIZE = (1000, 850)  # units of the drawing; a token is TOKEN of them wide
DPI = 144
TOKEN, CHANNEL, SHEET = 5.3, 0.62, 6.0  # a token's edge, a channel's height, from one frame to the next
TURN, RISE = radians(28), radians(42)  # of the camera: around, and above the ground
GROUND = 168  # where the blocks' lowest corners stand
CENTERS = (248, 560, 742, 900)  # of the blocks, from left to right
LIFT = 310  # from the top of the first block to the frames above it
FOCUS = (
    38,
    32,
)  # row and column of the token whose pixels are traced through the stages, in tokens of stage 0
INK, SKY, FLOOR = "#f4f1ea", "#0b1524", "#1d2c42"


@dataclass(frozen=True)
class Tier:
    """One block of the drawing: ``grid`` tokens a side, ``height`` channels tall, ``heads`` lines."""

    stage: int
    grid: int
    channels: int
    heads: int


def tiers(table: StageTable) -> tuple[Tier, ...]:
    return tuple(Tier(s.stage, s.thw[1], s.dim, s.heads) for s in table.stages)


def alt_text(table: StageTable) -> str:
    """What the picture shows, with the table's numbers; also kept inside the PNG."""
    frames, height, width = table.config.size
    sizes = [f"{t.grid}×{t.grid} tokens and {t.channels} channels" for t in tiers(table)]
    return (
        f"A stack of {frames} video frames of {height}×{width} pixels, showing a cup of coffee, hovers over four "
        f"blocks on dark ground. Seen from the left, the blocks have {', '.join(sizes[:-1])}, and {sizes[-1]}: from a "
        "wide flat slab, on which the cup can still be seen, to a thin tall tower of a few colored cells."
    )


def mosaic(frames: np.ndarray, grid: int) -> np.ndarray:
    """Average colors (grid, grid, 3) in [0, 1] of the pixels that the tokens of one time step stand for."""
    picture = frames.astype(float).mean(axis=0) / 255  # (H, W, 3): the frames of one time step
    cell = picture.shape[0] // grid
    return picture.reshape(grid, cell, grid, cell, 3).mean(axis=(1, 3))


def project(points: np.ndarray, origin: tuple[float, float]) -> np.ndarray:
    """Screen positions (..., 2) of points (..., 3): columns to the right, rows towards the viewer, up."""
    x, y, z = np.moveaxis(np.asarray(points, float), -1, 0)
    across = x * cos(TURN) - y * sin(TURN)
    along = x * sin(TURN) + y * cos(TURN)
    return np.stack([origin[0] + across, origin[1] - along * sin(RISE) + z * cos(RISE)], axis=-1)


def height_of(tier: Tier) -> float:
    """Height of a block, such that a channel is CHANNEL long on the screen."""
    return tier.channels * CHANNEL / cos(RISE)


def origin_of(center: float, edge: float) -> tuple[float, float]:
    """Screen position of a footprint's back corner, for a block that stands on the ground around ``center``."""
    back = center - edge * (cos(TURN) - sin(TURN)) / 2
    return back, GROUND + edge * (cos(TURN) + sin(TURN)) * sin(RISE)


def squares(rows: np.ndarray, columns: np.ndarray, z: float, size: float = TOKEN) -> np.ndarray:
    """Flat squares (n, 4, 3) on the plane ``z`` for cells (row, column)."""
    corner = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])  # column, row
    x = (columns[:, None] + corner[:, 0]) * size
    y = (rows[:, None] + corner[:, 1]) * size
    return np.stack([x, y, np.full_like(x, z, dtype=float)], axis=-1)


def draw_tier(ax: Axes, tier: Tier, colors: np.ndarray, origin: tuple[float, float]) -> None:
    """The top and the two sides that the camera sees."""
    n, height, edge = tier.grid, height_of(tier), tier.grid * TOKEN
    rows, columns = (axis.ravel() for axis in np.mgrid[:n, :n])
    gap = 0.15 if n > 30 else 0.4
    for side, shade in (("front", 0.62), ("right", 0.42)):
        strip = colors[-1] if side == "front" else colors[:, -1]  # (n, 3)
        low, high = np.arange(n) * TOKEN, np.arange(1, n + 1) * TOKEN
        far = np.full(n, edge)
        a, b = ((low, far), (high, far)) if side == "front" else ((far, low), (far, high))
        steps = 24  # darker towards the ground
        for k in range(steps):
            z0, z1 = height * k / steps, height * (k + 1) / steps
            quads = np.stack(
                [np.stack([*p, np.full(n, z)], -1) for p, z in ((a, z0), (b, z0), (b, z1), (a, z1))], axis=1
            )
            tone = np.clip(strip * shade * (0.55 + 0.6 * (k + 1) / steps), 0, 1)
            quads = project(quads, origin)
            ax.add_collection(PolyCollection(quads, facecolors=tone, edgecolors=tone, linewidths=0.4))
    for head in range(1, tier.heads):  # one line a head
        z = height * head / tier.heads
        line = project(np.array([(0, edge, z), (edge, edge, z), (edge, 0, z)]), origin)
        ax.plot(*line.T, color=SKY, linewidth=1.6, solid_joinstyle="round")
    top = project(squares(rows, columns, height), origin)
    ax.add_collection(PolyCollection(top, facecolors=colors.reshape(-1, 3), edgecolors=SKY, linewidths=gap, zorder=2))


def draw_frame(ax: Axes, frame: np.ndarray, edge: float, z: float, origin: tuple[float, float], fade: float):
    """One frame as a flat picture at height ``z``."""
    size = frame.shape[0]
    pixels = (frame / 255 * fade + (1 - fade) * np.array(matplotlib.colors.to_rgb(SKY))).clip(0, 1)
    scale = edge / size
    corners = project(np.array([(0, 0, z), (1, 0, z), (0, 1, z)]), origin)
    (x0, y0), right, down = corners[0], corners[1] - corners[0], corners[2] - corners[0]
    matrix = np.array([[right[0] * scale, down[0] * scale, x0], [right[1] * scale, down[1] * scale, y0], [0, 0, 1]])
    ax.imshow(
        pixels,
        extent=(0, size, size, 0),
        transform=Affine2D(matrix) + ax.transData,
        interpolation="bilinear",
        zorder=4,
        clip_on=False,
    )
    rim = project(np.array([(0, 0, z), (edge, 0, z), (edge, edge, z), (0, edge, z), (0, 0, z)]), origin)
    ax.plot(*rim.T, color=INK, linewidth=0.7, alpha=0.35 + 0.5 * (fade == 1), zorder=4)


def outline(tier: Tier, origin: tuple[float, float]) -> np.ndarray:
    """Corners (4, 2) on a block's top of the region that the traced token of the last stage stands for."""
    return project(region(tier.grid, height_of(tier)), origin)


def region(grid: int, z: float, last: int = 7) -> np.ndarray:
    """Corners (4, 3) of the traced token's region on a grid of ``grid`` tokens a side."""
    share = grid // last
    row, column = (place * last // 56 * share for place in FOCUS)
    corners = [(column, row), (column + share, row), (column + share, row + share), (column, row + share)]
    return np.array([(x * TOKEN, y * TOKEN, z) for x, y in corners])


def draw_cover(table: StageTable, frames: np.ndarray) -> Figure:
    """The picture, from the frames (T, H, W, 3) of a clip that fits the table's model."""
    width, height = SIZE
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    sky, floor = (np.array(matplotlib.colors.to_rgb(color)) for color in (SKY, FLOOR))
    ramp = np.linspace(0, 1, 24)[:, None, None] ** 1.5
    ax.imshow(sky * (1 - ramp) + floor * ramp, extent=(0, width, 0, height), aspect="auto", interpolation="bicubic")
    steps = table.config.thw[0]
    share = len(frames) // steps
    chosen = frames[STEP * share : (STEP + 1) * share]
    found = tiers(table)
    origins = [origin_of(center, tier.grid * TOKEN) for center, tier in zip(CENTERS, found, strict=True)]
    for tier, origin in zip(found, origins, strict=True):
        draw_tier(ax, tier, mosaic(chosen, tier.grid), origin)
        top = outline(tier, origin)
        ax.plot(*np.vstack([top, top[:1]]).T, color="white", linewidth=2.2, zorder=3)
    for (a, b), (p, q) in zip(pairwise(found), pairwise(origins), strict=True):
        one, two = outline(a, p), outline(b, q)
        ax.add_collection(
            LineCollection(np.stack([one, two], axis=1)[[0, 2]], colors="white", linewidths=1.2, alpha=0.6, zorder=3)
        )
    first, edge = found[0], found[0].grid * TOKEN
    start = height_of(first) + LIFT
    for index, frame in enumerate(frames):
        now = index // share == STEP
        draw_frame(
            ax,
            frame,
            edge,
            start + index * SHEET,
            origins[0],
            1.0 if index == len(frames) - 1 or now else 0.8,
        )
    label(ax, table, found)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure


def label(ax: Axes, table: StageTable, found: tuple[Tier, ...]) -> None:
    """Sizes under the blocks and beside the frames."""
    size = 24
    for tier, center in zip(found, CENTERS, strict=True):
        tokens, channels = (" tokens", " channels") if tier.stage == 0 else ("", "")
        ax.plot([center - 55, center + 55], [128, 128], color=STAGE_COLORS[tier.stage], linewidth=5)
        text = {"color": INK, "ha": "center", "va": "top", "fontsize": size}
        ax.text(center, 112, f"{tier.grid} × {tier.grid}{tokens}", weight="bold", **text)
        ax.text(center, 66, f"{tier.channels}{channels}", **text)
    frames, height, width = table.config.size
    text = {"color": INK, "ha": "left", "va": "top", "fontsize": size}
    ax.text(525, SIZE[1] - 50, f"{frames} frames", weight="bold", **text)
    ax.text(525, SIZE[1] - 96, f"{height} × {width} pixels", **text)


def save_cover(path: Path = PICTURE) -> None:
    table = stage_table(get_config(PRESET))
    clip = load_clip(example_clip(), frames=table.config.frames, stride=4, start=START, size=table.config.size[1:])
    figure = draw_cover(table, clip_to_frames(clip))
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI)
    plt.close(figure)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Description", alt_text(table))
    # 256 colors, fitted to the picture: a quarter of the bytes, and no visible difference.
    picture = Image.open(buffer).convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, kmeans=3)
    picture.save(path, optimize=True, pnginfo=text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.cover", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURE, help="the PNG to write")
    options = parser.parse_args(arguments)
    save_cover(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
