from __future__ import annotations

from itertools import product
from math import inf, prod

import pytest
import torch
from torch import nn

from mvit_edu.model.pooling import TokenPool, default_padding, depthwise_conv3d, pooled_size


def pool_by_loops(volume, mode, kernel, stride, padding, weight=None):
    """P(.; k, s, p) of one (T, H, W, C) volume, one window at a time."""
    t, h, w, channels = volume.shape
    size = pooled_size((t, h, w), kernel, stride, padding)
    out = torch.empty(*size, channels, dtype=volume.dtype)
    for place in product(*map(range, size)):
        window = []
        for offset in product(*map(range, kernel)):
            at = [i * s - p + o for i, s, p, o in zip(place, stride, padding, offset, strict=True)]
            inside = all(0 <= a < n for a, n in zip(at, (t, h, w), strict=True))
            outside = torch.full((channels,), -inf if mode == "max" else 0.0, dtype=volume.dtype)
            value = volume[tuple(at)] if inside else outside
            window.append(value * weight[:, 0][(slice(None), *offset)] if mode == "conv" else value)
        window = torch.stack(window)
        out[place] = window.amax(0) if mode == "max" else window.sum(0) / (prod(kernel) if mode == "avg" else 1)
    return out


KERNELS = [
    ((3, 3, 3), (1, 2, 2)),
    ((3, 3, 3), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2)),
    ((1, 3, 3), (1, 2, 2)),
    ((1, 2, 2), (1, 2, 2)),
    ((1, 5, 5), (1, 2, 2)),
    ((1, 4, 4), (1, 4, 4)),
    ((1, 9, 9), (1, 8, 8)),
    ((1, 17, 17), (1, 8, 8)),
    ((1, 8, 8), (1, 4, 4)),
    ((5, 3, 1), (1, 4, 1)),
    ((2, 2, 2), (2, 2, 2)),
]


@pytest.mark.parametrize("mode", ["conv", "max", "avg"])
@pytest.mark.parametrize(("kernel", "stride"), KERNELS)
@pytest.mark.parametrize("cls_token", [True, False])
def test_pooling_agrees_with_plain_loops(mode, kernel, stride, cls_token):
    torch.manual_seed(0)
    thw, heads, dim = (3, 5, 6), 2, 4
    pool = TokenPool(dim, kernel, stride, mode, norm=False, cls_token=cls_token).double()
    x = torch.randn(2, prod(thw) + cls_token, heads * dim, dtype=torch.float64)
    before = x.clone()
    out, size = pool(x, thw)
    assert size == pooled_size(thw, kernel, stride)
    weight = None if mode != "conv" else pool.conv.weight.detach().repeat(heads, 1, 1, 1, 1)
    for sample in range(2):
        volume = x[sample, int(cls_token) :].unflatten(0, thw)
        expected = pool_by_loops(volume, mode, kernel, stride, pool.padding, weight).flatten(0, 2)
        torch.testing.assert_close(out[sample, int(cls_token) :], expected)
        if cls_token:
            assert torch.equal(out[sample, 0], x[sample, 0])
    assert torch.equal(x, before)


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 3, 1)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3), (5, 3, 3)])
@pytest.mark.parametrize("thw", [(1, 6, 5), (2, 6, 5), (7, 6, 5), (3, 1, 2)])
def test_depthwise_route_equals_conv3d_forward_and_backward(kernel, stride, thw):
    torch.manual_seed(0)
    x = torch.randn(2, *thw, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 1, *kernel, dtype=torch.float64, requires_grad=True)
    padding = default_padding(kernel, stride)
    ours = depthwise_conv3d(x, weight, stride, padding)
    torchs = nn.functional.conv3d(x.permute(0, 4, 1, 2, 3), weight, None, stride, padding, groups=8)
    torch.testing.assert_close(ours, torchs.permute(0, 2, 3, 4, 1))
    cotangent = torch.randn_like(ours)
    ours_grads = torch.autograd.grad(ours, (x, weight), cotangent)
    torch_grads = torch.autograd.grad(torchs, (x, weight), cotangent.permute(0, 4, 1, 2, 3))
    for a, b in zip(ours_grads, torch_grads, strict=True):
        torch.testing.assert_close(a, b)


def test_class_token_passes_the_norm_of_conv_pooling_and_nothing_else():
    torch.manual_seed(0)
    pool = TokenPool(6, (3, 3, 3), (1, 2, 2))
    x = torch.randn(1, 1 + 2 * 4 * 4, 12)
    out, _ = pool(x, (2, 4, 4))
    expected = pool.norm(x[:, :1].unflatten(-1, (2, 6))).flatten(-2)
    torch.testing.assert_close(out[:, :1], expected)
    assert TokenPool(6, (1, 3, 3), (1, 2, 2), "max").norm is None


def test_size_formula_is_torchs():
    for n, k, s, p in product(range(5, 14), range(1, 6), range(1, 5), range(0, 3)):
        if p <= k // 2:
            expected = nn.functional.max_pool1d(torch.zeros(1, 1, n), k, s, p).shape[-1]
            assert pooled_size((n, n, n), (k,) * 3, (s,) * 3, (p,) * 3) == (expected,) * 3


def test_default_padding_divides_the_grid():
    for s, times in product(range(1, 9), range(3, 8)):
        for k in (s, s + 1, 2 * s + 1, 3):
            if s == 1 and k % 2 == 0:
                continue  # an even window cannot keep the length
            if k < s:
                continue
            n = s * times
            assert pooled_size((n,) * 3, (k,) * 3, (s,) * 3)[0] == times, (k, s, n)


def test_errors_name_what_came_and_what_is_wanted():
    with pytest.raises(ValueError, match=r"window of \(1, 9, 9\) does not fit into a grid of \(1, 2, 2\)"):
        pooled_size((1, 2, 2), (1, 9, 9), (1, 1, 1), (0, 0, 0))
    with pytest.raises(ValueError, match="'median'; use one of conv, max, avg"):
        TokenPool(4, (1, 3, 3), (1, 2, 2), "median")
