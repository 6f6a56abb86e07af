"""Protocols: which seconds and which pixels of a video become clips, and how their scores become one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mvit_edu.data import ClipSpec, VideoItem, VideoList, recipe_transforms
from mvit_edu.evaluation import PROTOCOLS, Protocol, combine_views, get_protocol
from tests.data.painted import number_in, write_video

FRAMES = 130
SPEC = ClipSpec(frames=4, stride=4)  # a window of 16 frames, positions 0, 5, 10 and 15 of it


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "painted.mp4"
    return VideoList((VideoItem(str(write_video(path, FRAMES)), 0),))  # 64 x 96 pixels


def pixels(clip: torch.Tensor) -> torch.Tensor:
    """float (3, T, H, W), normalized -> integers (T, H, W, 3) from 0 to 255."""
    return ((clip * 0.225 + 0.45) * 255).round().long().permute(1, 2, 3, 0)


def numbers(clip: torch.Tensor) -> list[int]:
    return [number_in(frame.numpy()) for frame in pixels(clip)]


def test_the_protocols_of_paper_and_code():
    # views, crops, short side for a crop of 224, aggregate, sampling
    assert {p.name: (p.views, p.crops, p.short_side, p.aggregate, p.sampling) for p in PROTOCOLS.values()} == {
        "center": (1, 1, 256, "mean", ""),
        "paper": (5, 1, 256, "mean", ""),
        "paper_3crops": (5, 3, 256, "mean", ""),
        "paper_64x3": (3, 3, 256, "mean", ""),
        "code": (10, 1, 256, "mean", ""),
        "code_3crops": (10, 3, 224, "mean", ""),
        "ssv2": (1, 3, 256, "mean", "segments"),
        "ssv2_code": (1, 3, 224, "mean", "segments"),
        "charades": (10, 3, 256, "max", ""),
        "charades_code": (10, 3, 224, "max", ""),
        "whole": (1, 1, 224, "mean", ""),
    }
    assert all(get_protocol(name) is protocol and protocol.name == name for name, protocol in PROTOCOLS.items())
    assert all(protocol.source for protocol in PROTOCOLS.values())


@pytest.mark.parametrize(
    "crop, short_side", [(224, 256), (32, 36), (112, 128), (320, 365), ((112, 160), 128), ((160, 112), 128)]
)
def test_the_short_side_grows_with_the_crop(crop, short_side):
    assert get_protocol("paper").resized(crop) == short_side
    assert get_protocol("code_3crops").resized(crop) == (crop if isinstance(crop, int) else min(crop))


@pytest.mark.parametrize("name, dataset", [("paper", "kinetics"), ("ssv2", "ssv2"), ("charades", "charades")])
def test_the_pixels_are_those_of_the_recipe(name, dataset):
    frames = torch.randint(256, (2, 3, 120, 180), dtype=torch.uint8)
    _, expected = recipe_transforms(dataset, crop=64)
    assert torch.equal(get_protocol(name).transform(64)(frames), expected(frames))


def ramp(height: int, width: int) -> torch.Tensor:
    """A frame whose channels tell column % 256, column // 256 and row: uint8 (1, 3, H, W)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns % 256, columns // 256, rows])[None].to(torch.uint8)


@pytest.mark.parametrize(
    "name, size, corners",
    [
        ("paper", (256, 340), [(16, 58)]),  # (256 - 224) / 2, (340 - 224) / 2
        ("code", (256, 340), [(16, 58)]),
        ("paper_3crops", (256, 340), [(16, 0), (16, 58), (16, 116)]),
        ("code_3crops", (224, 298), [(0, 0), (0, 37), (0, 74)]),
        ("charades_code", (256, 224), [(0, 0), (16, 0), (32, 0)]),  # upright: along the height
        ("whole", (224, 224), [(0, 0)]),
    ],
)
def test_which_pixels(name, size, corners):
    clips = get_protocol(name).transform(224)(ramp(*size))  # the short side fits: nothing is resized
    assert clips.shape == (len(corners), 3, 1, 224, 224)
    for clip, (top, left) in zip(clips, corners, strict=True):
        column, page, row = pixels(clip)[0, 0, 0].tolist()
        assert (row, 256 * page + column) == (top, left)
        column, page, row = pixels(clip)[0, -1, -1].tolist()
        assert (row, 256 * page + column) == (top + 223, left + 223)


