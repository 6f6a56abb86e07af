"""Make the book's running example, `mvit_edu/data/media/coffee.mp4`, from a photograph.

    python data_scripts/make_example_clip.py            # writes the file in the package
    python data_scripts/make_example_clip.py out.mp4    # or another one

A photograph has no motion, so a camera is moved over it: it pans from left to right, comes closer, turns
by a few degrees and trembles a little, as a hand would. Needs scikit-image, which carries the photograph
(`skimage.data.coffee`, CC0). The same library versions write the same bytes.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from skimage.data import coffee

from mvit_edu.data import example_clip
from mvit_edu.visualize import encode_mp4

FRAMES, FPS, HEIGHT, WIDTH = 108, 30, 256, 320


def camera(t: int) -> tuple[float, float, float, float]:
    """Center (x, y) of the view in the photograph, its height in pixels, and its angle, at frame t."""
    progress = t / (FRAMES - 1)
    ease = progress - math.sin(2 * math.pi * progress) / (4 * math.pi)  # starts and stops gently
    tremble_x = 1.5 * math.sin(0.21 * t) + 0.7 * math.sin(0.57 * t + 1)
    tremble_y = 1.8 * math.sin(0.17 * t + 2) + 0.6 * math.sin(0.49 * t)
    x = 229 + 160 * ease + tremble_x
    y = 195 - 6 * ease + tremble_y
    height = 344 - 68 * ease
    angle = math.radians(-2.5 + 5 * ease)
    return x, y, height, angle


def render(photo: torch.Tensor, t: int) -> torch.Tensor:
    """The view at frame t: photo (1, 3, H, W) in [0, 1] -> (1, 3, HEIGHT, WIDTH)."""
    x, y, height, angle = camera(t)
    oversample = 2  # drawn at twice the size and averaged, so that fine texture does not flicker
    rows = (torch.arange(HEIGHT * oversample) + 0.5) / (HEIGHT * oversample) - 0.5
    columns = (torch.arange(WIDTH * oversample) + 0.5) / (WIDTH * oversample) - 0.5
    dy, dx = torch.meshgrid(rows * height, columns * height * WIDTH / HEIGHT, indexing="ij")
    px = x + math.cos(angle) * dx - math.sin(angle) * dy  # position in the photograph, in pixels
    py = y + math.sin(angle) * dx + math.cos(angle) * dy
    photo_height, photo_width = photo.shape[-2:]
    if px.min() < 0 or py.min() < 0 or px.max() > photo_width or py.max() > photo_height:
        raise ValueError(f"At frame {t} the camera looks past the edge of the photograph.")
    grid = torch.stack([2 * px / photo_width - 1, 2 * py / photo_height - 1], dim=-1)[None]
    view = F.grid_sample(photo, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return F.avg_pool2d(view, oversample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path, default=example_clip())
    output: Path = parser.parse_args().output

    photo = torch.from_numpy(coffee()).permute(2, 0, 1).float()[None] / 255  # (1, 3, 400, 600)
    frames = torch.cat([render(photo, t) for t in range(FRAMES)])  # (T, 3, H, W)
    pixels = (frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    output.write_bytes(encode_mp4(np.ascontiguousarray(pixels), fps=FPS, crf=24, keyframe_every=12))
    print(f"{output.name}: {FRAMES} frames of {WIDTH}x{HEIGHT}, {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
