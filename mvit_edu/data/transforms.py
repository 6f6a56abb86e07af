"""What happens to the frames between the file and the model (Chapter 7).

In training: RandAugment, a random crop, a flip, normalization, and a box of noise (Appendix D of the paper; where it
leaves a question open, the released code answers it); `MixUpCutMix` then works on whole batches. In testing: resize,
one or three crops, normalization. All frames of a clip get the same draw, or the motion in it would no longer be the
motion of the video. All randomness comes from torch's global generator, so `torch.manual_seed` fixes it.

Frames are uint8 (T, 3, H, W) tensors, clips are float32 (3, T, H, W) tensors. Frames stay uint8 until they are
cropped: a clip of 16 frames of 340x256 takes 4 MB then, and 17 MB as floats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from mvit_edu.data.clips import MEAN, STD
from mvit_edu.data.rand_augment import RandAugment

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def train_transform(
    crop: int | tuple[int, int] = 224,
    *,
    flip: float = 0.5,
    rand_augment: bool | RandAugment = True,
    erasing: float = 0.25,
    crop_kind: str = "inception",
    area: tuple[float, float] = (0.08, 1.0),
    aspect: tuple[float, float] = (3 / 4, 4 / 3),
    short_side: tuple[int, int] = (256, 320),
    augment_first: bool = True,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    mean: float | Sequence[float] = MEAN,
    std: float | Sequence[float] = STD,
) -> nn.Sequential:
    """Frames to one training clip: uint8 (T, 3, H, W) -> float32 (3, T, crop, crop), random.

    The defaults are the recipe for Kinetics (Appendix D.1, order as in the released code); `recipe_transforms`
    has the other datasets. RandAugment takes most of the time, in proportion to the pixels: `augment_first=False`
    crops before it, so it changes 224x224 pixels and not 256x340. That is the released order for ImageNet; for video
    it is another augmentation than the paper's.

    Args:
        crop: height and width of the clip in pixels, or (H, W).
        flip: probability of a horizontal flip; 0 where left and right matter (Something-Something).
        rand_augment: True for the recipe's RandAugment, False for none, or one of your own.
        erasing: probability of `RandomErasing`.
        crop_kind: "inception": cut out a box with a share `area` of the frame and a width : height of `aspect`
            and resize it to `crop`; ten tries, then the center. "jitter": `ScaleJitterCrop` with `short_side`.
        area, aspect: ranges for "inception": the area is drawn uniformly, the aspect ratio log-uniformly.
        short_side: range in pixels for "jitter".
        augment_first: RandAugment before the crop (video) or after it and the flip (ImageNet).
        interpolation: of the resize to `crop`. Resizing is antialiased; the released code does not antialias,
            which differs only where a box is made smaller.
        mean, std: one number, or one a channel, for pixel values in [0, 1].

    Returns:
        a module; `transform[:k]` is its first k steps.
    """
    if crop_kind == "inception":
        cropping = v2.RandomResizedCrop(
            _pair(crop), scale=area, ratio=aspect, interpolation=interpolation, antialias=True
        )
    elif crop_kind == "jitter":
        cropping = ScaleJitterCrop(crop, short_side, interpolation=interpolation)
    else:
        raise ValueError(f'crop_kind must be "inception" or "jitter", got {crop_kind!r}.')
    flipping = [v2.RandomHorizontalFlip(flip)] if flip else []
    augmenting = [RandAugment() if rand_augment is True else rand_augment] if rand_augment else []
    moving = [*augmenting, cropping, *flipping] if augment_first else [cropping, *flipping, *augmenting]
    noise = [RandomErasing(erasing)] if erasing else []
    return nn.Sequential(CheckFrames(), *moving, FramesToClip(mean, std), *noise)


def eval_transform(
    crop: int | tuple[int, int] = 224,
    *,
    short_side: int = 256,
    crops: int = 1,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    mean: float | Sequence[float] = MEAN,
    std: float | Sequence[float] = STD,
) -> nn.Sequential:
    """Frames to the clips of a test view: uint8 (T, 3, H, W) -> float32 (crops, 3, T, crop, crop), not random.

    The paper (Section 4) resizes the short side to 256 and takes the center, or three crops along the longer
    side. The released code does the same with one crop, but resizes to the crop size itself (224) with three, so
    that they cover the whole frame: `short_side=224` gives that form.

    Args:
        crop: height and width of the clip in pixels, or (H, W).
        short_side, crops: as in `UniformCrops`.
        interpolation: of the resize, which is antialiased.
        mean, std: one number, or one a channel, for pixel values in [0, 1].
    """
    return nn.Sequential(CheckFrames(), UniformCrops(crop, short_side, crops, interpolation), FramesToClip(mean, std))


def recipe_transforms(dataset: str, crop: int = 224) -> tuple[nn.Sequential, nn.Sequential]:
    """The training and the test transform of a dataset, as in Appendix D of the paper.

    | dataset | training | testing |
    |---|---|---|
    | "kinetics" | the defaults of `train_transform` | center crop |
    | "ssv2" | without flip (D.4) | three crops |
    | "charades" | as Kinetics (D.3), without MixUp | three crops |
    | "ava" | scale-jittered crop and flip, nothing else (released code) | center crop, short side 224 (same code) |
    | "imagenet" | crop, flip, then RandAugment of 6 layers and magnitude 9 (D.5, convolutional pooling), bicubic, \
