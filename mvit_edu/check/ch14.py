"""Checks of Chapter 14: middles of windows, attention distance, rollout through pooled keys, Grad-CAM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvit_edu.check.core import Case, Draw, Exercise, Mistake


# 14.1: middles
def _middles(n: int, layers: Sequence, start: float = 0.5) -> list[float]:
    offset, step = start, 1
    for k, s, p in layers:
        n = (n + 2 * p - k) // s + 1
        offset += step * ((k - 1) / 2 - p)
        step *= s
    return [offset + step * i for i in range(n)]


def _evenly(n, layers):
    count = len(_middles(n, layers))
    return [n * (i + 0.5) / count for i in range(count)]


def _whole_steps(n, layers):
    """In the middle of its stride, as if kernel and stride were the same."""
    count, step = len(_middles(n, layers)), 1
    for _, s, _ in layers:
        step *= s
    return [step * (i + 0.5) for i in range(count)]


def _from_pixel_zero(n, layers):
    return _middles(n, layers, start=0.0)


def _no_padding(n, layers):
    offset, step, count = 0.5, 1, len(_middles(n, layers))
    for k, s, _ in layers:
        offset += step * (k - 1) / 2
        step *= s
    return [offset + step * i for i in range(count)]


def _half_a_kernel(n, layers):
    offset, step, count = 0.5, 1, len(_middles(n, layers))
    for k, s, p in layers:
        offset += step * (k // 2 - p)
        step *= s
    return [offset + step * i for i in range(count)]


def _in_pixels_always(n, layers):
    """The shift of a later layer counted in pixels instead of in tokens."""
    offset, step, count = 0.5, 1, len(_middles(n, layers))
    for k, s, p in layers:
        offset += (k - 1) / 2 - p
        step *= s
    return [offset + step * i for i in range(count)]


def _step_first(n, layers):
    offset, step, count = 0.5, 1, len(_middles(n, layers))
    for k, s, p in layers:
        step *= s
        offset += step * ((k - 1) / 2 - p)
    return [offset + step * i for i in range(count)]


def _last_stride_only(n, layers):
    found = _middles(n, layers)
    return [found[0] + layers[-1][1] * i for i in range(len(found))]


def _middles_cases(draw: Draw) -> list[Case]:
    return [
        Case("cubes of MViT-B", 224, [(7, 4, 3)]),
        Case("cubes of ViT-B", 224, [(16, 16, 0)]),
        Case("keys of block 0", 224, [(7, 4, 3), (3, 8, 1)]),
        Case("an even kernel after an odd one", 8 * draw.integer(5, 9), [(7, 4, 3), (4, 2, 1)]),
        Case("three layers, an odd size", 4 * draw.integer(12, 20) + 1, [(8, 4, 2), (3, 2, 1), (2, 2, 0)]),
        Case("a kernel without padding", 50, [(5, 2, 0), (3, 3, 0)]),
    ]


def _as_list(answer: Any, *args: Any) -> Any:
    """Lists, tuples, arrays and tensors of numbers are equally good."""
    found = answer(*args)
    found = found.tolist() if isinstance(found, np.ndarray | Tensor) else found
    if isinstance(found, list | tuple | range):
        found = [float(value) for value in found]
    return found


ex_14_1 = Exercise(
    "14.1",
    reference=_middles,
    cases=_middles_cases,
    build=_as_list,
    mistakes=(
        Mistake(
            "You divided the row evenly among the tokens. Where a window stands depends on kernel, stride and padding.",
            _evenly,
        ),
        Mistake("You took the middle of each stride; the window is as wide as its kernel.", _whole_steps),
        Mistake(
            "You are half a pixel too far to the left: the middle of the first pixel is at 0.5, not at 0.",
            _from_pixel_zero,
        ),
        Mistake("The padding is missing: a window begins p inputs before the row does.", _no_padding),
        Mistake("The middle of a window of k is (k - 1) / 2 from its first input; k // 2 is wrong if k is even.",
                _half_a_kernel),
        Mistake(
            "The shift of a layer is in its inputs, and these are a step apart: multiply it by the step so far.",
            _in_pixels_always,
        ),
        Mistake(
            "You multiplied the step by the stride too early. The inputs of a layer are apart by the step of the layer "
            "before.",
            _step_first,
        ),
        Mistake("The strides of all layers multiply; you used the last one.", _last_stride_only),
    ),
)  # fmt: skip


# 14.2: the distance of each head
def _distance(weights: Tensor, q: Tensor, k: Tensor) -> Tensor:
    patches = weights[:, 1:, 1:]  # (heads, N_q, N_kv)
    patches = patches / patches.sum(dim=-1, keepdim=True)
    return (patches * torch.cdist(q, k)).sum(dim=-1).mean(dim=-1)


def _not_divided(weights, q, k):
    return (weights[:, 1:, 1:] * torch.cdist(q, k)).sum(dim=-1).mean(dim=-1)


def _summed_over_queries(weights, q, k):
    return _distance(weights, q, k) * len(q)


def _mean_over_keys(weights, q, k):
    return _distance(weights, q, k) / len(k)


def _not_weighted(weights, q, k):
    return torch.cdist(q, k).mean().expand(len(weights))


def _all_rows_together(weights, q, k):
    patches = weights[:, 1:, 1:]
    patches = patches / patches.sum(dim=(1, 2), keepdim=True)
    return (patches * torch.cdist(q, k)).sum(dim=(1, 2))


def _over_queries_divided(weights, q, k):
    patches = weights[:, 1:, 1:]
    patches = patches / patches.sum(dim=1, keepdim=True)
    return (patches * torch.cdist(q, k)).sum(dim=-1).mean(dim=-1)


def _squared(weights, q, k):
    patches = weights[:, 1:, 1:]
    patches = patches / patches.sum(dim=-1, keepdim=True)
    return (patches * torch.cdist(q, k) ** 2).sum(dim=-1).mean(dim=-1)


def _city_blocks(weights, q, k):
    patches = weights[:, 1:, 1:]
    patches = patches / patches.sum(dim=-1, keepdim=True)
    return (patches * torch.cdist(q, k, p=1)).sum(dim=-1).mean(dim=-1)


def _last_left_out(weights, q, k):
    patches = weights[:, :-1, :-1]
    patches = patches / patches.sum(dim=-1, keepdim=True)
    return (patches * torch.cdist(q, k)).sum(dim=-1).mean(dim=-1)


def _mean_of_heads(weights, q, k):
    return _distance(weights, q, k).mean()


def _grid(rows: int, columns: int, step: float) -> Tensor:
    return torch.cartesian_prod(0.5 + step * torch.arange(rows), 0.5 + step * torch.arange(columns))


def _attention(draw: Draw, heads: int, n_q: int, n_kv: int) -> Tensor:
    return (2 * draw.normal(heads, n_q, n_kv)).softmax(dim=-1)


def _distance_cases(draw: Draw) -> list[Case]:
    q, k, square = _grid(4, 6, 4.0), _grid(2, 3, 8.0), _grid(3, 3, 8.0)
    even = torch.full((1, 10, 10), 0.1)
    return [
        Case("even attention of one head", even, square, square),
        Case("queries and keys on one grid", _attention(draw, 2, 10, 10), square, square),
        Case("pooled keys, three heads", _attention(draw, 3, 25, 7), q, k),
    ]


ex_14_2 = Exercise(
    "14.2",
    reference=_distance,
    cases=_distance_cases,
    mistakes=(
        Mistake(
            "Without the class token's column a row no longer sums to 1: divide it by its sum.",
            _not_divided,
        ),
        Mistake("You summed over the queries; the distance of a head is their mean.", _summed_over_queries),
        Mistake(
            "You took the mean over the keys. The weights of a row sum to 1 already, so sum over the keys.",
            _mean_over_keys,
        ),
        Mistake("The distances are not weighted by the attention; this is what an even head has.", _not_weighted),
        Mistake(
            "You divided by the sum of the whole map. Each query counts alike: divide each row by its own sum.",
            _all_rows_together,
        ),
        Mistake("You divided columns by their sums. A row is a query: sum over the keys.", _over_queries_divided),
        Mistake("These are squared distances; take the root before you weight them.", _squared),
        Mistake("You added rows and columns; the distance is Euclidean.", _city_blocks),
        Mistake("The class token is the first token, not the last: take [:, 1:, 1:].", _last_left_out),
        Mistake("You took the mean over the heads too; each head has its own number.", _mean_of_heads),
    ),
)  # fmt: skip


# 14.3: rollout with pooled keys
def _rollout(maps: Sequence[Tensor], pools: Sequence[Tensor]) -> Tensor:
    share = torch.eye(maps[0].shape[1])  # (N, N)
    for weights, pool in zip(maps, pools, strict=True):
        block = weights.mean(dim=0) @ pool  # (N, N)
        share = (block + torch.eye(len(block))) / 2 @ share
    return share[0, 1:]


def _rolled(maps, pools, heads=torch.mean, skip=0.5, left=True) -> Tensor:
    share = torch.eye(maps[0].shape[1])
    for weights, pool in zip(maps, pools, strict=True):
        block = (1 - skip) * heads(weights, dim=0) @ pool + skip * torch.eye(len(share))
        share = block @ share if left else share @ block
    return share


def _other_order(maps, pools):
    return _rolled(maps, pools, left=False)[0, 1:]


def _no_skip(maps, pools):
    return _rolled(maps, pools, skip=0.0)[0, 1:]


def _heads_summed(maps, pools):
    return _rolled(maps, pools, heads=torch.sum)[0, 1:]


def _heads_maximum(maps, pools):
    return _rolled(maps, pools, heads=torch.amax)[0, 1:]


def _not_halved(maps, pools):
    share = torch.eye(maps[0].shape[1])
    for weights, pool in zip(maps, pools, strict=True):
        share = (weights.mean(dim=0) @ pool + torch.eye(len(share))) @ share
    return share[0, 1:]


def _with_class(maps, pools):
    return _rolled(maps, pools)[0]


def _column(maps, pools):
    return _rolled(maps, pools)[1:, 0]


def _made_one(maps, pools):
    found = _rollout(maps, pools)
    return found / found.sum()


def _last_block(maps, pools):
    return _rolled(maps[-1:], pools[-1:])[0, 1:]


def _upsampled(maps, pools):
    """Pooling undone by the transposed averages: every token of a window gets the whole weight."""
    share = torch.eye(maps[0].shape[1])
    for weights, pool in zip(maps, pools, strict=True):
        share = 0.5 * (weights.mean(dim=0) @ (pool > 0).float() + torch.eye(len(share))) @ share
    return share[0, 1:]


def _averages(n: int, kernel: int, stride: int) -> Tensor:
    """(1 + n', 1 + n): averages of windows of n tokens in a row, the class token first."""
    starts = range(0, n - kernel + 1, stride)
    pool = torch.zeros(1 + len(starts), 1 + n)
    pool[0, 0] = 1.0
    for row, start in enumerate(starts, 1):
        pool[row, 1 + start : 1 + start + kernel] = 1 / kernel
    return pool


def _rollout_cases(draw: Draw) -> list[Case]:
    whole, pooled, twice = torch.eye(7), _averages(6, 2, 2), _averages(6, 3, 1)
    return [
        Case("one block, nothing pooled", [_attention(draw, 2, 7, 7)], [whole]),
        Case("two blocks, nothing pooled", [_attention(draw, 2, 7, 7) for _ in range(2)], [whole] * 2),
        Case(
            "three blocks, other windows in each",
            [_attention(draw, 3, 7, 4), _attention(draw, 3, 7, 7), _attention(draw, 3, 7, 5)],
            [pooled, whole, twice],
        ),
    ]


ex_14_3 = Exercise(
    "14.3",
    reference=_rollout,
    cases=_rollout_cases,
    mistakes=(
        Mistake(
            "The blocks are in the wrong order. What leaves the last block is (last block) @ ... @ (first block).",
            _other_order,
        ),
        Mistake("The skip connection is missing: a block is half attention and half identity.", _no_skip),
        Mistake("Take the mean of the heads; a sum has rows that do not sum to 1.", _heads_summed),
        Mistake("You took the maximum of the heads, whose rows do not sum to 1; this rollout takes their mean.",
                _heads_maximum),
        Mistake("Attention plus identity has rows that sum to 2: halve it.", _not_halved),
        Mistake("The class token's own share is in your answer; only the N - 1 patches are asked for.", _with_class),
        Mistake("You took the class token's column. Its row says what it has of the others.", _column),
        Mistake("You divided the shares by their sum. The class token keeps a share of its own, so they sum to less.",
                _made_one),
        Mistake("This is the last block alone; multiply over all blocks.", _last_block),
        Mistake("Each token of a window got its key's whole weight; the rows of `pools` are averages.", _upsampled),
    ),
)  # fmt: skip


# 14.4: Grad-CAM
def _cam(tokens: Tensor, slope: Tensor, thw: tuple[int, int, int]) -> Tensor:
    return (tokens[1:] @ slope[1:].mean(dim=0)).relu().view(thw)


def _gradient_times_token(tokens, slope, thw):
    return (tokens[1:] * slope[1:]).sum(dim=1).relu().view(thw)


def _class_in_mean(tokens, slope, thw):
    return (tokens[1:] @ slope.mean(dim=0)).relu().view(thw)


def _no_relu(tokens, slope, thw):
    return (tokens[1:] @ slope[1:].mean(dim=0)).view(thw)


def _relu_first(tokens, slope, thw):
    return (tokens[1:] * slope[1:].mean(dim=0)).relu().sum(dim=1).view(thw)


def _absolute(tokens, slope, thw):
    return (tokens[1:] @ slope[1:].mean(dim=0)).abs().view(thw)


def _relu_of_weights(tokens, slope, thw):
    return (tokens[1:] @ slope[1:].mean(dim=0).relu()).relu().view(thw)


def _swapped(tokens, slope, thw):
    return (slope[1:] @ tokens[1:].mean(dim=0)).relu().view(thw)


def _gradient_only(tokens, slope, thw):
    return slope[1:].mean(dim=1).relu().view(thw)


def _summed(tokens, slope, thw):
    return (tokens[1:] @ slope[1:].sum(dim=0)).relu().view(thw)


def _without_last(tokens, slope, thw):
    return (tokens[:-1] @ slope[:-1].mean(dim=0)).relu().view(thw)


def _width_first(tokens, slope, thw):
    return _cam(tokens, slope, thw[::-1]).permute(2, 1, 0)


def _cam_cases(draw: Draw) -> list[Case]:
    found = []
    for name, thw in (("one frame", (1, 3, 3)), ("a clip", (2, 3, 4)), ("a long clip", (draw.integer(5, 7), 2, 3))):
        n = 1 + thw[0] * thw[1] * thw[2]
        found.append(Case(name, draw.normal(n, 6), draw.normal(n, 6), thw))
    return found


ex_14_4 = Exercise(
    "14.4",
    reference=_cam,
    cases=_cam_cases,
    mistakes=(
        Mistake(
            "This is gradient times token, place by place. In Grad-CAM a channel has one weight, the mean over places.",
            _gradient_times_token,
        ),
        Mistake("The class token is in the mean of the gradients; it is on no grid.", _class_in_mean),
        Mistake("Values below zero speak against the class; the map has 0 there.", _no_relu),
        Mistake("You cut off negative values before the sum over channels; sum first.", _relu_first),
        Mistake("Values below zero become 0, not positive.", _absolute),
        Mistake("Channels with a negative weight count too: the ReLU comes after the sum.", _relu_of_weights),
        Mistake("Gradients and tokens are swapped: the weights are means of gradients.", _swapped),
        Mistake("The tokens are missing: their weighted sum is the map.", _gradient_only),
        Mistake("The weight of a channel is the mean of its gradients, not their sum.", _summed),
        Mistake("The class token is the first token, not the last.", _without_last),
        Mistake("The tokens run along the width fastest, then height, then time: view(thw).", _width_first),
    ),
)
