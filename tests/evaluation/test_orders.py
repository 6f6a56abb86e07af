"""Frame orders: what each does to a clip, and that a shuffled order depends on seed, video and view alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mvit_edu.evaluation import ORDERS, reorder_frames
from mvit_edu.evaluation.orders import shuffled_order

FRAMES = 8


def numbered(clips: int = 6, frames: int = FRAMES) -> torch.Tensor:
    """Clips (R, 3, T, 2, 2) in which frame t of clip r has the value 100 r + t."""
    values = 100 * torch.arange(clips)[:, None] + torch.arange(frames)  # (R, T)
    return values[:, None, :, None, None].expand(-1, 3, -1, 2, 2).float()


def order_of(clips: torch.Tensor) -> list[list[int]]:
    """The frame numbers of every clip; also checks that frames stay whole and clips in place."""
    assert torch.equal(clips, clips[:, :1, :, :1, :1].expand_as(clips)), "channels and pixels must go along"
    values = clips[:, 0, :, 0, 0].long()
    assert (values // 100 == torch.arange(len(clips))[:, None]).all(), "a frame moved to another clip"
    return (values % 100).tolist()


def test_each_order():
    clips, plain = numbered(), list(range(FRAMES))
    kept = clips.clone()
    assert order_of(reorder_frames(clips, "in order", index=3)) == [plain] * 6
    assert order_of(reorder_frames(clips, "reversed", index=3)) == [plain[::-1]] * 6
    assert order_of(reorder_frames(clips, "first frame", index=3)) == [[0] * FRAMES] * 6
    shuffled = order_of(reorder_frames(clips, "shuffled", index=3))
    assert all(sorted(order) == plain for order in shuffled) and all(order != plain for order in shuffled)
    assert all(reorder_frames(clips, order, index=0).shape == clips.shape for order in ORDERS)
    assert torch.equal(clips, kept), "the clips that came in stay as they were"


def test_reversing_twice_is_nothing():
    clips = torch.rand(2, 3, 5, 4, 4)
    once = reorder_frames(clips, "reversed", index=0)
    assert not torch.equal(once, clips)
    assert torch.equal(reorder_frames(once, "reversed", index=0), clips)


def test_every_view_has_its_own_order_and_its_crops_share_it():
    orders = order_of(reorder_frames(numbered(), "shuffled", index=3, crops=3))
    assert orders[0] == orders[1] == orders[2] != orders[3] == orders[4] == orders[5]
    single = order_of(reorder_frames(numbered(2), "shuffled", index=3))
    assert single == [orders[0], orders[3]], "with one crop or three, view v has the same order"
    assert len({tuple(order) for order in order_of(reorder_frames(numbered(), "shuffled", index=3))}) == 6


def test_a_shuffled_order_depends_on_seed_video_and_view_alone():
    first = order_of(reorder_frames(numbered(), "shuffled", index=3, seed=1))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert order_of(reorder_frames(numbered(), "shuffled", index=3, seed=1)) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert order_of(reorder_frames(numbered(), "shuffled", index=4, seed=1)) != first
    assert order_of(reorder_frames(numbered(), "shuffled", index=3, seed=2)) != first
    assert shuffled_order(8, 0, 0, 0) == [4, 5, 1, 2, 3, 7, 0, 6], "results of earlier versions must stay what they are"
    assert shuffled_order(8, 1, 11, 1) != shuffled_order(8, 11, 1, 1) != shuffled_order(8, 1, 1, 11)


def test_all_orders_are_equally_likely():
    counts = Counter(tuple(shuffled_order(3, 0, index, 0)) for index in range(3000))
    assert len(counts) == 6 and all(400 < count < 600 for count in counts.values())  # 500 +- 20


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no order 'backwards' of frames; choose one of 'in order', 'shuffled'"):
        reorder_frames(numbered(), "backwards", index=0)
    with pytest.raises(ValueError, match=r"R a multiple of crops=3, got \(4, 3, 8, 2, 2\)"):
        reorder_frames(numbered(4), "shuffled", index=0, crops=3)
    with pytest.raises(ValueError, match=r"\(R, 3, T, H, W\)"):
        reorder_frames(numbered(4)[0], "shuffled", index=0)
