"""Checks of Chapter 2: pooling a sequence of tokens."""

from __future__ import annotations

from math import ceil, prod

import torch
import torch.nn.functional as F
from torch import Tensor

from mvit_edu.check.core import Case, Draw, Exercise, Mistake
from mvit_edu.model.pooling import pool_volume, pooled_size


# 2.1: how many tokens are left
def _tokens_left(thw, kernel, stride, padding, cls_token=True):
    return int(cls_token) + prod(pooled_size(thw, kernel, stride, padding))


def _by(size):
    """A wrong tokens_left from a wrong size(n, k, s, p) of one axis."""

    def wrong(thw, kernel, stride, padding, cls_token=True):
        sizes = (size(*axis) for axis in zip(thw, kernel, stride, padding, strict=True))
        return int(cls_token) + prod(sizes)

    return wrong


def _sizes(draw: Draw) -> list[Case]:
    cases = [
        Case("8 x 56 x 56, as in MViT-B", (8, 56, 56), (3, 3, 3), (1, 8, 8), (1, 1, 1)),
        Case("an odd number of frames", (15, 56, 56), (3, 3, 3), (2, 4, 4), (1, 1, 1)),
        Case("no class token", (8, 14, 14), (1, 3, 3), (1, 2, 2), (0, 1, 1), cls_token=False),
    ]
    for number in (1, 2, 3):
        kernel = tuple(draw.integer(1, 5) for _ in range(3))
        thw = tuple(draw.integer(5, 40) for _ in range(3))
        stride = tuple(draw.integer(2, 4) for _ in range(3))
        padding = tuple(draw.integer(0, 2) for _ in range(3))
        cases.append(Case(f"drawn sizes {number}", thw, kernel, stride, padding, cls_token=number != 2))
    return cases


