"""Crops, erasing, normalization and their order, each against its definition."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from mvit_edu.data.clips import clip_to_frames, example_clip, load_clip, read_frames
from mvit_edu.data.rand_augment import RandAugment
from mvit_edu.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    FramesToClip,
    RandomErasing,
    ScaleJitterCrop,
    UniformCrops,
    eval_transform,
    recipe_transforms,
    resized_size,
    train_transform,
)


def coordinates(height: int, width: int, frames: int = 2) -> torch.Tensor:
    """Frames that carry their place: red is the column, green the row, blue 7. At most 256 x 256."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frame = torch.stack([x, y, torch.full_like(x, 7)]).to(torch.uint8)
    return frame.expand(frames, -1, -1, -1).contiguous()


def pixels(clip: torch.Tensor) -> torch.Tensor:
    """Undoes the normalization with 0.45 and 0.225, in steps of one gray level."""
    return ((clip * 0.225 + 0.45) * 255).round()


def still(frames: int = 3, height: int = 45, width: int = 61) -> torch.Tensor:
    """The same noise picture in every frame."""
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8).expand(frames, -1, -1, -1).contiguous()


# the whole of it


@pytest.mark.parametrize("size", [(45, 61), (61, 45), (1, 1), (1, 7), (9, 2), (33, 33)])
@pytest.mark.parametrize("crop", [16, (10, 24)])
def test_shapes_and_types(size, crop):
    frames = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
    before, out = frames.clone(), (crop, crop) if isinstance(crop, int) else crop
    for kind in ("inception", "jitter"):
        transform = train_transform(crop, crop_kind=kind, short_side=(18, 22), erasing=1.0)
        for _ in range(4):
            clip = transform(frames)
            assert clip.shape == (3, 3, *out) and clip.dtype == torch.float32 and clip.is_contiguous()
            assert clip.isfinite().all()
    for crops in (1, 3):
        clips = eval_transform(crop, short_side=18, crops=crops)(frames)
        assert clips.shape == (crops, 3, 3, *out) and clips.dtype == torch.float32 and clips.is_contiguous()
    assert torch.equal(frames, before)


def test_every_frame_gets_the_same_draw():
    torch.manual_seed(1)
    frames = still(4)
    for kind in ("inception", "jitter"):
        transform = train_transform(20, crop_kind=kind, short_side=(24, 40), rand_augment=RandAugment(p=1.0), erasing=0)
        clips = [transform(frames) for _ in range(20)]
        assert all((clip == clip[:, :1]).all() for clip in clips)
        assert not torch.equal(clips[0], clips[1])


def test_the_seed_alone_fixes_a_clip():
    frames, transform = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8), train_transform(16, erasing=1.0)
    torch.manual_seed(7)
    first = [transform(frames) for _ in range(5)]
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(7)
    assert all(torch.equal(transform(frames), clip) for clip in first)


def test_a_train_clip_is_normalized_frames():
    frames = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    plain = train_transform(16, flip=0.0, rand_augment=False, erasing=0.0, area=(1.0, 1.0), aspect=(1.0, 1.0))
    wanted = (frames.double() / 255 - 0.45) / 0.225
    assert torch.allclose(plain(frames).double(), wanted.transpose(0, 1), atol=1e-6)


def test_flip_is_there_at_one_half_and_off_at_zero():
    frames = coordinates(16, 16)
    torch.manual_seed(0)
    counts = {}
    for flip in (0.0, 0.5, 1.0):
        plain = train_transform(16, flip=flip, rand_augment=False, erasing=0.0, area=(1.0, 1.0), aspect=(1.0, 1.0))
        counts[flip] = sum(pixels(plain(frames))[0, 0, 0, 0].item() == 15 for _ in range(600)) / 600
    assert counts[0.0] == 0 and counts[1.0] == 1
    assert counts[0.5] == pytest.approx(0.5, abs=0.07)


