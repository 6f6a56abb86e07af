from __future__ import annotations

import pytest
import torch
from torchvision.ops import stochastic_depth

from mvit_edu.model.blocks import DropPath, MultiscaleBlock, skip_kernel
from mvit_edu.model.pooling import pooled_size


def block(**kwargs):
    torch.manual_seed(0)
    return MultiscaleBlock(**(dict(dim=8, dim_out=8, heads=2) | kwargs)).double()


def test_skip_and_query_pooling_always_give_the_same_grid():
    for kernel in (2, 3, 4, 5, 6, 7, 9):
        for stride in (1, 2, 3, 4):
            if kernel < stride:
                continue
            for n in range(8, 40):
                q = (kernel,) * 3, (stride,) * 3
                assert pooled_size((n,) * 3, *q) == pooled_size((n,) * 3, skip_kernel(*q), (stride,) * 3)


def test_released_skip_window():
    assert skip_kernel((3, 3, 3), (1, 2, 2)) == (1, 3, 3)
    assert skip_kernel((1, 3, 3), (1, 2, 2)) == (1, 3, 3)


@pytest.mark.parametrize("cls_token", [True, False])
def test_skip_pooling_is_a_max_over_the_raw_input(cls_token):
    module = block(q_kernel=(3, 3, 3), q_stride=(1, 2, 2), cls_token=cls_token)
    x = torch.randn(1, cls_token + 2 * 4 * 4, 8, dtype=torch.float64)
    for part in (module.attn.proj, module.mlp.fc2):
        torch.nn.init.zeros_(part.weight)
        torch.nn.init.zeros_(part.bias)
    out, thw = module(x, (2, 4, 4))  # both branches are silent: what is left is the skip
    volume = x[:, int(cls_token) :].unflatten(1, (2, 4, 4)).movedim(-1, 1)
    expected = torch.nn.functional.max_pool3d(volume, (1, 3, 3), (1, 2, 2), (0, 1, 1)).flatten(2).transpose(1, 2)
    assert thw == (2, 2, 2)
    torch.testing.assert_close(out[:, int(cls_token) :], expected)
    if cls_token:
        assert torch.equal(out[:, 0], x[:, 0])


def test_skip_of_the_widening_mlp():
    x = torch.randn(1, 9, 8, dtype=torch.float64)
    results = {}
    for skip in ("normalized", "linear", "none"):
        module = block(dim_out=16, skip=skip)
        torch.nn.init.zeros_(module.mlp.fc2.weight)
        torch.nn.init.zeros_(module.mlp.fc2.bias)
        middle = x + module.attn(module.norm1(x), (1, 2, 4))[0]
        out, _ = module(x, (1, 2, 4))
        expected = {
            "normalized": lambda m=module, y=middle: m.proj(m.norm2(y)),
            "linear": lambda m=module, y=middle: m.proj(y),
            "none": lambda y=middle: torch.zeros(*y.shape[:2], 16, dtype=y.dtype),
        }[skip]()
        torch.testing.assert_close(out, expected)
        results[skip] = out
    assert not torch.allclose(results["normalized"], results["linear"])
    with pytest.raises(ValueError, match="'sum'; use one of normalized, linear, none"):
        block(skip="sum")


def test_drop_path_drops_whole_samples_as_torchvision_does():
    x = torch.randn(64, 5, 3)
    drop = DropPath(0.25)
    torch.manual_seed(3)
    ours = drop(x)
    torch.manual_seed(3)
    torch.testing.assert_close(ours, stochastic_depth(x, 0.25, "row"))
    dropped = (ours == 0).all(dim=(1, 2))
    assert 4 < dropped.sum() < 32
    torch.testing.assert_close(ours[~dropped], x[~dropped] / 0.75)
    assert drop.eval()(x) is x and DropPath(0.0)(x) is x


@pytest.mark.parametrize("pool", ["conv", "max"])
def test_input_is_not_changed(pool):
    module = block(q_kernel=(1, 3, 3), q_stride=(1, 2, 2), kv_kernel=(1, 3, 3), kv_stride=(1, 2, 2), pool=pool)
    x = torch.randn(2, 33, 8, dtype=torch.float64)
    before = x.clone()
    module(x, (2, 4, 4))
    assert torch.equal(x, before)
