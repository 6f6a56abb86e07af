"""MixUp and CutMix: values by hand, λ against the pixels, and the draw against the recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvit_edu.data.mixing import MixUpCutMix, soft_targets


def batch(size=3, frames=2, height=6, width=8) -> tuple[torch.Tensor, torch.Tensor]:
    """Clip b has the value b + 1 everywhere."""
    clips = torch.arange(1.0, size + 1)[:, None, None, None, None].expand(size, 3, frames, height, width)
    return clips.contiguous(), torch.arange(size)


def with_draw(mix: MixUpCutMix, kept: float, box) -> MixUpCutMix:
    mix.draw = lambda height, width: (kept, box)
    return mix


def test_soft_targets_by_hand():
    targets = soft_targets(torch.tensor([2, 0]), 4, smoothing=0.1)
    assert torch.allclose(targets, torch.tensor([[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]))
    assert torch.equal(soft_targets(torch.tensor([1]), 3), torch.tensor([[0.0, 1.0, 0.0]]))
    assert targets.dtype == torch.float32


def test_mixup_by_hand():
    clips, labels = batch()
    mixed, targets = with_draw(MixUpCutMix(3, smoothing=0.3), 0.75, None)(clips, labels)
    # 0.75 * (1, 2, 3) + 0.25 * (3, 2, 1); smoothing: off 0.1, on 0.8
    assert torch.allclose(mixed[:, 0, 0, 0, 0], torch.tensor([1.5, 2.0, 2.5]))
    assert (mixed == mixed[:, :1, :1, :1, :1]).all()
    wanted = torch.tensor([[0.625, 0.1, 0.275], [0.1, 0.8, 0.1], [0.275, 0.1, 0.625]])
    assert torch.allclose(targets, wanted)


def test_cutmix_by_hand():
    clips, labels = batch(size=2)
    box = (1, 4, 2, 6)  # 3 x 4 of 6 x 8 pixels: a quarter
    mixed, targets = with_draw(MixUpCutMix(2, smoothing=0.0), 0.75, box)(clips, labels)
    wanted = torch.ones(6, 8)
    wanted[1:4, 2:6] = 2
    assert (mixed[0] == wanted).all()  # in every channel and frame
    assert (mixed[1] == 3 - wanted).all()
    assert torch.allclose(targets, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))


def test_lambda_is_the_share_of_pixels_kept():
    torch.manual_seed(0)
    clips, labels = batch(size=2, height=14, width=9)
    mix = MixUpCutMix(2, mixup=0.0, smoothing=0.0)
    shares, sizes = [], set()
    for _ in range(300):
        mixed, targets = mix(clips, labels)
        share = (mixed[0] == 1).double().mean().item()
        assert targets[0, 0].item() == pytest.approx(share, abs=1e-6)
        assert set(mixed.unique().tolist()) <= {1.0, 2.0}
        box = mixed[0, 0, 0] == 2
        rows, columns = box.any(1).sum().item(), box.any(0).sum().item()
        assert box.sum().item() == rows * columns
        sizes.add((rows % 2, columns % 2))
        shares.append(share)
    assert len(set(shares)) > 20
    assert len(sizes) > 1  # the border cut some of the boxes, whose sides are even before


def test_boxes_lie_everywhere_and_have_the_size_of_lambda(monkeypatch):
    torch.manual_seed(0)
    mix = MixUpCutMix(2, mixup=0.0)
    beta = torch.distributions.Beta
    monkeypatch.setattr(beta, "sample", lambda self: torch.tensor(0.75))  # a box with half of each side
    boxes = np.array([mix.draw(100, 60)[1] for _ in range(4000)])
    top, bottom, left, right = boxes.T
    whole = (top > 0) & (bottom < 100) & (left > 0) & (right < 60)
    assert set(bottom[whole] - top[whole]) == {50} and set(right[whole] - left[whole]) == {30}
    for low, high, size in ((top, bottom, 100), (left, right, 60)):  # the middles are uniform
        middles = (low + high)[whole] / 2
        drawn = np.histogram(middles, bins=4, range=(size / 4 + 1, size * 3 / 4))[0] / whole.sum()
        assert drawn == pytest.approx([0.25] * 4, abs=0.06)
    assert top.min() == 0 and bottom.max() == 100 and left.min() == 0 and right.max() == 60
    assert ((top >= 0) & (top <= bottom) & (bottom <= 100) & (left >= 0) & (left <= right) & (right <= 60)).all()


def test_one_coin_a_batch_and_the_two_beta_distributions():
    torch.manual_seed(0)
    mix, count = MixUpCutMix(2), 4000
    draws = [mix.draw(64, 64) for _ in range(count)]
    mixup = np.array([kept for kept, box in draws if box is None])
    cutmix = np.array([kept for kept, box in draws if box is not None])
    assert len(cutmix) / count == pytest.approx(0.5, abs=0.03)
    assert mixup.mean() == pytest.approx(0.5, abs=0.02)
    assert mixup.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.006)  # Beta(0.8, 0.8); uniform has 0.0833
    assert cutmix.mean() > 0.55  # clipping keeps more than Beta(1, 1) says
    alone = MixUpCutMix(2, cutmix=0.0)
    assert all(alone.draw(8, 8)[1] is None for _ in range(50))
    alone = MixUpCutMix(2, mixup=0.0)
    assert all(alone.draw(8, 8)[1] is not None for _ in range(50))


def test_the_unclipped_lambda_of_cutmix_is_uniform(monkeypatch):
    torch.manual_seed(0)
    real, seen = torch.distributions.Beta.sample, []

    def listen(self):
        seen.append((float(self.concentration1), float(self.concentration0), float(real(self))))
        return torch.tensor(seen[-1][2])

    monkeypatch.setattr(torch.distributions.Beta, "sample", listen)
    mix = MixUpCutMix(2)
    boxes = [mix.draw(64, 64)[1] for _ in range(1000)]
    for (one, zero, _), box in zip(seen, boxes, strict=True):
        assert one == zero == pytest.approx(0.8 if box is None else 1.0)
    uniform = np.array([kept for (_, _, kept), box in zip(seen, boxes, strict=True) if box is not None])
    assert np.histogram(uniform, bins=4, range=(0, 1))[0] / len(uniform) == pytest.approx([0.25] * 4, abs=0.07)


def test_targets_sum_to_one_and_the_input_stays():
    torch.manual_seed(0)
    clips = torch.randn(5, 3, 2, 7, 7)
    before, labels = clips.clone(), torch.tensor([3, 1, 0, 1, 9])
    mix = MixUpCutMix(10)
    for _ in range(40):
        mixed, targets = mix(clips, labels)
        assert torch.allclose(targets.sum(1), torch.ones(5))
        assert (targets >= 0.01 - 1e-6).all()
        assert torch.allclose(mixed[2], clips[2], atol=1e-6)  # the middle one is its own partner
        assert mixed.shape == clips.shape and targets.shape == (5, 10)
        assert torch.equal(clips, before)


def test_all_off_is_label_smoothing_alone():
    clips, labels = batch()
    mixed, targets = MixUpCutMix(3, mixup=0.0, cutmix=0.0)(clips, labels)
    assert torch.equal(mixed, clips)
    assert torch.equal(targets, soft_targets(labels, 3, 0.1))


def test_the_seed_fixes_the_draw():
    clips, labels = torch.randn(4, 3, 2, 9, 9), torch.arange(4)
    mix, results = MixUpCutMix(4), []
    for _ in range(2):
        torch.manual_seed(5)
        results.append([mix(clips, labels) for _ in range(6)])
    for first, second in zip(*results, strict=True):
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert len({float(targets.sum(0)[0]) for _, targets in results[0]}) > 1


def test_half_precision_clips():
    clips, labels = batch()
    mixed, targets = MixUpCutMix(3)(clips.bfloat16(), labels)
    assert mixed.dtype == torch.bfloat16 and targets.dtype == torch.float32


@pytest.mark.parametrize(
    ("clips", "labels", "words"),
    [
        (torch.rand(3, 2, 8, 8), torch.tensor([0, 1, 2]), r"takes float clips \(B, 3, T, H, W\)"),
        (torch.zeros(2, 3, 2, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), "float clips"),
        (torch.rand(2, 3, 2, 8, 8), torch.tensor([0, 1, 2]), "one class number a clip"),
        (torch.rand(2, 3, 2, 8, 8), torch.rand(2, 4), "clips with several labels are not mixed"),
        (torch.rand(2, 3, 2, 8, 8), torch.tensor([0, 4]), "labels lie between 0 and 3, got 0 to 4"),
        (torch.rand(2, 3, 2, 8, 8), torch.tensor([-1, 0]), "got -1 to 0"),
        (torch.rand(2, 3, 2, 8, 8), torch.tensor([0.0, 1.0]), "class numbers"),
    ],
)
def test_bad_batches_are_refused(clips, labels, words):
    with pytest.raises(ValueError, match=words):
        MixUpCutMix(4)(clips, labels)


@pytest.mark.parametrize("arguments", [{"mixup": -1.0}, {"cutmix": -0.1}, {"switch": 1.1}])
def test_impossible_settings_are_refused(arguments):
    with pytest.raises(ValueError, match="MixUpCutMix needs"):
        MixUpCutMix(4, **arguments)
    with pytest.raises(ValueError, match="smoothing must lie between"):
        soft_targets(torch.tensor([0]), 2, smoothing=2.0)
