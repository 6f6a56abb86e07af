"""Counts and averages over the videos of a test, each video once (Chapter 10)."""

from __future__ import annotations

import torch


def ranking(scores: torch.Tensor) -> torch.Tensor:
    """Classes from the highest score to the lowest: (N, C) -> int64 (N, C). Chapter 10.

    Of equal scores the lower class comes first, so a model that gives all classes the same score answers 0.
    """
    return scores.argsort(dim=1, descending=True, stable=True)


def top_k_correct(scores: torch.Tensor, labels: torch.Tensor, k: int = 1) -> int:
    """How many videos have their class among the k highest scores. Chapter 10.

    Args:
        scores: (N, C). labels: int64 (N,).
        k: at least 1; from C on, every video counts.
    """
    if k < 1:
        raise ValueError(f"k={k} must be at least 1.")
    _check(scores, labels)
    return int((ranking(scores)[:, :k] == labels[:, None]).sum())


def confusion_matrix(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Videos of class i that were called j, in row i and column j: (N, C), (N,) -> int64 (C, C). Chapter 10."""
    _check(scores, labels)
    classes = scores.shape[1]
    pairs = labels * classes + ranking(scores)[:, 0]  # (N,), one number for (true, called)
    return torch.bincount(pairs, minlength=classes**2).unflatten(0, (classes, classes))


def average_precision(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Average precision of every class: scores and targets (N, C) -> float32 (C,), NaN where no video has the class.

    Σ_n (recall_n - recall_(n-1)) · precision_n over the distinct scores, from the highest to the lowest, as
    torchmetrics has it; videos with equal scores count as one step. The released code, too, leaves out the classes
    that no video has before it averages.

    Args:
        scores: in [0, 1]. targets: 1 where a video has the class, otherwise 0.

    Raises:
        ImportError: if torchmetrics is not installed.
    """
    if scores.shape != targets.shape or scores.ndim != 2:
        raise ValueError(
            f"Want scores and targets (N, C) of one shape, got {tuple(scores.shape)} and {tuple(targets.shape)}."
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("Average precision wants scores from 0 to 1: apply a sigmoid to logits first.")
    try:
        from torchmetrics.functional.classification import binary_average_precision
    except ImportError as error:
        raise ImportError('Mean average precision needs torchmetrics: pip install "mvit_edu[train]"') from error
    result = torch.full((scores.shape[1],), torch.nan)
    for k in targets.any(dim=0).nonzero().flatten().tolist():  # torchmetrics warns of the others
        result[k] = binary_average_precision(scores[:, k], targets[:, k].long())
    return result


def _check(scores: torch.Tensor, labels: torch.Tensor) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"Want scores (N, C) and one class number a video, (N,), got {tuple(scores.shape)} and {labels.dtype} "
            f"{tuple(labels.shape)}; for videos with several labels use the mean average precision."
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < scores.shape[1]:
        raise ValueError(
            f"With {scores.shape[1]} scores a video, labels lie between 0 and {scores.shape[1] - 1}, "
            f"got {int(labels.min())} to {int(labels.max())}."
        )
