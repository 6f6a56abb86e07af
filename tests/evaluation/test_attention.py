"""Attention maps, the places of tokens, and distances: against what the forward pass used, and by brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

import mvit_edu
from mvit_edu.evaluation import Lattice, attention_distance, attention_maps, block_lattices
from mvit_edu.model.attention import MultiHeadPoolingAttention
from mvit_edu.model.pooling import default_padding
from tests.model.variants import SMALL, VARIANTS

WIDE = replace(SMALL, frames=6, crop=(32, 48), kv_stride=(2, 4, 4))


def clip_for(config, batch=2):
    return torch.randn(batch, config.in_channels, *config.size)


# Where tokens are
def pooled_window(window, kernel, stride, padding):
    """The first and the last pixel of a token's window, from those of the tokens that it was pooled from."""
    return lambda i: (window(i * stride - padding)[0], window(i * stride - padding + kernel - 1)[1])


@pytest.mark.parametrize("name", VARIANTS)
def test_lattices_are_the_middles_of_windows(name):
    config = VARIANTS[name]
    found = block_lattices(config)
    assert len(found) == len(config.blocks)
    for axis in range(3):
        window = pooled_window(
            lambda i: (i, i), config.cube_kernel[axis], config.cube_stride[axis], config.padding[axis]
        )
        for spec, lattices in zip(config.blocks, found, strict=True):
            grids = [(window, lattices.entering, spec.thw_in)]
            for kernel, stride, lattice, thw in (
                (spec.kv_kernel, spec.kv_stride, lattices.keys, spec.thw_kv),
                (spec.q_kernel, spec.q_stride, lattices.queries, spec.thw_out),
            ):
                pooled = window
                if kernel:
                    padding = default_padding(kernel, stride)[axis]
                    pooled = pooled_window(window, kernel[axis], stride[axis], padding)
                grids.append((pooled, lattice, thw))
            for grid, lattice, thw in grids:
                assert lattice.size == thw and lattice.clip == config.size
                middles = [(sum(grid(i)) + 1) / 2 for i in range(thw[axis])]
                assert lattice.centers()[axis].tolist() == pytest.approx(middles)
            window = grids[-1][0]


def test_full_size_places():
    keys = block_lattices(mvit_edu.get_config("mvit_b_16x4"))[0].keys
    assert keys.centers()[1].tolist() == [0.5 + 32 * i for i in range(7)]  # not the middles of sevenths of 224
    assert keys.centers()[0].tolist() == [0.5 + 2 * i for i in range(8)]
    vit = block_lattices(mvit_edu.get_config("vit_b_8x8"))[-1].keys
    assert vit.centers()[2].tolist() == [8 + 16 * i for i in range(14)]


def test_to_clip_puts_values_at_their_places():
    lattice = Lattice((1, 8, 12), (1, 2, 3), (0.5, 1.5, 2.0), (1, 4, 4))
    heat = torch.tensor([[[1.0, 3.0, 3.0], [5.0, 7.0, 7.0]]])  # (1, 2, 3)
    pixels = lattice.to_clip(heat)
    assert pixels.shape == (1, 8, 12)
    assert pixels[0, 1, 0] == 1 and pixels[0, 7, 11] == 7  # beyond the last middles values stay
    assert pixels[0, 1, 3].item() == pytest.approx(1 + 2 * 1.5 / 4)  # its middle is at 3.5, between 2 and 6
    assert pixels[0, 3, 0].item() == pytest.approx(3)  # its middle is at 3.5, between 1.5 and 5.5
    assert torch.allclose(lattice.to_clip(torch.full((2, 5, 1, 2, 3), 4.0)), torch.full((2, 5, 1, 8, 12), 4.0))
    with pytest.raises(ValueError, match=r"values \(2, 3\) do not end in the grid \(1, 2, 3\)"):
        lattice.to_clip(heat[0])