@pytest.mark.parametrize(
    "name, starts",
    [
        ("paper", [0, 28, 56, 84, 112]),  # room 130 - 16 = 114; every floor(114 / 4) frames
        ("code", [0, 12, 24, 36, 48, 60, 72, 84, 96, 108]),  # every floor(114 / 9)
        ("center", [57]),
    ],
)
def test_which_seconds(videos, name, starts):
    protocol = replace(get_protocol(name), short_side=224)  # 64 of 64 pixels: nothing is resized
    clips = protocol.dataset(videos, SPEC, crop=(64, 96))[0].clip
    assert [numbers(clip) for clip in clips] == [[start + step for step in (0, 5, 10, 15)] for start in starts]


def test_the_crops_of_a_view_follow_one_another(videos):
    protocol = Protocol("two by three", views=2, crops=3, short_side=224)
    sample = protocol.dataset(videos, SPEC, crop=64)[0]
    assert protocol.clips == 6 and sample.clip.shape == (6, 3, 4, 64, 64)
    assert numbers(sample.clip[0]) == [0, 5, 10, 15], "the left crop of the first view holds the number"
    assert numbers(sample.clip[3]) == [114, 119, 124, 129], "the left crop of the second view"
    whole = replace(protocol, crops=1).dataset(videos, SPEC, crop=(64, 96))[0].clip
    for clip in range(6):
        view, left = divmod(clip, 3)
        assert torch.equal(sample.clip[clip], whole[view, ..., 16 * left : 16 * left + 64])


def test_segments_go_with_one_view_only(videos):
    segments = ClipSpec(frames=4, sampling="segments")
    clip = get_protocol("ssv2").dataset(videos, segments, crop=32)[0].clip
    assert clip.shape == (3, 3, 4, 32, 32)
    with pytest.raises(ValueError, match="'paper' has 5 views, but clips made of segments cover"):
        get_protocol("paper").dataset(videos, segments, crop=32)
    with pytest.raises(ValueError, match="'ssv2' takes frames by sampling='segments', the clips have 'window'"):
        get_protocol("ssv2").dataset(videos, SPEC, crop=32)


def test_mean_and_options_reach_the_transform(videos):
    plain = get_protocol("center").dataset(videos, SPEC, crop=32)[0].clip
    other = get_protocol("center").dataset(videos, SPEC, crop=32, mean=0.0, std=1.0)[0].clip
    torch.testing.assert_close(plain * 0.225 + 0.45, other)


def test_in_words():
    assert str(get_protocol("paper")) == (
        "paper: 5 views x 1 crop of 224x224, short side 256, mean of the softmax scores (paper, Section 4)"
    )
    assert get_protocol("charades_code").describe(320) == (
        "charades_code: 10 views x 3 crops of 320x320, short side 320, maximum of the sigmoid scores (released code)"
    )
    assert get_protocol("charades").describe(multi_label=False).count("maximum of the softmax scores") == 1
    assert get_protocol("paper").describe(multi_label=True).count("mean of the sigmoid scores") == 1
    assert Protocol("mine", views=1).describe((32, 48)) == "mine: 1 view x 1 crop of 32x48, short side 36"


def test_views_are_combined():
    scores = torch.tensor([[[0.7, 0.3], [0.2, 0.8], [0.3, 0.7]], [[0.1, 0.9], [0.1, 0.9], [0.4, 0.6]]])  # (2, 3, 2)
    torch.testing.assert_close(combine_views(scores), torch.tensor([[0.4, 0.6], [0.2, 0.8]]))
    torch.testing.assert_close(combine_views(scores, "max"), torch.tensor([[0.7, 0.8], [0.4, 0.9]]))


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no protocol 'papre'; choose one of center, paper, .*whole"):
        get_protocol("papre")
    for fields, text in [
        ({"views": 0}, "views=0"),
        ({"short_side": 0}, "short_side=0"),
        ({"crops": 2}, "crops=2 must be 1"),
        ({"aggregate": "sum"}, "'sum'"),
    ]:
        with pytest.raises(ValueError, match=text):
            Protocol("wrong", **fields)
    with pytest.raises(ValueError, match="'median'"):
        combine_views(torch.zeros(1, 1, 1), "median")