ImageNet's mean and std | center crop, bicubic |

    Args:
        dataset: one of the names above.
        crop: pixels. The short sides, 256 and 320 for a crop of 224, grow and shrink with it.
    """
    short, long = crop * 8 // 7, crop * 10 // 7  # 256 and 320 for 224
    if dataset == "kinetics":
        return train_transform(crop), eval_transform(crop, short_side=short)
    if dataset == "ssv2":
        return train_transform(crop, flip=0.0), eval_transform(crop, short_side=short, crops=3)
    if dataset == "charades":
        return train_transform(crop), eval_transform(crop, short_side=short, crops=3)
    if dataset == "ava":
        train = train_transform(crop, crop_kind="jitter", short_side=(short, long), rand_augment=False, erasing=0.0)
        return train, eval_transform(crop, short_side=crop)
    if dataset == "imagenet":
        fill = [round(255 * value) for value in IMAGENET_MEAN]
        shared = {"interpolation": InterpolationMode.BICUBIC, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        augment = RandAugment(9.0, layers=6, fill=fill)
        train = train_transform(crop, rand_augment=augment, augment_first=False, **shared)
        return train, eval_transform(crop, short_side=short, **shared)
    raise ValueError(f'No recipe for {dataset!r}; there are "kinetics", "ssv2", "charades", "ava" and "imagenet".')


class CheckFrames(nn.Module):
    """Lets uint8 frames (T, 3, H, W) through and says what is wrong with anything else."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if not isinstance(frames, torch.Tensor):
            raise TypeError(
                f"A transform takes a uint8 tensor (T, 3, H, W), got {type(frames).__name__}: for an array "
                "(T, H, W, 3), write torch.from_numpy(frames).permute(0, 3, 1, 2)."
            )
        if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[1] != 3 or 0 in frames.shape:
            channels_last = frames.ndim == 4 and frames.shape[-1] == 3 != frames.shape[1]
            todo = "write frames.permute(0, 3, 1, 2)" if channels_last else "pass the frames as they were read"
            raise ValueError(
                f"A transform takes a uint8 tensor (T, 3, H, W), got {frames.dtype} {tuple(frames.shape)}: {todo}."
            )
        return frames


class ScaleJitterCrop(nn.Module):
    """Resizes the short side to a random length and cuts a random box out: (..., H, W) -> (..., crop, crop).

    Simonyan and Zisserman's scale jittering, which SlowFast used before, and which the released code keeps for
    AVA: short side uniform in [256, 320], crop 224.

    Args:
        crop: height and width of the box in pixels, or (H, W).
        short_side: smallest and largest length of the short side in pixels, both included. Where the box does
            not fit into the resized frame, the frame is made as large as the box needs.
    """

    def __init__(
        self,
        crop: int | tuple[int, int] = 224,
        short_side: tuple[int, int] = (256, 320),
        *,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ) -> None:
        super().__init__()
        low, high = short_side
        if not 1 <= low <= high:
            raise ValueError(f"short_side must be (smallest, largest) in pixels, from 1 on, got {short_side}.")
        self.crop, self.short_side, self.interpolation = _pair(crop), (low, high), interpolation

    def draw(self, height: int, width: int) -> tuple[list[int], int, int]:
        """The size (H, W) to resize a frame to, and the top and left of the box in it, in pixels."""
        low, high = self.short_side
        size = resized_size(height, width, int(torch.randint(low, high + 1, ())), self.crop)
        top, left = (int(torch.randint(have - need + 1, ())) for have, need in zip(size, self.crop, strict=True))
        return size, top, left

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        size, top, left = self.draw(*clip.shape[-2:])
        return F.crop(F.resize(clip, size, self.interpolation, antialias=True), top, left, *self.crop)

    def extra_repr(self) -> str:
        return f"crop={self.crop}, short_side={self.short_side}"


class UniformCrops(nn.Module):
    """One or three boxes at fixed places: frames (T, C, H, W) -> (crops, T, C, crop, crop).

    The frame is resized, and the boxes lie in the middle of the shorter side. Along the longer side, one box lies
    in the middle; three lie at the left, in the middle and at the right, or at the top, in the middle and at the
    bottom. A square frame counts as wide. A middle that falls between two pixels moves right or down.

    Args:
        crop: height and width of a box in pixels, or (H, W).
        short_side: length of the short side in pixels; the long side follows, rounded down. Where a box does not
            fit into the resized frame, the frame is made as large as the box needs.
        crops: 1 or 3.
    """

    def __init__(
        self,
        crop: int | tuple[int, int] = 224,
        short_side: int = 256,
        crops: int = 1,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    ) -> None:
        super().__init__()
        if crops not in (1, 3):
            raise ValueError(f"crops must be 1 (center) or 3 (along the longer side), got {crops}.")
        if short_side < 1:
            raise ValueError(f"short_side must be at least 1 pixel, got {short_side}.")
        self.crop, self.short_side, self.crops, self.interpolation = _pair(crop), short_side, crops, interpolation

    def places(self, height: int, width: int) -> list[tuple[int, int]]:
        """Top and left of each box in a resized frame of this size, in pixels."""
        down, right = height - self.crop[0], width - self.crop[1]
        top, left = (down + 1) // 2, (right + 1) // 2
        if self.crops == 1:
            return [(top, left)]
        if height > width:
            return [(0, left), (top, left), (down, left)]
        return [(top, 0), (top, left), (top, right)]

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        size = resized_size(*frames.shape[-2:], self.short_side, self.crop)
        frames = F.resize(frames, size, self.interpolation, antialias=True)
        return torch.stack([F.crop(frames, top, left, *self.crop) for top, left in self.places(*size)])

    def extra_repr(self) -> str:
        return f"crop={self.crop}, short_side={self.short_side}, crops={self.crops}"


