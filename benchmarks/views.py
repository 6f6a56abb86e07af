"""Accuracy against the number of views and crops: a small MViT on long MotionShapes videos (Chapter 10).

    python -m benchmarks.views                   # 6 seeds; about 2 minutes each
    python -m benchmarks.views --seeds 6 7

Trained on clips as MotionShapes makes them: 8 frames of 16 x 16, the shape always whole. Tested on videos of 40 frames
of 18 x 32 pixels, written as H.264 files and read as the protocols say: one view with one crop sees a fifth of the time
and less than half of the area. Adds each run to `book/results/views.json`; a run that is there already is not
repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from mvit_edu import MViT, get_config, stage_table
from mvit_edu.data import ClipDataset, ClipSpec, MotionShapes, VideoDataset, VideoList, collate
from mvit_edu.evaluation import ORDERS, Protocol, combine_views, confusion_matrix, evaluate, top_k_correct
from mvit_edu.training import TrainConfig, fit, get_recipe
from mvit_edu.training.state import versions

LOG = Path(__file__).parent.parent / "book" / "results" / "views.json"
CLIP, CROP = 8, 16  # frames, pixels
MOTIONS = ("horizontal", "vertical")
TRAIN = {"length": 1280, "size": CROP, "motions": MOTIONS, "noise": 0.1}  # settings of MotionShapes, also the next
VIDEO = {"length": 240, "split": "test", "frames": 40, "size": (18, 32), "motions": MOTIONS, "noise": 0.1}
SMALL = dataclasses.replace(
    get_config("mvit_tiny"), num_classes=4, crop=CROP, dim=24, depths=(1, 2), kv_stride=(1, 2, 2)
)
VIEWS = (1, 2, 3, 5, 7, 10)
CROPS = (1, 3)
BATCH = 32
RECIPE = get_recipe("motion_shapes").changed(epochs=8)
RULES = ("mean of softmax", "mean of logits", "maximum of softmax", "majority vote")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.views", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(6)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed in options.seeds:
        runs = json.loads(LOG.read_text())["runs"] if LOG.exists() else []
        if any(run["seed"] == seed for run in runs):
            continue
        made = run(seed)
        runs = json.loads(LOG.read_text())["runs"] if LOG.exists() else []
        write(sorted([*runs, made], key=lambda one: one["seed"]))
        shown = [f"{row['views']}x{row['crops']} {row['top1']:.3f}" for row in made["results"]]
        print(f"seed {seed}:", *shown, flush=True)


def run(seed: int) -> dict:
    """Train and test once; its row of the log."""
    torch.manual_seed(seed)
    model = MViT(SMALL)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        shapes = MotionShapes(seed=seed, **TRAIN)
        data = ClipDataset([shapes[index] for index in range(len(shapes))])
        config = TrainConfig(folder, batch=BATCH, workers=0, seed=seed, tensorboard=False, progress=False)
        done = fit(model, data, RECIPE, config)
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    trained = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        listing = MotionShapes(seed=seed, **VIDEO).write(folder)
        videos = VideoList.read(listing)
        results = [row for views in VIEWS for row in test_views(model.eval(), videos, views)]
        five = Protocol("five", views=5)
        dataset = five.dataset(videos, spec(), CROP)
        reports = {order: evaluate(model, dataset, protocol=five, order=order, batch=60) for order in ORDERS}
    same = next(row for row in results if (row["views"], row["crops"]) == (5, 1))
    assert reports["in order"].correct() == same["correct"]["mean of softmax"], "evaluate and this file disagree"
    return {
        "seed": seed,
        "model": {"parameters": sum(p.numel() for p in model.parameters()), "dim": SMALL.dim, "depths": SMALL.depths},
        "train": TRAIN,
        "video": VIDEO,
        "clip": [CLIP, CROP, CROP],
        "videos": len(videos),
        "macs_of_a_clip": stage_table(model.config).macs,
        "training": {"recipe": RECIPE.name, "lr": RECIPE.lr, "steps": done.step, "batch": BATCH},
        "seconds": {"training": round(trained - began), "test": round(time.perf_counter() - trained)},
        "loss": [float(f"{json.loads(line)['loss']:.4g}") for line in lines],
        "results": results,
        "orders": {order: report.correct() for order, report in reports.items()},
        "measured": {
            "command": "python -m benchmarks.views",
            "device": platform.machine(),
            "threads": torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 1),
            "when": time.strftime("%Y-%m-%d"),
            "versions": versions(),
        },
    }


def spec() -> ClipSpec:
    return ClipSpec(CLIP, 1, fps=None)


def test_views(model: nn.Module, videos: VideoList, views: int) -> list[dict]:
    """With one crop and with three, by every rule of combination. The center is the second of the three."""
    dataset = Protocol("test", views=views, crops=3).dataset(videos, spec(), CROP)
    logits, labels = clip_logits(model, dataset)  # (N, views * 3, C), (N,)
    rows = []
    for crops in CROPS:
        chosen = logits if crops == 3 else logits[:, 1::3]  # (N, views * crops, C)
        correct = {rule: top_k_correct(combined(chosen, rule), labels) for rule in RULES}
        confusion = confusion_matrix(combined(chosen, RULES[0]), labels).tolist()
        top1 = correct[RULES[0]] / len(labels)
        rows.append({"views": views, "crops": crops, "top1": top1, "correct": correct, "confusion": confusion})
    return rows


@torch.inference_mode()
def clip_logits(model: nn.Module, dataset: VideoDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all clips of every video, (N, R, C), and labels, (N,)."""
    made, labels = [], []
    for index in range(len(dataset)):
        batch = collate([dataset[index]])
        made.append(torch.cat([model(part) for part in batch.clips.split(30)]))
        labels.append(batch.labels[0])
    return torch.stack(made), torch.stack(labels)


def combined(logits: torch.Tensor, rule: str) -> torch.Tensor:
    """One score per class: (N, R, C) -> (N, C)."""
    if rule == "mean of logits":
        return logits.mean(dim=1)
    if rule == "majority vote":
        votes = nn.functional.one_hot(logits.argmax(dim=2), logits.shape[2])  # (N, R, C)
        return votes.sum(dim=1).float()
    return combine_views(logits.softmax(dim=2), "mean" if rule == "mean of softmax" else "max")


def write(runs: list[dict]) -> None:
    """One run a line, and a file that is whole or not there."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(json.dumps(one) for one in runs)
    temporary = LOG.with_suffix(".tmp")
    temporary.write_text(f'{{"runs": [\n{text}\n]}}\n')
    os.replace(temporary, LOG)


if __name__ == "__main__":
    main()
