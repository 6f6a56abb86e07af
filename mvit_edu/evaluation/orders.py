"""The frames of a clip in another order, to see whether a model looks at the order (Table 9; Chapter 10)."""

from __future__ import annotations

import random

import torch

ORDERS = ("in order", "shuffled", "reversed", "first frame")


def reorder_frames(clips: torch.Tensor, order: str, *, index: int, seed: int = 0, crops: int = 1) -> torch.Tensor:
    """The clips of one video with their frames in another order: (R, 3, T, H, W) -> the same shape. Chapter 10.

    Args:
        order: "in order"; "shuffled": every view has a random order of its own, and the crops of a view share it;
            "reversed"; "first frame": the first frame T times, a clip without motion.
        index: the place of the video in its list. The shuffled order of a view is a function of `seed`, `index` and
            the number of the view, so batch size, workers and the order of evaluation change nothing.
        crops: how many clips in a row belong to one view, as in `Protocol`.

    Raises:
        ValueError: for an unknown order, or clips that are not one video's.
    """
    check_order(order)
    if clips.ndim != 5 or crops < 1 or len(clips) % crops:
        raise ValueError(
            f"Want the clips of one video, (R, 3, T, H, W), R a multiple of crops={crops}, got {tuple(clips.shape)}."
        )
    if order == "reversed":
        return clips.flip(2)
    if order == "first frame":
        return clips[:, :, :1].expand_as(clips)
    if order == "shuffled":
        frames = clips.shape[2]
        orders = [shuffled_order(frames, seed, index, clip // crops) for clip in range(len(clips))]
        return torch.stack([clip[:, order] for clip, order in zip(clips, orders, strict=True)])
    return clips


def shuffled_order(frames: int, seed: int, index: int, view: int) -> list[int]:
    """A random order of the numbers 0 to frames - 1; all orders are equally likely, the true one among them."""
    return random.Random(f"{seed} {index} {view}").sample(range(frames), frames)


def check_order(order: str) -> None:
    if order not in ORDERS:
        raise ValueError(f"There is no order {order!r} of frames; choose one of {', '.join(map(repr, ORDERS))}.")