class FramesToClip(nn.Module):
    """Normalizes, and puts the channels before the frames: uint8 (..., T, C, H, W) -> float32 (..., C, T, H, W).

    Pixel values are divided by 255, then the mean is subtracted, and the result is divided by the standard
    deviation. For video, the released code has 0.45 and 0.225 in all channels.

    Args:
        mean, std: one number, or one a channel, for pixel values in [0, 1].
    """

    def __init__(self, mean: float | Sequence[float] = MEAN, std: float | Sequence[float] = STD) -> None:
        super().__init__()
        self.mean = torch.tensor(mean, dtype=torch.float64).reshape(-1, 1, 1, 1)  # (C or 1, 1, 1, 1)
        self.std = torch.tensor(std, dtype=torch.float64).reshape(-1, 1, 1, 1)
        if not (self.std > 0).all():
            raise ValueError(f"std must be larger than 0, got {std}.")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if frames.dtype != torch.uint8:
            raise ValueError(f"FramesToClip takes uint8 frames, got {frames.dtype}: were they normalized before?")
        clip = frames.transpose(-4, -3).to(torch.float32, memory_format=torch.contiguous_format)  # (..., C, T, H, W)
        scale, shift = 1 / (255 * self.std), self.mean / self.std
        return clip.mul_(scale.to(clip)).sub_(shift.to(clip))

    def extra_repr(self) -> str:
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class RandomErasing(nn.Module):
    """Fills a random box with noise: float (..., H, W) -> the same shape; what came in is not changed.

    The box lies at the same place in all frames. The noise is drawn for every pixel of every frame from the
    standard normal distribution, so it comes after normalization (Zhong et al. 2020; the ranges are those of the
    released code). torchvision's class of this name repeats one noise picture in all frames.

    Args:
        p: probability that there is a box.
        area: smallest and largest share of the frame, drawn uniformly.
        aspect: smallest and largest height : width, drawn log-uniformly.
        tries: boxes drawn until one is smaller than the frame; if none is, nothing is erased.
    """

    def __init__(
        self,
        p: float = 0.25,
        *,
        area: tuple[float, float] = (0.02, 1 / 3),
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
        tries: int = 100,
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability from 0 to 1, got {p}.")
        if not 0 < area[0] <= area[1] <= 1 or not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f"area and aspect are (smallest, largest), above 0, got {area} and {aspect}.")
        self.p, self.area, self.aspect, self.tries = p, area, aspect, tries

    def draw(self, height: int, width: int) -> tuple[int, int, int, int] | None:
        """Top, left, height and width of the box in pixels, or None."""
        if float(torch.rand(())) >= self.p:
            return None
        for _ in range(self.tries):
            area = height * width * _uniform(*self.area)
            aspect = math.exp(_uniform(math.log(self.aspect[0]), math.log(self.aspect[1])))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if h < height and w < width:
                return int(torch.randint(height - h + 1, ())), int(torch.randint(width - w + 1, ())), h, w
        return None

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        if not clip.is_floating_point():
            raise ValueError(
                f"RandomErasing writes normally distributed noise, got a {clip.dtype} clip: normalize the clip first."
            )
        box = self.draw(*clip.shape[-2:])
        if box is None:
            return clip
        top, left, h, w = box
        clip = clip.clone()
        clip[..., top : top + h, left : left + w] = torch.randn(*clip.shape[:-2], h, w, dtype=clip.dtype)
        return clip

    def extra_repr(self) -> str:
        return f"p={self.p}, area={self.area}, aspect={self.aspect}"


def resized_size(height: int, width: int, short_side: int, crop: tuple[int, int]) -> list[int]:
    """Size (H, W) of a frame whose short side is `short_side`, or as much more as a crop (H, W) needs to fit."""
    short = min(height, width)
    needed = [-(-box * short // size) for box, size in zip(crop, (height, width), strict=True)]  # rounded up
    side = max(short_side, *needed)
    return [height * side // short, width * side // short]


def _pair(crop: int | tuple[int, int]) -> tuple[int, int]:
    pair = (crop, crop) if isinstance(crop, int) else tuple(crop)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"crop must be a number of pixels or (H, W), each at least 1, got {crop}.")
    return pair


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
