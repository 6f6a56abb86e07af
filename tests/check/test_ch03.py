"""The checks of Chapter 3: solutions pass, stubs are not attempted, wrong answers get the right hint."""

from __future__ import annotations

import math
from math import prod

import pytest
import torch

from mvit_edu import check
from mvit_edu.model.pooling import TokenPool, pooled_size

KERNEL = (3, 3, 3)


def attention_shape(thw, q_stride, kv_stride):
    return tuple(
        1 + prod((n - 1) // s + 1 for n, s in zip(thw, stride, strict=True)) for stride in (q_stride, kv_stride)
    )


def pooled_attention(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    d = x.shape[-1]
    q, thw_q = TokenPool(d, KERNEL, q_stride, "max")(x @ w_q, thw)
    k, _ = TokenPool(d, KERNEL, kv_stride, "max")(x @ w_k, thw)
    v, _ = TokenPool(d, KERNEL, kv_stride, "max")(x @ w_v, thw)
    return (q @ k.transpose(1, 2) / math.sqrt(d)).softmax(dim=-1) @ v, thw_q


def attend_heads(q, k, v, heads):
    d = q.shape[-1] // heads
    outs = []
    for head in range(heads):
        cols = slice(head * d, (head + 1) * d)
        weights = (q[..., cols] @ k[..., cols].transpose(1, 2) / math.sqrt(d)).softmax(dim=-1)
        outs.append(weights @ v[..., cols])
    return torch.cat(outs, dim=-1)


def choose_kv_stride(thw, dim, budget):
    n = 1 + prod(thw)
    for s in (1, 2, 4, 8):
        macs = 4 * n * dim**2 + 2 * n * (1 + prod(pooled_size(thw, KERNEL, (1, s, s)))) * dim
        if macs <= budget:
            return s, macs
    return None


SOLUTIONS = {"1": attention_shape, "2": pooled_attention, "3": attend_heads, "4": choose_kv_stride}


def checked(k: str, answer):
    return getattr(check, f"ex_03_{k}")(answer)


@pytest.mark.parametrize("k", SOLUTIONS)
def test_solution_passes(k):
    report = checked(k, SOLUTIONS[k])
    assert report.ok, report.text


@pytest.mark.parametrize("k", SOLUTIONS)
def test_stub_is_not_attempted(k):
    def stub(*args):
        raise NotImplementedError(f"Exercise 3.{k}")

    report = checked(k, stub)
    assert not report.attempted and "not attempted" in report.text


def shape_no_cls(thw, q_stride, kv_stride):
    return tuple(n - 1 for n in attention_shape(thw, q_stride, kv_stride))


def shape_kv_after_q(thw, q_stride, kv_stride):
    thw_q = tuple((n - 1) // s + 1 for n, s in zip(thw, q_stride, strict=True))
    return attention_shape(thw, q_stride, kv_stride)[0], attention_shape(thw_q, kv_stride, kv_stride)[1]


def shape_floor(thw, q_stride, kv_stride):
    return tuple(1 + prod(n // s for n, s in zip(thw, stride, strict=True)) for stride in (q_stride, kv_stride))


def shape_count(thw, q_stride, kv_stride):
    return tuple((1 + prod(thw)) // prod(stride) for stride in (q_stride, kv_stride))


def pooled_no_scale(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    return pooled_attention(x, thw, w_q * math.sqrt(x.shape[-1]), w_k, w_v, q_stride, kv_stride)


def pooled_before_projection(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    d = x.shape[-1]
    (q, thw_q), (kv, _) = (TokenPool(d, KERNEL, s, "max")(x, thw) for s in (q_stride, kv_stride))
    return ((q @ w_q) @ (kv @ w_k).mT / math.sqrt(d)).softmax(-1) @ (kv @ w_v), thw_q


def pooled_without_cls(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    d, patches = x.shape[-1], x[:, 1:]
    q, thw_q = TokenPool(d, KERNEL, q_stride, "max", cls_token=False)(patches @ w_q, thw)
    k, _ = TokenPool(d, KERNEL, kv_stride, "max", cls_token=False)(patches @ w_k, thw)
    v, _ = TokenPool(d, KERNEL, kv_stride, "max", cls_token=False)(patches @ w_v, thw)
    return (q @ k.mT / math.sqrt(d)).softmax(-1) @ v, thw_q


def pooled_with_cls_in_the_grid(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    d = x.shape[-1]
    q, thw_q = TokenPool(d, KERNEL, q_stride, "max", cls_token=False)(x @ w_q, thw)
    k, _ = TokenPool(d, KERNEL, kv_stride, "max", cls_token=False)(x @ w_k, thw)
    return (q @ k.mT / math.sqrt(d)).softmax(-1) @ k, thw_q


def pooled_softmax_over_queries(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    d = x.shape[-1]
    q, thw_q = TokenPool(d, KERNEL, q_stride, "max")(x @ w_q, thw)
    k, _ = TokenPool(d, KERNEL, kv_stride, "max")(x @ w_k, thw)
    v, _ = TokenPool(d, KERNEL, kv_stride, "max")(x @ w_v, thw)
    return (q @ k.mT / math.sqrt(d)).softmax(dim=1) @ v, thw_q


def pooled_returns_thw(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    out, _ = pooled_attention(x, thw, w_q, w_k, w_v, q_stride, kv_stride)
    return out, pooled_size(thw, KERNEL, kv_stride)


def pooled_kv_on_thw_q(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    d = x.shape[-1]
    q, thw_q = TokenPool(d, KERNEL, q_stride, "max")(x @ w_q, thw)
    k, _ = TokenPool(d, KERNEL, kv_stride, "max")(x @ w_k, thw_q)
    v, _ = TokenPool(d, KERNEL, kv_stride, "max")(x @ w_v, thw_q)
    return (q @ k.mT / math.sqrt(d)).softmax(dim=-1) @ v, thw_q


def pooled_unless_stride_1(x, thw, w_q, w_k, w_v, q_stride, kv_stride):
    def pool(y, stride):
        return (y, thw) if stride == (1, 1, 1) else TokenPool(y.shape[-1], KERNEL, stride, "max")(y, thw)

    (q, thw_q), (k, _), (v, _) = pool(x @ w_q, q_stride), pool(x @ w_k, kv_stride), pool(x @ w_v, kv_stride)
    return (q @ k.mT / math.sqrt(x.shape[-1])).softmax(dim=-1) @ v, thw_q


def heads_view(q, k, v, heads):
    b, n, channels = q.shape
    q, k, v = (t.view(b, heads, -1, channels // heads) for t in (q, k, v))
    return ((q @ k.mT / math.sqrt(channels // heads)).softmax(-1) @ v).reshape(b, n, channels)


def heads_view_then_merge(q, k, v, heads):
    b, n, channels = q.shape
    q, k, v = (t.view(b, heads, -1, channels // heads) for t in (q, k, v))
    return ((q @ k.mT / math.sqrt(channels // heads)).softmax(-1) @ v).transpose(1, 2).reshape(b, n, channels)


def heads_not_merged(q, k, v, heads):
    b, n, channels = q.shape
    q, k, v = (t.view(b, -1, heads, channels // heads).transpose(1, 2) for t in (q, k, v))
    return ((q @ k.mT / math.sqrt(channels // heads)).softmax(-1) @ v).reshape(b, n, channels)


def heads_no_scale(q, k, v, heads):
    return attend_heads(q * math.sqrt(q.shape[-1] // heads), k, v, heads)


def heads_scale_of_all(q, k, v, heads):
    return attend_heads(q / math.sqrt(heads), k, v, heads)


def heads_ignored(q, k, v, heads):
    return attend_heads(q, k, v, 1)


def heads_softmax_over_queries(q, k, v, heads):
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return ((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-2) @ v).transpose(1, 2).flatten(2)


def chooser(macs, order=(1, 2, 4, 8), spare=0):
    def choose(thw, dim, budget):
        for s in order:
            n, kv = 1 + prod(thw), 1 + prod(pooled_size(thw, KERNEL, (1, s, s)))
            if macs(n, kv, dim) + spare <= budget:
                return s, macs(n, kv, dim)
        return None

    return choose


def full(n, kv, dim):
    return 4 * n * dim**2 + 2 * n * kv * dim


WRONG = [
    ("1", shape_no_cls, "class token is missing"),
    ("1", shape_kv_after_q, "not from the pooled queries' grid"),
    ("1", shape_floor, "n // s is not the size formula"),
    ("1", shape_count, "dividing the whole length"),
    ("1", lambda *args: attention_shape(*args)[::-1], "the queries are the rows"),
    ("2", pooled_no_scale, "scale is missing"),
    ("2", pooled_before_projection, "pool before you project"),
    ("2", pooled_without_cls, "class token is lost"),
    ("2", pooled_with_cls_in_the_grid, "went into the grid"),
    ("2", pooled_softmax_over_queries, "softmax runs over the queries"),
    ("2", pooled_returns_thw, "grid of the keys"),
    ("2", pooled_kv_on_thw_q, "not been pooled yet"),
    ("2", pooled_unless_stride_1, "Nothing is pooled where the stride is 1"),
    ("3", heads_view, "split mixes tokens and heads"),
    ("3", heads_view_then_merge, "split mixes tokens and heads"),
    ("3", heads_not_merged, "merged wrongly"),
    ("3", heads_no_scale, "scale is missing"),
    ("3", heads_scale_of_all, "that of all D channels"),
    ("3", heads_ignored, "heads is not used"),
    ("3", heads_softmax_over_queries, "softmax runs over the queries"),
    ("4", chooser(lambda n, kv, dim: 2 * full(n, kv, dim)), "two operations for each multiply-add"),
    ("4", chooser(lambda n, kv, dim: 2 * n * kv * dim), "linear layers are missing"),
    ("4", chooser(lambda n, kv, dim: 4 * n * dim**2 + n * kv * dim), "Only one of the two products"),
    ("4", chooser(lambda n, kv, dim: 3 * n * dim**2 + 2 * n * kv * dim), "output layer is missing"),
    ("4", chooser(lambda n, kv, dim: 2 * (n + kv) * dim**2 + 2 * n * kv * dim), "run before the pooling"),
    ("4", chooser(lambda n, kv, dim: full(n - 1, kv - 1, dim)), "class token is missing"),
    ("4", chooser(full, order=(8, 4, 2, 1)), "largest stride"),
    ("4", chooser(full, spare=1), "fits (<=)"),
]


@pytest.mark.parametrize(("k", "answer", "hint"), WRONG, ids=[f"{k}-{hint}" for k, _, hint in WRONG])
def test_wrong_answer_gets_its_hint(k, answer, hint):
    report = checked(k, answer)
    assert not report.ok and report.attempted
    assert report.hint is not None, report.text
    assert hint in report.hint, report.text
