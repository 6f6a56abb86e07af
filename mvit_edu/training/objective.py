"""From clips and labels to the number that a training makes small (Chapter 8)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mvit_edu.data.mixing import MixUpCutMix, soft_targets
from mvit_edu.training.recipe import Recipe


class Objective:
    """Targets and loss of a recipe: mixed clips with soft targets, or several labels a clip. Chapter 8.

    Args:
        recipe: `loss`, `mixup`, `cutmix`, `switch` and `smoothing` are used.
        num_classes: number of logits.
    """

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        self.recipe = recipe
        self.num_classes = num_classes
        mixing = recipe.mixup or recipe.cutmix
        amounts = (recipe.mixup, recipe.cutmix, recipe.switch, recipe.smoothing)
        self.mix = MixUpCutMix(num_classes, *amounts) if mixing else None

    def prepare(self, clips: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Clips (B, 3, T, H, W) and labels -> clips, mixed if the recipe says so, and targets (B, num_classes).

        Labels are class numbers (B,), or for the loss "bce" a float (B, num_classes) of 0 and 1.
        """
        if (self.recipe.loss == "bce") != labels.is_floating_point():
            have = "several labels" if labels.is_floating_point() else "one label"
            want = "one label" if labels.is_floating_point() else "several labels"
            raise ValueError(
                f"The list gives {have} a video, and the loss {self.recipe.loss!r} of the recipe {self.recipe.name!r} "
                f"takes {want}; choose another recipe, or another loss."
            )
        if self.recipe.loss == "bce":
            if labels.shape[1:] != (self.num_classes,):
                raise ValueError(f"The list has {labels.shape[1]} classes, and the model {self.num_classes}.")
            return clips, labels
        if labels.numel() and int(labels.min()) < 0:
            raise ValueError("A video of the training list has no label; remove it from the list.")
        if self.mix is not None:
            return self.mix(clips, labels)
        return clips, soft_targets(labels, self.num_classes, self.recipe.smoothing)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Logits and targets (B, num_classes) -> the mean over the batch, in float32.

        "cross_entropy": -Σ_c t_c log softmax(z)_c for each clip. "bce": the binary cross-entropy of every class,
        averaged over the classes, from logits (the released code takes it from probabilities, which overflows sooner).
        """
        logits = logits.float()
        if self.recipe.loss == "bce":
            return F.binary_cross_entropy_with_logits(logits, targets.float())
        return F.cross_entropy(logits, targets)
