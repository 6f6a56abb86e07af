"""The checks of Chapter 13: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from mvit_edu import get_config, stage_table
from mvit_edu.model.pooling import pooled_size
from mvit_edu.studies.readings import READINGS
from mvit_edu.studies.statistics import STUDENT, difference, verdict
from tests.check.answers import answer_tests


# 13.1
def share(n, n_q, n_kv, dim):
    parts = np.array([3 * n * dim, n_q * dim, 8 * n_q * dim, 2 * n_q * n_kv], dtype=float)
    return parts[3] / parts.sum()


def of(n, n_q, n_kv, dim, linear, attention=None):
    attention = 2 * n_q * n_kv if attention is None else attention
    return attention / (attention + linear * dim)


def one_product(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 3 * n + 9 * n_q, n_q * n_kv)


def everything_long(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 12 * n)


def everything_short(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 12 * n_q)


def short_q(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 2 * n + 10 * n_q)


def short_kv(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, n + 2 * n_kv + 9 * n_q)


def long_queries(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 3 * n + 9 * n_q, 2 * n * n_kv)


def queries_twice(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 3 * n + 9 * n_q, 2 * n_q * n_q)


def no_mlp(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 3 * n + n_q)


def half_mlp(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 3 * n + 5 * n_q)


def no_proj(n, n_q, n_kv, dim):
    return of(n, n_q, n_kv, dim, 3 * n + 8 * n_q)


def against_linear(n, n_q, n_kv, dim):
    return share(n, n_q, n_kv, dim) / (1 - share(n, n_q, n_kv, dim))


def percent(n, n_q, n_kv, dim):
    return share(n, n_q, n_kv, dim) * 100


# 13.2
def keys(thw, stages, kv_stride, adaptive):
    found = []
    for stage in range(stages):
        grid = tuple(math.ceil(n / (1 if axis == 0 else 2**stage)) for axis, n in enumerate(thw))
        stride = tuple(max(s // (2**stage if adaptive and axis else 1), 1) for axis, s in enumerate(kv_stride))
        found.append(1 + math.prod(pooled_size(grid, tuple(s + 1 + s % 2 for s in stride), stride)))
    return tuple(found)


def loop(thw, stages, kv_stride, adaptive, divide=lambda n, s: math.ceil(n / s), time=1, least=1, cls=1):
    thw, stride, found = list(thw), list(kv_stride), []
    for _ in range(stages):
        found.append(math.prod(divide(n, s) for n, s in zip(thw, stride, strict=True)) + cls)
        thw = [divide(thw[0], time), divide(thw[1], 2), divide(thw[2], 2)]
        if adaptive:
            stride = [max(stride[0] // time, least), max(stride[1] // 2, least), max(stride[2] // 2, least)]
    return found


def without_class_token(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, kv_stride, adaptive, cls=0)


def floors(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, kv_stride, adaptive, divide=lambda n, s: n // s)


def one_grid(thw, stages, kv_stride, adaptive):
    return [loop(thw, 1, [max(s // q**i, 1) if adaptive else s for s, q in zip(kv_stride, (1, 2, 2), strict=True)],
                 False)[0] for i in range(stages)]  # fmt: skip


def queries(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, (1, 1, 1), False)


def adapts_always(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, kv_stride, True)


def adapts_never(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, kv_stride, False)


def to_zero(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, kv_stride, adaptive, least=0)


def in_time(thw, stages, kv_stride, adaptive):
    return loop(thw, stages, kv_stride, adaptive, time=2)


def first_blocks(thw, stages, kv_stride, adaptive):
    longer = loop([thw[0], 2 * thw[1], 2 * thw[2]], stages, kv_stride, False)
    plain = loop(thw, stages, kv_stride, adaptive)
    found = [plain[0]]
    for stage in range(1, stages):
        grid = [thw[0], *(math.ceil(n / 2 ** (stage - 1)) for n in thw[1:])]
        stride = [max(s // (2**stage if adaptive and axis else 1), 1) for axis, s in enumerate(kv_stride)]
        found.append(1 + math.prod(math.ceil(n / s) for n, s in zip(grid, stride, strict=True)))
    assert len(longer) == len(found)
    return found


# 13.3
def unread(frames, kernel, stride, padding):
    seen = np.zeros(frames + 2 * padding + kernel, bool)
    for start in range(0, frames + 2 * padding - kernel + 1, stride):
        seen[start : start + kernel] = True
    return np.flatnonzero(~seen[padding : padding + frames])


def no_padding(frames, kernel, stride, padding):
    return unread(frames, kernel, stride, 0)


def from_zero(frames, kernel, stride, padding):
    cubes = range((frames + 2 * padding - kernel) // stride + 1)
    return sorted(set(range(frames)) - {c * stride + o for c in cubes for o in range(kernel)})


def one_cube_less(frames, kernel, stride, padding):
    cubes = range((frames + 2 * padding - kernel) // stride)
    return sorted(set(range(frames)) - {c * stride - padding + o for c in cubes for o in range(kernel)})


def one_end(frames, kernel, stride, padding):
    cubes = range((frames + padding - kernel) // stride + 1)
    return sorted(set(range(frames)) - {c * stride - padding + o for c in cubes for o in range(kernel)})


def to_the_end(frames, kernel, stride, padding):
    starts = range(-padding, frames + padding, stride)
    return sorted(set(range(frames)) - {start + o for start in starts for o in range(kernel)})


def the_read_ones(frames, kernel, stride, padding):
    return sorted(set(range(frames)) - set(unread(frames, kernel, stride, padding).tolist()))


def padded_too(frames, kernel, stride, padding):
    cubes = range((frames + 2 * padding - kernel) // stride + 1)
    read = {c * stride - padding + o for c in cubes for o in range(kernel)}
    return sorted(set(range(-padding, frames + padding)) - read)


def how_many(frames, kernel, stride, padding):
    return len(unread(frames, kernel, stride, padding))


# 13.4
def told(middle, half, paper):
    if middle - half <= 0 <= middle + half:
        return middle, half, "no difference"
    return [middle, half, "same direction" if np.sign(middle) == np.sign(paper) else "opposite"]


def apart_of(ours, default):
    return np.array([ours[seed] - default[seed] for seed in ours if seed in default])


def by_numpy(ours, default, paper, t):
    apart = apart_of(ours, default)
    return told(apart.mean(), t * apart.std(ddof=1) / math.sqrt(len(apart)), paper)


def by_the_module(ours, default, paper, t):
    found = difference(ours, default)
    scaled = dataclasses.replace(found, half=found.half * t / STUDENT[found.n - 2])
    seen = verdict(scaled)
    word = "same direction" if (seen == "higher") == (paper > 0) else "opposite"
    return scaled.mean, scaled.half, word if seen in ("higher", "lower") else "no difference"


def two_groups(ours, default, paper, t):
    seeds = [seed for seed in ours if seed in default]
    a, b = (np.array([side[seed] for seed in seeds]) for side in (ours, default))
    return told(a.mean() - b.mean(), t * math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a)), paper)


def sign_only(ours, default, paper, t):
    middle, half, _ = by_numpy(ours, default, paper, t)
    return middle, half, "same direction" if middle * paper > 0 else "opposite"


def without_root(ours, default, paper, t):
    apart = apart_of(ours, default)
    return told(apart.mean(), t * apart.std(ddof=1), paper)


def over_n(ours, default, paper, t):
    apart = apart_of(ours, default)
    return told(apart.mean(), t * apart.std(ddof=1) / len(apart), paper)


def normal(ours, default, paper, t):
    return by_numpy(ours, default, paper, 1.96)


def no_t(ours, default, paper, t):
    return by_numpy(ours, default, paper, 1)


def n_below(ours, default, paper, t):
    apart = apart_of(ours, default)
    return told(apart.mean(), t * apart.std() / math.sqrt(len(apart)), paper)


def whole_width(ours, default, paper, t):
    middle, half, word = by_numpy(ours, default, paper, t)
    return middle, 2 * half, word


def the_word(ours, default, paper, t):
    return by_numpy(ours, default, paper, t)[2]


def own_sign(ours, default, paper, t):
    return by_numpy(ours, default, 1, t)


def other_way(ours, default, paper, t):
    return by_numpy(default, ours, paper, t)


def holds_the_paper(ours, default, paper, t):
    middle, half, word = by_numpy(ours, default, paper, t)
    if middle - half <= paper <= middle + half:
        return middle, half, "same direction"
    return middle, half, "no difference" if abs(middle) <= half else "opposite"


def by_position(ours, default, paper, t):
    return by_numpy(dict(enumerate(ours.values())), dict(enumerate(default.values())), paper, t)


def with_all_seeds(ours, default, paper, t):
    middle = np.mean(list(ours.values())) - np.mean(list(default.values()))
    return told(middle, by_numpy(ours, default, paper, t)[1], paper)


RIGHT = {
    "ex_13_1": [share],
    "ex_13_2": [keys, loop],
    "ex_13_3": [unread],
    "ex_13_4": [by_numpy, by_the_module],
}
WRONG = [
    ("ex_13_1", one_product, "two products"),
    ("ex_13_1", everything_long, "not N"),
    ("ex_13_1", everything_short, "before any pooling"),
    ("ex_13_1", short_q, "projection to q"),
    ("ex_13_1", short_kv, "projections to k and v"),
    ("ex_13_1", long_queries, "already pooled"),
    ("ex_13_1", queries_twice, "queries meet queries"),
    ("ex_13_1", no_mlp, "MLP is missing"),
    ("ex_13_1", half_mlp, "You counted one"),
    ("ex_13_1", no_proj, "output layer of the attention"),
    ("ex_13_1", against_linear, "over the whole block"),
    ("ex_13_1", percent, "in percent"),
    ("ex_13_2", without_class_token, "class token is a key"),
    ("ex_13_2", floors, "round up"),
    ("ex_13_2", one_grid, "The grid shrinks"),
    ("ex_13_2", queries, "These are the queries"),
    ("ex_13_2", adapts_always, "although it is fixed"),
    ("ex_13_2", adapts_never, "Yours stays"),
    ("ex_13_2", to_zero, "falls to 0"),
    ("ex_13_2", in_time, "in time"),
    ("ex_13_2", first_blocks, "first blocks of the stages"),
    ("ex_13_3", no_padding, "ignored the padding"),
    ("ex_13_3", from_zero, "shifts the cubes"),
    ("ex_13_3", one_cube_less, "One cube is missing"),
    ("ex_13_3", one_end, "at both ends"),
    ("ex_13_3", to_the_end, "do not fit"),
    ("ex_13_3", the_read_ones, "that are read"),
    ("ex_13_3", padded_too, "no frames of the clip"),
    ("ex_13_3", how_many, "how many there are"),
    ("ex_13_4", two_groups, "unpaired"),
    ("ex_13_4", sign_only, "sign of the mean alone"),
    ("ex_13_4", without_root, "square root"),
    ("ex_13_4", over_n, "divided by n"),
    ("ex_13_4", normal, "1.96"),
    ("ex_13_4", no_t, "factor t is missing"),
    ("ex_13_4", whole_width, "half of it"),
    ("ex_13_4", the_word, "three things"),
    ("ex_13_4", n_below, "n - 1"),
    ("ex_13_4", own_sign, "sign of the paper"),
    ("ex_13_4", other_way, "turned around"),
    ("ex_13_4", holds_the_paper, "does it hold 0"),
    ("ex_13_4", by_position, "by place in the dictionaries"),
    ("ex_13_4", with_all_seeds, "are in your means"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_the_share_is_that_of_the_stage_table():
    for index in (2, 4, 14, 15):  # blocks of MViT-B that do not widen, and the last stage, which pools queries
        block = READINGS["14"]["188_adaptive"].config.blocks[index]
        if block.dim == block.dim_out:
            told_share = block.macs_by_part["attention"] / block.macs
            ours = share(block.tokens_in, block.tokens_q, block.tokens_kv, block.dim)
            assert ours == pytest.approx(told_share, rel=1e-12)


def test_the_keys_are_those_of_the_stage_table():
    for fields in ({}, {"kv_stride": (1, 4, 4), "kv_adaptive": False}, {"kv_stride": (2, 4, 4)}):
        config = dataclasses.replace(get_config("mvit_b_16x4"), **fields)
        last = [stage.blocks[-1].tokens_kv for stage in stage_table(config).stages]
        assert list(keys((8, 56, 56), 4, config.kv_stride, config.kv_adaptive)) == last
