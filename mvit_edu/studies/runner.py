"""Run a study: every variant with every seed, what is missing only, alone or as one of several shards (Chapter 11)."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from mvit_edu.data import ClipDataset
from mvit_edu.evaluation import Report, evaluate
from mvit_edu.model.mvit import MViT
from mvit_edu.model.stages import stage_table
from mvit_edu.studies.measures import MEASURES
from mvit_edu.studies.study import SCALES, Plan, Study, plan
from mvit_edu.studies.study_log import StudyLog, locked, provenance
from mvit_edu.training import TrainConfig, fit
from mvit_edu.training.device import pick_device

CURVE = ("step", "epoch", "loss")  # kept of a training's own log


def plans(study: Study, scale: str, seeds: Sequence[int], shard: tuple[int, int] = (1, 1)) -> list[Plan]:
    """The runs of a study, seed by seed, so that a study that is stopped has whole seeds; of them shard i of n.

    Each seed begins with another variant, so that where large and small ones alternate no shard gets all large ones.
    """
    if scale not in SCALES:
        raise ValueError(f"There is no scale {scale!r}; choose one of {', '.join(SCALES)}.")
    index, count = shard
    if not 1 <= index <= count:
        raise ValueError(f"There is no shard {index}/{count}; they are 1/{count} to {count}/{count}.")
    variants = study.variants
    turns = {seed: seed % len(variants) for seed in seeds}
    found = [
        plan(study, variant, SCALES[scale], seed)
        for seed, turn in turns.items()
        for variant in (*variants[turn:], *variants[:turn])
    ]
    return found[index - 1 :: count]


def run_study(
    study: Study,
    scale: str,
    seeds: Sequence[int],
    log: StudyLog,
    work: Path,
    shard: tuple[int, int] = (1, 1),
    device: str = "auto",
    say: Callable[[str], None] = print,
    progress: bool = False,
) -> int:
    """Make the runs that the log does not have; returns how many. What was stopped in the middle goes on there.

    A run that another process is making, or has made in the meantime, is left to it.

    Args:
        work: where a run has its checkpoints until it is in the log.
        say: gets a line a run, with the time left. progress: a bar for each training.
    """
    todo = [one for one in plans(study, scale, seeds, shard) if not log.has(one.fingerprint)]
    say(f"{study.name}, scale {scale}: {len(todo)} runs to do")
    began, made = time.monotonic(), 0
    for number, one in enumerate(todo, 1):
        folder = work / study.name / one.fingerprint
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock", wait=False) as mine:
            wanted = mine and not log.has(one.fingerprint)
            if wanted:
                row = run_one(one, folder, device, progress)
                log.add(row)
            if mine:
                shutil.rmtree(folder, ignore_errors=True)
        if not wanted:
            say(f"{number}/{len(todo)} {one.variant}, seed {one.seed}: left to another process")
            continue
        made += 1
        left = (time.monotonic() - began) / number * (len(todo) - number)
        shown = (
            ", ".join(f"{order} {top1:.1%}" for order, top1 in row["top1"].items()) if one.trained else "not trained"
        )
        say(f"{number}/{len(todo)} {one.variant}, seed {one.seed}: {shown}; {left / 60:.1f} min left")
    return made


def run_one(one: Plan, folder: Path, device: str = "auto", progress: bool = False) -> dict:
    """Train, test and measure one model; its line of the log."""
    where = pick_device(device)
    torch.manual_seed(one.seed)
    model = MViT(one.model).to(where)
    table = stage_table(one.model)
    row = {
        "study": one.study,
        "scale": one.scale,
        "variant": one.variant,
        "seed": one.seed,
        "fingerprint": one.fingerprint,
        "trained": one.trained,
        "macs": table.macs,
        "params": table.params,
        "activations": sum(block.activations for block in table.rows),
    }
    if before := measured(model, one, where, before=True):
        row["before"] = before
    if one.trained:
        row |= trained(model, one, folder, where, progress)
        if after := measured(model, one, where):
            row["after"] = after
    row |= {
        "model": dataclasses.asdict(one.model),
        "recipe": {key: value for key, value in dataclasses.asdict(one.recipe).items() if key != "sources"},
        "data": {**one.data, "train": one.train, "test": one.test, "batch": one.batch},
        "measured": provenance(f"mvit-edu study run {one.study} --scale {one.scale}", where),
    }
    return row


def trained(model: MViT, one: Plan, folder: Path, device: torch.device, progress: bool) -> dict:
    """Train the model and test it in every order of the frames; a training that was stopped goes on."""
    config = TrainConfig(
        str(folder),
        batch=one.batch,
        workers=0,
        seed=one.seed,
        device=str(device),
        progress=progress,
        tensorboard=False,
    )
    resumed = any((folder / "checkpoints").glob("*"))
    began = time.monotonic()
    fit(model, in_memory(one, "train"), one.recipe, config)
    seconds = time.monotonic() - began  # of the last part, if the run was stopped and went on
    test = in_memory(one, "test")
    reports = {order: evaluate(model, test, order=order, batch=50, device=device) for order in one.orders}
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    points = [point for point in map(json.loads, lines) if point["kind"] == "train"]
    return {
        "top1": {order: report.top1 for order, report in reports.items()},
        "pair": {order: right_pair(report) for order, report in reports.items()},
        "videos": reports[one.orders[0]].videos,
        "confusion": {order: report.confusion.tolist() for order, report in reports.items()},
        "seconds": round(seconds, 1),
        **({"resumed": True} if resumed else {}),
        "curve": [{key: float(f"{point[key]:.4g}") for key in CURVE} for point in points],
    }


def measured(model: MViT, one: Plan, device: torch.device, before: bool = False) -> dict:
    """What the study measures besides accuracy, of the model in evaluation mode."""
    chosen = {name: MEASURES[name] for name in one.measures}
    model.eval()
    state = torch.get_rng_state()
    found = {name: dict(measure.of(model, one, device)) for name, measure in chosen.items() if measure.before >= before}
    torch.set_rng_state(state)
    return found


def in_memory(one: Plan, split: str) -> ClipDataset:
    """The clips of a split, drawn once."""
    return ClipDataset(Drawn(one.shapes(split)))


class Drawn:
    """Clips of `MotionShapes`, drawn once and kept."""

    def __init__(self, shapes) -> None:
        self.classes, self.label = shapes.classes, shapes.label
        self._clips = [shapes[index] for index in range(len(shapes))]

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int):
        return self._clips[index]

    def __iter__(self) -> Iterator:
        return iter(self._clips)


def right_pair(report: Report) -> float:
    """Share of the clips that were called by a class of the right pair: what a model without order can know."""
    confusion = report.confusion
    pairs = confusion.unflatten(0, (-1, 2)).sum(1).unflatten(1, (-1, 2)).sum(2)  # (C/2, C/2)
    return int(pairs.diagonal().sum()) / int(pairs.sum())
