"""The checks of Chapter 1: the solutions pass, stubs are not attempted, usual mistakes get the right hint."""

from __future__ import annotations

from math import prod

import pytest
from einops import rearrange

from mvit_edu import check


def cut_cubes(clip, size):
    t, h, w = size
    batch, channels, frames, height, width = clip.shape
    x = clip.reshape(batch, channels, frames // t, t, height // h, h, width // w, w)
    x = x.permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(batch, -1, channels * t * h * w)


def token_index(t, h, w, thw, cls_token=True):
    return cls_token + t * thw[1] * thw[2] + h * thw[2] + w


def first_attention(config):
    tokens = int(config.cls_token)
    grid = 1
    for n, k, s, p in zip(config.size, config.cube_kernel, config.cube_stride, config.padding, strict=True):
        grid *= (n + 2 * p - k) // s + 1
    tokens += grid
    return tokens, 2 * tokens * tokens * config.dim


def cube_for(frames):
    step = frames // 8
    kernel = 2 * step - 1 if step > 1 else 3
    return (kernel, 7, 7), (step, 4, 4), (kernel // 2, 3, 3)


SOLUTIONS = {"ex_01_1": cut_cubes, "ex_01_2": token_index, "ex_01_3": first_attention, "ex_01_4": cube_for}


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solution_passes(name):
    report = getattr(check, name)(SOLUTIONS[name])
    assert report.ok, report


@pytest.mark.parametrize("name", SOLUTIONS)
def test_stub_is_not_attempted(name):
    def stub(*args, **kwargs):
        raise NotImplementedError(f"Exercise 1.{name[-1]}")

    report = getattr(check, name)(stub)
    assert not report.ok and not report.attempted
    assert "not attempted" in report.text


def test_other_cubes_pass_too():
    """Exercise 1.4 has many right answers: here an even kernel."""

    def even(frames):
        step = frames // 8
        return (step + 2, 8, 8), (step, 4, 4), (1, 2, 2)

    assert check.ex_01_4(even).ok


def unfolded(order, content="c t h w"):
    def cut(clip, size):
        t, h, w = size
        return rearrange(clip, f"b c (T t) (H h) (W w) -> b ({order}) ({content})", t=t, h=h, w=w)

    return cut


def count(grid, macs=lambda tokens, config: 2 * tokens**2 * config.dim):
    def first(config):
        axes = zip(config.size, config.cube_kernel, config.cube_stride, config.padding, strict=True)
        tokens = int(config.cls_token) + prod(grid(*axis) for axis in axes)
        return tokens, macs(tokens, config)

    return first


def windows(n, k, s, p):
    return (n + 2 * p - k) // s + 1


WRONG = [
    ("ex_01_1", lambda clip, size: clip.reshape(len(clip), -1, 3 * prod(size)), "order of memory"),
    ("ex_01_1", lambda clip, size: clip.flatten(1).unflatten(1, (-1, 3 * prod(size))), "order of memory"),
    ("ex_01_1", unfolded("H W T"), "not time-major"),
    ("ex_01_1", unfolded("T W H"), "down the columns"),
    ("ex_01_1", unfolded("T H W", "t h w c"), "channels last"),
    ("ex_01_2", lambda t, h, w, thw, cls_token=True: (t * thw[1] + h) * thw[2] + w, "Index 0 belongs"),
    (
        "ex_01_2",
        lambda t, h, w, thw, cls_token=True: 1 + (t * thw[1] + h) * thw[2] + w,
        "nothing stands in front",
    ),
    (
        "ex_01_2",
        lambda t, h, w, thw, cls_token=True: cls_token + (t * thw[2] + h) * thw[1] + w,
        "A row holds W' tokens",
    ),
    (
        "ex_01_2",
        lambda t, h, w, thw, cls_token=True: cls_token + t * thw[0] * thw[1] + h * thw[1] + w,
        "one axis off",
    ),
    (
        "ex_01_2",
        lambda t, h, w, thw, cls_token=True: cls_token + (h * thw[2] + w) * thw[0] + t,
        "time running fastest",
    ),
    (
        "ex_01_2",
        lambda t, h, w, thw, cls_token=True: cls_token + (t * thw[2] + w) * thw[1] + h,
        "run along the rows",
    ),
    ("ex_01_3", count(lambda n, k, s, p: n // s), "n // s forgets the window"),
    ("ex_01_3", count(lambda n, k, s, p: -(-n // s)), "Rounding n / s up"),
    ("ex_01_3", count(lambda n, k, s, p: (n + p - k) // s + 1), "both ends"),
    ("ex_01_3", count(lambda n, k, s, p: (n + 2 * p - k) // s), "one window more"),
    ("ex_01_3", count(lambda n, k, s, p: (n + k // 2 * 2 - k) // s + 1), "half of the kernel"),
    ("ex_01_3", count(windows, lambda tokens, config: tokens**2 * config.dim), "two products"),
    (
        "ex_01_3",
        count(windows, lambda tokens, config: 2 * tokens**2 * config.dim * config.heads),
        "share the D",
    ),
    (
        "ex_01_3",
        lambda config: (prod(config.thw), 2 * prod(config.thw) ** 2 * config.dim),
        "class token is one more",
    ),
    (
        "ex_01_3",
        lambda config: (1 + prod(config.thw), 2 * (1 + prod(config.thw)) ** 2 * config.dim),
        "only the cubes",
    ),
    ("ex_01_4", lambda frames: ((3, 7, 7), (2, 4, 4), (1, 3, 3)), "step must grow"),
    ("ex_01_4", lambda frames: ((frames // 8 * 2 - 1, 7, 7), (2, 4, 4), (1, 3, 3)), None),
    ("ex_01_4", lambda frames: ((3, 7, 7), (frames // 8, 4, 4), (1, 3, 3)), "no cube looks at"),
    ("ex_01_4", lambda frames: ((frames // 8, 7, 7), (frames // 8, 4, 4), (0, 3, 3)), "only touches"),
    ("ex_01_4", lambda frames: ((frames // 8, 4, 4), (frames // 8, 4, 4), (0, 0, 0)), "these cubes only touch"),
    ("ex_01_4", lambda frames: ((frames // 4 - 1, 7, 7), (frames // 8, 4, 4), (1, 3, 3)), "padding did not"),
    ("ex_01_4", lambda frames: ((frames // 4 + 1, 7, 7), (frames // 8, 4, 4), (1, 3, 3)), "padding did not"),
]


@pytest.mark.parametrize(("name", "wrong", "hint"), WRONG)
def test_wrong_answer_gets_its_hint(name, wrong, hint):
    report = getattr(check, name)(wrong)
    assert report.attempted and not report.ok
    if hint is not None:
        assert report.hint and hint in report.hint, report


def test_design_that_returns_something_else():
    report = check.ex_01_4(lambda frames: frames)
    assert report.attempted and not report.ok
