"""Rollout against the product of matrices, Grad-CAM against answers known by construction."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import mvit_edu
from mvit_edu.evaluation import attention_maps, attention_rollout, class_token_maps, grad_cam
from mvit_edu.evaluation.heat_maps import window_average
from mvit_edu.model.blocks import skip_kernel
from mvit_edu.model.pooling import TokenPool
from tests.model.variants import SMALL, VARIANTS

VIT = replace(VARIANTS["one stage"], depths=(3,))


def clip_for(config, batch=2):
    return torch.randn(batch, config.in_channels, *config.size)


def sharp(config):
    """A model whose attention is far from even."""
    model = mvit_edu.MViT(config).eval()
    for block in model.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.3)
    return model


# Class token
@pytest.mark.parametrize("name", ["conv", "kv stride in time", "odd sizes", "one stage"])
def test_class_token_maps(name):
    model, clip = sharp(VARIANTS[name]), clip_for(VARIANTS[name])
    maps = class_token_maps(model, clip)
    for heat, one in zip(maps, attention_maps(model, clip), strict=True):
        assert heat.values.shape == (2, *one.thw_kv) and heat.lattice == one.keys
        row = one.weights[:, :, 0].mean(dim=1)  # (B, N_kv)
        assert torch.equal(heat.values.flatten(1), row[:, 1:])
        assert torch.allclose(heat.values.sum(dim=(1, 2, 3)) + row[:, 0], torch.ones(2))
        assert heat.to_clip().shape == (2, *VARIANTS[name].size)
    with pytest.raises(ValueError, match="no class token"):
        class_token_maps(mvit_edu.MViT(VARIANTS["no class token"]), clip_for(SMALL))


# Rollout
def test_rollout_of_a_vit_is_the_standard_one():
    model, clip = sharp(VIT), clip_for(VIT)
    product = torch.eye(1 + 8 * 4 * 4)
    for one in attention_maps(model, clip):
        product = (0.5 * one.weights.mean(dim=1) + 0.5 * torch.eye(product.shape[-1])) @ product  # (B, N, N)
    heat = attention_rollout(model, clip)
    assert heat.values.shape == (2, 8, 4, 4)
    assert torch.allclose(heat.values.flatten(1), product[:, 0, 1:], atol=1e-6)
    assert heat.values.std() > 1e-4


def averaging(thw, kernel, stride, cls_token):
    """The matrix (N', N) of `TokenPool` in mode "avg", padding left out: an average of ones is its share inside."""
    n = thw[0] * thw[1] * thw[2] + cls_token
    if kernel is None:
        return torch.eye(n)
    pool = TokenPool(1, kernel, stride, "avg", cls_token=cls_token)
    columns = pool(torch.eye(n)[..., None], thw)[0][..., 0]  # (N, N')
    return (columns / columns.sum(dim=0)).T


ROLLED = ["conv", "max s", "conv s+1", "kv stride in time", "paper form", "odd sizes", "odd sizes, kernel s",
          "query stride 3", "query stride in time", "no class token", "residual all", "one frame"]  # fmt: skip


@pytest.mark.parametrize("name", ROLLED)
def test_rollout_through_pooling_is_a_product_of_matrices(name):
    config = VARIANTS[name]
    model, clip = sharp(config), clip_for(config)
    product = torch.eye(config.blocks[0].tokens_in)
    for spec, one in zip(config.blocks, attention_maps(model, clip), strict=True):
        read = averaging(spec.thw_in, spec.kv_kernel, spec.kv_stride, config.cls_token)  # (N_kv, N)
        kernel = skip_kernel(spec.q_kernel, spec.q_stride) if max(spec.q_stride) > 1 else None
        skipped = averaging(spec.thw_in, kernel, spec.q_stride, config.cls_token)  # (N_q, N)
        product = (0.5 * one.weights.mean(dim=1) @ read + 0.5 * skipped) @ product  # (B, N_q, N_0)
    row = product[:, 0, 1:] if config.cls_token else product.mean(dim=1)
    heat = attention_rollout(model, clip)
    assert heat.values.shape == (2, *config.thw)
    assert torch.allclose(heat.values.flatten(1), row, atol=1e-6)
    assert torch.allclose(product.sum(dim=2), torch.ones(()), atol=1e-5)
    if not config.cls_token:
        assert torch.allclose(heat.values.sum(dim=(1, 2, 3)), torch.ones(2))


def test_window_average():
    rows = window_average(5, 3, 2, 1)
    expected = torch.tensor([[3, 3, 0, 0, 0], [0, 2, 2, 2, 0], [0, 0, 0, 3, 3]]) / 6
    assert torch.allclose(rows, expected)


# Grad-CAM
def linear_probe():
    """No class token, no norm: logit c is the mean over the tokens of their product with row c of the head."""
    model = mvit_edu.MViT(replace(SMALL, cls_token=False, depths=(1, 1))).train()
    model.norm = nn.Identity()
    return model


def test_grad_cam_of_a_linear_probe():
    model, clip = linear_probe(), clip_for(SMALL)
    tokens, thw = model.eval().tokens(clip)  # (B, N, D)
    by_token = (tokens @ model.head.weight.T).detach() / tokens.shape[1]  # (B, N, classes)
    for target in (3, torch.tensor([1, 4])):
        heat = grad_cam(model, clip, target)
        chosen = by_token[range(2), :, torch.as_tensor(target).expand(2)]  # (B, N)
        assert heat.values.shape == (2, *thw)
        assert torch.allclose(heat.values.flatten(1), chosen.relu(), atol=1e-7)
        assert heat.values.max() > 0 and heat.values.min() == 0


def test_grad_cam_finds_the_only_place_that_counts():
    """The last block is blind, but for its class token, which copies what the first patch holds."""
    config = replace(VIT, depths=(1,))
    model, clip = mvit_edu.MViT(config), clip_for(config)
    block = model.blocks[0]
    kept = []
    hook = block.register_forward_pre_hook(lambda _, args: kept.append(args[0].detach()))
    model.eval()(clip)
    hook.remove()
    x = kept[0].requires_grad_()  # (B, N, D)
    logits = model.head(model.norm(block(x, config.thw)[0][:, 0]))
    (slope,) = torch.autograd.grad(logits[:, 2].sum(), x)
    expected = (x[:, 1:] * slope[:, 1:].mean(dim=1, keepdim=True)).sum(dim=2).relu()
    assert torch.allclose(grad_cam(model, clip, 2).values.flatten(1), expected, atol=1e-8)
    assert torch.equal(grad_cam(model, clip, 2).values, grad_cam(model, clip, 2, block=0).values)


@pytest.mark.parametrize("name", ["conv", "max s+1", "odd sizes", "query stride in time", "one frame", "one stage"])
def test_grad_cam_at_each_block(name):
    config = VARIANTS[name]
    model, clip = mvit_edu.MViT(config), clip_for(config)
    for spec in config.blocks:
        heat = grad_cam(model, clip, 1, block=spec.index)
        assert heat.values.shape == (2, *spec.thw_in) == (2, *heat.lattice.size)
        assert heat.to_clip().shape == (2, *config.size)
    assert torch.equal(heat.values, grad_cam(model, clip, 1).values)  # the last is the default


def test_the_output_of_the_last_block_has_no_gradient():
    model, clip = mvit_edu.MViT(SMALL), clip_for(SMALL)
    with pytest.raises(ValueError, match="do not depend on the patch tokens that leave block 2: the classifier reads"):
        grad_cam(model, clip, 0, block=3)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(("cls_token", "block"), [(True, 2), (False, 2), (False, 3)])
def test_a_head_of_zeros_has_no_gradient(cls_token, block):
    config = replace(SMALL, cls_token=cls_token)
    model = mvit_edu.MViT(config)
    nn.init.zeros_(model.head.weight)
    with pytest.raises(ValueError, match=r"tokens that (enter|leave) block 2: all gradients are 0"):
        grad_cam(model, clip_for(config), 0, block=block)


def test_a_gradient_that_is_not_finite():
    model, clip = mvit_edu.MViT(SMALL), clip_for(SMALL)
    clip[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="gradient that is not finite"):
        grad_cam(model, clip, 0)


def test_the_model_stays_as_it_was():
    model, clip = mvit_edu.MViT(replace(SMALL, drop_path=0.9)).train(), clip_for(SMALL)
    model.checkpoint_blocks = 2
    model(clip).sum().backward()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    slopes = [weight.grad.clone() for weight in model.parameters()]
    generator = torch.get_rng_state()
    with torch.no_grad():
        first = grad_cam(model, clip, 0).values
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        second = grad_cam(model, clip + 0, 0).values  # a tensor made in inference mode
    assert torch.equal(first, second) and not first.requires_grad
    with pytest.raises(ValueError):
        grad_cam(model, clip, 0, block=3)
    assert [module.training for module in model.modules()] == modes and model.checkpoint_blocks == 2
    assert all(torch.equal(a, weight.grad) for a, weight in zip(slopes, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), generator) and not clip.requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("target", "block", "text"),
    [
        (5, None, "the target 5 is no class of this model; it has 0 to 4"),
        (torch.tensor([0, -1]), None, "is no class"),
        (torch.tensor([0, 1, 2]), None, "one for each of the 2 clips"),
        (0.5, None, "give the number of a class"),
        (0, 4, "block=4 does not exist; choose 0 to 2, or 3 for what the last returns"),
        (0, -1, "block=-1 does not exist"),
    ],
)
def test_clear_errors(target, block, text):
    with pytest.raises(ValueError, match=text):
        grad_cam(mvit_edu.MViT(SMALL), clip_for(SMALL), target, block)


def test_other_models_and_clips():
    with pytest.raises(TypeError, match="this is a Linear"):
        grad_cam(nn.Linear(2, 2), torch.zeros(1), 0)
    with pytest.raises(ValueError, match="resize the clip"):
        grad_cam(mvit_edu.MViT(SMALL), torch.zeros(1, 3, 4, 8, 8), 0)
