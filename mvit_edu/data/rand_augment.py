"""RandAugment for clips: a few strong changes of geometry and color, the same ones in every frame (Chapter 7).

RandAugment (Cubuk et al. 2020) draws some operations from a list and applies them one after another. How strong
they are is a level from 0 to 10. The paper (Appendix D.1) says "p=0.5, 4 layers, magnitude 7"; the released code
spells the same recipe `rand-m7-n4-mstd0.5-inc1` and uses the operations below. Every value of the table was read
in that code. At level 10 an operation is at its strongest ("inc1"); ± stands for a fair coin.

| operation | its value at level m | at m = 7 |
|---|---|---|
| auto_contrast, equalize, invert | none | |
| rotate | ±3 m degrees around the center | ±21 |
| posterize | keep the 4 - ⌊0.4 m⌋ highest bits of a color | 2 |
| solarize | invert the values from 256 - ⌊25.6 m⌋ on | 77 |
| solarize_add | add ⌊11 m⌋ to the values below 128 | 77 |
| color, contrast, brightness, sharpness | 1 ± 0.09 m (1 changes nothing) | 0.37 or 1.63 |
| shear_x, shear_y | ±0.03 m pixels a pixel | ±0.21 |
| translate_x, translate_y | ±0.045 m of the width or the height | ±0.315 |

torchvision's own `RandAugment` is another recipe: 14 operations, each drawn one applied for certain, 31 fixed
levels, no solarize_add, no bicubic interpolation of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as nnF
from torch import nn
from torchvision.transforms.v2 import functional as F

MAX_LEVEL = 10.0
GRAY = 128  # what comes into view from outside a frame

ENHANCE = {
    "color": F.adjust_saturation,
    "contrast": F.adjust_contrast,
    "brightness": F.adjust_brightness,
    "sharpness": F.adjust_sharpness,
}
PLAIN = {"auto_contrast": F.autocontrast, "equalize": F.equalize, "invert": F.invert}
WARPS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
OPERATIONS = (*PLAIN, "rotate", "posterize", "solarize", "solarize_add", *ENHANCE, *WARPS[1:])

Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]


class RandAugment(nn.Module):
    """RandAugment with one draw for a whole clip: uint8 (..., C, H, W) -> the same shape and type.

    Each of `layers` times one of the 15 operations is drawn, so the same one may come twice; it is applied with
    probability p, at a level drawn from a normal distribution around `magnitude` and clipped to [0, 10]. What an
    operation measures (auto_contrast, equalize, contrast), it measures in each frame, as the released code does.
    All randomness is of torch's global generator: `torch.manual_seed` fixes it.

    Args:
        magnitude, magnitude_std: mean and standard deviation of the level.
        layers: how many operations are drawn.
        p: probability that a drawn operation is applied.
        fill: gray level, or one value a channel, of what comes into view from outside a frame.
    """

    def __init__(
        self,
        magnitude: float = 7.0,
        *,
        magnitude_std: float = 0.5,
        layers: int = 4,
        p: float = 0.5,
        fill: float | Sequence[float] = GRAY,
    ) -> None:
        super().__init__()
        if not 0 <= magnitude <= MAX_LEVEL or magnitude_std < 0:
            raise ValueError(
                f"RandAugment needs a magnitude from 0 to 10 and a magnitude_std of at least 0, "
                f"got {magnitude} and {magnitude_std}."
            )
        if layers < 0 or not 0 <= p <= 1:
            raise ValueError(f"RandAugment needs layers >= 0 and p from 0 to 1, got layers={layers} and p={p}.")
        self.magnitude, self.magnitude_std, self.layers, self.p, self.fill = magnitude, magnitude_std, layers, p, fill

    def draw(self) -> list[tuple[str, float | None]]:
        """Operations to apply, in order, each with its value as `operation_value` gives it."""
        drawn = []
        for _ in range(self.layers):
            name = OPERATIONS[int(torch.randint(len(OPERATIONS), ()))]
            applied = float(torch.rand(())) < self.p
            level = min(MAX_LEVEL, max(0.0, self.magnitude + self.magnitude_std * float(torch.randn(()))))
            negate = float(torch.rand(())) < 0.5
            if applied:
                drawn.append((name, operation_value(name, level, negate=negate)))
        return drawn

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        if clip.dtype != torch.uint8 or clip.ndim < 3:
            raise ValueError(
                f"RandAugment changes uint8 frames (..., C, H, W), got {clip.dtype} {tuple(clip.shape)}: "
                "apply it before the clip is normalized."
            )
        for name, value in self.draw():
            clip = apply_operation(clip, name, value, self.fill)
        return clip

    def extra_repr(self) -> str:
        return (
            f"magnitude={self.magnitude}, magnitude_std={self.magnitude_std}, layers={self.layers}, "
            f"p={self.p}, fill={self.fill}"
        )


def operation_value(name: str, level: float, *, negate: bool = False) -> float | None:
    """What a level from 0 to 10 means for an operation: the table at the top of this file.

    Args:
        negate: whether the coin behind ± shows minus. Operations without ± ignore it.

    Returns:
        degrees (rotate), bits (posterize), a pixel value (solarize, solarize_add), a factor (color, contrast,
        brightness, sharpness), pixels a pixel (shear), a share of the frame (translate), or None.
    """
    share = level / MAX_LEVEL
    sign = -1.0 if negate else 1.0
    if name in PLAIN:
        return None
    if name in ENHANCE:
        return 1.0 + sign * 0.9 * share
    if name == "rotate":
        return sign * 30.0 * share
    if name == "posterize":
        return 4 - int(4 * share)
    if name == "solarize":
        return 256 - int(256 * share)
    if name == "solarize_add":
        return int(110 * share)
    if name in ("shear_x", "shear_y"):
        return sign * 0.3 * share
    if name in ("translate_x", "translate_y"):
        return sign * 0.45 * share
    raise ValueError(f"RandAugment has no operation {name!r}; it has {', '.join(OPERATIONS)}.")


def apply_operation(
    clip: torch.Tensor, name: str, value: float | None, fill: float | Sequence[float] = GRAY
) -> torch.Tensor:
    """One operation on every frame: uint8 (..., C, H, W) -> the same shape and type.

    Args:
        value: as `operation_value` gives it.
        fill: gray level, or one value a channel, of what comes into view from outside a frame.
    """
    if name in PLAIN:
        return PLAIN[name](clip)
    if name in ENHANCE:
        return ENHANCE[name](clip, value)
    if name == "posterize":
        return clip & (256 - 2 ** (8 - int(value)))
    if name == "solarize":
        return clip if value > 255 else clip ^ (clip >= value).to(torch.uint8) * 255  # v ^ 255 is 255 - v
    if name == "solarize_add":
        return clip + (clip < 128).to(torch.uint8) * int(value)
    if name in WARPS:
        return warp(clip, _matrix(name, value, *clip.shape[-2:]), fill)
    raise ValueError(f"RandAugment has no operation {name!r}; it has {', '.join(OPERATIONS)}.")


def _matrix(name: str, value: float, height: int, width: int) -> Matrix:
    """Where a point (x, y) of the result comes from, in pixels from the top left corner of the frame."""
    if name == "shear_x":
        return (1.0, value, 0.0), (0.0, 1.0, 0.0)
    if name == "shear_y":
        return (1.0, 0.0, 0.0), (value, 1.0, 0.0)
    if name == "translate_x":
        return (1.0, 0.0, value * width), (0.0, 1.0, 0.0)
    if name == "translate_y":
        return (1.0, 0.0, 0.0), (0.0, 1.0, value * height)
    cos, sin = math.cos(math.radians(value)), math.sin(math.radians(value))
    x, y = width / 2, height / 2  # the center stays where it is
    return (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y)


def warp(clip: torch.Tensor, matrix: Matrix, fill: float | Sequence[float] = GRAY) -> torch.Tensor:
    """Moves the pixels of every frame in the same way, with bicubic interpolation as in Pillow.

    Every pixel of the result is a weighted sum of 4 x 4 pixels of the frame it came from, and these places and
    weights are the same in all frames and channels. So they are computed once, and applied to all planes at a
    time: a row of the matrix `pixels` holds what all frames and channels have at one place, and
    `embedding_bag` sums 16 rows by their weights.

    Args:
        clip: uint8 (..., C, H, W).
        matrix: ((a, b, c), (d, e, f)); the point (x, y) of the result shows what was at
            (a x + b y + c, d x + e y + f). Pixel (row 0, column 0) has its center at (0.5, 0.5).
        fill: gray level, or one value a channel, for the points that come from outside the frame.
    """
    *lead, channels, height, width = clip.shape
    (a, b, c), (d, e, f) = matrix
    y = torch.arange(height, dtype=torch.float32)[:, None] + 0.5  # (H, 1)
    x = torch.arange(width, dtype=torch.float32)[None, :] + 0.5  # (1, W)
    from_x, from_y = (a * x + b * y + c).flatten(), (d * x + e * y + f).flatten()  # (H*W,)
    columns, across = _cubic_taps(from_x, width)  # (H*W, 4)
    rows, down = _cubic_taps(from_y, height)
    places = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # (H*W, 16)
    weights = (down[:, :, None] * across[:, None, :]).flatten(1)
    pixels = clip.float().reshape(-1, height * width).t().contiguous()  # (H*W, planes)
    moved = nnF.embedding_bag(places, pixels, per_sample_weights=weights, mode="sum")
    moved = moved.round_().clamp_(0, 255).to(torch.uint8)
    outside = (from_x < 0) | (from_x >= width) | (from_y < 0) | (from_y >= height)
    moved[outside] = torch.tensor(fill).to(torch.uint8).expand(channels).repeat(math.prod(lead))
    return moved.t().reshape(clip.shape)


def _cubic_taps(points: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The four pixels around each point and their weights, both (points, 4); beyond the border the last one counts.

    The weights are the cubic convolution of Keys with a = -1, which is what Pillow uses when it transforms.
    """
    points = points - 0.5  # the distance from the center of pixel 0
    first = points.floor()
    t = points - first
    weights = torch.stack([((2 - t) * t - 1) * t, (t - 2) * t * t + 1, ((1 - t) * t + 1) * t, (t - 1) * t * t], dim=1)
    places = first.to(torch.int32)[:, None] + torch.arange(-1, 3, dtype=torch.int32)
    return places.clamp_(0, size - 1), weights
