"""Clips that are in memory, or made on the fly, in the form in which training takes videos (Chapter 8)."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from mvit_edu.data.videos import Sample, checked_labels


class ClipDataset(Dataset):
    """`(clip, label)` pairs, such as `MotionShapes`, as items like those of `VideoDataset`.

    Args:
        pairs: `pairs[i]` is a float clip (3, T, H, W) and its label. A clip is the same in every epoch.
    """

    repeats = 1  # clips in an item; nothing would tell copies apart

    def __init__(self, pairs: Sequence[tuple[torch.Tensor, int]]) -> None:
        if not len(pairs):
            raise ValueError("There are no clips.")
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        index = operator.index(key[1] if isinstance(key, (tuple, list)) else key)
        if not 0 <= index < len(self):
            raise IndexError(f"There is no clip {index}; there are {len(self)}, counted from 0.")
        clip, label = self.pairs[index]
        return Sample(clip[None], label, index)  # (1, 3, T, H, W)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, if `pairs` knows them."""
        return tuple(getattr(self.pairs, "classes", ()))

    @property
    def labels(self) -> tuple[int, ...]:
        """The class of every clip, without drawing it where `pairs` can tell it."""
        label_of = getattr(self.pairs, "label", lambda index: self.pairs[index][1])
        return checked_labels(label_of(index) for index in range(len(self)))

    def name(self, index: int) -> str:
        return f"clip {index}"
