"""How the models of the paper were trained, value by value, and where each value comes from (Chapter 8)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import torch
from torch import nn

CHOICES = {
    "optimizer": ("adamw", "sgd"),
    "loss": ("cross_entropy", "bce"),
    "augmentation": ("kinetics", "ssv2", "charades", "ava", "imagenet", "none"),
    "sampling": ("window", "stride", "segments"),
}


@dataclass(frozen=True)
class Recipe:
    """The settings of a training that do not depend on the machine. Chapter 8.

    The learning rate grows linearly for `warmup_epochs`, then falls by half a cosine. `lr`, `start_lr` and `end_lr`
    hold for `lr_clips` clips a step and are scaled in proportion to the clips that a step really has, on all
    devices together, augmented copies counted (Goyal et al. 2017; `learning_rate`).

    Args:
        optimizer: "adamw", or "sgd" with Nesterov momentum.
        lr: the highest learning rate.
        start_lr: the learning rate of the first step.
        end_lr: the learning rate at the end.
        lr_clips: clips a step for which the three rates hold.
        epochs: passes over the list of videos, fractions allowed.
        warmup_epochs: epochs in which the rate grows.
        cosine_after_warmup: whether the cosine begins where the warm-up ends (released code), or runs over the whole
            training, with the warm-up leading up to its value there (the formula of Appendix D.1).
        weight_decay: of all parameters with two or more axes, see `parameter_groups`.
        momentum: of SGD.
        betas: of AdamW.
        layer_decay: factor on the learning rate from each block to the one before it; 1 for none.
        clip_norm: largest L2 norm of all gradients together; None for no clipping.
        repeats: augmented copies of every clip in a step (repeated augmentation).
        spread_classes: whether the order of an epoch spreads each class evenly, so that batches hold about equally
            many clips of each; otherwise it is a plain permutation.
        mixup: α of MixUp; 0 for none.
        cutmix: α of CutMix; 0 for none.
        switch: probability of CutMix where both are on.
        smoothing: label smoothing; 0 for none.
        drop_path: rate of stochastic depth in the last block.
        dropout: rate of dropout before the classifier.
        loss: "cross_entropy" for one class a video, "bce" for several.
        augmentation: a name for `recipe_transforms`, or "none": the middle of the frame as it is.
        sampling: how the frames of a clip are placed, as in `ClipSpec`.
        stride: τ, the step between frames; None takes it from the name of the model (4 for mvit_b_16x4).
        fps: frames per second in which τ counts; None counts the frames of the file.
        protocol: how the trained model is tested, a name from `mvit_edu.evaluation.PROTOCOLS`.
        sources: for each field, "paper", "code" (released; the paper is silent or says otherwise) or "ours".

    Raises:
        ValueError: for a value that cannot be used.
    """

    name: str
    optimizer: str = "adamw"
    lr: float = 1.6e-3
    start_lr: float = 1.6e-5
    end_lr: float = 1.6e-5
    lr_clips: int = 512
    epochs: float = 200
    warmup_epochs: float = 30
    cosine_after_warmup: bool = True
    weight_decay: float = 0.05
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0
    clip_norm: float | None = 1.0
    repeats: int = 2
    spread_classes: bool = False
    mixup: float = 0.8
    cutmix: float = 1.0
    switch: float = 0.5
    smoothing: float = 0.1
    drop_path: float = 0.2
    dropout: float = 0.5
    loss: str = "cross_entropy"
    augmentation: str = "kinetics"
    sampling: str = "window"
    stride: int | None = None
    fps: float | None = 30.0
    protocol: str = "paper"
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; use one of {', '.join(allowed)}.")
        if self.loss == "bce" and (self.mixup or self.cutmix or self.smoothing):
            raise ValueError("Clips with several labels are not mixed or smoothed; set mixup, cutmix, smoothing to 0.")
        if not 0 <= self.warmup_epochs <= self.epochs or not 0 < self.epochs < math.inf:
            raise ValueError(f"warmup_epochs={self.warmup_epochs} must lie between 0 and epochs={self.epochs}.")
        if not self.lr > 0 or min(self.start_lr, self.end_lr, self.weight_decay) < 0:
            raise ValueError(f"lr={self.lr} must be above 0; start_lr, end_lr and weight_decay must not be below.")
        if not 0 < self.layer_decay <= 1 or self.repeats < 1 or self.lr_clips < 1:
            raise ValueError(
                f"layer_decay={self.layer_decay} must lie in (0, 1]; repeats={self.repeats} and "
                f"lr_clips={self.lr_clips} must be at least 1."
            )
        if not isinstance(self.betas, tuple) or len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas} must be two numbers from 0 up to but not including 1.")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm={self.clip_norm} must be above 0, or None for no clipping.")
        if not (0 <= self.drop_path < 1 and 0 <= self.dropout < 1 and 0 <= self.smoothing < 1):
            raise ValueError(
                f"drop_path={self.drop_path}, dropout={self.dropout} and smoothing={self.smoothing} must be at least 0 "
                "and below 1."
            )

    def changed(self, **values: object) -> Recipe:
        """The recipe with other values; where one differs, its source becomes "yours"."""
        unknown = set(values) - {one.name for one in fields(self)}
        if unknown:
            raise ValueError(f"A recipe has no field {', '.join(sorted(unknown))}.")
        mine = {name: "yours" for name, value in values.items() if value != getattr(self, name)}
        return replace(self, **values, sources={**self.sources, **mine})

    def __str__(self) -> str:
        """One line a field: name, value, source."""
        shown = [(one.name, getattr(self, one.name)) for one in fields(self) if one.name not in ("name", "sources")]
        lines = [f"recipe {self.name}"]
        for name, value in shown:
            text = f"{value:g}" if isinstance(value, float) else str(value)
            lines.append(f"  {name:<20} {text:<16} {self.sources.get(name, 'yours')}")
        return "\n".join(lines)


def learning_rate(recipe: Recipe, epoch: float, clips_per_step: int) -> float:
    """The learning rate at a point of the training. Chapter 8.

        warm-up:   start + (cosine(w) - start) · e / w
        then:      cosine(e) = end + (lr - end) · (1 + cos(π · (e - b) / (E - b))) / 2

    with e epochs done, E in all, w of warm-up, and b = w (released code) or 0 (the paper's formula); all three
    rates times clips_per_step / lr_clips. Source: Appendix D.1; the released code sets it at every step.

    Args:
        epoch: passes over the data done so far, with the fraction of the running one.
        clips_per_step: clips behind one optimizer step: on all devices, over all accumulated batches, with copies.
    """
    if clips_per_step < 1:
        raise ValueError(f"clips_per_step={clips_per_step} must be at least 1.")

    def cosine(done: float) -> float:
        begin = recipe.warmup_epochs if recipe.cosine_after_warmup else 0.0
        length = recipe.epochs - begin
        share = (done - begin) / length if length > 0 else 0.0
        return recipe.end_lr + (recipe.lr - recipe.end_lr) * (1 + math.cos(math.pi * share)) / 2

    epoch = min(max(epoch, 0.0), recipe.epochs)
    if epoch < recipe.warmup_epochs:
        rate = recipe.start_lr + (cosine(recipe.warmup_epochs) - recipe.start_lr) * epoch / recipe.warmup_epochs
    else:
        rate = cosine(epoch)
    return rate * clips_per_step / recipe.lr_clips


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict]:
    """Parameters in groups for an optimizer, each with `weight_decay`, `lr_scale` and the `names`. Chapter 8.

    Parameters with one axis, and biases, are not decayed: they are the scales and shifts of norms and linear layers.
    All others are, in the released code also the class token, the positions and the depthwise convolutions of the
    pooling. With `layer_decay` = r < 1, block i of L learns at r^(L - i) times the rate, the embeddings at
    r^(L + 1), the last norm and the head at 1.
    """
    depth = len(getattr(model, "blocks", ()))
    groups: dict[tuple[bool, float], dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim > 1 and not name.endswith(".bias")
        scale = recipe.layer_decay ** layers_above(name, depth)
        group = groups.setdefault(
            (decayed, scale),
            {"params": [], "names": [], "weight_decay": recipe.weight_decay if decayed else 0.0, "lr_scale": scale},
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def layers_above(name: str, depth: int) -> int:
    """How many layers lie between a parameter and the head of a model with `depth` blocks. Chapter 8."""
    if name.startswith("blocks."):
        return depth - int(name.split(".")[1])
    return depth + 1 if name.startswith(("patch_embed", "pos_embed", "cls_token")) else 0


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum, over `parameter_groups`. Chapter 8."""
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its rate: `rate` times the group's `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)
