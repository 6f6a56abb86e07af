"""Checks of Chapter 1: cubes, the order of tokens, their number and what attention over them costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import ceil, prod

from einops import rearrange
from torch import Tensor

from mvit_edu import MViTConfig, get_config
from mvit_edu.check.core import Case, Draw, Exercise, Mistake
from mvit_edu.model.pooling import Size3, pooled_size

CUBES = "b c (T t) (H h) (W w) -> b (T H W) (c t h w)"
GRID = (8, 56, 56)  # tokens of MViT-B 16x4 without the class token
CROP = 224


def _cut(pattern: str) -> Callable[[Tensor, Size3], Tensor]:
    def cut_cubes(clip: Tensor, size: Size3) -> Tensor:
        t, h, w = size
        return rearrange(clip, pattern, t=t, h=h, w=w)

    return cut_cubes


def _reshape_only(clip: Tensor, size: Size3) -> Tensor:
    return clip.reshape(clip.shape[0], -1, clip.shape[1] * prod(size))


def _clips(draw: Draw) -> list[Case]:
    batch = draw.integer(2, 3)
    return [
        Case("patches of one frame", draw.normal(batch, 3, 2, 8, 12), (1, 4, 4)),
        Case("cubes of two frames", draw.normal(batch, 3, 4, 6, 4), (2, 3, 2)),
        Case("one cube", draw.normal(batch, 3, 2, 4, 5), (2, 4, 5)),
    ]


ex_01_1 = Exercise(
    "1.1",
    reference=_cut(CUBES),
    cases=_clips,
    mistakes=(
        Mistake(
            "A reshape alone keeps the numbers in the order of memory: it cuts runs of pixels, not cubes. "
            "First split each axis in two, then permute, then flatten.",
            _reshape_only,
        ),
        Mistake(
            "The cubes are right, but the tokens are not time-major: all places of the first time step come "
            "before the second time step.",
            _cut("b c (T t) (H h) (W w) -> b (H W T) (c t h w)"),
        ),
        Mistake(
            "The cubes are right, but within a time step the tokens run down the columns. They run along the "
            "rows, as you read.",
            _cut("b c (T t) (H h) (W w) -> b (T W H) (c t h w)"),
        ),
        Mistake(
            "Each row holds the right pixels with the channels last. The channels come first, as in the "
            "weight (D, C, t, h, w) of a convolution.",
            _cut("b c (T t) (H h) (W w) -> b (T H W) (t h w c)"),
        ),
        Mistake(
            "You took the size of a cube for the number of cubes: `size` counts frames and pixels.",
            _cut("b c (t T) (h H) (w W) -> b (t h w) (c T H W)"),
        ),
        Mistake(
            "You took every (T / t)-th frame and pixel. A cube is made of neighbors: the inner part of each "
            "axis belongs to the cube.",
            _cut("b c (t T) (h H) (w W) -> b (T H W) (c t h w)"),
        ),
    ),
)


def _index(t: int, h: int, w: int, thw: Size3, cls_token: bool = True) -> int:
    _, rows, columns = thw
    return int(cls_token) + (t * rows + h) * columns + w


def _places(draw: Draw) -> list[Case]:
    wide = (draw.integer(3, 5), 4, 7)
    return [
        Case("the first place", 0, 0, 0, wide),
        Case("inside a wide grid", 2, 1, draw.integer(1, 5), wide),
        Case("inside a high grid", 1, draw.integer(3, 6), 2, (2, 8, 3)),
        Case("without class token", 2, 2, draw.integer(1, 5), wide, cls_token=False),
        Case("the last token of MViT-B", 7, 55, 55, GRID),
    ]


ex_01_2 = Exercise(
    "1.2",
    reference=_index,
    cases=_places,
    mistakes=(
        Mistake(
            "Index 0 belongs to the class token, where there is one: every other token moves up by one.",
            lambda t, h, w, thw, cls_token=True: _index(t, h, w, thw, False),
        ),
        Mistake(
            "With `cls_token=False` nothing stands in front of the first place.",
            lambda t, h, w, thw, cls_token=True: _index(t, h, w, thw, True),
        ),
        Mistake(
            "A row holds W' tokens, not H': going down by one row skips W' tokens. In a square grid you "
            "would not have noticed.",
            lambda t, h, w, thw, cls_token=True: cls_token + t * thw[1] * thw[2] + h * thw[1] + w,
        ),
        Mistake(
            "The factors are one axis off: one row down skips W' tokens, one step in time skips a frame of "
            "H' * W' tokens. T' is not needed.",
            lambda t, h, w, thw, cls_token=True: cls_token + (t * thw[0] + h) * thw[1] + w,
        ),
        Mistake(
            "That is the order with time running fastest. Tokens are time-major: one step in time skips a "
            "whole frame of H' * W' tokens.",
            lambda t, h, w, thw, cls_token=True: cls_token + (h * thw[2] + w) * thw[0] + t,
        ),
        Mistake(
            "Within a frame the tokens run along the rows: w is the axis that runs fastest.",
            lambda t, h, w, thw, cls_token=True: cls_token + (t * thw[2] + w) * thw[1] + h,
        ),
    ),
)


def _cost(
    config: MViTConfig,
    steps: Callable[[int, int, int, int], int] = lambda n, k, s, p: (n + 2 * p - k) // s + 1,
    cls_token: Callable[[MViTConfig], int] = lambda config: int(config.cls_token),
    macs: Callable[[int, MViTConfig], int] = lambda tokens, config: 2 * tokens**2 * config.dim,
) -> tuple[int, int]:
    """Tokens and multiply-adds of the first attention without pooling, from parts that a mistake replaces."""
    axes = zip(config.size, config.cube_kernel, config.cube_stride, config.padding, strict=True)
    tokens = cls_token(config) + prod(steps(*axis) for axis in axes)
    return tokens, macs(tokens, config)


def _configs(draw: Draw) -> list[Case]:
    vit, mvit, tiny = (get_config(name) for name in ("vit_b_8x8", "mvit_b_16x4", "mvit_tiny"))
    odd = (230 + 4 * draw.integer(0, 3), 229)
    cut = (100, draw.choice([160, 224]))
    return [
        Case("MViT-B 16x4", mvit),
        Case(f"ViT-B with frames of {cut[0]}x{cut[1]}", replace(vit, crop=cut)),
        Case(f"MViT-B with 15 frames of {odd[0]}x{odd[1]}", replace(mvit, frames=15, crop=odd)),
        Case("mvit_tiny without class token", replace(tiny, cls_token=False)),
        Case("MViT-B with SlowFast's default padding (2, 4, 4)", replace(mvit, cube_padding=(2, 4, 4))),
    ]


_WINDOWS = "Count the windows: floor((n + 2p - k) / s) + 1 along each axis."

ex_01_3 = Exercise(
    "1.3",
    reference=_cost,
    cases=_configs,
    mistakes=(
        Mistake("The class token is one more token, where there is one.", partial(_cost, cls_token=lambda c: 0)),
        Mistake(
            "With `config.cls_token` False there are only the cubes to count.",
            partial(_cost, cls_token=lambda config: 1),
        ),
        Mistake(
            "n // s forgets the window: without padding the last one may hang over the end, and with padding "
            f"an odd size has room for one more. {_WINDOWS}",
            partial(_cost, steps=lambda n, k, s, p: n // s),
        ),
        Mistake(
            "Rounding n / s up forgets the window: without padding a window that hangs over the end is not "
            f"taken. {_WINDOWS}",
            partial(_cost, steps=lambda n, k, s, p: ceil(n / s)),
        ),
        Mistake(
            f"The padding is added at both ends of an axis: 2p, not p. {_WINDOWS}",
            partial(_cost, steps=lambda n, k, s, p: (n + p - k) // s + 1),
        ),
        Mistake(
            f"You counted the steps from window to window; there is one window more. {_WINDOWS}",
            partial(_cost, steps=lambda n, k, s, p: (n + 2 * p - k) // s),
        ),
        Mistake(
            "You padded by half of the kernel. `config.padding` says what the model does, and cubes with "
            "kernel equal to stride have none.",
            partial(_cost, steps=lambda n, k, s, p: (n + 2 * (k // 2) - k) // s + 1),
        ),
        Mistake(
            "There are two products: one makes the weights from queries and keys, one mixes the values with "
            "them. Each costs N * N * D.",
            partial(_cost, macs=lambda tokens, config: tokens**2 * config.dim),
        ),
        Mistake(
            "The heads share the D channels: h heads of D / h channels cost as much as one head of D.",
            partial(_cost, macs=lambda tokens, config: 2 * tokens**2 * config.dim * config.heads),
        ),
        Mistake(
            "The heads share the D channels: h heads of D / h channels cost as much as one head of D.",
            partial(_cost, macs=lambda tokens, config: 2 * tokens**2 * config.dim // config.heads),
        ),
    ),
)


def _design(fn: Callable[[int], tuple[Size3, Size3, Size3]], frames: int) -> dict[str, object]:
    """What the check looks at: any cube with the right grid and overlapping neighbors is right."""
    kernel, stride, padding = fn(frames)
    grid = pooled_size((frames, CROP, CROP), kernel, stride, padding)
    return {"grid of tokens": grid, "overlap (k > s)": [k > s for k, s in zip(kernel, stride, strict=True)]}


def _cube_for(frames: int) -> tuple[Size3, Size3, Size3]:
    step = frames // GRID[0]
    reach = 2 * step + 1
    return (reach, 7, 7), (step, 4, 4), (reach // 2, 3, 3)


ex_01_4 = Exercise(
    "1.4",
    reference=_cube_for,
    cases=lambda draw: [Case(f"{frames} frames", frames) for frames in (16, 32, 64)],
    build=_design,
    mistakes=(
        Mistake(
            "The step in time stays the same, so twice the frames make twice the tokens. The step must grow "
            "with the number of frames.",
            lambda frames: ((3, 7, 7), (2, 4, 4), (1, 3, 3)),
        ),
        Mistake(
            "The number is right, but neighbors in time do not overlap: with a kernel below the step there "
            "are frames that no cube looks at. (Table 12 has such a row, 32x2 with 3x7x7 and stride 4x4x4.)",
            lambda frames: ((3, 7, 7), (frames // 8, 4, 4), (1, 3, 3)),
        ),
        Mistake(
            "The number is right, but a kernel equal to the step only touches its neighbor. Take more.",
            lambda frames: ((frames // 8, 7, 7), (frames // 8, 4, 4), (0, 3, 3)),
        ),
        Mistake(
            "The number is right, but these cubes only touch. Each kernel must be larger than its stride, in "
            "height and width too.",
            lambda frames: ((frames // 8, 4, 4), (frames // 8, 4, 4), (0, 0, 0)),
        ),
        Mistake(
            "The kernel grew and the padding did not, so that the last window does not fit. An odd kernel k "
            "wants the padding k // 2.",
            lambda frames: ((2 * (frames // 8) - 1, 7, 7), (frames // 8, 4, 4), (1, 3, 3)),
        ),
        Mistake(
            "The kernel grew and the padding did not, so that the last window does not fit. An odd kernel k "
            "wants the padding k // 2.",
            lambda frames: ((2 * (frames // 8) + 1, 7, 7), (frames // 8, 4, 4), (1, 3, 3)),
        ),
    ),
)
