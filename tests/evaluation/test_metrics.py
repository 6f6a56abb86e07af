"""Top-k, confusion and average precision: by hand, against plain loops, and where scores are equal."""

from __future__ import annotations

import sys
import warnings

import pytest
import torch

from mvit_edu.evaluation import average_precision, confusion_matrix, ranking, top_k_correct

SCORES = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.35, 0.25], [0.2, 0.5, 0.3]])
LABELS = torch.tensor([0, 1, 1, 1])


def test_top_k_by_hand():
    assert [top_k_correct(SCORES, LABELS, k) for k in (1, 2, 3, 5)] == [2, 4, 4, 4]
    assert [top_k_correct(SCORES, torch.tensor([2, 0, 2, 0]), k) for k in (1, 2, 3)] == [0, 0, 4]


def test_confusion_by_hand():
    matrix = confusion_matrix(SCORES, LABELS)  # rows: the true class
    assert matrix.tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]] and matrix.dtype == torch.int64


def test_against_plain_loops():
    scores = torch.randint(4, (200, 7)) / 4  # many equal scores
    labels = torch.randint(7, (200,))
    matrix = [[0] * 7 for _ in range(7)]
    correct = dict.fromkeys(range(1, 9), 0)
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        ranked = sorted(range(7), key=lambda c: (-row[c], c))
        matrix[label][ranked[0]] += 1
        for k in correct:
            correct[k] += label in ranked[:k]
    assert confusion_matrix(scores, labels).tolist() == matrix
    assert {k: top_k_correct(scores, labels, k) for k in correct} == correct


def test_a_model_that_cannot_decide_answers_the_first_class():
    scores, labels = torch.full((10, 6), 1 / 6), torch.tensor([0, 1, 2, 3, 4, 5, 5, 5, 5, 5])
    assert ranking(scores)[0].tolist() == [0, 1, 2, 3, 4, 5]
    assert top_k_correct(scores, labels, 1) == 1 and top_k_correct(scores, labels, 5) == 5
    assert confusion_matrix(scores, labels)[:, 0].tolist() == [1, 1, 1, 1, 1, 5]


def precision_by_hand(scores: list[float], targets: list[int]) -> float:
    """Area under the steps of the precision-recall curve, one step for each distinct score."""
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [target for score, target in zip(scores, targets, strict=True) if score >= threshold]
        found = sum(taken) / sum(targets)
        area += (found - recall) * sum(taken) / len(taken)
        recall = found
    return area


def test_average_precision_by_hand():
    scores = torch.tensor([[0.9, 0.5, 0.1, 0.9], [0.8, 0.5, 0.2, 0.8], [0.7, 0.5, 0.3, 0.7], [0.6, 0.5, 0.4, 0.6]])
    targets = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = average_precision(scores, targets)
    # class 0: (1/1 + 2/3 + 3/4) / 3; class 1: all scores equal, one of four is right; class 2: the right one is last
    torch.testing.assert_close(result[:3], torch.tensor([29 / 36, 1 / 4, 1 / 4]))
    assert result[3].isnan(), "no video has class 3"
    assert average_precision(scores, torch.zeros_like(targets)).isnan().all()
    assert average_precision(scores, torch.ones_like(targets)).tolist() == [1] * 4


def test_average_precision_against_a_plain_loop():
    scores = torch.randint(9, (60, 5)) / 8
    targets = (torch.rand(60, 5) < 0.3).float()
    expected = [precision_by_hand(scores[:, k].tolist(), targets[:, k].int().tolist()) for k in range(5)]
    torch.testing.assert_close(average_precision(scores, targets), torch.tensor(expected))


def test_without_torchmetrics(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    with pytest.raises(ImportError, match=r'needs torchmetrics: pip install "mvit_edu\[train\]"'):
        average_precision(torch.ones(2, 2), torch.ones(2, 2))
    assert top_k_correct(SCORES, LABELS) == 2


def test_what_cannot_be():
    with pytest.raises(ValueError, match="k=0"):
        top_k_correct(SCORES, LABELS, 0)
    with pytest.raises(ValueError, match=r"got \(4, 3\) and torch.int64 \(3,\)"):
        top_k_correct(SCORES, LABELS[:3])
    with pytest.raises(ValueError, match="several labels use the mean average precision"):
        confusion_matrix(SCORES, torch.ones(4, 3))
    with pytest.raises(ValueError, match="between 0 and 2, got 0 to 3"):
        confusion_matrix(SCORES, torch.tensor([0, 1, 2, 3]))
    with pytest.raises(ValueError, match="between 0 and 2, got -1 to 1"):
        top_k_correct(SCORES, torch.tensor([0, 1, -1, 1]))
    with pytest.raises(ValueError, match=r"of one shape, got \(4, 3\) and \(4,\)"):
        average_precision(SCORES, LABELS)
    with pytest.raises(ValueError, match="from 0 to 1"):
        average_precision(SCORES * 3, torch.ones(4, 3))


def test_average_precision_where_one_class_alone_has_videos():
    scores, targets = torch.tensor([[0.9, 0.5], [0.8, 0.4], [0.3, 0.1]]), torch.tensor([[1, 0], [0, 0], [1, 0]])
    result = average_precision(scores, targets)
    assert result[0].item() == pytest.approx((1 + 2 / 3) / 2) and result[1].isnan()
    assert average_precision(scores[:, :1], targets[:, :1]).item() == pytest.approx((1 + 2 / 3) / 2)
