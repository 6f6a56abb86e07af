"""Chapters 1 and 6: cubes of pixels become tokens, and tokens learn where they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit_edu.model.pooling import Size3

POSITIONS = ("none", "space", "joint", "separate")


class CubeEmbed(nn.Module):
    """Turn a clip into tokens with one strided 3-D convolution, the row "cube1" of Table 2. Chapter 1.

    Args:
        in_channels: 3 for RGB.
        dim: channels of a token.
        kernel, stride, padding: in frames and pixels along time, height and width.
    """

    def __init__(self, in_channels: int, dim: int, kernel: Size3, stride: Size3, padding: Size3):
        super().__init__()
        self.proj = nn.Conv3d(in_channels, dim, kernel, stride, padding)

    def forward(self, clip: Tensor) -> tuple[Tensor, Size3]:
        """``clip`` (B, C, T, H, W) -> tokens (B, T'*H'*W', dim), time-major, and (T', H', W')."""
        volume = self.proj(clip)  # (B, dim, T', H', W')
        return volume.flatten(2).transpose(1, 2), tuple(volume.shape[2:])


class PositionEmbedding(nn.Module):
    """Learned positions, added to the tokens (Section 3.2 and Table 11). Chapter 6.

    Args:
        kind: "none"; "space", one vector for each place of a frame; "joint", one for each place and time; "separate",
            the sum of one for each place and one for each time.
        thw: the grid of tokens.
        dim: channels of a token.
        cls_token: whether the sequence starts with a class token, which then has a position of its own.
    """

    def __init__(self, kind: str, thw: Size3, dim: int, cls_token: bool = True):
        super().__init__()
        if kind not in POSITIONS:
            raise ValueError(f"position is {kind!r}; use one of {', '.join(POSITIONS)}")
        self.kind, self.thw, self.cls_token = kind, tuple(thw), cls_token
        t, h, w = thw
        self.spatial = self.temporal = self.cls = self.joint = None
        if kind == "joint":
            self.joint = nn.Parameter(torch.zeros(1, int(cls_token) + t * h * w, dim))
        elif kind != "none":
            self.spatial = nn.Parameter(torch.zeros(1, h * w, dim))
            self.temporal = nn.Parameter(torch.zeros(1, t, dim)) if kind == "separate" else None
            self.cls = nn.Parameter(torch.zeros(1, 1, dim)) if cls_token else None
        for table in self.parameters():
            nn.init.trunc_normal_(table, std=0.02)

    def table(self) -> Tensor:
        """All positions, (1, [1 +] T*H*W, dim), in the order of the tokens (time-major)."""
        if self.kind == "joint":
            return self.joint
        places = self.spatial[:, None].expand(-1, self.thw[0], -1, -1)  # (1, T, H*W, dim)
        if self.temporal is not None:
            places = places + self.temporal[:, :, None]  # (1, T, H*W, dim)
        places = places.flatten(1, 2)  # (1, T*H*W, dim)
        return places if self.cls is None else torch.cat([self.cls, places], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, [1 +] T*H*W, dim) -> the same shape, positions added."""
        return x if self.kind == "none" else x + self.table()

    def extra_repr(self) -> str:
        return f"{self.kind}, thw={self.thw}"


def resize_position(table: Tensor, thw_old: Size3, thw_new: Size3) -> Tensor:
    """Resize learned positions to another grid: linear in time, bicubic in space, as released. Chapter 6.

    Args:
        table: (1, T*H*W, dim) or, with the class token's position in front, (1, 1 + T*H*W, dim). A purely spatial
            table has T = 1, a purely temporal one H = W = 1.
        thw_old, thw_new: the grids.

    Returns:
        The table for the new grid; the class token's row is kept as it is.

    Raises:
        ValueError: the table has not as many rows as the old grid has places.
    """
    t, h, w = thw_old
    start = table.shape[1] - t * h * w
    if start not in (0, 1):
        raise ValueError(
            f"a position table of {table.shape[1]} rows does not fit a grid of {t}x{h}x{w} = {t * h * w} tokens; "
            "give the grid that it was trained on"
        )
    cls, places = table[:, :start], table[:, start:]
    dim = table.shape[2]
    if tuple(thw_new[1:]) != (h, w):
        frames = places.reshape(t, h, w, dim).permute(0, 3, 1, 2)  # (T, dim, H, W)
        frames = F.interpolate(frames.float(), thw_new[1:], mode="bicubic", align_corners=False)
        h, w = thw_new[1:]
        places = frames.permute(0, 2, 3, 1).reshape(1, t * h * w, dim)
    if thw_new[0] != t:
        series = places.reshape(t, h * w * dim).T[None]  # (1, H*W*dim, T)
        series = F.interpolate(series.float(), thw_new[0], mode="linear", align_corners=False)
        places = series[0].T.reshape(1, -1, dim)
    return torch.cat([cls, places.to(table.dtype)], dim=1)