ex_02_1 = Exercise(
    "2.1",
    reference=_tokens_left,
    cases=_sizes,
    mistakes=(
        Mistake(
            "You divided the size by the stride. n // s is right only for some kernels and paddings; count "
            "the windows: (n + 2p - k) // s + 1 along each axis.",
            _by(lambda n, k, s, p: n // s),
        ),
        Mistake(
            "You counted the padding once. It is added at both ends of the axis: 2p.",
            _by(lambda n, k, s, p: (n + p - k) // s + 1),
        ),
        Mistake(
            "The first window is missing. (n + 2p - k) // s counts the steps, and there is one window more than steps.",
            _by(lambda n, k, s, p: (n + 2 * p - k) // s),
        ),
        Mistake(
            "You rounded up. A window that sticks out of the padded axis is not used: round down.",
            _by(lambda n, k, s, p: ceil((n + 2 * p - k) / s) + 1),
        ),
        Mistake(
            "Your sizes are not whole: / does not round. Write // to drop the window that sticks out.",
            _by(lambda n, k, s, p: (n + 2 * p - k) / s + 1),
        ),
        Mistake(
            "You added the three sizes up. A grid has T' * H' * W' tokens: multiply them.",
            lambda thw, kernel, stride, padding, cls_token=True: (
                int(cls_token) + sum(pooled_size(thw, kernel, stride, padding))
            ),
        ),
        Mistake(
            "The class token is missing from your count. It skips the pooling and is still in the sequence.",
            lambda thw, kernel, stride, padding, cls_token=True: _tokens_left(thw, kernel, stride, padding, False),
        ),
        Mistake(
            "You counted a class token although cls_token is False.",
            lambda thw, kernel, stride, padding, cls_token=True: _tokens_left(thw, kernel, stride, padding, True),
        ),
    ),
)


# 2.2: max-pooling with heads
def _to_grid(x: Tensor, thw) -> Tensor:
    """(B, heads, T*H*W, d) -> (B*heads, d, T, H, W)."""
    return x.flatten(0, 1).transpose(1, 2).unflatten(2, thw)


def _to_tokens(volume: Tensor, batch: int) -> Tensor:
    """(B*heads, d, T, H, W) -> (B, heads, T*H*W, d)."""
    return volume.flatten(2).transpose(1, 2).unflatten(0, (batch, -1))


def _max_pool_heads(x, thw, kernel, stride, padding):
    pooled = _to_tokens(F.max_pool3d(_to_grid(x[:, :, 1:], thw), kernel, stride, padding), len(x))
    return torch.cat([x[:, :, :1], pooled], dim=2)


def _class_token_in_grid(x, thw, kernel, stride, padding):
    pooled = _to_tokens(F.max_pool3d(_to_grid(x[:, :, :-1], thw), kernel, stride, padding), len(x))
    return torch.cat([x[:, :, :1], pooled], dim=2)


def _class_token_in_grid_only(x, thw, kernel, stride, padding):
    return _class_token_in_grid(x, thw, kernel, stride, padding)[:, :, 1:]


def _heads_and_tokens(x, thw, kernel, stride, padding):
    b, heads, n, d = x.shape
    mixed = x.reshape(b, n, heads * d)[:, 1:].transpose(1, 2).unflatten(2, thw)  # (B, heads*d, T, H, W)
    pooled = F.max_pool3d(mixed, kernel, stride, padding).flatten(2).transpose(1, 2)  # (B, N', heads*d)
    return torch.cat([x[:, :, :1], pooled.reshape(b, heads, -1, d)], dim=2)


def _channels_and_tokens(x, thw, kernel, stride, padding):
    b, heads, _, d = x.shape
    mixed = x[:, :, 1:].reshape(b * heads, d, *thw)
    pooled = F.max_pool3d(mixed, kernel, stride, padding).reshape(b, heads, -1, d)
    return torch.cat([x[:, :, :1], pooled], dim=2)


def _unturned(x, thw, kernel, stride, padding):
    b, heads, _, d = x.shape
    pooled = F.max_pool3d(_to_grid(x[:, :, 1:], thw), kernel, stride, padding)
    return torch.cat([x[:, :, :1], pooled.reshape(b, heads, -1, d)], dim=2)


def _channels_and_heads(x, thw, kernel, stride, padding):
    b, heads, _, d = x.shape
    volume = x[:, :, 1:].transpose(2, 3).flatten(1, 2).unflatten(2, thw)  # (B, heads*d, T, H, W)
    pooled = F.max_pool3d(volume, kernel, stride, padding).flatten(2).transpose(1, 2)  # (B, N', heads*d)
    return torch.cat([x[:, :, :1], pooled.reshape(b, heads, -1, d)], dim=2)


def _class_token_last(x, thw, kernel, stride, padding):
    out = _max_pool_heads(x, thw, kernel, stride, padding)
    return torch.cat([out[:, :, 1:], out[:, :, :1]], dim=2)


def _zero_padding(x, thw, kernel, stride, padding):
    t, h, w = padding
    volume = F.pad(_to_grid(x[:, :, 1:], thw), (w, w, h, h, t, t))
    return torch.cat([x[:, :, :1], _to_tokens(F.max_pool3d(volume, kernel, stride), len(x))], dim=2)


def _average(x, thw, kernel, stride, padding):
    pooled = _to_tokens(F.avg_pool3d(_to_grid(x[:, :, 1:], thw), kernel, stride, padding), len(x))
    return torch.cat([x[:, :, :1], pooled], dim=2)


def _sequences(draw: Draw) -> list[Case]:
    def sequence(heads: int, thw, dim: int) -> Tensor:
        return draw.normal(2, heads, 1 + prod(thw), dim)

    odd = (draw.integer(1, 2) * 2 + 1, 5, 7)
    return [
        Case("one head", sequence(1, (2, 4, 6), 5), (2, 4, 6), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
        Case("three heads", sequence(3, (2, 4, 6), 5), (2, 4, 6), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
        Case("odd sizes", sequence(2, odd, 4), odd, (3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ]


ex_02_2 = Exercise(
    "2.2",
    reference=_max_pool_heads,
    cases=_sequences,
    mistakes=(
        Mistake(
            "The class token sits in your grid, and every other token has moved by one place. The grid "
            "starts at index 1: x[:, :, 1:].",
            _class_token_in_grid,
        ),
        Mistake(
            "You pooled the class token as if it were the first place of the grid. Set it aside "
            "(x[:, :, :1]), pool the rest, and put it back in front.",
            _class_token_in_grid_only,
        ),
        Mistake(
            "The class token is missing. Put it back in front: torch.cat([x[:, :, :1], pooled], dim=2).",
            lambda *args: _max_pool_heads(*args)[:, :, 1:],
        ),
        Mistake("The class token stands at the end. Its place is index 0.", _class_token_last),
        Mistake(
            "Heads and tokens are mixed up: x is (B, heads, N, d), and a reshape to (B, N, heads * d) does "
            "not move an axis. Transpose first, or merge the heads with the batch: x.flatten(0, 1).",
            _heads_and_tokens,
        ),
        Mistake(
            "Channels and tokens are mixed up: a reshape of (N, d) to (d, T, H, W) does not move an axis. "
            "Transpose to (d, N) first, then unflatten N.",
            _channels_and_tokens,
        ),
        Mistake(
            "The way in is right, the way back is not: a reshape of (d, T', H', W') to (N', d) does not "
            "move an axis. Flatten the grid, then transpose.",
            _unturned,
        ),
        Mistake(
            "The way back mixes heads and tokens: (B, N', heads * d) is no reshape of (B, heads, N', d). "
            "Unflatten the channels to (heads, d) first, then transpose.",
            _channels_and_heads,
        ),
        Mistake(
            "Your padding is zero. Then a window of negative values at the border gives 0; a maximum is "
            "padded with minus infinity, which F.max_pool3d does when you pass it the padding.",
            _zero_padding,
        ),
        Mistake("This is the average of each window; the task wants the maximum.", _average),
    ),
)


# 2.3: an average that leaves the padding out
def _average_of_tokens(volume, kernel, stride, padding):
    return F.avg_pool3d(volume, kernel, stride, padding, count_include_pad=False)


def _sum_of_tokens(volume, kernel, stride, padding):
    return F.avg_pool3d(volume, kernel, stride, padding, divisor_override=1)


def _corrected_twice(volume, kernel, stride, padding):
    share = F.avg_pool3d(torch.ones_like(volume), kernel, stride, padding)
    return _average_of_tokens(volume, kernel, stride, padding) / share


def _multiplied(volume, kernel, stride, padding):
    share = F.avg_pool3d(torch.ones_like(volume), kernel, stride, padding)
    return F.avg_pool3d(volume, kernel, stride, padding) * share


def _border_repeated(volume, kernel, stride, padding):
    t, h, w = padding
    return F.avg_pool3d(F.pad(volume, (w, w, h, h, t, t), mode="replicate"), kernel, stride)


def _volumes(draw: Draw) -> list[Case]:
    return [
        Case("a grid of ones", torch.ones(1, 1, 3, 4, 4), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
        Case("drawn values", draw.normal(2, 3, 4, 6, 8), (3, 3, 3), (1, 2, 2), (1, 1, 1)),
        Case("odd sizes", draw.normal(2, 3, 5, 7, 9), (3, 5, 5), (2, 4, 4), (1, 2, 2)),
        Case("no padding", draw.normal(1, 2, 4, 6, 6), (1, 2, 2), (1, 2, 2), (0, 0, 0)),
    ]


ex_02_3 = Exercise(
    "2.3",
    reference=_average_of_tokens,
    cases=_volumes,
    mistakes=(
        Mistake(
            "Your average counts the padding: at the border it divides by the whole window, zeros included. "
            "Divide by the number of tokens in the window instead.",
            lambda volume, kernel, stride, padding: F.avg_pool3d(volume, kernel, stride, padding),
        ),
        Mistake(
            "These are sums. Divide each by the number of tokens in its window; the same pooling of a grid "
            "of ones gives that number.",
            _sum_of_tokens,
        ),
        Mistake(
            "The padding is missing. It decides where the windows lie and how many there are; only the "
            "division has to change.",
            lambda volume, kernel, stride, padding: F.avg_pool3d(volume, kernel, stride),
        ),
        Mistake(
            "You multiplied by the share of the window that holds tokens. Zeros made the average too small: "
            "divide by the share.",
            _multiplied,
        ),
        Mistake("You corrected for the padding twice. Once is enough.", _corrected_twice),
        Mistake(
            "You padded with copies of the border. The task wants windows that leave the padding out.",
            _border_repeated,
        ),
    ),
)


# 2.4: a 3-D convolution as a sum of 2-D ones
def _conv3d_by_frames(x, weight, stride):
    channels, _, *kernel = weight.shape
    padding = tuple(k // 2 for k in kernel)
    volume = pool_volume(x.permute(0, 2, 3, 4, 1), "conv", tuple(kernel), tuple(stride), padding, weight)
    return volume.permute(0, 4, 1, 2, 3)  # (B, C, T', H', W')


def _taps_flipped(x, weight, stride):
    return _conv3d_by_frames(x, weight.flip(2), stride)


def _frames_wrap(x, weight, stride):
    k_t = weight.shape[2]
    y = sum(
        F.conv3d(
            x.roll(k_t // 2 - tap, 2),
            weight[:, :, tap : tap + 1],
            None,
            (1, *stride[1:]),
            (0, weight.shape[3] // 2, weight.shape[4] // 2),
            groups=x.shape[1],
        )
        for tap in range(k_t)
    )
    return y[:, :, :: stride[0]]


def _unpadded_in_time(x, weight, stride):
    padding = (0, weight.shape[3] // 2, weight.shape[4] // 2)
    return F.conv3d(x, weight, None, stride, padding, groups=x.shape[1])


def _no_spatial_padding(x, weight, stride):
    return F.conv3d(x, weight, None, stride, (weight.shape[2] // 2, 0, 0), groups=x.shape[1])


def _not_centered(x, weight, stride):
    k_t, k_h, k_w = weight.shape[2:]
    x = F.pad(x, (0, 0, 0, 0, 0, k_t - 1))  # all zero frames at the end
    return F.conv3d(x, weight, None, stride, (0, k_h // 2, k_w // 2), groups=x.shape[1])


def _thinned_first(x, weight, stride):
    return _conv3d_by_frames(x[:, :, :: stride[0]], weight, (1, *stride[1:]))


def _every_frame(x, weight, stride):
    return _conv3d_by_frames(x, weight, (1, *stride[1:]))


def _rounded_down(x, weight, stride):
    return _conv3d_by_frames(x, weight, stride)[:, :, : max(1, x.shape[2] // stride[0])]


def _center_only(x, weight, stride):
    middle = torch.zeros_like(weight)
    middle[:, :, weight.shape[2] // 2] = weight[:, :, weight.shape[2] // 2]
    return _conv3d_by_frames(x, middle, stride)


def _clips(draw: Draw) -> list[Case]:
    return [
        Case("stride 1", draw.normal(2, 3, 4, 5, 6), draw.normal(3, 1, 3, 3, 3), (1, 1, 1)),
        Case("stride 1x2x2", draw.normal(1, 4, 5, 6, 7), draw.normal(4, 1, 3, 3, 3), (1, 2, 2)),
        Case("stride 2 in time", draw.normal(1, 2, 7, 6, 6), draw.normal(2, 1, 3, 3, 3), (2, 2, 2)),
        Case("five taps", draw.normal(1, 2, 8, 4, 4), draw.normal(2, 1, 5, 3, 3), (3, 1, 1)),
        Case("a single frame", draw.normal(2, 3, 1, 4, 4), draw.normal(3, 1, 3, 3, 3), (1, 1, 1)),
    ]


ex_02_4 = Exercise(
    "2.4",
    reference=_conv3d_by_frames,
    cases=_clips,
    mistakes=(
        Mistake(
            "The taps are in the wrong order. PyTorch does not flip a kernel: tap 0 reads the earliest "
            "frame of the window.",
            _taps_flipped,
        ),
        Mistake(
            "Your frames wrap around: the first result reads the last frame. Beyond the ends there are "
            "zeros; leave those terms out, or pad x in time.",
            _frames_wrap,
        ),
        Mistake(
            "The window is not centered: result t reads frames t to t + k - 1. Tap tau belongs to frame "
            "s * t + tau - p with p = k // 2.",
            _not_centered,
        ),
        Mistake(
            "You thinned the frames out before the taps. The taps read neighboring frames of x; the stride "
            "says at which frames a window is centered.",
            _thinned_first,
        ),
        Mistake(
            "You ignored the stride in time: keep every stride[0]-th result only.",
            _every_frame,
        ),
        Mistake(
            "The last result is missing: T // stride[0] rounds down. With this padding, T divided by the "
            "stride is rounded up.",
            _rounded_down,
        ),
        Mistake(
            "The padding in time is missing: pad x by k // 2 zero frames at both ends (or skip the terms "
            "beyond the ends).",
            _unpadded_in_time,
        ),
        Mistake("The padding in space is missing: F.conv2d wants k // 2 for both axes.", _no_spatial_padding),
        Mistake("Only the middle tap is used. Add up the terms of all taps.", _center_only),
    ),
)