def test_rand_augment_comes_before_the_crop_or_after_it():
    steps = [type(step).__name__ for step in train_transform(16)]
    flip_and_crop = ["RandomResizedCrop", "RandomHorizontalFlip"]
    assert steps == ["CheckFrames", "RandAugment", *flip_and_crop, "FramesToClip", "RandomErasing"]
    steps = [type(step).__name__ for step in train_transform(16, augment_first=False)]
    assert steps == ["CheckFrames", *flip_and_crop, "RandAugment", "FramesToClip", "RandomErasing"]
    steps = [type(step).__name__ for step in train_transform(16, flip=0, rand_augment=False, erasing=0)]
    assert steps == ["CheckFrames", "RandomResizedCrop", "FramesToClip"]
    own = RandAugment(3.0)
    assert train_transform(16, rand_augment=own)[1] is own


def test_transforms_travel_to_workers():
    frames = still()
    for transform in (*recipe_transforms("imagenet", 28), *recipe_transforms("ava", 28)):
        for copied in (pickle.loads(pickle.dumps(transform)), copy.deepcopy(transform)):
            torch.manual_seed(2)
            wanted = transform(frames)
            torch.manual_seed(2)
            assert torch.equal(copied(frames), wanted)


def test_a_tv_tensor_is_a_tensor():
    frames, transform = still(), train_transform(16)
    torch.manual_seed(4)
    wanted = transform(frames)
    torch.manual_seed(4)
    clip = transform(tv_tensors.Video(frames))
    assert type(clip) is torch.Tensor and torch.equal(clip, wanted)


# the Inception crop


def inception_boxes(height: int, width: int, count: int, **ranges) -> np.ndarray:
    """(top, left, height, width) of the boxes, read off the corners of crops that are not resized by much."""
    boxes, plain = [], train_transform(64, flip=0.0, rand_augment=False, erasing=0.0, **ranges)
    frames = torch.stack(
        [
            torch.linspace(0, 1, width).expand(height, width),
            torch.linspace(0, 1, height)[:, None].expand(height, width),
        ]
    )
    crop = plain[1]
    assert isinstance(crop, v2.RandomResizedCrop)
    for _ in range(count):
        x, y = crop(frames)
        # The slope of a linear ramp survives the resize: the box is 64 output pixels wide.
        w = (x[32, 40] - x[32, 24]).item() / 16 * 64 * (width - 1)
        h = (y[40, 32] - y[24, 32]).item() / 16 * 64 * (height - 1)
        left = (x[32, 31:33].mean().item()) * (width - 1) + 0.5 - w / 2
        top = (y[31:33, 32].mean().item()) * (height - 1) + 0.5 - h / 2
        boxes.append((top, left, h, w))
    return np.array(boxes)


def test_inception_crop_area_and_aspect():
    torch.manual_seed(0)
    # Small boxes in a large frame always fit, so the draw is not conditioned on fitting.
    _, _, h, w = inception_boxes(200, 200, 900, area=(0.08, 0.4)).T
    area = h * w / 200**2
    assert area.min() > 0.075 and area.max() < 0.41
    shares = np.histogram(area, bins=4, range=(0.08, 0.4))[0] / len(area)
    assert shares == pytest.approx([0.25] * 4, abs=0.06)
    aspect = np.log(w / h)
    assert np.abs(aspect).max() < np.log(4 / 3) + 0.02
    shares = np.histogram(aspect, bins=4, range=(-np.log(4 / 3), np.log(4 / 3)))[0] / len(aspect)
    assert shares == pytest.approx([0.25] * 4, abs=0.06)


def test_inception_crop_defaults_and_places():
    torch.manual_seed(0)
    top, left, h, w = inception_boxes(120, 160, 900).T
    assert 0.075 < (h * w / (120 * 160)).min() < 0.12 and (h * w / (120 * 160)).max() > 0.9
    assert -0.5 < top.min() < 1.5 and -0.5 < left.min() < 1.5
    assert (top + h).max() < 120.5 and (left + w).max() < 160.5
    small = (w < 80) & (h < 60)
    free = left[small] / (160 - w[small])
    assert np.histogram(free, bins=3, range=(0, 1))[0] / small.sum() == pytest.approx([1 / 3] * 3, abs=0.12)


def test_inception_crop_falls_back_to_the_center():
    torch.manual_seed(0)
    # No box with half of the area and an aspect of at most 4/3 fits into 20 x 200: the center, 4/3 wide.
    boxes = inception_boxes(20, 200, 3, area=(0.9, 1.0))
    assert boxes == pytest.approx(np.array([[0.0, 86.0, 20.0, 27.0]] * 3), abs=0.6)


