"""Checks of Chapter 12: windows that read a token, a maximum by reshaping, a blurred maximum, its backward pass."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mvit_edu.check.core import Case, Draw, Exercise, Mistake


# 12.1: how often each token is read
def _count(n: int, k: int, starts) -> list[int]:
    return [sum(start <= token < start + k for start in starts) for token in range(n)]


def _times_read(n, k, s, p):
    return _count(n, k, range(-p, n + p - k + 1, s))


def _padding_ignored(n, k, s, p):
    return _count(n, k, range(0, n - k + 1, s))


def _not_shifted(n, k, s, p):
    return _count(n, k, range(0, n + 2 * p - k + 1, s))


def _padding_counted(n, k, s, p):
    return _count(n + 2 * p, k, range(0, n + 2 * p - k + 1, s))


def _sticking_out(n, k, s, p):
    return _count(n, k, range(-p, n + p, s))


def _last_missing(n, k, s, p):
    return _count(n, k, range(-p, n + p - k, s))


def _one_place_more(n, k, s, p):
    return _count(n, k + 1, range(-p, n + p - k + 1, s))


def _same_for_all(n, k, s, p):
    return [ceil(k / s)] * n


def _row_cases(draw: Draw) -> list[Case]:
    cases = [
        Case("k = s + 1", 16, 5, 4, 2),
        Case("k = s", 16, 4, 4, 0),
        Case("gaps", 16, 3, 8, 1),
        Case("2s + 1", 14, 5, 2, 2),
        Case("no padding", 11, 3, 2, 0),
        Case("a window that would stick out", 58, 3, 8, 1),
    ]
    for number in (1, 2, 3):
        k = draw.integer(2, 6)
        cases.append(Case(f"drawn {number}", draw.integer(8, 20), k, draw.integer(1, 5), draw.integer(0, k // 2)))
    return cases


def _plain_list(answer: Callable, *args):
    """Lists, tuples, arrays and tensors of whole numbers are equally good."""
    found = answer(*args)
    found = found.tolist() if isinstance(found, np.ndarray | Tensor) else found
    if not isinstance(found, list | tuple):
        return found
    found = [value.item() if isinstance(value, np.generic | Tensor) else value for value in found]
    return [int(value) if isinstance(value, float) and value.is_integer() else value for value in found]


ex_12_1 = Exercise(
    "12.1",
    reference=_times_read,
    cases=_row_cases,
    build=_plain_list,
    mistakes=(
        Mistake("You left the padding out. The first window starts p places before the first token.", _padding_ignored),
        Mistake(
            "Your windows start at 0. In the numbers of the tokens, window w starts at w * s - p.",
            _not_shifted,
        ),
        Mistake(
            "Your list holds counts for the places of the padding, too. Only the n tokens are wanted.",
            _padding_counted,
        ),
        Mistake(
            "You counted windows that stick out of the padded row. The last one ends at n + p or before.",
            _sticking_out,
        ),
        Mistake(
            "The last window is missing. There are (n + 2p - k) // s + 1 windows, one more than steps.",
            _last_missing,
        ),
        Mistake("Your windows are one place too long: a window from a covers a to a + k - 1.", _one_place_more),
        Mistake(
            "Not every token is read equally often. Where windows overlap, some are read more often than others.",
            _same_for_all,
        ),
    ),
)


# 12.2: a maximum by reshaping
def _max_by_reshape(x, thw, s):
    volume = x[:, 1:].transpose(1, 2).unflatten(2, tuple(thw))  # (B, D, T, H, W)
    pooled = F.max_pool3d(volume, tuple(s), tuple(s))  # without padding, (B, D, T', H', W')
    return torch.cat([x[:, :1], pooled.flatten(2).transpose(1, 2)], dim=1)


def _folded(x: Tensor, thw, s) -> Tensor:
    """(B, T*H*W, D) -> (B, T', sT, H', sH, W', sW, D)."""
    return x.unflatten(1, [m for n, step in zip(thw, s, strict=True) for m in (n // step, step)])


def _with_class_token(volume):
    """A wrong answer from what it does with the tokens of the grid."""

    def wrong(x, thw, s):
        return torch.cat([x[:, :1], volume(x[:, 1:], thw, s)], dim=1)

    return wrong


def _steps_first(x, thw, s):
    parts = [m for n, step in zip(thw, s, strict=True) for m in (step, n // step)]
    return x.unflatten(1, parts).amax(dim=(1, 3, 5)).flatten(1, 3)


def _neighbors_in_the_sequence(x, thw, s):
    size = int(np.prod(s))
    return x.unflatten(1, (-1, size)).amax(dim=2)


def _mean(x, thw, s):
    return _folded(x, thw, s).mean(dim=(2, 4, 6)).flatten(1, 3)


def _slice(x, thw, s):
    return _folded(x, thw, s)[:, :, 0, :, 0, :, 0].flatten(1, 3)


def _time_left_out(x, thw, s):
    return _folded(x, thw, s).amax(dim=(4, 6)).flatten(1, 4)


def _class_token_lost(x, thw, s):
    return _max_by_reshape(x, thw, s)[:, 1:]


def _class_token_in_the_grid(x, thw, s):
    pooled = _folded(x[:, :-1], thw, s).amax(dim=(2, 4, 6)).flatten(1, 3)
    return torch.cat([x[:, :1], pooled], dim=1)


def _class_token_pooled(x, thw, s):
    pooled = _folded(x[:, 1:], thw, s).amax(dim=(2, 4, 6)).flatten(1, 3)
    return torch.cat([x.amax(dim=1, keepdim=True), pooled], dim=1)


def _reshape_cases(draw: Draw) -> list[Case]:
    def case(name, batch, thw, s, dim):
        return Case(name, draw.normal(batch, 1 + int(np.prod(thw)), dim), thw, s)

    return [
        case("stride 1x2x2", 2, (3, 4, 6), (1, 2, 2), 5),
        case("stride 2x2x2", 2, (4, 4, 6), (2, 2, 2), 3),
        case("stride 1x4x4", 1, (2, 8, 4), (1, 4, 4), 4),
        case("three different strides", 3, (4, 6, 10), (2, 3, 5), 2),
        case("stride 1", 2, (2, 3, 4), (1, 1, 1), 3),
        case("drawn size", draw.integer(1, 3), (2, 2 * draw.integer(2, 4), 6), (1, 2, 3), draw.integer(2, 6)),
    ]


ex_12_2 = Exercise(
    "12.2",
    reference=_max_by_reshape,
    cases=_reshape_cases,
    mistakes=(
        Mistake(
            "You put the stride before the number of windows. An axis of n tokens unfolds into (n // s, s): which "
            "window, then which place in it.",
            _with_class_token(_steps_first),
        ),
        Mistake(
            "You took neighbors in the sequence. Neighbors in a column lie a whole row apart there: give the tokens "
            "their grid first.",
            _with_class_token(_neighbors_in_the_sequence),
        ),
        Mistake("This is the average of each window. The maximum is wanted.", _with_class_token(_mean)),
        Mistake(
            "You kept one token of each window. The largest value of each channel is wanted.", _with_class_token(_slice)
        ),
        Mistake(
            "You left time out. The window has three axes, and all of them go into the maximum.",
            _with_class_token(_time_left_out),
        ),
        Mistake("The class token is missing. Put it back in front of the pooled tokens.", _class_token_lost),
        Mistake(
            "You cut off the last token instead of the class token. It is the first one, so x[:, 1:] is the grid.",
            _class_token_in_the_grid,
        ),
        Mistake("The class token comes out as it went in. It takes no part in a maximum.", _class_token_pooled),
    ),
)


# 12.3: a blurred maximum
def _blur(x: Tensor, s: int, scale: float = 1.0, padding: int = 1) -> Tensor:
    line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
    weight = scale * (line[:, None] * line).expand(x.shape[1], 1, 3, 3)  # (C, 1, 3, 3)
    return F.conv2d(x, weight, None, s, padding, groups=x.shape[1])


def _blurred_max(x, s):
    return _blur(F.max_pool2d(x, 3, 1, 1), s)


def _stride_first(x, s):
    return _blur(F.max_pool2d(x, 3, s, 1), 1)


def _stride_twice(x, s):
    return _blur(F.max_pool2d(x, 3, s, 1), s)


def _no_stride(x, s):
    return _blur(F.max_pool2d(x, 3, 1, 1), 1)


def _not_divided(x, s):
    return _blur(F.max_pool2d(x, 3, 1, 1), s, scale=16.0)


def _blur_first(x, s):
    return F.max_pool2d(_blur(x, 1), 3, s, 1)


def _box(x, s):
    return F.avg_pool2d(F.max_pool2d(x, 3, 1, 1), 3, s, 1)


def _no_maximum(x, s):
    return _blur(x, s)


def _no_padding(x, s):
    return _blur(F.max_pool2d(x, 3, 1, 1), s, padding=0)


def _channels_mixed(x, s):
    channels, line = x.shape[1], torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
    weight = (line[:, None] * line).expand(channels, channels, 3, 3)
    return F.conv2d(F.max_pool2d(x, 3, 1, 1), weight, None, s, 1)


def _along_rows_only(x, s):
    line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype).expand(x.shape[1], 1, 1, 3)
    return F.conv2d(F.max_pool2d(x, 3, 1, 1), line, None, s, (0, 1), groups=x.shape[1])


def _picture_cases(draw: Draw) -> list[Case]:
    return [
        Case("stride 2", draw.normal(2, 3, 8, 8), 2),
        Case("an odd size", draw.normal(1, 2, 9, 7), 2),
        Case("stride 4", draw.normal(2, 4, 12, 16), 4),
        Case("stride 1", draw.normal(1, 3, 6, 5), 1),
        Case("one channel", draw.normal(3, 1, draw.integer(6, 12), draw.integer(6, 12)), 3),
    ]


ex_12_3 = Exercise(
    "12.3",
    reference=_blurred_max,
    cases=_picture_cases,
    mistakes=(
        Mistake(
            "The stride belongs to the blur. A maximum with a stride has skipped places before the blur can see them.",
            _stride_first,
        ),
        Mistake("You took the stride twice. The maximum has stride 1, the blur stride s.", _stride_twice),
        Mistake("Nothing is left out: the blur keeps every s-th place only.", _no_stride),
        Mistake("Your weights do not sum to 1. The nine products of 1, 2, 1 sum to 16: divide by it.", _not_divided),
        Mistake("You blurred first and took the maximum after it. Then the maximum aliases again.", _blur_first),
        Mistake("This is a plain average. The blur weighs the middle most: 1/4, 1/2, 1/4 along each axis.", _box),
        Mistake("The maximum is missing. It comes first, over 3x3 with stride 1.", _no_maximum),
        Mistake("The blur needs a padding of 1, or the border is lost.", _no_padding),
        Mistake(
            "Your blur mixes the channels. Give each its own 3x3 weights, (C, 1, 3, 3), and groups=C.",
            _channels_mixed,
        ),
        Mistake("You blurred along the rows only. The weights are the products along both axes.", _along_rows_only),
    ),
)


# 12.4: the backward pass of a maximum
def _max_pool_backward(x, grad, k, s):
    row = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        pooled = F.max_pool1d(row[:, None], k, s)[:, 0]  # (B, n')
    return torch.autograd.grad(pooled, row, grad)[0]


def _winners(x: Tensor, k: int, s: int) -> Tensor:
    """Place in the row of the winner of each window: (B, n')."""
    windows = x.unfold(1, k, s)  # (B, n', k)
    return windows.argmax(dim=2) + s * torch.arange(windows.shape[1])


def _written_not_added(x, grad, k, s):
    return torch.zeros_like(x).scatter_(1, _winners(x, k, s), grad)


def _place_in_the_window(x, grad, k, s):
    return torch.zeros_like(x).scatter_add_(1, x.unfold(1, k, s).argmax(dim=2), grad)


def _windows_of_k(x, grad, k, s):
    windows = x.unfold(1, k, s)
    places = windows.argmax(dim=2) + k * torch.arange(windows.shape[1])
    return torch.zeros_like(x).scatter_add_(1, places, grad)


def _shared(x: Tensor, grad: Tensor, k: int, s: int, share: Callable[[Tensor], Tensor]) -> Tensor:
    """Each window gives share(window) (B, n', k) of its gradient to its places."""
    windows = x.unfold(1, k, s)  # (B, n', k)
    places = torch.arange(k) + s * torch.arange(windows.shape[1])[:, None]  # (n', k)
    places = places.expand(len(x), -1, -1).flatten(1)  # (B, n' * k)
    given = (share(windows) * grad[:, :, None]).flatten(1)
    return torch.zeros_like(x).scatter_add_(1, places, given)


def _to_all_equal(x, grad, k, s):
    return _shared(x, grad, k, s, lambda w: (w == w.amax(dim=2, keepdim=True)).to(w.dtype))


def _split_among_equal(x, grad, k, s):
    def share(w):
        won = (w == w.amax(dim=2, keepdim=True)).to(w.dtype)
        return won / won.sum(dim=2, keepdim=True)

    return _shared(x, grad, k, s, share)


def _last_wins(x, grad, k, s):
    def share(w):
        last = k - 1 - w.flip(2).argmax(dim=2)
        return F.one_hot(last, k).to(w.dtype)

    return _shared(x, grad, k, s, share)


def _of_an_average(x, grad, k, s):
    return _shared(x, grad, k, s, lambda w: torch.full_like(w, 1 / k))


def _to_everyone(x, grad, k, s):
    return _shared(x, grad, k, s, torch.ones_like)


def _largest_absolute(x, grad, k, s):
    return _shared(x, grad, k, s, lambda w: F.one_hot(w.abs().argmax(dim=2), k).to(w.dtype))


def _gradient_cases(draw: Draw) -> list[Case]:
    def case(name, batch, n, k, s, ties=False):
        x = draw.normal(batch, n)
        x = x.sign() if ties else x
        return Case(name, x, draw.normal(batch, (n - k) // s + 1), k, s)

    return [
        case("windows that overlap", 2, 11, 3, 2),
        case("windows that touch", 2, 8, 2, 2),
        case("large overlap", 3, 13, 5, 2),
        case("gaps", 1, 16, 3, 4),
        case("equal values", 2, 13, 3, 2, ties=True),
        case("drawn size", draw.integer(1, 4), draw.integer(12, 24), draw.integer(2, 5), draw.integer(1, 4)),
    ]


ex_12_4 = Exercise(
    "12.4",
    reference=_max_pool_backward,
    cases=_gradient_cases,
    mistakes=(
        Mistake(
            "Where a token wins in several windows you kept one of its gradients. They add up: scatter_add_.",
            _written_not_added,
        ),
        Mistake(
            "You used the place in the window as the place in the row. Window w starts at w * s: add that.",
            _place_in_the_window,
        ),
        Mistake("Window w starts at w * s, not at w * k.", _windows_of_k),
        Mistake(
            "Of several equal values you reward all. One of them gets the gradient: the first, as in torch.",
            _to_all_equal,
        ),
        Mistake(
            "You split the gradient among equal values. In torch the first of them gets all of it.",
            _split_among_equal,
        ),
        Mistake("Of several equal values the first wins, not the last.", _last_wins),
        Mistake("This is the backward pass of an average. A maximum sends its gradient to one token.", _of_an_average),
        Mistake("You sent the whole gradient to every token of the window. Only the winner gets it.", _to_everyone),
        Mistake("The winner is the largest value, not the largest absolute value.", _largest_absolute),
    ),
)
