"""Where tokens are in the clip: the middle of the window that each was made from, through all poolings (Chapter 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mvit_edu.model.config import BlockSpec, MViTConfig
from mvit_edu.model.pooling import Size3, default_padding, pooled_size


@dataclass(frozen=True)
class Lattice:
    """The places of a grid of tokens in a clip. Chapter 14.

    On each axis, token i has its middle at `offset + step * i`, in frames and pixels from the edge of the clip: the
    first pixel reaches from 0 to 1 and has its middle at 0.5.

    Args:
        clip: frames, height and width.
        size: tokens along the same axes.
        offset, step: along the same axes.
    """

    clip: Size3
    size: Size3
    offset: tuple[float, float, float]
    step: Size3

    def pooled(self, kernel: Size3 | None, stride: Size3, padding: Size3 | None = None) -> Lattice:
        """The lattice after a pooling; the same one where the kernel is None.

        Window i reaches over tokens i s - p to i s - p + k - 1, so its middle is (k - 1) / 2 - p tokens from i s.
        Tokens of the padding count: a middle may be nearer to the edge than the middle of what is there.
        """
        if kernel is None:
            return self
        padding = default_padding(kernel, stride) if padding is None else padding
        axes = zip(self.offset, self.step, kernel, padding, strict=True)
        return Lattice(
            self.clip,
            pooled_size(self.size, kernel, stride, padding),
            tuple(offset + step * ((k - 1) / 2 - p) for offset, step, k, p in axes),
            tuple(step * s for step, s in zip(self.step, stride, strict=True)),
        )

    def centers(self) -> tuple[Tensor, Tensor, Tensor]:
        """Middles of the tokens along time (T',), height (H',) and width (W'), in frames and pixels."""
        axes = zip(self.size, self.offset, self.step, strict=True)
        return tuple(offset + step * torch.arange(n, dtype=torch.float32) for n, offset, step in axes)

    def to_clip(self, heat: Tensor) -> Tensor:
        """Values on the tokens (..., T', H', W') to values of all pixels (..., T, H, W).

        Each value stands at the middle of its token; between them it goes along straight lines, and beyond the last
        it stays.
        """
        if tuple(heat.shape[-3:]) != self.size:
            raise ValueError(f"values {tuple(heat.shape)} do not end in the grid {self.size} of this lattice")
        t, h, w = (self._lines(axis).to(heat) for axis in range(3))  # (T, T'), (H, H'), (W, W')
        heat = torch.einsum("...thw,at->...ahw", heat, t)  # (..., T, H', W')
        heat = torch.einsum("...thw,ah->...taw", heat, h)  # (..., T, H, W')
        return torch.einsum("...thw,aw->...tha", heat, w)  # (..., T, H, W)

    def _lines(self, axis: int) -> Tensor:
        """Weights (pixels, tokens) of the straight lines along one axis; each row sums to 1."""
        n = self.size[axis]
        pixels = torch.arange(self.clip[axis], dtype=torch.float32) + 0.5
        place = ((pixels - self.offset[axis]) / self.step[axis]).clamp(0, n - 1)  # in tokens
        return (1 - (place[:, None] - torch.arange(n)).abs()).clamp(min=0)


class BlockLattices(NamedTuple):
    """The lattices of a block: of the tokens that enter, of its queries (which leave), and of its keys and values."""

    entering: Lattice
    queries: Lattice
    keys: Lattice


def block_lattices(config: MViTConfig) -> list[BlockLattices]:
    """The lattices of every block. Chapter 14."""
    pixels = Lattice(config.size, config.size, (0.5, 0.5, 0.5), (1, 1, 1))
    entering = pixels.pooled(config.cube_kernel, config.cube_stride, config.padding)
    found = []
    for spec in config.blocks:
        found.append(_of_block(entering, spec))
        entering = found[-1].queries
    return found


def _of_block(entering: Lattice, spec: BlockSpec) -> BlockLattices:
    queries = entering.pooled(spec.q_kernel, spec.q_stride)
    return BlockLattices(entering, queries, entering.pooled(spec.kv_kernel, spec.kv_stride))
