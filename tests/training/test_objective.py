"""Targets and losses against values worked out by hand and against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mvit_edu.training import Objective, get_recipe

PLAIN = get_recipe("kinetics").changed(mixup=0.0, cutmix=0.0, smoothing=0.0)
LOGITS = torch.tensor([[math.log(2.0), 0.0, 0.0], [0.0, 0.0, math.log(8.0)]])  # softmax (2 1 1) / 4, (1 1 8) / 10
CLIPS, LABELS = torch.zeros(2, 3, 1, 4, 4), torch.tensor([0, 2])


def loss_of(recipe, logits=LOGITS, labels=LABELS):
    objective = Objective(recipe, logits.shape[1])
    clips, targets = objective.prepare(CLIPS, labels)
    assert torch.equal(clips, CLIPS)
    return objective.loss(logits, targets)


def test_cross_entropy_by_hand():
    assert loss_of(PLAIN).item() == pytest.approx((math.log(2) + math.log(10 / 8)) / 2, abs=1e-6)
    torch.testing.assert_close(loss_of(PLAIN), nn.CrossEntropyLoss()(LOGITS, LABELS))


def test_label_smoothing_by_hand():
    """With s = 0.3 and three classes the targets are 0.8, 0.1, 0.1."""
    recipe = PLAIN.changed(smoothing=0.3)
    first = 0.8 * math.log(2) + 0.2 * math.log(4)
    second = 0.8 * math.log(10 / 8) + 0.2 * math.log(10)
    assert loss_of(recipe).item() == pytest.approx((first + second) / 2, abs=1e-6)
    torch.testing.assert_close(loss_of(recipe), nn.CrossEntropyLoss(label_smoothing=0.3)(LOGITS, LABELS))


def test_mixed_targets_by_hand():
    """MixUp pairs a clip with its partner from the reversed batch; the targets are mixed in the same shares."""
    recipe = PLAIN.changed(mixup=0.8, smoothing=0.1)
    objective = Objective(recipe, 3)
    clips = torch.stack([torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 4, 4)])
    mixed, targets = objective.prepare(clips, LABELS)
    kept = 1 - mixed[0].mean().item()  # the second clip is all ones
    smooth = 0.1 / 3
    expected = torch.full((2, 3), smooth)
    expected[0, 0] += 0.9 * kept
    expected[0, 2] += 0.9 * (1 - kept)
    expected[1] = expected[0].flip(0)
    torch.testing.assert_close(targets, expected, atol=1e-5, rtol=0)
    by_hand = -(expected * LOGITS.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(objective.loss(LOGITS, targets), by_hand)


def test_several_labels():
    recipe = get_recipe("charades")
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    loss = loss_of(recipe, LOGITS, labels)
    chance = LOGITS.sigmoid()
    by_hand = -(labels * chance.log() + (1 - labels) * (1 - chance).log()).mean()
    torch.testing.assert_close(loss, by_hand)
    torch.testing.assert_close(loss, F.multilabel_soft_margin_loss(LOGITS, labels))
    assert loss_of(recipe, 1e4 * LOGITS, labels).isfinite()


def test_the_loss_is_float32_whatever_the_logits_are():
    objective = Objective(PLAIN, 3)
    loss = objective.loss(LOGITS.bfloat16(), torch.eye(3)[LABELS])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, nn.CrossEntropyLoss()(LOGITS.bfloat16().float(), LABELS))


def test_labels_that_do_not_fit():
    with pytest.raises(ValueError, match="several labels a video, and the loss 'cross_entropy' of the recipe"):
        loss_of(PLAIN, labels=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="one label a video, and the loss 'bce'"):
        loss_of(get_recipe("charades"))
    with pytest.raises(ValueError, match="no label"):
        loss_of(PLAIN, labels=torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="The list has 4 classes, and the model 3"):
        loss_of(get_recipe("charades"), labels=torch.zeros(2, 4))
