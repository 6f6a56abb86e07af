"""The checks of Chapter 5: solutions pass, stubs are not attempted, wrong answers get the right hint."""

from __future__ import annotations

import dataclasses

import pytest

from mvit_edu import check, get_config

B = get_config("mvit_b_16x4")


def kv_strides(first, q_stride, stages):
    strides = [tuple(first)]
    for _ in range(stages - 1):
        strides.append(tuple(max(kv // q, 1) for kv, q in zip(strides[-1], q_stride, strict=True)))
    return strides


def block_params(dim, dim_out, heads, poolings):
    head_dim, hidden = dim // heads, 4 * dim
    attention = 3 * dim * (dim + 1) + dim * (dim + 1)
    mlp = hidden * (dim + 1) + dim_out * (hidden + 1)
    skip = dim_out * (dim + 1) if dim_out != dim else 0
    return attention + mlp + skip + 2 * 2 * dim + poolings * (27 * head_dim + 2 * head_dim)


def block_macs(dim, dim_out, n, n_q, n_kv):
    attention = 3 * n * dim**2 + 2 * n_q * n_kv * dim + n_q * dim**2
    mlp = n_q * 4 * dim * (dim + dim_out)
    return attention + mlp + (n_q * dim * dim_out if dim_out != dim else 0)


def small_config():
    return dataclasses.replace(B, dim=48, depths=(1, 1, 2, 8))


SOLUTIONS = {"1": kv_strides, "2": block_params, "3": block_macs, "4": small_config}


def checked(k, answer):
    return getattr(check, f"ex_05_{k}")(answer)


@pytest.mark.parametrize("k", SOLUTIONS)
def test_solution_passes(k):
    report = checked(k, SOLUTIONS[k])
    assert report.ok and "passed" in report.text


@pytest.mark.parametrize("k", SOLUTIONS)
def test_stub_is_not_attempted(k):
    def stub(*args, **kwargs):
        raise NotImplementedError(f"Exercise 5.{k}")

    report = checked(k, stub)
    assert not report.ok and not report.attempted and "not attempted" in report.text


def no_lower_bound(first, q_stride, stages):
    strides = [tuple(first)]
    for _ in range(stages - 1):
        strides.append(tuple(kv // q for kv, q in zip(strides[-1], q_stride, strict=True)))
    return strides


def divided_once(first, q_stride, stages):
    later = tuple(max(kv // q, 1) for kv, q in zip(first, q_stride, strict=True))
    return [tuple(first), *[later] * (stages - 1)][:stages]


def from_the_start(first, q_stride, stages):
    return kv_strides(first, q_stride, stages + 1)[1:]


def true_division(first, q_stride, stages):
    strides = [tuple(first)]
    for _ in range(stages - 1):
        strides.append(tuple(max(kv / q, 1) for kv, q in zip(strides[-1], q_stride, strict=True)))
    return strides


def params_with(dim, dim_out, heads, poolings, change):
    right = block_params(dim, dim_out, heads, poolings)
    return right + change(dim, dim_out, dim // heads, poolings)


WRONG = [
    ("1", no_lower_bound, "stride of 0 moves nowhere"),
    ("1", divided_once, "divide once and stop"),
    ("1", from_the_start, "first stage is divided already"),
    ("1", lambda first, q_stride, stages: [first] * stages, "fixed stride of Table 14"),
    ("1", true_division, "`//` gives whole numbers"),
    (
        "2",
        lambda *a: params_with(*a, lambda d, o, h, p: -(4 * d + 5 * d + (o if o != d else 0) - d + o)),
        "biases are missing",
    ),
    ("2", lambda *a: params_with(*a, lambda d, o, h, p: 29 * p * (d - h)), "span all channels"),
    ("2", lambda *a: params_with(*a, lambda d, o, h, p: -4 * d), "norm1 and norm2 are missing"),
    ("2", lambda *a: params_with(*a, lambda d, o, h, p: -2 * h * p), "LayerNorm after each pooling"),
    ("2", lambda *a: params_with(*a, lambda d, o, h, p: -o * (d + 1) * (o != d)), "skip of a widening block"),
    ("2", lambda *a: params_with(*a, lambda d, o, h, p: o * (d + 1) * (o == d)), "only where dim_out differs"),
    ("2", lambda *a: params_with(*a, lambda d, o, h, p: -o * (o != d)), "bias of the skip's linear layer"),
    ("2", lambda d, o, heads, p: block_params(d, d, heads, p), "left dim_out out"),
    (
        "2",
        lambda *a: params_with(*a, lambda d, o, h, p: 4 * (o - d) * (d + 1 + o)),
        "four times the width that comes in",
    ),
    ("3", lambda *a: 2 * block_macs(*a), "multiply-add counts once"),
    ("3", lambda d, o, n, q, kv: block_macs(d, o, n, q, kv) - q * kv * d, "Attention is two products"),
    ("3", lambda d, o, n, q, kv: block_macs(d, o, q, q, kv), "n_q tokens to q, k and v"),
    (
        "3",
        lambda d, o, n, q, kv: block_macs(d, o, n, q, kv) + (q + 2 * kv - 3 * n) * d**2,
        "projected after pooling",
    ),
    (
        "3",
        lambda d, o, n, q, kv: block_macs(d, o, n, q, kv) + (n - q) * (d**2 + 4 * d * (d + o) + d * o * (o != d)),
        "come after the attention",
    ),
    (
        "3",
        lambda d, o, n, q, kv: block_macs(d, o, n, q, kv) - q * d * o * (o != d),
        "skip of a widening block",
    ),
    ("3", lambda d, o, n, q, kv: block_macs(d, o, n, q, kv) + (n - q) * d * o * (o != d), "sees n_q tokens"),
    ("3", lambda d, o, n, q, kv: block_macs(d, d, n, q, kv), "left dim_out out"),
    ("4", lambda: B, "That is MViT-B itself"),
    ("4", lambda: dataclasses.replace(B, dim=48), "move blocks to the stage"),
    ("4", lambda: dataclasses.replace(B, cube_stride=(2, 8, 8)), "coarser cube is the easy way out"),
    ("4", lambda: dataclasses.replace(B, frames=4), "task keeps 16x224x224"),
    ("4", lambda: dataclasses.replace(B, dim=48, depths=(1, 2, 6, 2)), "M parameters, fewer than 15 M"),
    ("4", lambda: dataclasses.replace(B, dim=48, depths=(1, 1, 3, 12)), "over the budget of 20"),
    ("4", lambda: dataclasses.replace(B, depths=(1, 2, 11)), "3 stages"),
    ("4", lambda: 20, "return an MViTConfig"),
]


@pytest.mark.parametrize(("k", "answer", "hint"), WRONG)
def test_wrong_answer_gets_the_right_hint(k, answer, hint):
    report = checked(k, answer)
    assert report.attempted and not report.ok
    assert hint in " ".join(report.text.split())


def test_other_designs_pass():
    wide_mlp = dataclasses.replace(B, dim=48, depths=(1, 1, 1, 8), kv_stride=(1, 16, 16))
    assert checked("4", lambda: wide_mlp).ok
