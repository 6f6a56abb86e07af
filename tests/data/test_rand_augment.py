"""RandAugment: each operation against Pillow, which the released code runs on, and the draw against the recipe."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from mvit_edu.data.rand_augment import OPERATIONS, RandAugment, apply_operation, operation_value, warp


def picture(height=37, width=53, frames=1) -> torch.Tensor:
    """Smooth waves and some noise, uint8 (T, 3, H, W): every operation has something to do."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([torch.sin(x / 5), torch.cos(y / 7), torch.sin((x + y) / 9)]) * 90 + 130  # (3, H, W)
    noise = 12 * torch.randn(frames, 3, height, width)
    return (waves + noise).clamp(10, 240).to(torch.uint8)


def to_pil(frame: torch.Tensor) -> Image.Image:
    return Image.fromarray(frame.permute(1, 2, 0).numpy())


def from_pil(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def in_pillow(image: Image.Image, name: str, value: float, fill) -> Image.Image:
    """The operation as the recipe defines it, written with Pillow."""
    width, height = image.size
    moves = {
        "shear_x": (1, value, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, value, 1, 0),
        "translate_x": (1, 0, (value or 0) * width, 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, (value or 0) * height),
    }
    enhance = {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in moves:
        return image.transform(image.size, Image.AFFINE, moves[name], resample=Image.BICUBIC, fillcolor=fill)
    if name in enhance:
        return enhance[name](image).enhance(value)
    return {
        "auto_contrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
        "invert": lambda: ImageOps.invert(image),
        "rotate": lambda: image.rotate(value, resample=Image.BICUBIC, fillcolor=fill),
        "posterize": lambda: ImageOps.posterize(image, value) if value else image.point(lambda v: 0),
        "solarize": lambda: ImageOps.solarize(image, value),
        "solarize_add": lambda: image.point(lambda v: min(255, v + value) if v < 128 else v),
    }[name]()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("level", "negate"), [(0.0, False), (3.3, True), (7.0, False), (7.0, True), (10.0, False)])
def test_operation_is_pillows(name, level, negate):
    clip, fill = picture(), (128, 60, 200)
    value = operation_value(name, level, negate=negate)
    ours = apply_operation(clip, name, value, fill)[0].int()
    theirs = from_pil(in_pillow(to_pil(clip[0]), name, value, fill)).int()
    difference = (ours - theirs).abs()
    warped = name == "rotate" or name.startswith(("shear", "translate"))
    # Pillow cuts bicubic values off instead of rounding; a point on the very border may count as outside.
    allowed = 0.002 if warped else 0.0
    assert (difference > 1).float().mean() <= allowed
    exact = name in ("invert", "equalize", "posterize", "solarize", "solarize_add")
    if exact:
        assert difference.max() == 0
    if level == 7.0:
        assert not torch.equal(ours, clip[0].int())


# By hand from the recipe: 30 degrees, 4 bits, 256, 110, 0.9, 0.3 and 0.45 at level 10.
VALUES = {
    "auto_contrast": (None, None, None),
    "equalize": (None, None, None),
    "invert": (None, None, None),
    "rotate": (0.0, 21.0, 30.0),
    "posterize": (4, 2, 0),
    "solarize": (256, 77, 0),
    "solarize_add": (0, 77, 110),
    "color": (1.0, 1.63, 1.9),
    "contrast": (1.0, 1.63, 1.9),
    "brightness": (1.0, 1.63, 1.9),
    "sharpness": (1.0, 1.63, 1.9),
    "shear_x": (0.0, 0.21, 0.3),
    "shear_y": (0.0, 0.21, 0.3),
    "translate_x": (0.0, 0.315, 0.45),
    "translate_y": (0.0, 0.315, 0.45),
}


def test_there_are_fifteen_operations():
    assert set(OPERATIONS) == set(VALUES)
    assert len(OPERATIONS) == 15


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_at_levels_0_7_and_10(name):
    values = tuple(operation_value(name, level) for level in (0.0, 7.0, 10.0))
    assert values == pytest.approx(VALUES[name]) if values[0] is not None else values == VALUES[name]


@pytest.mark.parametrize("name", OPERATIONS)
def test_minus_mirrors_the_value_around_no_change(name):
    plus, minus = (operation_value(name, 7.0, negate=negate) for negate in (False, True))
    signed = {"rotate": 0.0, **{key: 1.0 for key in ("color", "contrast", "brightness", "sharpness")}}
    signed |= {key: 0.0 for key in ("shear_x", "shear_y", "translate_x", "translate_y")}
    if name in signed:
        assert plus - signed[name] == pytest.approx(signed[name] - minus)
        assert plus != minus
    else:
        assert plus == minus


def test_identical_frames_stay_identical():
    clip = picture().expand(5, -1, -1, -1).contiguous()
    torch.manual_seed(3)
    augment = RandAugment(p=1.0)
    for _ in range(25):
        changed = augment(clip)
        assert changed.shape == clip.shape and changed.dtype == torch.uint8
        assert (changed == changed[:1]).all()


def test_a_warp_moves_every_frame_and_channel_alike():
    clip = picture(frames=3)
    matrix = ((0.9, -0.2, 3.0), (0.25, 1.1, -4.0))
    together = warp(clip, matrix, fill=7)
    for frame in range(3):
        for channel in range(3):
            alone = warp(clip[frame : frame + 1, channel : channel + 1], matrix, fill=7)
            assert torch.equal(together[frame, channel], alone[0, 0])
    assert (together == 7).any()


def test_a_whole_shift_moves_pixels_exactly():
    clip = picture(frames=2)
    moved = warp(clip, ((1, 0, 4), (0, 1, -3)), fill=(1, 2, 3))
    assert torch.equal(moved[..., 3:, :-4], clip[..., :-3, 4:])
    assert (moved[..., :3, :] == torch.tensor([1, 2, 3])[:, None, None]).all()
    assert (moved[..., -4:] == torch.tensor([1, 2, 3])[:, None, None]).all()


def test_draws_follow_the_recipe():
    torch.manual_seed(0)
    augment, draws = RandAugment(), 4000
    drawn = [augment.draw() for _ in range(draws)]
    lengths = np.bincount([len(operations) for operations in drawn], minlength=5) / draws
    assert lengths == pytest.approx([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], abs=0.03)  # binomial: n 4, p 0.5
    values = collections.defaultdict(list)
    for name, value in (operation for operations in drawn for operation in operations):
        values[name].append(value)
    counts = np.array([len(values[name]) for name in OPERATIONS])
    expected = counts.sum() / 15
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 36.1  # the 99.9% quantile for 14 degrees of freedom
    shears = np.array(values["shear_x"] + values["shear_y"]) / 0.03  # ± the level
    assert abs((shears > 0).mean() - 0.5) < 0.06
    assert np.abs(shears).mean() == pytest.approx(7.0, abs=0.06)
    assert np.abs(shears).std() == pytest.approx(0.5, abs=0.06)
    twice = np.mean([len({name for name, _ in operations}) < len(operations) for operations in drawn])
    assert twice > 0.05  # with replacement: 1 - (14 * 13 * 12 / 15^3) of four, fewer of two and three


def test_levels_are_clipped_to_0_and_10():
    torch.manual_seed(0)
    augment = RandAugment(5.0, magnitude_std=100.0, p=1.0)
    shifts = [abs(value) for _ in range(300) for name, value in augment.draw() if name == "translate_x"]
    assert max(shifts) == pytest.approx(0.45)
    assert min(shifts) == 0.0


def test_p_and_layers():
    assert RandAugment(p=0.0).draw() == []
    assert RandAugment(layers=0, p=1.0).draw() == []
    assert len(RandAugment(layers=6, p=1.0).draw()) == 6


def test_the_seed_fixes_the_draw_and_numpy_and_random_do_not_matter():
    augment, clip = RandAugment(p=1.0), picture(frames=2)
    torch.manual_seed(11)
    first = augment(clip)
    np.random.seed(1)
    torch.manual_seed(11)
    assert torch.equal(augment(clip), first)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 1), (2, 3)])
def test_tiny_frames(name, size):
    clip = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    for level in (0.0, 7.0, 10.0):
        changed = apply_operation(clip, name, operation_value(name, level))
        assert changed.shape == clip.shape and changed.dtype == torch.uint8


def test_the_clip_that_came_in_is_not_changed():
    clip = picture(frames=2)
    before = clip.clone()
    for name in OPERATIONS:
        apply_operation(clip, name, operation_value(name, 7.0))
    assert torch.equal(clip, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"magnitude": 11.0}, "magnitude from 0 to 10"),
        ({"magnitude_std": -1.0}, "magnitude_std of at least 0"),
        ({"layers": -1}, "layers >= 0"),
        ({"p": 1.5}, "p from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        RandAugment(**arguments)


def test_a_normalized_clip_is_refused():
    with pytest.raises(ValueError, match="before the clip is normalized"):
        RandAugment()(torch.rand(2, 3, 8, 8))


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="no operation 'cutout'"):
        operation_value("cutout", 7.0)
    with pytest.raises(ValueError, match="no operation 'cutout'"):
        apply_operation(picture(), "cutout", None)
