"""Chapter 2: the pooling operator P(.; k, s, p) on a sequence of tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size3 = tuple[int, int, int]
POOL_MODES = ("conv", "max", "avg")
LAYER_NORM_EPS = 1e-6


def default_padding(kernel: Size3, stride: Size3) -> Size3:
    """The padding that turns n tokens into n / s wherever the stride s divides n (s = 1 needs an odd kernel).

    Odd kernels are padded by ``k // 2`` as in the released code; even ones by half of ``k - s``, rounded up, since
    ``k // 2`` would give one token too many (29 instead of 28 for k = s = 2, n = 56). Chapter 2.
    """
    return tuple(k // 2 if k % 2 else max(k - s + 1, 0) // 2 for k, s in zip(kernel, stride, strict=True))


def pooled_size(thw: Size3, kernel: Size3, stride: Size3, padding: Size3 | None = None) -> Size3:
    """The size formula of Section 3.1: floor((n + 2p - k) / s) + 1 along time, height and width. Chapter 2.

    Args:
        thw: tokens along time, height and width.
        kernel, stride: window and step along the same axes.
        padding: zeros (conv, avg) or minus infinities (max) added at both ends; ``default_padding`` when None.

    Raises:
        ValueError: the window is larger than the padded grid.
    """
    padding = default_padding(kernel, stride) if padding is None else padding
    size = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(thw, kernel, stride, padding, strict=True))
    if min(size) < 1:
        raise ValueError(
            f"a window of {tuple(kernel)} does not fit into a grid of {tuple(thw)} tokens padded by {tuple(padding)}; "
            "use a smaller kernel or a larger input"
        )
    return size


def depthwise_conv3d(volume: Tensor, weight: Tensor, stride: Size3, padding: Size3) -> Tensor:
    """A depthwise 3-D convolution of a channels-last volume, by the fastest exact route for the device. Chapter 2.

    On a CPU the convolution is a sum of 2-D ones, one for each step of the kernel in time: 2-D depthwise
    convolutions read channels-last frames in place, forward and backward, and a training step takes a half to a
    fifth of the time of ``conv3d`` on a copy. On CUDA the native depthwise kernel wants a contiguous copy.

    Args:
        volume: (B, T, H, W, C).
        weight: (C, 1, kT, kH, kW).

    Returns:
        (B, T', H', W', C).
    """
    channels, _, k_t, *_ = weight.shape
    if volume.is_cuda or stride[0] != 1 or k_t != 2 * padding[0] + 1:
        x = volume.permute(0, 4, 1, 2, 3)  # (B, C, T, H, W)
        x = F.conv3d(x.contiguous() if volume.is_cuda else x, weight, None, stride, padding, groups=channels)
        return x.permute(0, 2, 3, 4, 1)  # (B, T', H', W', C)
    frames = volume.flatten(0, 1).permute(0, 3, 1, 2)  # (B*T, C, H, W)
    pad = padding[1:]
    if min(frames.shape[2:]) < max(weight.shape[3:]):  # a CPU has no fast backward for such small frames
        frames, pad = F.pad(frames, (pad[1], pad[1], pad[0], pad[0])), 0
    steps, pooled = volume.shape[1], None
    shifts = sorted((tap - padding[0] for tap in range(k_t)), key=abs)  # 0 first: it reaches every frame
    for shift in shifts:
        if abs(shift) >= steps:
            continue
        tap = weight[:, :, shift + padding[0]]  # (C, 1, kH, kW)
        y = F.conv2d(frames, tap, None, stride[1:], pad, groups=channels)  # (B*T, C, H', W')
        y = y.permute(0, 2, 3, 1).unflatten(0, (-1, steps))  # (B, T, H', W', C)
        if pooled is None:
            pooled = y
        else:  # frame t of the result reads frame t + shift
            pooled[:, max(0, -shift) : steps - max(0, shift)] += y[:, max(0, shift) : steps - max(0, -shift)]
    return pooled


def pool_volume(
    volume: Tensor, mode: str, kernel: Size3, stride: Size3, padding: Size3, weight: Tensor | None = None
) -> Tensor:
    """Pool a channels-last volume (B, T, H, W, C) into (B, T', H', W', C). Chapter 2.

    Args:
        mode: "max", "avg" (zeros of the padding are counted, as in the released code) or "conv".
        weight: (C, 1, kT, kH, kW), for "conv" only.
    """
    if mode == "conv":
        return depthwise_conv3d(volume, weight, stride, padding)
    if kernel[0] == stride[0] == 1:  # nothing moves in time: pool each frame by itself
        pool2d = F.max_pool2d if mode == "max" else F.avg_pool2d
        frames = volume.flatten(0, 1).permute(0, 3, 1, 2)  # (B*T, C, H, W)
        frames = pool2d(frames, kernel[1:], stride[1:], padding[1:])  # (B*T, C, H', W')
        return frames.permute(0, 2, 3, 1).unflatten(0, volume.shape[:2])  # (B, T, H', W', C)
    x = volume.permute(0, 4, 1, 2, 3)  # (B, C, T, H, W)
    if mode == "max":
        x = F.max_pool3d(x, kernel, stride, padding)  # (B, C, T', H', W')
    else:  # avg_pool3d refuses grids that are smaller than the window, so the zeros are added first
        x = F.pad(x, [p for p in reversed(padding) for _ in range(2)])
        x = F.avg_pool3d(x, kernel, stride)  # (B, C, T', H', W')
    return x.permute(0, 2, 3, 4, 1)  # (B, T', H', W', C)


class TokenPool(nn.Module):
    """P(.; k, s, p): pool a token sequence that is a flattened space-time grid (Section 3.1). Chapter 2.

    The class token, when there is one, sits at index 0, skips the pooling and is put back in front. In "conv" mode a
    LayerNorm over ``dim`` follows, and the class token passes through it as well.

    Args:
        dim: channels that the learned kernel and the norm span. A sequence of ``heads * dim`` channels shares them
            between its heads.
        kernel, stride: window and step in tokens along time, height and width.
        mode: "conv" (depthwise, without bias), "max" or "avg".
        norm: LayerNorm after the pooling; by default only in "conv" mode.
        cls_token: whether the sequence starts with a class token.
    """

    def __init__(
        self,
        dim: int,
        kernel: Size3,
        stride: Size3,
        mode: str = "conv",
        norm: bool | None = None,
        cls_token: bool = True,
    ):
        super().__init__()
        if mode not in POOL_MODES:
            raise ValueError(f"pooling mode is {mode!r}; use one of {', '.join(POOL_MODES)}")
        self.dim, self.mode, self.cls_token = dim, mode, cls_token
        self.kernel, self.stride = tuple(kernel), tuple(stride)
        self.padding = default_padding(self.kernel, self.stride)
        self.conv = None
        if mode == "conv":  # the module holds the weight (dim, 1, kT, kH, kW) and its initialization
            self.conv = nn.Conv3d(dim, dim, self.kernel, self.stride, self.padding, groups=dim, bias=False)
        with_norm = mode == "conv" if norm is None else norm
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS) if with_norm else None

    def forward(self, x: Tensor, thw: Size3) -> tuple[Tensor, Size3]:
        """Pool ``x`` (B, [1 +] T*H*W, heads*dim); returns (B, [1 +] T'*H'*W', heads*dim) and (T', H', W')."""
        heads = x.shape[-1] // self.dim
        start = int(self.cls_token)
        volume = x[:, start:].unflatten(1, thw)  # (B, T, H, W, heads*dim)
        weight = None if self.conv is None else self.conv.weight.repeat(heads, 1, 1, 1, 1)  # (heads*dim, 1, k, k, k)
        volume = pool_volume(volume, self.mode, self.kernel, self.stride, self.padding, weight)
        thw = tuple(volume.shape[1:4])
        pooled = volume.flatten(1, 3)  # (B, T'*H'*W', heads*dim)
        if self.cls_token:
            pooled = torch.cat([x[:, :1], pooled], dim=1)  # (B, 1 + T'*H'*W', heads*dim)
        if self.norm is not None:
            pooled = self.norm(pooled.unflatten(-1, (heads, self.dim))).flatten(-2)
        return pooled, thw

    def extra_repr(self) -> str:
        return f"{self.mode}, dim={self.dim}, kernel={self.kernel}, stride={self.stride}, padding={self.padding}"
