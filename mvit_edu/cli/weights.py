"""From a file of weights, public or of a training here, to a model that knows its classes and its clips."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from mvit_edu.cli.parser import changes_of, configure
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.data.video_list import class_names
from mvit_edu.model.checkpoints import ADDRESSES, load_weights, read_checkpoint
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.dialects import to_native
from mvit_edu.model.mvit import MViT
from mvit_edu.training import Checkpoints
from mvit_edu.training.state import is_state

DEFAULT_STRIDE = 4


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode, and what its checkpoint says of the clips it was trained on."""

    model: MViT
    classes: tuple[str, ...]
    spec: ClipSpec
    protocol: str
    multi_label: bool
    about: str


def find_weights(source: str) -> str:
    """The file itself; of the folder of a run, the best checkpoint, or the newest where there is no best."""
    path = Path(source)
    if source in ADDRESSES or not path.is_dir():
        return source
    checkpoints = Checkpoints(path / "checkpoints" if (path / "checkpoints").is_dir() else path)
    if checkpoints.best.exists():
        return str(checkpoints.best)
    if not checkpoints.files():
        raise ValueError(f"{source} holds no checkpoint; give the folder of a training, or a file of weights.")
    return str(checkpoints.files()[0])


def load_model(
    parser: argparse.ArgumentParser, preset: str | None, changes: list[str], weights: str | None, stride: int | None
) -> Loaded:
    """The model of `weights`: as its own checkpoint describes it, or a preset with public weights in it."""
    if weights is None:
        preset = preset or "mvit_b_16x4"
        config = configure(parser, preset, changes)
        torch.manual_seed(0)
        about = f"{preset} is untrained (no --weights): its scores mean nothing."
        return Loaded(MViT(config).eval(), names_of(config.num_classes), public_spec(preset, config, stride), "center",
                      False, about)  # fmt: skip
    file = find_weights(weights)
    state = read_checkpoint(file)
    if is_state(state) and preset is None:
        return own_model(parser, file, state, changes, stride)
    preset = preset or "mvit_b_16x4"
    config = configure(parser, preset, changes)
    head = to_native(state).get("head.weight")  # (num_classes, dim)
    model = MViT(config if head is None else dataclasses.replace(config, num_classes=len(head)))
    about = f"{preset}: {load_weights(model, state)}"
    names = names_of(model.config.num_classes)
    return Loaded(model.eval(), names, public_spec(preset, config, stride), "paper", False, about)


def own_model(
    parser: argparse.ArgumentParser, file: str, state: Mapping, changes: list[str], stride: int | None
) -> Loaded:
    """The model of a checkpoint that `fit` wrote, which holds all its settings."""
    settings = state["settings"]
    if not settings["model"]:
        raise ValueError(f"{file} does not say which model it holds; give --model.")
    config = dataclasses.replace(MViTConfig(**settings["model"]), **changes_of(parser, changes))
    model = MViT(config)
    report = load_weights(model, state)
    spec = ClipSpec(**settings["spec"]) if settings["spec"] else ClipSpec(config.frames, stride or 1, fps=None)
    spec = dataclasses.replace(spec, stride=stride) if stride else spec
    recipe = settings["recipe"]
    steps = state["progress"]["step"]
    about = f"{file}: {report.loaded} tensors after step {steps}, recipe {recipe['name']}"
    classes = tuple(settings["classes"]) or names_of(config.num_classes)
    return Loaded(model.eval(), classes, spec, recipe["protocol"], recipe["loss"] == "bce", about)


def public_spec(preset: str, config: MViTConfig, stride: int | None) -> ClipSpec:
    """T×τ by the preset, as the released models saw their clips."""
    return ClipSpec(config.frames, stride or stride_of(preset))


def stride_of(preset: str) -> int:
    """τ of a preset whose name carries T×τ, such as mvit_b_32x3; otherwise 4."""
    match = re.search(r"_\d+x(\d+)", preset)
    return int(match[1]) if match else DEFAULT_STRIDE


def names_of(num_classes: int) -> tuple[str, ...]:
    """The names of Kinetics-400 in the order of all public checkpoints; for other data sets, numbers."""
    if num_classes == 400:
        return class_names("kinetics400")
    return tuple(f"class {index}" for index in range(num_classes))
