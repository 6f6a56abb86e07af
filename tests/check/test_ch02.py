"""The checks of Chapter 2: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

from math import ceil, prod

import torch
import torch.nn.functional as F

from mvit_edu import check
from tests.check.answers import answer_tests


# 2.1
def tokens_left(thw, kernel, stride, padding, cls_token=True):
    shape = F.conv3d(
        torch.empty(1, 1, *thw, device="meta"),
        torch.empty(1, 1, *kernel, device="meta"),
        None,
        stride,
        padding,
    ).shape
    return prod(shape) + (1 if cls_token else 0)


def divides(thw, kernel, stride, padding, cls_token=True):
    return prod(n // s for n, s in zip(thw, stride, strict=True)) + cls_token


def pads_once(thw, kernel, stride, padding, cls_token=True):
    axes = zip(thw, kernel, stride, padding, strict=True)
    return prod((n + p - k) // s + 1 for n, k, s, p in axes) + cls_token


def counts_steps(thw, kernel, stride, padding, cls_token=True):
    axes = zip(thw, kernel, stride, padding, strict=True)
    return prod((n + 2 * p - k) // s for n, k, s, p in axes) + cls_token


def rounds_up(thw, kernel, stride, padding, cls_token=True):
    axes = zip(thw, kernel, stride, padding, strict=True)
    return prod(ceil((n + 2 * p - k) / s + 1) for n, k, s, p in axes) + cls_token


def never_rounds(thw, kernel, stride, padding, cls_token=True):
    axes = zip(thw, kernel, stride, padding, strict=True)
    return cls_token + prod((n + 2 * p - k + s) / s for n, k, s, p in axes)


def adds_sizes(thw, kernel, stride, padding, cls_token=True):
    axes = zip(thw, kernel, stride, padding, strict=True)
    return cls_token + sum((n + 2 * p - k) // s + 1 for n, k, s, p in axes)


def forgets_class_token(thw, kernel, stride, padding, cls_token=True):
    return tokens_left(thw, kernel, stride, padding, cls_token=False)


def always_class_token(thw, kernel, stride, padding, cls_token=True):
    return tokens_left(thw, kernel, stride, padding) if cls_token else 1 + tokens_left(thw, kernel, stride, padding, 0)


# 2.2
def max_pool_heads(x, thw, kernel, stride, padding):
    pooled = []
    for head in range(x.shape[1]):
        grid = x[:, head, 1:].transpose(1, 2).unflatten(2, thw)
        grid = F.max_pool3d(grid, kernel, stride, padding).flatten(2).transpose(1, 2)
        pooled.append(torch.cat([x[:, head, :1], grid], dim=1))
    return torch.stack(pooled, dim=1)


def keeps_class_token_in_grid(x, thw, kernel, stride, padding):
    b, heads, n, d = x.shape
    grid = x[:, :, : n - 1].reshape(b * heads, *thw, d).permute(0, 4, 1, 2, 3)
    grid = F.max_pool3d(grid, kernel, stride, padding).permute(0, 2, 3, 4, 1).reshape(b, heads, -1, d)
    return torch.cat([x[:, :, :1], grid], dim=2)


def pools_class_token(x, thw, kernel, stride, padding):
    return keeps_class_token_in_grid(x, thw, kernel, stride, padding)[:, :, 1:]


def drops_class_token(x, thw, kernel, stride, padding):
    return max_pool_heads(x, thw, kernel, stride, padding)[:, :, 1:]


def class_token_last(x, thw, kernel, stride, padding):
    return max_pool_heads(x, thw, kernel, stride, padding).roll(-1, dims=2)


def reshapes_heads(x, thw, kernel, stride, padding):
    b, heads, n, d = x.shape
    cls_token, tokens = x.reshape(b, n, heads * d).split([1, n - 1], dim=1)
    grid = F.max_pool3d(tokens.mT.reshape(b, -1, *thw), kernel, stride, padding)
    tokens = grid.flatten(2).mT.reshape(b, heads, -1, d)
    return torch.cat([x[:, :, :1], tokens], dim=2)


def reshapes_channels(x, thw, kernel, stride, padding):
    b, heads, _, d = x.shape
    grid = F.max_pool3d(x[:, :, 1:].reshape(-1, d, *thw), kernel, stride, padding)
    return torch.cat([x[:, :, :1], grid.reshape(b, heads, -1, d)], dim=2)


def reshapes_back(x, thw, kernel, stride, padding):
    b, heads, _, d = x.shape
    grid = x[:, :, 1:].reshape(b * heads, *thw, d).permute(0, 4, 1, 2, 3)
    grid = F.max_pool3d(grid, kernel, stride, padding)
    return torch.cat([x[:, :, :1], grid.reshape(b, heads, -1, d)], dim=2)


def merges_channels(x, thw, kernel, stride, padding):
    b, heads, _, d = x.shape
    grid = x[:, :, 1:].mT.reshape(b, heads * d, *thw)
    tokens = F.max_pool3d(grid, kernel, stride, padding).flatten(2).mT.reshape(b, heads, -1, d)
    return torch.cat([x[:, :, :1], tokens], dim=2)


def pads_with_zeros(x, thw, kernel, stride, padding):
    grid = x[:, :, 1:].flatten(0, 1).mT.unflatten(2, thw)
    grid = F.pad(grid, [p for p in reversed(padding) for _ in range(2)])
    tokens = F.max_pool3d(grid, kernel, stride).flatten(2).mT.unflatten(0, x.shape[:2])
    return torch.cat([x[:, :, :1], tokens], dim=2)


def averages(x, thw, kernel, stride, padding):
    grid = x[:, :, 1:].flatten(0, 1).mT.unflatten(2, thw)
    tokens = F.avg_pool3d(grid, kernel, stride, padding).flatten(2).mT.unflatten(0, x.shape[:2])
    return torch.cat([x[:, :, :1], tokens], dim=2)


def writes_into_x(x, thw, kernel, stride, padding):
    out = max_pool_heads(x, thw, kernel, stride, padding)
    x[:, :, : out.shape[2]] = out
    return x[:, :, : out.shape[2]]


# 2.3
def average_of_tokens(volume, kernel, stride, padding):
    held = F.avg_pool3d(torch.ones_like(volume), kernel, stride, padding) * prod(kernel)
    return F.avg_pool3d(volume, kernel, stride, padding) * prod(kernel) / held


def counts_padding(volume, kernel, stride, padding):
    return F.avg_pool3d(volume, kernel, stride, padding)


def sums(volume, kernel, stride, padding):
    return F.avg_pool3d(volume, kernel, stride, padding) * prod(kernel)


def drops_padding(volume, kernel, stride, padding):
    return F.avg_pool3d(volume, kernel, stride)


def multiplies(volume, kernel, stride, padding):
    return counts_padding(volume, kernel, stride, padding) * counts_padding(
        torch.ones_like(volume), kernel, stride, padding
    )


def repeats_border(volume, kernel, stride, padding):
    sides = [p for p in reversed(padding) for _ in range(2)]
    return F.avg_pool3d(F.pad(volume, sides, mode="replicate"), kernel, stride)


# 2.4
def conv3d_by_frames(x, weight, stride):
    padding = tuple(k // 2 for k in weight.shape[2:])
    return F.conv3d(x, weight, None, stride, padding, groups=x.shape[1])


def frames(x, weight, stride, source, centers=None):
    """Result t adds up the taps of frame source(t, tau); None stands for a frame of zeros."""
    total, taps = x.shape[2], weight.shape[2]
    results = []
    for t in range(0, total, stride[0]) if centers is None else centers:
        y = 0
        for tau in range(taps):
            at = source(t, tau)
            frame = x[:, :, at] if at is not None and at < total else torch.zeros_like(x[:, :, 0])
            padding = (weight.shape[3] // 2, weight.shape[4] // 2)
            y = y + F.conv2d(frame, weight[:, :, tau], None, stride[1:], padding, groups=x.shape[1])
        results.append(y)
    return torch.stack(results, dim=2)


def by_frames(x, weight, stride):
    p = weight.shape[2] // 2
    return frames(x, weight, stride, lambda t, tau: t + tau - p if t + tau >= p else None)


def flips(x, weight, stride):
    p = weight.shape[2] // 2
    return frames(x, weight, stride, lambda t, tau: t - tau + p if t - tau + p >= 0 else None)


def wraps(x, weight, stride):
    p = weight.shape[2] // 2
    return frames(x, weight, stride, lambda t, tau: (t + tau - p) % x.shape[2])


def starts_at_t(x, weight, stride):
    return frames(x, weight, stride, lambda t, tau: t + tau)


def thins_first(x, weight, stride):
    return by_frames(x[:, :, :: stride[0]], weight, (1, *stride[1:]))


def keeps_every_frame(x, weight, stride):
    return by_frames(x, weight, (1, *stride[1:]))


def rounds_down(x, weight, stride):
    return conv3d_by_frames(x, weight, stride)[:, :, : max(x.shape[2] // stride[0], 1)]


def unpadded_in_time(x, weight, stride):
    starts = range(0, x.shape[2] - weight.shape[2] + 1, stride[0])
    return frames(x, weight, stride, lambda t, tau: t + tau, starts)


def unpadded_in_space(x, weight, stride):
    return F.conv3d(x, weight, None, stride, (weight.shape[2] // 2, 0, 0), groups=x.shape[1])


def middle_tap(x, weight, stride):
    p = weight.shape[2] // 2
    return frames(x, weight, stride, lambda t, tau: t if tau == p else None)


RIGHT = {
    "ex_02_1": [tokens_left],
    "ex_02_2": [max_pool_heads],
    "ex_02_3": [average_of_tokens],
    "ex_02_4": [conv3d_by_frames, by_frames],
}
WRONG = [
    ("ex_02_1", divides, "n // s is right only for"),
    ("ex_02_1", pads_once, "added at both ends"),
    ("ex_02_1", counts_steps, "one window more than steps"),
    ("ex_02_1", rounds_up, "round down"),
    ("ex_02_1", never_rounds, "/ does not round"),
    ("ex_02_1", adds_sizes, "multiply them"),
    ("ex_02_1", forgets_class_token, "class token is missing from your count"),
    ("ex_02_1", always_class_token, "although cls_token is False"),
    ("ex_02_2", keeps_class_token_in_grid, "The grid starts at index 1"),
    ("ex_02_2", pools_class_token, "You pooled the class token"),
    ("ex_02_2", drops_class_token, "Put it back in front"),
    ("ex_02_2", class_token_last, "Its place is index 0"),
    ("ex_02_2", reshapes_heads, "Heads and tokens are mixed up"),
    ("ex_02_2", reshapes_channels, "Channels and tokens are mixed up"),
    ("ex_02_2", reshapes_back, "The way in is right, the way back is not"),
    ("ex_02_2", merges_channels, "The way back mixes heads and tokens"),
    ("ex_02_2", pads_with_zeros, "minus infinity"),
    ("ex_02_2", averages, "the average of each window"),
    ("ex_02_3", counts_padding, "counts the padding"),
    ("ex_02_3", sums, "These are sums"),
    ("ex_02_3", drops_padding, "where the windows lie"),
    ("ex_02_3", multiplies, "divide by the share"),
    ("ex_02_3", repeats_border, "copies of the border"),
    ("ex_02_4", flips, "tap 0 reads the earliest frame"),
    ("ex_02_4", wraps, "Your frames wrap around"),
    ("ex_02_4", starts_at_t, "The window is not centered"),
    ("ex_02_4", thins_first, "thinned the frames out before the taps"),
    ("ex_02_4", keeps_every_frame, "ignored the stride in time"),
    ("ex_02_4", rounds_down, "T // stride[0] rounds down"),
    ("ex_02_4", unpadded_in_time, "padding in time is missing"),
    ("ex_02_4", unpadded_in_space, "padding in space is missing"),
    ("ex_02_4", middle_tap, "Only the middle tap"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_input_changed_in_place_is_reported():
    report = check.ex_02_2(writes_into_x)
    assert not report.ok
    assert "in place" in report.text
