"""MixUp and CutMix for a batch of clips, and the soft targets they train with (Chapter 7)."""

from __future__ import annotations

import math

import torch
from torch import nn


class MixUpCutMix(nn.Module):
    """Mixes the clips of a batch in pairs, and their labels in the same shares (Appendix D.1). Chapter 7.

    One coin a batch decides: MixUp (Zhang et al. 2018) adds a clip and its partner, λ : 1 - λ; CutMix (Yun et al.
    2019) pastes a box of the partner over all frames, 1 - λ of the area, and where the border cuts the box, λ
    becomes the share that is really kept. λ is drawn once a batch from Beta(α, α). The partner is the clip at the
    same place of the reversed batch, so the middle one of an odd batch is its own partner. The paper speaks of
    half of the clips for each; the coin for the whole batch is the released code's.

    torchvision's MixUp and CutMix pair a clip with its neighbor, do not smooth labels, and take clips as
    (B, T, C, H, W) only, hence this class.

    Args:
        mixup, cutmix: α of each; 0 turns it off.
        switch: probability of CutMix, where both are on.
        smoothing: label smoothing, as in `soft_targets`.

    Shapes:
        (clips float (B, 3, T, H, W), labels (B,)) -> (clips of the same shape, targets float32 (B, num_classes)).
    """

    def __init__(
        self,
        num_classes: int,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        switch: float = 0.5,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        if mixup < 0 or cutmix < 0 or not 0 <= switch <= 1:
            raise ValueError(
                f"MixUpCutMix needs mixup and cutmix >= 0 and switch from 0 to 1, got {mixup}, {cutmix}, {switch}."
            )
        self.num_classes, self.mixup, self.cutmix, self.switch = num_classes, mixup, cutmix, switch
        self.smoothing = smoothing

    def draw(self, height: int, width: int) -> tuple[float, tuple[int, int, int, int] | None]:
        """λ, and for CutMix the box (top, bottom, left, right) in pixels, None for MixUp."""
        use_cutmix = self.cutmix > 0 and (self.mixup == 0 or float(torch.rand(())) < self.switch)
        alpha = self.cutmix if use_cutmix else self.mixup
        kept = float(torch.distributions.Beta(alpha, alpha).sample()) if alpha > 0 else 1.0
        if not use_cutmix:
            return kept, None
        half_height, half_width = (int(size * math.sqrt(1 - kept)) // 2 for size in (height, width))
        y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
        top, bottom = max(0, y - half_height), min(height, y + half_height)
        left, right = max(0, x - half_width), min(width, x + half_width)
        return 1 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right)

    def forward(self, clips: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if clips.ndim != 5 or not clips.is_floating_point() or labels.shape != clips.shape[:1]:
            raise ValueError(
                f"MixUpCutMix takes float clips (B, 3, T, H, W) and one class number a clip, (B,), got {clips.dtype} "
                f"{tuple(clips.shape)} and labels {tuple(labels.shape)}; clips with several labels are not mixed."
            )
        targets = soft_targets(labels, self.num_classes, self.smoothing)  # (B, num_classes)
        kept, box = self.draw(*clips.shape[-2:])
        if box is None:
            clips = torch.lerp(clips.flip(0), clips, kept)
        else:
            top, bottom, left, right = box
            mixed = clips.clone()
            mixed[..., top:bottom, left:right] = clips[..., top:bottom, left:right].flip(0)
            clips = mixed
        return clips, torch.lerp(targets.flip(0), targets, kept)

    def extra_repr(self) -> str:
        return (
            f"num_classes={self.num_classes}, mixup={self.mixup}, cutmix={self.cutmix}, switch={self.switch}, "
            f"smoothing={self.smoothing}"
        )


def soft_targets(labels: torch.Tensor, num_classes: int, smoothing: float = 0.0) -> torch.Tensor:
    """Class numbers as probabilities: (B,) -> float32 (B, num_classes), each row sums to 1. Chapter 7.

    With smoothing s and C classes, the right class gets 1 - s + s / C and every other one s / C.
    """
    if labels.ndim != 1 or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels must be class numbers (B,), got {labels.dtype} {tuple(labels.shape)}.")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must lie between 0 and 1, got {smoothing}.")
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        found = f"{int(labels.min())} to {int(labels.max())}"
        raise ValueError(f"With num_classes={num_classes}, labels lie between 0 and {num_classes - 1}, got {found}.")
    targets = torch.full((len(labels), num_classes), smoothing / num_classes, device=labels.device)
    return targets.scatter_(1, labels.long()[:, None], 1 - smoothing + smoothing / num_classes)
