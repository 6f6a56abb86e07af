"""Chapter 5: one frozen description of a model, from which both the stage table and the modules are built."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from math import prod

from mvit_edu.model.attention import RESIDUAL_POOLING
from mvit_edu.model.blocks import SKIPS
from mvit_edu.model.embed import POSITIONS
from mvit_edu.model.pooling import POOL_MODES, Size3, default_padding, pooled_size

NO_STRIDE = (1, 1, 1)
KERNEL_RULES = {"s": lambda s: s, "s+1": lambda s: s + 1, "2s+1": lambda s: 2 * s + 1}


@dataclass(frozen=True)
class BlockSpec:
    """One row of the stage table: all that is needed to build the block and to count it. Chapter 5.

    Grids are (T, H, W) in tokens, without the class token; a kernel of None means no pooling; ``macs`` are
    multiply-adds of one clip, without softmax, max- and average-pooling and LayerNorm, as in the paper.
    """

    index: int
    stage: int
    dim: int
    dim_out: int
    heads: int
    thw_in: Size3
    thw_out: Size3
    thw_kv: Size3
    q_kernel: Size3 | None
    q_stride: Size3
    kv_kernel: Size3 | None
    kv_stride: Size3
    drop_path: float
    pool: str = "conv"
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    skip: str = "normalized"
    residual_pooling: str = "none"
    cls_token: bool = True

    @property
    def tokens_in(self) -> int:
        """Length of the sequence that enters, class token included."""
        return self.cls_token + prod(self.thw_in)

    @property
    def tokens_q(self) -> int:
        """Length of the queries, and of the sequence that leaves."""
        return self.cls_token + prod(self.thw_out)

    @property
    def tokens_kv(self) -> int:
        """Length of the keys and values."""
        return self.cls_token + prod(self.thw_kv)

    @property
    def hidden(self) -> int:
        """Width of the MLP's hidden layer: a multiple of the block's input width."""
        return int(self.mlp_ratio * self.dim)

    @property
    def has_skip_proj(self) -> bool:
        return self.dim != self.dim_out and self.skip != "none"

    @property
    def params(self) -> int:
        """Learned numbers of the block."""
        head_dim = self.dim // self.heads
        kernels = [kernel for kernel in (self.q_kernel, self.kv_kernel, self.kv_kernel) if kernel]
        pools = sum(head_dim * prod(kernel) + 2 * head_dim for kernel in kernels) if self.pool == "conv" else 0
        qkv = 3 * self.dim * (self.dim + self.qkv_bias)
        proj = self.dim * (self.dim + 1)
        mlp = self.hidden * (self.dim + 1) + self.dim_out * (self.hidden + 1)
        skip = self.dim_out * (self.dim + 1) if self.has_skip_proj else 0
        norms = 2 * 2 * self.dim
        return pools + qkv + proj + mlp + skip + norms

    @property
    def macs_by_part(self) -> dict[str, int]:
        """Multiply-adds of each part of the block, for one clip."""
        pooling = 0
        if self.pool == "conv":
            pooling += prod(self.q_kernel) * prod(self.thw_out) * self.dim if self.q_kernel else 0
            pooling += 2 * prod(self.kv_kernel) * prod(self.thw_kv) * self.dim if self.kv_kernel else 0
        return {
            "qkv": 3 * self.tokens_in * self.dim**2,
            "pooling": pooling,
            "attention": 2 * self.tokens_q * self.tokens_kv * self.dim,
            "proj": self.tokens_q * self.dim**2,
            "mlp": self.tokens_q * self.hidden * (self.dim + self.dim_out),
            "skip": self.tokens_q * self.dim * self.dim_out if self.has_skip_proj else 0,
        }

    @property
    def macs(self) -> int:
        """Multiply-adds of the block for one clip."""
        return sum(self.macs_by_part.values())

    @property
    def activations(self) -> int:
        """Numbers of 4 bytes kept for the backward pass of one clip in float32 training; Chapter 5 derives it.

        Inputs of linear layers, poolings and norms, inputs and result of attention, both sides of the GELU; then
        small change: two statistics a norm, one number a row of attention, an index of 8 bytes for each maximum.
        Not counted are the pooling kernels repeated for the heads, once a batch, and on a CPU the padding of frames
        that are smaller than a kernel.
        """
        n, q, kv, d, heads = self.tokens_in, self.tokens_q, self.tokens_kv, self.dim, self.heads
        kept = 2 * n * d + 2 * n  # x before norm1, norm1(x) before qkv; the norm's statistics
        for kernel, pooled in ((self.q_kernel, q), (self.kv_kernel, kv), (self.kv_kernel, kv)):
            if kernel is None:
                continue
            kept += n * d  # what is pooled
            if self.pool == "conv":
                kept += pooled * (d + 2 * heads)  # the result, before its norm; the norm's statistics
            elif self.pool == "max":
                kept += 2 * (pooled - self.cls_token) * d  # where each maximum came from
        kept += 2 * q * d + 2 * kv * d + q * heads  # q, k, v and the result before proj; one sum a row
        if self.residual_pooling != "none":
            kept += q * d  # the result with q added, before proj
        if max(self.q_stride) > 1:
            kept += 2 * (q - self.cls_token) * d  # where the skip's maxima came from
        kept += 2 * q * d + 2 * q  # x before norm2, norm2(x) before fc1; the norm's statistics
        return kept + 2 * q * self.hidden  # before and after the GELU

    def module_kwargs(self) -> dict:
        """Keyword arguments of ``MultiscaleBlock``."""
        names = (
            "dim dim_out heads q_kernel q_stride kv_kernel kv_stride pool mlp_ratio qkv_bias skip residual_pooling "
            "cls_token drop_path"
        )
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True)
class MViTConfig:
    """Everything that defines a model; the defaults are MViT-B 16x4 as released (36,610,672 parameters). Chapter 5.

    Sizes are (time, height, width). The paper's form of the same model has ``kv_pool_last_stage=False``.

    Args:
        frames, crop: the clip: frames, and pixels along height and width (an int for a square).
        cube_kernel, cube_stride, cube_padding: of the convolution that makes tokens; the padding follows from the
            other two when None.
        depths: blocks of each stage.
        dim, heads: channels and heads of the first stage.
        dim_mul: what both are multiplied by at each new stage.
        mlp_ratio: hidden width of an MLP over its input width.
        pool: pooling of queries, keys and values: "conv", "max" or "avg".
        pool_kernel: a window, or a rule that makes it from the stride s of each axis: "s", "s+1" or "2s+1" (1 where
            s = 1).
        q_stride: query pooling in the first block of each stage but the first.
        kv_stride: key and value pooling in the first stage; None for no such pooling anywhere.
        kv_adaptive: divide ``kv_stride`` by ``q_stride`` at each new stage, so that keys and values keep their number.
        kv_pool_last_stage: pool keys and values in the last stage too (stride 1 in MViT-B); True as released, False
            as in the paper's tables.
        skip: past the widening MLPs: "normalized", "linear" or "none" (Table A.1).
        residual_pooling: MViTv2's "none", "patches" or "all".
        position: "none", "space", "joint" or "separate" (Table 11).
        cls_token: classify from a class token; otherwise from the mean of all tokens.
        drop_path: stochastic depth of the last block; it grows linearly from 0 at the first.
        dropout: before the classifier.

    Raises:
        ValueError: a value that no model can have, with the values that it can.
    """

    frames: int = 16
    crop: int | tuple[int, int] = 224
    in_channels: int = 3
    num_classes: int = 400
    cube_kernel: Size3 = (3, 7, 7)
    cube_stride: Size3 = (2, 4, 4)
    cube_padding: Size3 | None = None
    depths: tuple[int, ...] = (1, 2, 11, 2)
    dim: int = 96
    heads: int = 1
    dim_mul: int = 2
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    pool: str = "conv"
    pool_kernel: Size3 | str = (3, 3, 3)
    q_stride: Size3 = (1, 2, 2)
    kv_stride: Size3 | None = (1, 8, 8)
    kv_adaptive: bool = True
    kv_pool_last_stage: bool = True
    skip: str = "normalized"
    residual_pooling: str = "none"
    position: str = "separate"
    cls_token: bool = True
    drop_path: float = 0.2
    dropout: float = 0.5

    def __post_init__(self):
        for field in dataclasses.fields(self):  # lists, from JSON for instance, become tuples
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        choices = {
            "pool": POOL_MODES,
            "skip": SKIPS,
            "residual_pooling": RESIDUAL_POOLING,
            "position": POSITIONS,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}")
        if isinstance(self.pool_kernel, str) and self.pool_kernel not in KERNEL_RULES:
            rules = ", ".join(KERNEL_RULES)
            raise ValueError(f"pool_kernel is {self.pool_kernel!r}; use (time, height, width) or one of {rules}")
        for name in ("cube_kernel", "cube_stride", "cube_padding", "pool_kernel", "q_stride", "kv_stride"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str) and len(value) != 3:
                raise ValueError(f"{name} is {value}; give three numbers: (time, height, width)")
        if self.dim % self.heads:
            raise ValueError(f"{self.dim} channels do not split into {self.heads} heads; choose heads that divide dim")
        if not self.depths or min(self.depths) < 1:
            raise ValueError(f"depths is {self.depths}; give at least one block for each stage")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give a probability in [0, 1)")
        _ = self.blocks  # sizes that do not fit are found now, not in the middle of a forward pass

    @property
    def size(self) -> Size3:
        """The clip: (frames, height, width)."""
        height, width = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
        return self.frames, height, width

    @property
    def padding(self) -> Size3:
        """Padding of the cube convolution."""
        return self.cube_padding or default_padding(self.cube_kernel, self.cube_stride)

    @property
    def thw(self) -> Size3:
        """The grid of tokens that enters the first block."""
        return pooled_size(self.size, self.cube_kernel, self.cube_stride, self.padding)

    def kernel_for(self, stride: Size3) -> Size3 | None:
        """The pooling window that belongs to a stride; None where it would do nothing."""
        kernel = self.pool_kernel
        if isinstance(kernel, str):
            kernel = tuple(1 if s == 1 else KERNEL_RULES[kernel](s) for s in stride)
        return None if prod(kernel) == prod(stride) == 1 else tuple(kernel)

    @cached_property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """The stage table's rows, one a block."""
        total = sum(self.depths)
        blocks: list[BlockSpec] = []
        thw, dim, heads, kv_stride = self.thw, self.dim, self.heads, self.kv_stride
        for stage, depth in enumerate(self.depths):
            last_stage = stage == len(self.depths) - 1
            if stage > 0:
                dim, heads = dim * self.dim_mul, heads * self.dim_mul
                if kv_stride is not None and self.kv_adaptive:
                    kv_stride = tuple(max(kv // q, 1) for kv, q in zip(kv_stride, self.q_stride, strict=True))
            for position in range(depth):
                index = len(blocks)
                pools_q = stage > 0 and position == 0 and max(self.q_stride) > 1
                q_stride = self.q_stride if pools_q else NO_STRIDE
                q_kernel = self.kernel_for(q_stride) if pools_q else None
                pools_kv = kv_stride is not None and (self.kv_pool_last_stage or not last_stage)
                kv_kernel = self.kernel_for(kv_stride) if pools_kv else None
                thw_out = pooled_size(thw, q_kernel, q_stride) if q_kernel else thw
                widens = position == depth - 1 and not last_stage
                blocks.append(
                    BlockSpec(
                        index=index,
                        stage=stage,
                        dim=dim,
                        dim_out=dim * self.dim_mul if widens else dim,
                        heads=heads,
                        thw_in=thw,
                        thw_out=thw_out,
                        thw_kv=pooled_size(thw, kv_kernel, kv_stride) if kv_kernel else thw,
                        q_kernel=q_kernel,
                        q_stride=q_stride,
                        kv_kernel=kv_kernel,
                        kv_stride=kv_stride if kv_kernel else NO_STRIDE,
                        drop_path=self.drop_path * index / max(total - 1, 1),
                        pool=self.pool,
                        mlp_ratio=self.mlp_ratio,
                        qkv_bias=self.qkv_bias,
                        skip=self.skip,
                        residual_pooling=self.residual_pooling,
                        cls_token=self.cls_token,
                    )
                )
                thw = thw_out
        return tuple(blocks)
