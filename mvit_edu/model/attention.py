"""Chapter 3: multi-head pooling attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit_edu.model.pooling import Size3, TokenPool

RESIDUAL_POOLING = ("none", "patches", "all")


class MultiHeadPoolingAttention(nn.Module):
    """Attention whose queries, keys and values are pooled first (Section 3.1). Chapter 3.

    Args:
        dim: channels in and out.
        heads: attention heads; ``dim`` must be a multiple.
        q_kernel, q_stride: query pooling, which sets the length of the output; None for no pooling.
        kv_kernel, kv_stride: key and value pooling, which sets the length attended to; None for no pooling.
        pool: "conv", "max" or "avg".
        qkv_bias: bias of the three input projections.
        residual_pooling: add the pooled query to the output, MViTv2's residual pooling connection: "none",
            "patches" (the class token is left out) or "all".
        cls_token: whether the sequence starts with a class token.
        sdpa: use ``scaled_dot_product_attention``; otherwise the same in plain matrix products.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        q_kernel: Size3 | None = None,
        q_stride: Size3 = (1, 1, 1),
        kv_kernel: Size3 | None = None,
        kv_stride: Size3 = (1, 1, 1),
        pool: str = "conv",
        qkv_bias: bool = True,
        residual_pooling: str = "none",
        cls_token: bool = True,
        sdpa: bool = True,
    ):
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels do not split into {heads} heads; choose heads that divide dim")
        if residual_pooling not in RESIDUAL_POOLING:
            raise ValueError(f"residual_pooling is {residual_pooling!r}; use one of {', '.join(RESIDUAL_POOLING)}")
        self.heads, self.residual_pooling, self.cls_token, self.sdpa = heads, residual_pooling, cls_token, sdpa
        head_dim = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        q_pool = (head_dim, q_kernel, q_stride, pool, None, cls_token)
        kv_pool = (head_dim, kv_kernel, kv_stride, pool, None, cls_token)
        self.pool_q = TokenPool(*q_pool) if q_kernel else None
        self.pool_k = TokenPool(*kv_pool) if kv_kernel else None
        self.pool_v = TokenPool(*kv_pool) if kv_kernel else None

    def pooled_qkv(self, x: Tensor, thw: Size3) -> tuple[Tensor, Tensor, Tensor, Size3]:
        """Project and pool: q (B, N_q, dim), k and v (B, N_kv, dim), and the grid of q."""
        weights = self.qkv.weight.chunk(3)  # three (dim, dim)
        biases = (None, None, None) if self.qkv.bias is None else self.qkv.bias.chunk(3)
        q, k, v = (F.linear(x, w, b) for w, b in zip(weights, biases, strict=True))  # (B, N, dim) each, contiguous
        thw_q = thw
        if self.pool_q is not None:
            q, thw_q = self.pool_q(q, thw)  # (B, N_q, dim)
        if self.pool_k is not None:
            k, _ = self.pool_k(k, thw)  # (B, N_kv, dim)
            v, _ = self.pool_v(v, thw)  # (B, N_kv, dim)
        return q, k, v, thw_q

    def forward(self, x: Tensor, thw: Size3) -> tuple[Tensor, Size3]:
        """Attend: ``x`` (B, N, dim) on the grid ``thw`` -> (B, N_q, dim) and the grid of the queries."""
        q, k, v, thw_q = self.pooled_qkv(x, thw)
        out = self.attend(*(t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)))
        out = out.transpose(1, 2).flatten(2)  # (B, heads, N_q, head_dim) -> (B, N_q, dim)
        if self.residual_pooling == "all" or (self.residual_pooling == "patches" and not self.cls_token):
            out = out + q
        elif self.residual_pooling == "patches":
            out = torch.cat([out[:, :1], out[:, 1:] + q[:, 1:]], dim=1)
        return self.proj(out), thw_q

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """softmax(q k^T / sqrt(head_dim)) v for q (B, heads, N_q, d), k and v (B, heads, N_kv, d)."""
        if self.sdpa:
            return F.scaled_dot_product_attention(q, k, v)
        return self.attention_weights(q, k) @ v  # (B, heads, N_q, d)

    def attention_weights(self, q: Tensor, k: Tensor) -> Tensor:
        """The attention map (B, heads, N_q, N_kv); each row sums to 1."""
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, heads, N_q, N_kv)
        return scores.softmax(dim=-1)
