"""Where a training stands, and what of it goes into a checkpoint (Chapter 8)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from mvit_edu.distributed import current, from_first, gather
from mvit_edu.training.config import TrainConfig
from mvit_edu.training.parallel import load_whole_state, whole_state
from mvit_edu.training.recipe import Recipe
from mvit_edu.training.sampler import TrainSampler
from mvit_edu.training.state import FORMAT, Checkpoints, random_states, versions

MUST_AGREE = ("seed", "precision")  # of TrainConfig, to go on with a run
VIDEOS_PER_STEP = "videos a step (batch x accumulate x processes)"


@dataclass
class Progress:
    """Where a training stands: steps done, best validation result, and sums since the last row of the log."""

    step: int = 0
    best: float | None = None
    count: int = 0
    loss: float = 0.0
    grad_norm: float = 0.0
    waited: float = 0.0
    seconds: float = 0.0

    def add(self, loss: float, grad_norm: float, waited: float, seconds: float) -> None:
        self.step += 1
        self.count += 1
        self.loss += loss
        self.grad_norm += grad_norm
        self.waited += waited
        self.seconds += seconds

    def row(self, clips_per_step: int) -> dict[str, float]:
        """Means since the last call: loss, gradient norm, speed, and the share of the time spent waiting for data."""
        row = {
            "loss": self.loss / self.count,
            "grad_norm": self.grad_norm / self.count,
            "clips_per_second": round(self.count * clips_per_step / self.seconds, 2),
            "wait": round(self.waited / self.seconds, 4),
        }
        self.count, self.loss, self.grad_norm, self.waited, self.seconds = 0, 0.0, 0.0, 0.0, 0.0
        return row


def describe(model: nn.Module, train: Dataset, recipe: Recipe, config: TrainConfig) -> dict:
    """All settings of a run as plain values, for its checkpoints."""
    made, spec = getattr(model, "config", None), getattr(train, "spec", None)
    return {
        "model": dataclasses.asdict(made) if dataclasses.is_dataclass(made) else {},
        "recipe": {key: value for key, value in dataclasses.asdict(recipe).items() if key != "sources"},
        "train": dataclasses.asdict(config),
        "processes": current().size,
        "videos": len(train),
        "classes": tuple(train.classes),
        "spec": dataclasses.asdict(spec) if dataclasses.is_dataclass(spec) else {},
    }


def pack(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    sampler: TrainSampler,
    rate: float,
    settings: dict,
) -> dict:
    """What a checkpoint holds. Chapter 8.

    All processes must call it; the weights and what the optimizer keeps are in the dictionary of rank 0 only.
    """
    model_state, optimizer_state = whole_state(model, optimizer)
    epoch, position = sampler.position(progress.step)
    return {
        "format": FORMAT,
        "model_state": model_state,
        "optimizer_state": optimizer_state,
        "progress": dataclasses.asdict(progress),
        "schedule": {"steps": sampler.steps, "steps_per_epoch": sampler.steps_per_epoch, "learning_rate": rate},
        "sampler": {"seed": sampler.seed, "epoch": epoch, "position": position},
        "random": random_states(),
        "settings": settings,
        "versions": versions(),
    }


def resume(path: Path, state: dict, model: nn.Module, optimizer: torch.optim.Optimizer, settings: dict) -> Progress:
    """Put model and optimizer into the state of a checkpoint.

    Raises:
        ValueError: it belongs to a training with other settings; names the first that differs.
    """
    old, new = (comparable(one) for one in (state["settings"], settings))
    for key in new:
        if old.get(key) != new[key]:
            raise ValueError(
                f"{path} belongs to a run with {key}={old.get(key)!r}, and this one has {key}={new[key]!r}; give the "
                "same settings to go on with it, or another folder for a new run."
            )
    load_whole_state(model, optimizer, (state["model_state"], state["optimizer_state"]))
    return Progress(**state["progress"])


def comparable(settings: dict) -> dict:
    """The settings that must be the same to go on with a run."""
    alike = {key: settings[key] for key in ("videos", "classes", "spec")}
    alike |= {key: settings["train"][key] for key in MUST_AGREE}
    alike[VIDEOS_PER_STEP] = videos_per_step(settings)
    return alike | settings["recipe"] | settings["model"]


def common(settings: dict, validates: bool) -> dict:
    """The settings that all processes must share: those above, and what sets who waits for whom."""
    alike = {key: settings["train"][key] for key in ("batch", "accumulate", "parallel", "validate_every")}
    return comparable(settings) | alike | {"validation": validates}


def videos_per_step(settings: dict) -> int:
    return settings["train"]["batch"] * settings["train"]["accumulate"] * settings["processes"]


def newest(checkpoints: Checkpoints) -> tuple[Path, dict, list[str]] | None:
    """The newest whole checkpoint, as `Checkpoints.latest` finds it on rank 0. The others get it without weights.

    Raises:
        ValueError: rank 0 does not see the newest one, because the hosts do not share the folder.
    """
    first = current().first
    steps = gather(max((int(path.stem[5:]) for path in checkpoints.files()), default=-1))
    if max(steps) > steps[0]:
        raise ValueError(
            f"Rank {steps.index(max(steps))} has a checkpoint of step {max(steps)} in {checkpoints.folder}, and rank 0 "
            "has not; give --out a folder that all hosts share."
        )
    found = checkpoints.latest() if first else None
    light = found and (found[0], {**found[1], "model_state": {}, "optimizer_state": {}}, found[2])
    light = from_first(light)
    return found if first else light


def same_step(config: TrainConfig, settings: dict) -> TrainConfig:
    """With another number of processes, the config with `accumulate` such that a step has as many videos as before."""
    size, wanted = current().size, videos_per_step(settings)
    if settings["processes"] == size or wanted % (config.batch * size):
        return config
    return dataclasses.replace(config, accumulate=wanted // (config.batch * size))
