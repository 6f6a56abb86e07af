"""Checks of Chapter 13: the share of attention, keys of each stage, unread frames, and a verdict over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, prod, sqrt
from statistics import mean, pstdev, stdev
from typing import Any

import numpy as np
import torch

from mvit_edu.check.core import Case, Draw, Exercise, Mistake, as_list, as_number


# 13.1: the share of attention
def _share(attention: float, linear: float) -> float:
    return attention / (attention + linear)


def _attention_share(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, (3 * n + 9 * n_q) * dim**2)


def _one_product(n, n_q, n_kv, dim):
    return _share(n_q * n_kv * dim, (3 * n + 9 * n_q) * dim**2)


def _all_from_n(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, 12 * n * dim**2)


def _all_from_n_q(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, 12 * n_q * dim**2)


def _q_after_pooling(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, (2 * n + 10 * n_q) * dim**2)


def _kv_after_pooling(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, (n + 2 * n_kv + 9 * n_q) * dim**2)


def _unpooled_queries(n, n_q, n_kv, dim):
    return _share(2 * n * n_kv * dim, (3 * n + 9 * n_q) * dim**2)


def _keys_as_queries(n, n_q, n_kv, dim):
    return _share(2 * n_q**2 * dim, (3 * n + 9 * n_q) * dim**2)


def _without_mlp(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, (3 * n + n_q) * dim**2)


def _without_proj(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, (3 * n + 8 * n_q) * dim**2)


def _half_an_mlp(n, n_q, n_kv, dim):
    return _share(2 * n_q * n_kv * dim, (3 * n + 5 * n_q) * dim**2)


def _ratio(n, n_q, n_kv, dim):
    return 2 * n_q * n_kv * dim / ((3 * n + 9 * n_q) * dim**2)


def _percent(n, n_q, n_kv, dim):
    return 100 * _attention_share(n, n_q, n_kv, dim)


def _share_cases(draw: Draw) -> list[Case]:
    dim = 32 * draw.integer(2, 9)
    return [
        Case("block 2 of MViT-B", 6273, 6273, 393, 192),
        Case("block 0 without pooled keys", 25089, 25089, 25089, 96),
        Case("block 14 of MViT-B, which pools its queries", 1569, 393, 1569, 768),
        Case("a drawn block", 4 * draw.integer(100, 400), draw.integer(50, 99), draw.integer(10, 45), dim),
    ]


ex_13_1 = Exercise(
    "13.1",
    reference=_attention_share,
    cases=_share_cases,
    build=as_number,
    mistakes=(
        Mistake("Attention is two products: the scores, and the weights times v. You counted one.", _one_product),
        Mistake("Your MLP is missing: 4 D hidden channels, in and out, 8 D² a token.", _without_mlp),
        Mistake("The MLP has two layers, D to 4 D and 4 D to D. You counted one.", _half_an_mlp),
        Mistake("The output layer of the attention is missing: D² a token.", _without_proj),
        Mistake(
            "This is attention over linear layers. The share is attention over the whole block.",
            _ratio,
        ),
        Mistake("This is in percent. The task wants a number from 0 to 1.", _percent),
        Mistake(
            "Output layer and MLP come after the query pooling: they see N_q tokens, not N.",
            _all_from_n,
        ),
        Mistake("q, k and v are computed before any pooling, from N tokens.", _all_from_n_q),
        Mistake("The projection to q runs before the queries are pooled: over N tokens.", _q_after_pooling),
        Mistake("The projections to k and v run before the keys are pooled: over N tokens.", _kv_after_pooling),
        Mistake("In attention the queries are already pooled: N_q of them meet N_kv keys.", _unpooled_queries),
        Mistake("You let queries meet queries. N_q queries meet N_kv keys.", _keys_as_queries),
    ),
)


# 13.2: the keys of each stage
def _ceil(n: int, s: int) -> int:
    return -(-n // s)


def _keys(thw, stages, kv_stride, adaptive, *, q=(1, 2, 2), divide=_ceil, cls=1, shrinks=True, least=1):
    keys = []
    for _ in range(stages):
        keys.append(cls + prod(divide(n, s) for n, s in zip(thw, kv_stride, strict=True)))
        if shrinks:
            thw = [divide(n, s) for n, s in zip(thw, q, strict=True)]
        if adaptive:
            kv_stride = [max(s // r, least) for s, r in zip(kv_stride, q, strict=True)]
    return keys


def _keys_of_stages(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive)


def _no_class_token(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive, cls=0)


def _rounded_down(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive, divide=lambda n, s: n // s)


def _grid_stays(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive, shrinks=False)


def _always_adaptive(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, True)


def _never_adaptive(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, False)


def _stride_falls_to_zero(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive, least=0)


def _stride_falls_to_zero_in_floats(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive, least=0, divide=lambda n, s: ceil(n / s))


def _time_too(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, kv_stride, adaptive, q=(2, 2, 2))


def _transitions(thw, stages, kv_stride, adaptive):
    """The first blocks of the stages, which read the grid of the stage before."""
    grids, strides = [list(thw)], [list(kv_stride)]
    for _ in range(stages - 1):
        grids.append([_ceil(n, s) for n, s in zip(grids[-1], (1, 2, 2), strict=True)])
        strides.append([max(s // q, 1) if adaptive else s for s, q in zip(strides[-1], (1, 2, 2), strict=True)])
    read = [grids[0], *grids[:-1]]
    return [
        1 + prod(_ceil(n, s) for n, s in zip(grid, stride, strict=True))
        for grid, stride in zip(read, strides, strict=True)
    ]


def _queries(thw, stages, kv_stride, adaptive):
    return _keys(thw, stages, (1, 1, 1), False)


def _keys_cases(draw: Draw) -> list[Case]:
    even = draw.choice((32, 48, 64))
    return [
        Case("MViT-B, 1x8x8 adaptive", (8, 56, 56), 4, (1, 8, 8), True),
        Case("MViT-B, 1x4x4 fixed", (8, 56, 56), 4, (1, 4, 4), False),
        Case("2x4x4 adaptive: the stride reaches 1", (8, even, even), 4, (2, 4, 4), True),
        Case("2x8x8 fixed, an odd grid", (8, 57, 49), 3, (2, 8, 8), False),
        Case("one stage", (4, 14, 14), 1, (1, 2, 2), True),
    ]


ex_13_2 = Exercise(
    "13.2",
    reference=_keys_of_stages,
    cases=_keys_cases,
    build=as_list,
    mistakes=(
        Mistake("The class token is a key, too: it is not pooled, and it counts in every stage.", _no_class_token),
        Mistake("The grid shrinks from stage to stage: queries are pooled with stride (1, 2, 2).", _grid_stays),
        Mistake("These are the queries. Pool them with the K,V stride.", _queries),
        Mistake("You divided the stride although it is fixed. Look at `adaptive`.", _always_adaptive),
        Mistake("An adaptive stride is divided by (1, 2, 2) at each new stage. Yours stays.", _never_adaptive),
        *(
            Mistake("Your stride falls to 0. Below 1 it stops: a stride of 1 keeps all.", wrong)
            for wrong in (_stride_falls_to_zero, _stride_falls_to_zero_in_floats)
        ),
        Mistake("You shrank the grid in time. Query pooling has stride 1 there.", _time_too),
        Mistake(
            "These are the first blocks of the stages, which read the longer grid of the stage before. The task wants "
            "a plain block.",
            _transitions,
        ),
        Mistake("You rounded down. A window with its padding also covers the rest: round up.", _rounded_down),
    ),
)


# 13.3: frames that nobody reads
def _covered(count: int, kernel: int, stride: int, padding: int) -> set[int]:
    return {cube * stride - padding + offset for cube in range(count) for offset in range(kernel)}


def _cubes(frames, kernel, stride, padding):
    return (frames + 2 * padding - kernel) // stride + 1


def _unread(frames, kernel, stride, padding):
    read = _covered(_cubes(frames, kernel, stride, padding), kernel, stride, padding)
    return [frame for frame in range(frames) if frame not in read]


def _padding_ignored(frames, kernel, stride, padding):
    return _unread(frames, kernel, stride, 0)


def _not_shifted(frames, kernel, stride, padding):
    read = _covered(_cubes(frames, kernel, stride, padding), kernel, stride, 0)
    return [frame for frame in range(frames) if frame not in read]


def _too_few_cubes(frames, kernel, stride, padding):
    read = _covered(_cubes(frames, kernel, stride, padding) - 1, kernel, stride, padding)
    return [frame for frame in range(frames) if frame not in read]


def _padding_once(frames, kernel, stride, padding):
    read = _covered((frames + padding - kernel) // stride + 1, kernel, stride, padding)
    return [frame for frame in range(frames) if frame not in read]


def _without_end(frames, kernel, stride, padding):
    read = _covered(frames + 1, kernel, stride, padding)
    return [frame for frame in range(frames) if frame not in read]


def _read_frames(frames, kernel, stride, padding):
    gone = _unread(frames, kernel, stride, padding)
    return [frame for frame in range(frames) if frame not in gone]


def _padded_frames(frames, kernel, stride, padding):
    read = _covered(_cubes(frames, kernel, stride, padding), kernel, stride, padding)
    return [frame for frame in range(-padding, frames + padding) if frame not in read]


def _how_many(frames, kernel, stride, padding):
    return len(_unread(frames, kernel, stride, padding))


def _frames_cases(draw: Draw) -> list[Case]:
    return [
        Case("32x2, cubes of 3 frames 4 apart", 32, 3, 4, 1),
        Case("16x4, cubes of 3 frames 2 apart", 16, 3, 2, 1),
        Case("no padding, a rest at the end", 4 * draw.integer(3, 6) + 3, 2, 4, 0),
        Case("an odd number of frames", 17, 3, 2, 1),
        Case("cubes of one frame, 3 apart", draw.integer(10, 20), 1, 3, 0),
        Case("padding that no cube reaches", 17, 3, 5, 1),
    ]


ex_13_3 = Exercise(
    "13.3",
    reference=_unread,
    cases=_frames_cases,
    build=as_list,
    mistakes=(
        Mistake("These are the frames that are read. The task wants the others.", _read_frames),
        Mistake("This is how many there are. The task wants the list of them.", _how_many),
        Mistake(
            "You ignored the padding. The first cube begins `padding` frames before the clip, and there may be one"
            " more.",
            _padding_ignored,
        ),
        Mistake("The padding shifts the cubes: the first one begins at -padding.", _not_shifted),
        Mistake("Padding stands at both ends: the size formula has 2 p.", _padding_once),
        Mistake("One cube is missing: floor((n + 2p - k) / s) + 1 of them.", _too_few_cubes),
        Mistake(
            "You went on to the end of the clip with cubes that do not fit. Use the size formula for their number.",
            _without_end,
        ),
        Mistake("Frames of the padding are no frames of the clip. They run from 0 to frames - 1.", _padded_frames),
    ),
)


# 13.4: a verdict
def _apart(ours: Mapping[int, float], default: Mapping[int, float]) -> list[float]:
    return [ours[seed] - default[seed] for seed in sorted(ours.keys() & default.keys())]


def _called(middle: float, half: float, paper: float) -> tuple[float, float, str]:
    if abs(middle) <= half:
        return middle, half, "no difference"
    return middle, half, "same direction" if middle * paper > 0 else "opposite"


def _direction_of(ours, default, paper, t):
    apart = _apart(ours, default)
    return _called(mean(apart), t * stdev(apart) / sqrt(len(apart)), paper)


def _unpaired(ours, default, paper, t):
    shared = sorted(ours.keys() & default.keys())
    one, other = [ours[seed] for seed in shared], [default[seed] for seed in shared]
    half = t * sqrt((stdev(one) ** 2 + stdev(other) ** 2) / len(shared))
    return _called(mean(one) - mean(other), half, paper)


def _sign_of_the_mean(ours, default, paper, t):
    middle, half, _ = _direction_of(ours, default, paper, t)
    return middle, half, _called(middle, 0.0, paper)[2]


def _no_root(ours, default, paper, t):
    apart = _apart(ours, default)
    return _called(mean(apart), t * stdev(apart), paper)


def _by_n(ours, default, paper, t):
    apart = _apart(ours, default)
    return _called(mean(apart), t * stdev(apart) / len(apart), paper)


def _normal(ours, default, paper, t):
    return _direction_of(ours, default, paper, 1.96)


def _without_t(ours, default, paper, t):
    return _direction_of(ours, default, paper, 1.0)


def _divided_by_n(ours, default, paper, t):
    apart = _apart(ours, default)
    return _called(mean(apart), t * pstdev(apart) / sqrt(len(apart)), paper)


def _whole_width(ours, default, paper, t):
    middle, half, word = _direction_of(ours, default, paper, t)
    return middle, 2 * half, word


def _sign_of_ours(ours, default, paper, t):
    return _direction_of(ours, default, 1.0, t)


def _turned_around(ours, default, paper, t):
    return _direction_of(default, ours, paper, t)


def _paper_inside(ours, default, paper, t):
    middle, half, word = _direction_of(ours, default, paper, t)
    if abs(middle - paper) <= half:
        return middle, half, "same direction"
    return middle, half, "no difference" if abs(middle) <= half else "opposite"


def _by_place(ours, default, paper, t):
    """Pairs in the order of the dictionaries, whatever their seeds."""
    apart = [one - other for one, other in zip(ours.values(), default.values(), strict=False)]
    return _called(mean(apart), t * stdev(apart) / sqrt(len(apart)), paper)


def _all_seeds(ours, default, paper, t):
    _, half, _ = _direction_of(ours, default, paper, t)
    return _called(mean(ours.values()) - mean(default.values()), half, paper)


def _word_alone(ours, default, paper, t):
    return _direction_of(ours, default, paper, t)[2]


def _as_parts(answer: Any, *args: Any) -> Any:
    """A list is as good as a tuple, and numpy's numbers as good as Python's."""
    found = answer(*args)
    if isinstance(found, list | tuple):
        found = tuple(part.item() if isinstance(part, np.generic | torch.Tensor) else part for part in found)
    return found


def _verdict_cases(draw: Draw) -> list[Case]:
    base = {seed: 60 + draw.integer(0, 60) / 2 for seed in range(5)}

    def shifted(values: list[float]) -> dict[int, float]:
        return {seed: base[seed] + value for seed, value in enumerate(values)}

    return [
        Case("seeds far apart, differences alike", shifted([2.0, 2.5, 3.0, 2.5, 2.0]), base, 1.5, 2.776),
        Case("lower, and lower in the paper", shifted([-3.0, -2.0, -4.0, -3.5, -2.5]), base, -0.7, 2.776),
        Case("lower, and higher in the paper", shifted([-3.0, -2.0, -4.0, -3.5, -2.5]), base, 1.3, 2.776),
        Case("higher, and lower in the paper", shifted([6.0, 5.0, 4.5, 5.5, 6.0]), base, -1.3, 2.776),
        Case("a mean of 2, differences of -3 to 7", shifted([7.0, -3.0, 4.0, -1.0, 3.0]), base, 1.5, 2.776),
        Case("three seeds", {0: 63.0, 1: 71.0, 2: 66.0}, {0: 61.0, 1: 67.0, 2: 65.0}, 1.0, 4.303),
        Case(
            "seeds that only one of them has",
            {0: 80.0, 1: 72.0, 3: 91.0, 9: 20.0},
            {3: 89.0, 0: 78.5, 1: 70.2, 7: 99.0},
            -2.0,
            4.303,
        ),
    ]


ex_13_4 = Exercise(
    "13.4",
    reference=_direction_of,
    cases=_verdict_cases,
    build=_as_parts,
    mistakes=(
        Mistake(
            "You paired by place in the dictionaries. Pair by seed: only seeds that both have, each with itself.",
            _by_place,
        ),
        Mistake("Seeds that only one of them has are in your means. Leave them out.", _all_seeds),
        Mistake(
            "You treated the two as unpaired. Seeds share their clips: subtract seed by seed first, and take the "
            "standard deviation of the differences.",
            _unpaired,
        ),
        Mistake(
            "You looked at the sign of the mean alone. Where the interval holds 0 nothing is claimed.",
            _sign_of_the_mean,
        ),
        Mistake("Your difference is turned around: it is ours minus the default's.", _turned_around),
        Mistake("You did not look at the sign of the paper's difference.", _sign_of_ours),
        Mistake("The square root of n is missing: the mean of n differences is less uncertain than one.", _no_root),
        Mistake("This is the whole width of the interval. The task wants half of it.", _whole_width),
        Mistake("The task wants three things: the mean, the half width and the word.", _word_alone),
        Mistake("You divided by n. The half width is t s / sqrt(n).", _by_n),
        Mistake(
            "You took the factor 1.96 of the normal distribution. For few seeds Student's t is larger: use `t`.",
            _normal,
        ),
        Mistake("The factor t is missing: s / sqrt(n) is one standard error, not the 95 % interval.", _without_t),
        Mistake("Your standard deviation has n below. With the mean from the same values it is n - 1.", _divided_by_n),
        Mistake(
            "You asked whether the interval holds the paper's difference. The question is its sign: does it hold 0?",
            _paper_inside,
        ),
    ),
)
