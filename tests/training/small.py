"""A training small enough for a test, with everything random in it switched on."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mvit_edu import MViT, create_model
from mvit_edu.data import ClipDataset, MotionShapes
from mvit_edu.training import FitResult, TrainConfig, fit, get_recipe

RECIPE = get_recipe("motion_shapes").changed(epochs=3, mixup=0.8, cutmix=1.0, smoothing=0.1)
PER_EPOCH, STEPS = 5, 15


def small_model(seed: int = 0, **overrides) -> MViT:
    torch.manual_seed(seed)
    settings = dict(dim=8, depths=(1, 1), crop=16, cube_stride=(2, 4, 4), drop_path=0.3, dropout=0.2)
    return create_model("mvit_tiny", **{**settings, **overrides})


def clips(length: int = 20, split: str = "train") -> ClipDataset:
    return ClipDataset(MotionShapes(length, split, size=16))


def small_config(out: Path, **changes) -> TrainConfig:
    settings = dict(batch=4, workers=0, log_every=2, tensorboard=False, progress=False)
    return TrainConfig(str(out), **{**settings, **changes})


def run(out: Path, model: MViT | None = None, train=None, recipe=RECIPE, **changes) -> tuple[MViT, FitResult]:
    """Train a small model (or go on in `out`); the model and how far it came."""
    model = model or small_model()
    return model, fit(model, train or clips(), recipe, small_config(out, **changes), clips(12, "val"))


def rows(out: Path) -> list[dict]:
    """The log without the numbers that depend on the clock."""
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("clips_per_second", "wait")} for row in found]


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
