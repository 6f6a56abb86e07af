"""Where in the clip the class comes from: rows of the class token, attention rollout and Grad-CAM (Chapter 14)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvit_edu.evaluation.attention import attention_maps, check_model
from mvit_edu.evaluation.lattice import Lattice, block_lattices
from mvit_edu.evaluation.run import _evaluating
from mvit_edu.model.blocks import skip_kernel
from mvit_edu.model.mvit import MViT
from mvit_edu.model.pooling import Size3, default_padding, pooled_size


@dataclass(frozen=True)
class HeatMap:
    """Values (B, T', H', W') on a grid of tokens, and where these are in the clip."""

    values: Tensor
    lattice: Lattice

    def to_clip(self) -> Tensor:
        """A value for every pixel, (B, T, H, W): `Lattice.to_clip`."""
        return self.lattice.to_clip(self.values)


def class_token_maps(model: MViT, clip: Tensor) -> list[HeatMap]:
    """For each block, what the class token attends to: the mean of the heads, on the grid of its keys. Chapter 14.

    Raises:
        TypeError, ValueError: as `attention_maps`; a model without a class token.
    """
    return [HeatMap(one.of_class_token().mean(dim=1), one.keys) for one in attention_maps(model, clip)]


def attention_rollout(model: MViT, clip: Tensor) -> HeatMap:
    """The attention of all blocks multiplied, from the classifier back to the first grid of tokens. Chapter 14.

    Attention rollout (Abnar and Zuidema, 2020) takes a block for the average of two paths: the attention A, the mean
    of the heads, and the skip connection I. Here the two paths of a block may pool, so that it is

        0.5 A P_kv + 0.5 P_skip

    with P_kv from the tokens that enter to the keys, and P_skip to the grid of the queries. A rollout is linear and
    has no signs, and neither a maximum nor a learned convolution is like that: as a stand-in, both P's take the
    average of the tokens in the window, the padding left out, and keep the class token as it is. Without pooling
    both are the identity, and this is the rollout of a ViT. Values, MLPs, norms and residual pooling are not in it.

    Returns:
        The share of each token that enters block 0 in the class token at the end, or, in a model without one, in
        the mean of all tokens, (B, T', H', W'). The class token's own share is left out: the sum is at most 1.

    Raises:
        TypeError, ValueError: as `attention_maps`.
    """
    maps = [one.weights.mean(dim=1) for one in attention_maps(model, clip)]  # (B, N_q, N_kv) each
    start = int(model.config.cls_token)
    share = torch.zeros_like(maps[-1][:, :, 0])  # (B, N_q)
    share[:, : start or None] = 1.0 if start else 1 / share.shape[1]
    for spec, weights in zip(reversed(model.config.blocks), reversed(maps), strict=True):
        by_key = torch.einsum("bq,bqk->bk", share, weights)  # (B, N_kv)
        read = _unpool(by_key, spec.thw_in, spec.kv_kernel, spec.kv_stride, start)  # (B, N)
        kernel = skip_kernel(spec.q_kernel, spec.q_stride) if max(spec.q_stride) > 1 else None
        skipped = _unpool(share, spec.thw_in, kernel, spec.q_stride, start)  # (B, N)
        share = 0.5 * read + 0.5 * skipped
    first = block_lattices(model.config)[0].entering
    return HeatMap(share[:, start:].unflatten(1, first.size), first)


def _unpool(share: Tensor, thw: Size3, kernel: Size3 | None, stride: Size3, start: int) -> Tensor:
    """Shares of pooled tokens (B, [1 +] T'H'W'), dealt out to the tokens of their windows: (B, [1 +] THW).

    Chapter 14.
    """
    if kernel is None:
        return share
    pooled = pooled_size(thw, kernel, stride)
    t, h, w = (
        window_average(*axis).to(share)  # (T', T), (H', H), (W', W)
        for axis in zip(thw, kernel, stride, default_padding(kernel, stride), strict=True)
    )
    volume = share[:, start:].unflatten(1, pooled)  # (B, T', H', W')
    volume = torch.einsum("bijk,it,jh,kw->bthw", volume, t, h, w)  # (B, T, H, W)
    return torch.cat([share[:, :start], volume.flatten(1)], dim=1)


def window_average(n: int, kernel: int, stride: int, padding: int) -> Tensor:
    """The matrix (n', n) that averages each window along one axis, the padding left out. Chapter 14."""
    pooled = (n + 2 * padding - kernel) // stride + 1
    place = torch.arange(n)[None] - torch.arange(pooled)[:, None] * stride + padding  # (n', n): place in the window
    inside = ((place >= 0) & (place < kernel)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def grad_cam(model: MViT, clip: Tensor, target: int | Tensor, block: int | None = None) -> HeatMap:
    """Grad-CAM (Selvaraju et al., 2017) on the tokens that enter a block. Chapter 14.

    A channel's weight is the mean over the tokens of d logit / d token; a token's value is the weighted sum of its
    channels, and 0 where that is negative. The parameters keep the gradients that they had, and every module its mode.

    Args:
        clip: (B, C, T, H, W).
        target: the class whose logit is asked about, or one for each clip, (B,).
        block: which block's input to look at; as many as there are blocks stands for the output of the last. None
            takes the last grid that the classifier depends on: the output of the last block if it averages all
            tokens, the input of the last if it reads the class token, since the other tokens end unread.

    Returns:
        (B, T', H', W').

    Raises:
        TypeError, ValueError: no MViT; a clip, target or block that does not exist; a logit that does not depend on
            the tokens there.
    """
    check_model(model)
    clip = model.checked(clip)
    depth, start = len(model.blocks), int(model.config.cls_token)
    block = depth - start if block is None else block
    if not 0 <= block <= depth:
        raise ValueError(f"block={block} does not exist; choose 0 to {depth - 1}, or {depth} for what the last returns")
    target = _targets(target, len(clip), model.config.num_classes).to(clip.device)
    kept: list[Tensor] = []

    def keep(tokens: Tensor) -> Tensor:
        kept.append(tokens.detach().requires_grad_())
        return kept[-1]

    if block < depth:
        hook = model.blocks[block].register_forward_pre_hook(lambda _, args: (keep(args[0]), *args[1:]))
    else:
        hook = model.blocks[-1].register_forward_hook(lambda _, args, out: (keep(out[0]), *out[1:]))
    recomputed, model.checkpoint_blocks = model.checkpoint_blocks, 0
    try:
        with _evaluating(model), torch.inference_mode(False), torch.enable_grad():
            logits = model(clip.clone())  # (B, num_classes)
            logit = logits.gather(1, target.clone()[:, None]).sum()  # a clone: no tensor of inference mode
            (slope,) = torch.autograd.grad(logit, kept[0])  # (B, [1 +] N, dim)
    finally:
        hook.remove()
        model.checkpoint_blocks = recomputed
    if not slope.isfinite().all():
        raise ValueError("the logits have a gradient that is not finite; look at the clip and at the weights")
    if not slope[:, start:].any():
        where = f"that enter block {block}" if block < depth else f"that leave block {depth - 1}"
        why = "the classifier reads the class token only; choose an earlier block"
        if not start or block < depth:
            why = "all gradients are 0, as with a head of zeros; load trained weights"
        raise ValueError(f"the logits do not depend on the patch tokens {where}: {why}")
    lattices = block_lattices(model.config)
    lattice = lattices[block].entering if block < depth else lattices[-1].queries
    tokens, slope = kept[0].detach()[:, start:], slope[:, start:]  # (B, N, dim)
    heat = torch.einsum("bnc,bc->bn", tokens, slope.mean(dim=1)).relu()  # (B, N)
    return HeatMap(heat.unflatten(1, lattice.size), lattice)


def _targets(target: int | Tensor, clips: int, classes: int) -> Tensor:
    target = torch.as_tensor(target)
    if target.is_floating_point() or target.ndim > 1 or (target.ndim == 1 and len(target) != clips):
        raise ValueError(
            f"the target has shape {tuple(target.shape)} and type {target.dtype}; give the number of a class, or one "
            f"for each of the {clips} clips"
        )
    if target.min() < 0 or target.max() >= classes:
        raise ValueError(f"the target {target.tolist()} is no class of this model; it has 0 to {classes - 1}")
    return target.long().expand(clips)