# Attention maps
@pytest.mark.parametrize("name", VARIANTS)
def test_maps_are_what_the_forward_pass_used(name):
    """From a map and the block's own values, the output of its attention."""
    config = VARIANTS[name]
    model, clip = mvit_edu.MViT(config).eval(), clip_for(config)
    entered, left = {}, {}

    def keep(module, args, out):
        entered[module], left[module] = args, out

    hooks = [block.attn.register_forward_hook(keep) for block in model.blocks]
    with torch.no_grad():
        model(clip)
    for hook in hooks:
        hook.remove()
    count = 0
    for one in attention_maps(model, clip):
        attn, spec = model.blocks[one.index].attn, config.blocks[one.index]
        assert one.weights.shape == (2, spec.heads, spec.tokens_q, spec.tokens_kv)
        assert (one.thw_q, one.thw_kv) == (spec.thw_out, spec.thw_kv)
        assert torch.allclose(one.weights.sum(dim=-1), torch.ones(()))
        with torch.no_grad():
            q, _, v, _ = attn.pooled_qkv(*entered[attn])
            out = (one.weights @ v.unflatten(-1, (attn.heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)
            if attn.residual_pooling != "none":
                start = int(attn.cls_token and attn.residual_pooling == "patches")
                out[:, start:] += q[:, start:]
            assert torch.allclose(attn.proj(out), left[attn][0], atol=1e-5)
        count += 1
    assert count == len(model.blocks)


def test_the_same_with_fused_attention_and_without():
    model, clip = mvit_edu.MViT(SMALL).eval(), clip_for(SMALL)
    fused = [one.weights for one in attention_maps(model, clip)]
    for module in model.modules():
        if isinstance(module, MultiHeadPoolingAttention):
            module.sdpa = False
    for a, b in zip(fused, attention_maps(model, clip), strict=True):
        assert torch.allclose(a, b.weights, atol=1e-6)


def test_the_model_stays_as_it_was():
    model = mvit_edu.MViT(replace(SMALL, drop_path=0.9, dropout=0.5)).train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    clip, generator = clip_for(SMALL), torch.get_rng_state()
    maps = attention_maps(model, clip)
    one = next(maps)
    assert [module.training for module in model.modules()] == modes  # between two blocks as well
    assert not one.weights.requires_grad and torch.is_grad_enabled()
    again = [one.weights for one in attention_maps(model, clip)]
    assert torch.equal(one.weights, again[0]) and torch.equal(next(maps).weights, again[1])  # no stochastic depth
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    model.blocks[2].norm1 = nn.LayerNorm(3)  # a block that fails
    with pytest.raises(RuntimeError):
        list(attention_maps(model, clip))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_image_is_a_clip_of_one_frame():
    config = VARIANTS["one frame"]
    model, clip = mvit_edu.MViT(config), clip_for(config)
    for a, b in zip(attention_maps(model, clip), attention_maps(model, clip[:, :, 0]), strict=True):
        assert torch.equal(a.weights, b.weights)


def test_clear_errors():
    with pytest.raises(
        TypeError, match="read from the blocks of an MViT, and this is a Linear; make one with create_m"
    ):
        attention_maps(nn.Linear(2, 2), torch.zeros(1))
    model = mvit_edu.MViT(SMALL)
    with pytest.raises(ValueError, match="add the batch dimension"):
        attention_maps(model, torch.zeros(3, *SMALL.size))
    without = next(attention_maps(mvit_edu.MViT(VARIANTS["no class token"]), clip_for(SMALL)))
    with pytest.raises(ValueError, match="no class token, so no row of the map is its"):
        without.of_class_token()


# Distances
def set_attention(monkeypatch, make):
    """Every block attends as `make(N_q, N_kv)`, (N_q, N_kv), says."""

    def weights(self, q, k):
        return make(q.shape[2], k.shape[2]).expand(*q.shape[:2], -1, -1)

    monkeypatch.setattr(MultiHeadPoolingAttention, "attention_weights", weights)


def brute_force(config, make):
    """Mean distance in space and time of each block, one query and one key at a time, from the lattices' numbers."""
    found = []
    for lattices in block_lattices(config):
        queries, keys = (
            list(itertools.product(*(axis.tolist() for axis in lattice.centers())))
            for lattice in (lattices.queries, lattices.keys)
        )
        weights = make(1 + len(queries), 1 + len(keys))[1:, 1:].tolist()
        space = time = 0.0
        for row, (t, y, x) in zip(weights, queries, strict=True):
            for weight, (t_k, y_k, x_k) in zip(row, keys, strict=True):
                share = weight / sum(row) / len(queries)
                space += share * ((y - y_k) ** 2 + (x - x_k) ** 2) ** 0.5
                time += share * abs(t - t_k)
        found.append((space, time))
    return found


def uneven(n_q, n_kv):
    return torch.rand(n_q, n_kv, generator=torch.Generator().manual_seed(n_q)).softmax(dim=-1)


def even(n_q, n_kv):
    return torch.full((n_q, n_kv), 1 / n_kv)


@pytest.mark.parametrize("make", [uneven, even])
def test_distance_by_brute_force(make, monkeypatch):
    config = replace(WIDE, crop=(16, 24), depths=(1, 2), heads=2)
    set_attention(monkeypatch, make)
    found = attention_distance(mvit_edu.MViT(config), clip_for(config))
    for one, (space, time) in zip(found, brute_force(config, make), strict=True):
        heads = config.blocks[one.index].heads
        assert one.space == pytest.approx([space] * heads, rel=1e-4)
        assert one.time == pytest.approx([time] * heads, rel=1e-4)
        assert (one.stage, one.clip) == (config.blocks[one.index].stage, (6, 16, 24))
        if make is even:
            assert (one.uniform_space, one.uniform_time) == pytest.approx((space, time), rel=1e-4)


VIT = replace(mvit_edu.get_config("vit_tiny"), frames=4, crop=(24, 40), depths=(1,), cube_kernel=(2, 8, 8))
VIT = replace(VIT, cube_stride=(2, 8, 8))  # a grid of 2 x 3 x 5


def test_who_looks_at_itself_looks_nowhere(monkeypatch):
    set_attention(monkeypatch, lambda n_q, n_kv: 0.25 * torch.eye(n_q) + 0.75 * torch.eye(n_kv)[:1])  # and the class
    (one,) = attention_distance(mvit_edu.MViT(VIT), clip_for(VIT))
    assert one.space == (0.0,) * 3 and one.time == (0.0,) * 3  # what goes to the class token does not count
    assert one.uniform_space > 8 and one.uniform_time == 1.0


def test_who_looks_at_the_next_one(monkeypatch):
    """Token i attends to token i + 1: 8 pixels away, 4 columns of 8 pixels at the end of a row."""
    set_attention(monkeypatch, lambda n_q, n_kv: torch.eye(n_kv).roll(-1, 0))
    (one,) = attention_distance(mvit_edu.MViT(VIT), clip_for(VIT))
    assert one.space[0] != one.space[0]  # the last one attends to the class alone, and is nowhere: not a number
    stays = torch.eye(31).roll(-1, 0)
    stays[30] = torch.eye(31)[30]
    set_attention(monkeypatch, lambda n_q, n_kv: stays)
    (one,) = attention_distance(mvit_edu.MViT(VIT), clip_for(VIT))
    to_row = (32**2 + 8**2) ** 0.5  # to the start of the next row
    to_frame = (32**2 + 16**2) ** 0.5  # to the start of the next frame, 2 frames on
    space = (2 * 3 * 4 * 8 + 2 * 2 * to_row + to_frame) / 30
    assert one.space == pytest.approx([space] * 3) and one.time == pytest.approx([2 / 30] * 3)


def test_heads_and_clips_are_told_apart(monkeypatch):
    def weights(self, q, k):
        same = torch.eye(k.shape[2]).expand(*q.shape[:2], -1, -1).clone()
        same[1, 2] = 1 / k.shape[2]  # only the third head, in the second clip
        return same

    monkeypatch.setattr(MultiHeadPoolingAttention, "attention_weights", weights)
    (one,) = attention_distance(mvit_edu.MViT(VIT), clip_for(VIT))
    assert one.space[:2] == (0.0, 0.0) and one.space[2] == pytest.approx(one.uniform_space / 2)
    assert one.time[2] == pytest.approx(one.uniform_time / 2)


def test_rows_are_plain():
    import json

    found = attention_distance(mvit_edu.MViT(SMALL), clip_for(SMALL))
    rows = [one.as_row() for one in found]
    assert rows == json.loads(json.dumps(rows))
    assert [len(row["space"]) for row in rows] == [spec.heads for spec in SMALL.blocks] == [1, 2, 4]
    assert rows[0]["block"] == 0 and rows[2]["stage"] == 2 and rows[0]["clip"] == [4, 32, 32]
