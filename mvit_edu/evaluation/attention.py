"""What a model attends to: the attention map of each block, and how far away that is (Figure A.6; Chapter 14)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mvit_edu.evaluation.lattice import Lattice, block_lattices
from mvit_edu.evaluation.run import _evaluating
from mvit_edu.model.blocks import MultiscaleBlock
from mvit_edu.model.mvit import MViT
from mvit_edu.model.pooling import Size3


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one block. Chapter 14.

    Args:
        index: number of the block, from 0.
        weights: (B, heads, N_q, N_kv); each row sums to 1. Where `cls_token`, query 0 and key 0 are the class token.
        queries, keys: where the tokens are in the clip.
    """

    index: int
    weights: Tensor
    queries: Lattice
    keys: Lattice
    cls_token: bool

    @property
    def thw_q(self) -> Size3:
        return self.queries.size

    @property
    def thw_kv(self) -> Size3:
        return self.keys.size

    def of_patches(self) -> Tensor:
        """From patch to patch, (B, heads, T_q H_q W_q, T_kv H_kv W_kv): the class token is left out, as a query and
        as a key, and each row is divided by what is left of it, so that it sums to 1 again."""
        start = int(self.cls_token)
        weights = self.weights[..., start:, start:].float()  # (B, heads, N_q - 1, N_kv - 1)
        return weights / weights.sum(dim=-1, keepdim=True)

    def of_class_token(self) -> Tensor:
        """The class token's row without its own key, (B, heads, T_kv, H_kv, W_kv): it sums to at most 1."""
        if not self.cls_token:
            raise ValueError("this model has no class token, so no row of the map is its; use attention_rollout")
        return self.weights[:, :, 0, 1:].unflatten(-1, self.thw_kv)


def attention_maps(model: MViT, clip: Tensor) -> Iterator[AttentionMap]:
    """The attention map of each block, first to last; one is in memory at a time if you keep none. Chapter 14.

    The model runs in evaluation mode and without gradients; each module has its own mode again whenever you have a
    map in hand. A map is what `MultiHeadPoolingAttention` multiplies its values by, fused attention or not.

    Args:
        clip: (B, C, T, H, W), as for the model.

    Raises:
        TypeError: the model is no `MViT`, or as the model does.
        ValueError: as the model does, for a clip of another shape.
    """
    check_model(model)
    return _maps(model, *_entering_tokens(model, clip))


def _maps(model: MViT, x: Tensor, thw: Size3) -> Iterator[AttentionMap]:
    for index, (block, lattices) in enumerate(zip(model.blocks, block_lattices(model.config), strict=True)):
        with torch.no_grad(), _evaluating(model):
            weights = _block_weights(block, x, thw)  # (B, heads, N_q, N_kv)
            x, thw = block(x, thw)  # (B, N_q, dim_out)
        yield AttentionMap(index, weights, lattices.queries, lattices.keys, model.config.cls_token)
        del weights  # the next block's map takes its place


def _entering_tokens(model: MViT, clip: Tensor) -> tuple[Tensor, Size3]:
    """What enters block 0, as in `MViT.tokens`: (B, [1 +] T'*H'*W', dim) and (T', H', W')."""
    with torch.no_grad():
        x, thw = model.patch_embed(model.checked(clip))  # (B, T'*H'*W', dim)
        if model.cls_token is not None:
            x = torch.cat([model.cls_token.expand(x.shape[0], -1, -1), x], dim=1)  # (B, 1 + T'*H'*W', dim)
        return model.pos_embed(x), thw


def _block_weights(block: MultiscaleBlock, x: Tensor, thw: Size3) -> Tensor:
    """The attention map (B, heads, N_q, N_kv) of a block, from what enters it. Chapter 14."""
    attn = block.attn
    q, k, _, _ = attn.pooled_qkv(block.norm1(x), thw)  # (B, N_q, dim), (B, N_kv, dim)
    return attn.attention_weights(*(part.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for part in (q, k)))


@dataclass(frozen=True)
class BlockDistance:
    """How far the heads of one block look, on average. Chapter 14.

    Args:
        index, stage: of the block.
        space, time: one number a head, in pixels and in frames of the clip.
        uniform_space, uniform_time: the same numbers for a head that attends to all keys alike.
        clip: frames, height and width, to compare clips of other sizes or frame rates.
    """

    index: int
    stage: int
    space: tuple[float, ...]
    time: tuple[float, ...]
    uniform_space: float
    uniform_time: float
    clip: Size3

    def as_row(self) -> dict:
        """For a log: plain numbers and lists, rounded to four decimals."""
        return {
            "block": self.index,
            "stage": self.stage,
            "space": [round(value, 4) for value in self.space],
            "time": [round(value, 4) for value in self.time],
            "uniform_space": round(self.uniform_space, 4),
            "uniform_time": round(self.uniform_time, 4),
            "clip": list(self.clip),
        }


def attention_distance(model: MViT, clip: Tensor) -> list[BlockDistance]:
    """Mean attention distance of each head and block (Figure A.6; Chapter 14).

    For a query, the distances to all keys, weighted by its attention to them; then the mean over queries and clips.
    A distance is between the middles of two tokens in the clip (`Lattice`): Euclidean in space, in pixels; in time,
    in frames. Queries and keys are patch tokens: the class token is nowhere, so it is left out as a query and as a
    key, and the weights of the other keys are divided by their sum.

    Args:
        clip: (B, C, T, H, W), as for the model.

    Raises:
        TypeError, ValueError: as `attention_maps`.
    """
    found = []
    for one in attention_maps(model, clip):
        space, time = grid_distances(one.queries, one.keys)  # (H_q W_q, H_kv W_kv), (T_q, T_kv)
        weights = one.of_patches().mean(dim=0)  # (heads, N_q, N_kv)
        weights = weights.unflatten(1, (one.thw_q[0], -1)).unflatten(3, (one.thw_kv[0], -1))  # (h, T, HW, T, HW)
        in_space = weights.mean(dim=1).sum(dim=2) * space.to(weights)  # (heads, H_q W_q, H_kv W_kv)
        in_time = weights.mean(dim=2).sum(dim=3) * time.to(weights)  # (heads, T_q, T_kv)
        found.append(
            BlockDistance(
                one.index,
                model.config.blocks[one.index].stage,
                tuple(in_space.sum(dim=2).mean(dim=1).tolist()),
                tuple(in_time.sum(dim=2).mean(dim=1).tolist()),
                space.mean().item(),
                time.mean().item(),
                model.config.size,
            )
        )
    return found


def grid_distances(queries: Lattice, keys: Lattice) -> tuple[Tensor, Tensor]:
    """Distances between the tokens of two grids. Chapter 14.

    Returns:
        In space, in pixels, (H_q W_q, H_kv W_kv); in time, in frames, (T_q, T_kv).
    """
    apart = [(q[:, None] - k).abs() for q, k in zip(queries.centers(), keys.centers(), strict=True)]
    time, rows, columns = apart  # (T_q, T_kv), (H_q, H_kv), (W_q, W_kv)
    space = torch.hypot(rows[:, None, :, None], columns[None, :, None, :])  # (H_q, W_q, H_kv, W_kv)
    return space.flatten(2).flatten(0, 1), time


def check_model(model: MViT) -> None:
    if not isinstance(model, MViT):
        raise TypeError(
            f"attention is read from the blocks of an MViT, and this is a {type(model).__name__}; make one with "
            "create_model, or give the module inside a wrapper (model.module)"
        )
