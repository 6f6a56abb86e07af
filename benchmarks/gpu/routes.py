"""Ways to compute the depthwise pooling: each stands in for `mvit_edu.model.pooling.depthwise_conv3d`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mvit_edu.model import pooling
from mvit_edu.model.pooling import Size3


def contiguous(volume: Tensor, weight: Tensor, stride: Size3, padding: Size3) -> Tensor:
    """A copy with the channels first, for PyTorch's own depthwise kernel."""
    x = volume.permute(0, 4, 1, 2, 3).contiguous()  # (B, C, T, H, W)
    return F.conv3d(x, weight, None, stride, padding, groups=len(weight)).permute(0, 2, 3, 4, 1)


def channels_last(volume: Tensor, weight: Tensor, stride: Size3, padding: Size3) -> Tensor:
    """Channels last, as they are: PyTorch hands this format to cuDNN."""
    x = volume.permute(0, 4, 1, 2, 3).contiguous(memory_format=torch.channels_last_3d)  # (B, C, T, H, W)
    weight = weight.contiguous(memory_format=torch.channels_last_3d)
    return F.conv3d(x, weight, None, stride, padding, groups=len(weight)).permute(0, 2, 3, 4, 1)


def frames(volume: Tensor, weight: Tensor, stride: Size3, padding: Size3) -> Tensor:
    """A sum of 2-D convolutions of channels-last frames, one for each step of the kernel in time, as on a CPU."""
    steps, taps = volume.shape[1], weight.shape[2]
    if stride[0] != 1 or taps != 2 * padding[0] + 1:
        return channels_last(volume, weight, stride, padding)
    images = volume.flatten(0, 1).permute(0, 3, 1, 2)  # (B*T, C, H, W)
    pooled = None
    for shift in sorted(range(-padding[0], padding[0] + 1), key=abs):  # 0 first: it reaches every frame
        if abs(shift) >= steps:
            continue
        y = F.conv2d(images, weight[:, :, shift + padding[0]], None, stride[1:], padding[1:], groups=len(weight))
        y = y.permute(0, 2, 3, 1).unflatten(0, (-1, steps))  # (B, T, H', W', C)
        if pooled is None:
            pooled = y
        else:
            pooled[:, max(0, -shift) : steps - max(0, shift)] += y[:, max(0, shift) : steps - max(0, -shift)]
    return pooled


ROUTES = {"contiguous": contiguous, "channels last": channels_last, "frames": frames}


@contextlib.contextmanager
def routed(name: str | None) -> Iterator[None]:
    """Inside it, all depthwise poolings of the models go this way; None: as they are."""
    today = pooling.depthwise_conv3d
    pooling.depthwise_conv3d = ROUTES[name] if name else today
    try:
        yield
    finally:
        pooling.depthwise_conv3d = today