# the scale-jittered crop


def test_scale_jitter_draws_every_short_side_and_place():
    torch.manual_seed(0)
    crop, height, width = ScaleJitterCrop(24, (26, 30)), 52, 78
    draws = [crop.draw(height, width) for _ in range(3000)]
    sides = np.array([size[0] for size, _, _ in draws])
    assert np.bincount(sides)[26:] / 3000 == pytest.approx([0.2] * 5, abs=0.03)
    assert all(size[1] == size[0] * 3 // 2 for size, _, _ in draws)
    tops = np.array([top for size, top, _ in draws if size[0] == 28])
    assert np.bincount(tops) / len(tops) == pytest.approx([0.2] * 5, abs=0.07)
    lefts = [left for size, _, left in draws if size[0] == 26]
    assert min(lefts) == 0 and max(lefts) == 39 - 24


def test_scale_jitter_cuts_out_of_the_resized_frame():
    frames = coordinates(40, 60)
    torch.manual_seed(0)
    crop = ScaleJitterCrop(24, (40, 40))  # no change of size
    for _ in range(20):
        state = torch.get_rng_state()
        _, top, left = crop.draw(40, 60)
        torch.set_rng_state(state)
        assert torch.equal(crop(frames), frames[..., top : top + 24, left : left + 24])


# erasing


def erased(transform: RandomErasing, height: int, width: int) -> torch.Tensor:
    return transform(torch.full((3, 4, height, width), 100.0)) != 100.0


def test_erasing_share_aspect_and_probability():
    torch.manual_seed(0)
    boxes = [RandomErasing().draw(224, 224) for _ in range(4000)]
    found = np.array([box for box in boxes if box is not None], dtype=float)
    assert len(found) / 4000 == pytest.approx(0.25, abs=0.025)
    top, left, h, w = found.T
    share, aspect = h * w / 224**2, np.log(h / w)
    assert 0.018 < share.min() < 0.025 and 0.32 < share.max() < 0.34
    assert np.abs(aspect).max() < np.log(1 / 0.3) + 0.03
    small = np.array([RandomErasing(1.0, area=(0.02, 0.2)).draw(224, 224) for _ in range(2000)], dtype=float)
    share, aspect = small[:, 2] * small[:, 3] / 224**2, np.log(small[:, 2] / small[:, 3])  # all of these fit
    assert np.histogram(share, bins=4, range=(0.02, 0.2))[0] / 2000 == pytest.approx([0.25] * 4, abs=0.04)
    edges = np.linspace(-np.log(1 / 0.3), np.log(1 / 0.3), 5)
    assert np.histogram(aspect, bins=edges)[0] / 2000 == pytest.approx([0.25] * 4, abs=0.04)
    assert (top >= 0).all() and (left >= 0).all() and (top + h <= 224).all() and (left + w <= 224).all()
    free = small[:, 0] / (224 - small[:, 2])
    assert np.histogram(free, bins=4, range=(0, 1))[0] / 2000 == pytest.approx([0.25] * 4, abs=0.04)


def test_erasing_is_one_box_for_all_frames_with_noise_of_its_own_in_each():
    torch.manual_seed(0)
    clip = torch.full((3, 4, 60, 60), 100.0)
    noisy = RandomErasing(1.0, area=(0.3, 0.33))(clip)
    where = noisy != 100.0  # (3, T, H, W)
    assert (where == where[:1, :1]).all()
    box = where[0, 0]
    assert box.sum() == box.any(0).sum() * box.any(1).sum()
    noise = noisy[..., box]  # (3, T, pixels)
    assert noise.mean().item() == pytest.approx(0, abs=0.05) and noise.std().item() == pytest.approx(1, abs=0.05)
    rows = torch.corrcoef(noise.flatten(0, 1))  # every channel of every frame, 12 in all
    assert (rows - torch.eye(12)).abs().max() < 0.2
    assert (clip == 100.0).all()


def test_erasing_off_and_where_no_box_fits():
    clip = torch.zeros(3, 2, 8, 8)
    assert all(RandomErasing(0.0)(clip) is clip for _ in range(20))
    assert torch.equal(RandomErasing(1.0)(torch.zeros(3, 2, 1, 1)), torch.zeros(3, 2, 1, 1))
    assert not erased(RandomErasing(1.0, area=(1.0, 1.0), aspect=(1.0, 1.0)), 8, 8).any()


# normalization


def test_normalization_numbers():
    frames = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    clip = FramesToClip()(frames)
    assert clip.flatten().tolist() == pytest.approx([-2.0, -1.1111111, 2.4444444])
    clip = FramesToClip(IMAGENET_MEAN, IMAGENET_STD)(frames)
    wanted = [-0.485 / 0.229, (0.2 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert clip.flatten().tolist() == pytest.approx(wanted)


def test_normalization_puts_the_channels_first():
    frames = torch.randint(0, 256, (2, 4, 3, 5, 6), dtype=torch.uint8)
    clip = FramesToClip(0.0, 1.0)(frames)
    assert clip.shape == (2, 3, 4, 5, 6)
    assert torch.equal((clip * 255).round().to(torch.uint8), frames.transpose(1, 2))


# crops at fixed places


@pytest.mark.parametrize(
    ("size", "crops", "places"),
    [
        ((20, 31), 1, [(2, 8)]),  # 20 - 16 = 4, 31 - 16 = 15: the middle of 15 is 7.5, rounded up
        ((20, 31), 3, [(2, 0), (2, 8), (2, 15)]),
        ((31, 20), 3, [(0, 2), (8, 2), (15, 2)]),
        ((31, 20), 1, [(8, 2)]),
        ((20, 20), 3, [(2, 0), (2, 2), (2, 4)]),
        ((20, 21), 3, [(2, 0), (2, 3), (2, 5)]),
    ],
)
def test_places_of_the_crops(size, crops, places):
    frames = coordinates(*size, frames=3)
    clips = pixels(eval_transform(16, short_side=20, crops=crops)(frames))
    assert len(clips) == len(places)
    for clip, (top, left) in zip(clips, places, strict=True):
        assert torch.equal(clip, frames[..., top : top + 16, left : left + 16].transpose(0, 1).float())


def test_three_crops_of_a_340x256_video_in_both_forms():
    assert UniformCrops(224, 256, 3).places(256, 340) == [(16, 0), (16, 58), (16, 116)]
    assert resized_size(256, 340, 224, (224, 224)) == [224, 297]
    assert UniformCrops(224, 224, 3).places(224, 297) == [(0, 0), (0, 37), (0, 73)]


@pytest.mark.parametrize(
    ("have", "short", "crop", "want"),
    [
        ((256, 340), 256, (224, 224), [256, 340]),
        ((333, 500), 256, (224, 224), [256, 384]),  # 500 * 256 / 333 = 384.4
        ((500, 333), 256, (224, 224), [384, 256]),
        ((1, 1), 256, (224, 224), [256, 256]),
        ((3, 1), 256, (224, 224), [768, 256]),
        ((100, 100), 40, (64, 64), [64, 64]),
        ((100, 100), 40, (32, 80), [80, 80]),
        ((100, 300), 40, (32, 80), [40, 120]),
        ((7, 10), 8, (8, 30), [21, 30]),
    ],
)
def test_resized_size(have, short, crop, want):
    assert resized_size(*have, short, crop) == want


def test_resized_size_always_holds_the_crop():
    for height in range(1, 40):
        for width in range(1, 40):
            for crop in ((8, 8), (5, 13)):
                size = resized_size(height, width, 9, crop)
                assert size[0] >= crop[0] and size[1] >= crop[1] and min(size) >= 9


def test_one_crop_is_the_picture_of_load_clip():
    frames = torch.from_numpy(read_frames(example_clip(), range(0, 64, 16))).permute(0, 3, 1, 2)
    ours = eval_transform(224)(frames)
    theirs = load_clip(example_clip(), frames=4, stride=16, start=0)
    difference = np.abs(clip_to_frames(ours).astype(int) - clip_to_frames(theirs).astype(int))
    assert difference.max() <= 1


# the recipes


def settings(transform: torch.nn.Sequential) -> dict[str, torch.nn.Module]:
    return {type(step).__name__: step for step in transform}


def test_the_recipes_of_the_paper():
    train, test = (settings(transform) for transform in recipe_transforms("kinetics"))
    assert train["RandomHorizontalFlip"].p == 0.5 and train["RandomErasing"].p == 0.25
    augment = train["RandAugment"]
    assert (augment.magnitude, augment.magnitude_std, augment.layers, augment.p, augment.fill) == (
        7.0,
        0.5,
        4,
        0.5,
        128,
    )
    inception = train["RandomResizedCrop"]
    assert tuple(inception.scale) == (0.08, 1.0) and tuple(inception.ratio) == (3 / 4, 4 / 3)
    assert tuple(inception.size) == (224, 224)
    assert (test["UniformCrops"].crop, test["UniformCrops"].short_side, test["UniformCrops"].crops) == (
        (224, 224),
        256,
        1,
    )

    train, test = (settings(transform) for transform in recipe_transforms("ssv2"))
    assert "RandomHorizontalFlip" not in train and "RandAugment" in train and "RandomErasing" in train
    assert test["UniformCrops"].crops == 3

    train, test = (settings(transform) for transform in recipe_transforms("charades"))
    assert {"RandomHorizontalFlip", "RandAugment", "RandomErasing"} <= set(train)
    assert test["UniformCrops"].crops == 3

    train, test = (settings(transform) for transform in recipe_transforms("ava"))
    assert set(train) == {"CheckFrames", "ScaleJitterCrop", "RandomHorizontalFlip", "FramesToClip"}
    assert train["ScaleJitterCrop"].short_side == (256, 320)
    assert test["UniformCrops"].crops == 1

    train, test = (settings(transform) for transform in recipe_transforms("imagenet", 320))
    assert (train["RandAugment"].magnitude, train["RandAugment"].layers) == (9.0, 6)
    assert train["RandAugment"].fill == [124, 116, 104]
    assert list(train).index("RandAugment") > list(train).index("RandomResizedCrop")
    assert train["FramesToClip"].mean.flatten().tolist() == [0.485, 0.456, 0.406]
    assert test["UniformCrops"].short_side == 365


# what is refused


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (torch.rand(2, 3, 8, 8), r"got torch.float32 \(2, 3, 8, 8\)"),
        (torch.zeros(2, 8, 8, 3, dtype=torch.uint8), r"write frames.permute\(0, 3, 1, 2\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"takes a uint8 tensor \(T, 3, H, W\)"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), r"\(0, 3, 8, 8\)"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"\(2, 1, 8, 8\)"),
    ],
)
def test_frames_of_another_kind_are_refused(frames, words):
    for transform in (train_transform(4), eval_transform(4, short_side=4)):
        with pytest.raises(ValueError, match=words):
            transform(frames)


def test_an_array_is_refused_with_the_line_to_write():
    with pytest.raises(TypeError, match=r"torch.from_numpy\(frames\).permute\(0, 3, 1, 2\)"):
        train_transform(4)(np.zeros((2, 8, 8, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: train_transform(crop_kind="center"), 'crop_kind must be "inception" or "jitter"'),
        (lambda: train_transform(0), "crop must be a number of pixels"),
        (lambda: eval_transform((4, 4, 4)), "crop must be a number of pixels"),
        (lambda: eval_transform(crops=2), "crops must be 1"),
        (lambda: eval_transform(short_side=0), "short_side must be at least 1"),
        (lambda: ScaleJitterCrop(8, (20, 10)), "short_side must be"),
        (lambda: RandomErasing(1.5), "probability from 0 to 1"),
        (lambda: RandomErasing(area=(0.5, 0.1)), "area and aspect are"),
        (lambda: FramesToClip(0.45, 0.0), "std must be larger than 0"),
        (lambda: recipe_transforms("ucf101"), "No recipe for 'ucf101'"),
    ],
)
def test_impossible_settings_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_steps_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="normalize the clip first"):
        RandomErasing(1.0)(torch.zeros(3, 2, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="were they normalized before"):
        FramesToClip()(torch.rand(2, 3, 8, 8))
