"""Chapter 4: the multiscale block, which may shorten the sequence and widen the channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mvit_edu.model.attention import MultiHeadPoolingAttention
from mvit_edu.model.pooling import LAYER_NORM_EPS, Size3, TokenPool

SKIPS = ("normalized", "linear", "none")


def skip_kernel(q_kernel: Size3, q_stride: Size3) -> Size3:
    """The window of the skip's max-pooling: s + 1 where the stride is s > 1, as released. Chapter 4.

    Where s + 1 is odd and the query's kernel even (or the reverse) the two would round odd grids differently, so the
    query's own kernel is taken there.
    """
    sizes = zip(q_kernel, q_stride, strict=True)
    return tuple(1 if s == 1 and k % 2 else (s + 1 if (s + 1 - k) % 2 == 0 else k) for k, s in sizes)


class DropPath(nn.Module):
    """Stochastic depth: in training drop the branch of whole samples with probability ``rate``. Chapter 4."""

    def __init__(self, rate: float = 0.0):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, ...), each sample kept with probability 1 - rate and then scaled by 1 / (1 - rate)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty(x.shape[0], *[1] * (x.ndim - 1), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return x * (mask / keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class MLP(nn.Module):
    """Two linear layers with a GELU between: dim -> hidden -> dim_out (Appendix D.1). Chapter 4."""

    def __init__(self, dim: int, hidden: int, dim_out: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, N, dim) -> (B, N, dim_out)."""
        return self.fc2(self.act(self.fc1(x)))


class MultiscaleBlock(nn.Module):
    """Pooling attention and MLP, with skips that follow a change of length or of width (Section 3.2). Chapter 4.

    Query pooling shortens the sequence; the skip beside it is max-pooled to the same grid. The last block of a stage
    widens in its MLP (dim -> dim_out); the skip beside it is a linear layer.

    Args:
        dim, dim_out: channels in and out.
        heads, q_kernel, q_stride, kv_kernel, kv_stride, pool, qkv_bias, residual_pooling, cls_token: as in
            ``MultiHeadPoolingAttention``.
        mlp_ratio: hidden width of the MLP over ``dim``.
        skip: what carries the signal past the widening MLP (Table A.1): "normalized" is a linear layer of
            ``norm2(x)``, "linear" one of ``x``, "none" nothing.
        drop_path: probability of dropping each branch of a sample in training.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        heads: int,
        q_kernel: Size3 | None = None,
        q_stride: Size3 = (1, 1, 1),
        kv_kernel: Size3 | None = None,
        kv_stride: Size3 = (1, 1, 1),
        pool: str = "conv",
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        skip: str = "normalized",
        residual_pooling: str = "none",
        cls_token: bool = True,
        drop_path: float = 0.0,
    ):
        super().__init__()
        if skip not in SKIPS:
            raise ValueError(f"skip is {skip!r}; use one of {', '.join(SKIPS)}")
        self.skip = skip
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = MultiHeadPoolingAttention(
            dim, heads, q_kernel, q_stride, kv_kernel, kv_stride, pool, qkv_bias, residual_pooling, cls_token
        )
        self.pool_skip = None
        if max(q_stride) > 1:
            self.pool_skip = TokenPool(dim, skip_kernel(q_kernel, q_stride), q_stride, "max", cls_token=cls_token)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = MLP(dim, int(mlp_ratio * dim), dim_out)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out and skip != "none" else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, thw: Size3) -> tuple[Tensor, Size3]:
        """``x`` (B, N, dim) on the grid ``thw`` -> (B, N_q, dim_out) and the grid after query pooling."""
        shortcut = x if self.pool_skip is None else self.pool_skip(x, thw)[0]  # (B, N_q, dim)
        y, thw = self.attn(self.norm1(x), thw)  # (B, N_q, dim)
        x = shortcut + self.drop_path(y)
        normed = self.norm2(x)
        y = self.drop_path(self.mlp(normed))  # (B, N_q, dim_out)
        if self.mlp.fc2.out_features == self.mlp.fc1.in_features:
            return x + y, thw
        if self.proj is None:
            return y, thw
        return self.proj(normed if self.skip == "normalized" else x) + y, thw
