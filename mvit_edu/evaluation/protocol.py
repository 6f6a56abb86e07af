"""How a video becomes clips and the scores of its clips become one: the paper's way and the code's (Chapter 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mvit_edu.data.sampling import ClipSpec
from mvit_edu.data.transforms import eval_transform
from mvit_edu.data.video_list import VideoList
from mvit_edu.data.videos import VideoDataset

AGGREGATES = ("mean", "max")
REFERENCE = 224  # the crop for which the paper and the code give a short side


def _check_aggregate(aggregate: str) -> None:
    if aggregate not in AGGREGATES:
        raise ValueError(f'aggregate must be "mean" or "max", got {aggregate!r}.')


@dataclass(frozen=True)
class Protocol:
    """How a video is tested: views x crops clips, and one score per class from them. Chapter 10.

    With one crop, the paper and the released code cut out the same pixels (short side 256, center), and only the
    number of views differs. With three crops, the paper keeps the short side of 256 (Section 4), while the code
    resizes to the crop size, so that the crops reach from edge to edge.

    Args:
        views: K, how many clips are spread over the video, as in `ClipSpec.views`.
        crops: 1, the center, or 3 along the longer side of every view.
        short_side: pixels of the resized frame's short side for a crop of 224. For another crop it grows or shrinks
            in proportion: 256 means a short side of 36 for a crop of 32.
        aggregate: "mean" or "max" of the scores over the clips: softmax for one class a video, sigmoid for several.
        sampling: what `ClipSpec.sampling` has to be; "" for any.
        source: where it comes from.

    Raises:
        ValueError: if a field has an impossible value.
    """

    name: str
    views: int = 5
    crops: int = 1
    short_side: int = 256
    aggregate: str = "mean"
    sampling: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.views < 1 or self.short_side < 1:
            raise ValueError(f"views={self.views} and short_side={self.short_side} must both be at least 1.")
        if self.crops not in (1, 3):
            raise ValueError(f"crops={self.crops} must be 1 (center) or 3 (along the longer side).")
        _check_aggregate(self.aggregate)

    @property
    def clips(self) -> int:
        """How many clips a video has. Clip r is crop r % crops of view r // crops."""
        return self.views * self.crops

    def resized(self, crop: int | tuple[int, int]) -> int:
        """The short side of the resized frame in pixels, for this crop (or its shorter side)."""
        return max(1, min(_pair(crop)) * self.short_side // REFERENCE)

    def transform(self, crop: int | tuple[int, int] = REFERENCE, **options: Any) -> nn.Sequential:
        """Frames of one view to its crops: uint8 (T, 3, H, W) -> float32 (crops, 3, T, crop, crop).

        Args:
            options: interpolation, mean and std, as in `eval_transform`.
        """
        return eval_transform(crop, short_side=self.resized(crop), crops=self.crops, **options)

    def dataset(
        self, videos: VideoList, spec: ClipSpec, crop: int | tuple[int, int] = REFERENCE, **options: Any
    ) -> VideoDataset:
        """The videos as this protocol shows them; a sample's clip is float32 (views * crops, 3, T, crop, crop).

        Args:
            spec: T, τ and how frames are placed; where the views lie is `ClipSpec.views`.
            options: as in `transform`.

        Raises:
            ValueError: if the protocol and the sampling do not fit.
        """
        if self.sampling and spec.sampling != self.sampling:
            raise ValueError(
                f"The protocol {self.name!r} takes frames by sampling={self.sampling!r}, the clips have "
                f"{spec.sampling!r}; change the ClipSpec or choose another protocol."
            )
        if spec.sampling == "segments" and self.views > 1:
            raise ValueError(
                f"The protocol {self.name!r} has {self.views} views, but clips made of segments cover the whole "
                "video, so there is only one; choose a protocol with one view, such as 'ssv2'."
            )
        return VideoDataset(videos, spec, self.transform(crop, **options), views=self.views)

    def describe(self, crop: int | tuple[int, int] = REFERENCE, multi_label: bool | None = None) -> str:
        """One line for a report. Unless told whether videos have several labels, "max" is taken as a sign of it."""
        height, width = _pair(crop)
        several = self.aggregate == "max" if multi_label is None else multi_label
        parts = [
            f"{self.views} view{'s' * (self.views > 1)} x {self.crops} crop{'s' * (self.crops > 1)} "
            f"of {height}x{width}",
            f"short side {self.resized(crop)}",
        ]
        if self.clips > 1:
            parts.append(combination(self.aggregate, several))
        return f"{self.name}: {', '.join(parts)}{f' ({self.source})' * bool(self.source)}"

    def __str__(self) -> str:
        return self.describe()


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("center", views=1, source="for a look during training; not the paper's"),
        Protocol("paper", source="paper, Section 4"),
        Protocol("paper_3crops", crops=3, source="paper, Section 4"),
        Protocol("paper_64x3", views=3, crops=3, source="paper, Table 4"),
        Protocol("code", views=10, source="released code, its default where a configuration sets no number of views"),
        Protocol("code_3crops", views=10, crops=3, short_side=224, source="released code"),
        Protocol("ssv2", views=1, crops=3, sampling="segments", source="paper, Appendix D.4"),
        Protocol("ssv2_code", views=1, crops=3, short_side=224, sampling="segments", source="released code"),
        Protocol("charades", views=10, crops=3, aggregate="max", source="paper, Appendix D.3 and Table 7"),
        Protocol("charades_code", views=10, crops=3, short_side=224, aggregate="max", source="released code"),
        Protocol("whole", views=1, short_side=224, source="for small square videos: no margin is cut off"),
    )
}


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        ValueError: no such protocol; the sentence lists them.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"There is no protocol {name!r}; choose one of {', '.join(PROTOCOLS)}.")
    return PROTOCOLS[name]


def combine_views(scores: torch.Tensor, aggregate: str = "mean") -> torch.Tensor:
    """One score per class from those of a video's clips: (B, R, C) -> (B, C). Chapter 10.

    Args:
        scores: of R clips a video, after softmax or sigmoid. The paper averages (Section 4) and takes the maximum
            for Charades (Appendix D.3). The code sums where the paper averages, which gives the same ranks.
    """
    _check_aggregate(aggregate)
    return scores.mean(dim=1) if aggregate == "mean" else scores.amax(dim=1)


def combination(aggregate: str, multi_label: bool) -> str:
    """`combine_views` in words."""
    return f"{'mean' if aggregate == 'mean' else 'maximum'} of the {'sigmoid' if multi_label else 'softmax'} scores"


def _pair(crop: int | Sequence[int]) -> tuple[int, int]:
    height, width = (crop, crop) if isinstance(crop, int) else crop
    return height, width
