"""What a study measures of a model besides its accuracy on whole clips (Chapters 10 and 14)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from mvit_edu.data import ClipSpec, MotionShapes, VideoDataset, VideoList, collate, example_clip, load_clip
from mvit_edu.evaluation import (
    ORDERS,
    Protocol,
    attention_distance,
    combine_views,
    confusion_matrix,
    evaluate,
    top_k_correct,
)
from mvit_edu.model.stages import stage_table
from mvit_edu.studies.study import Plan

VIEWS, CROPS = (1, 2, 3, 5, 7, 10), (1, 3)
RULES = ("mean of softmax", "mean of logits", "maximum of softmax", "majority vote")
LONGER, TALLER, WIDER = 5, 1.125, 2  # a video of the study `views`, in lengths, heights and widths of a clip
LOOKED_AT = 16  # clips over which attention distances are averaged


@dataclass(frozen=True)
class Measure:
    """`of` takes the model, its plan and the device, and returns what can be written as JSON. `before` the training
    or only after it."""

    of: Callable[[nn.Module, Plan, torch.device], Mapping]
    before: bool = False


def views(model: nn.Module, plan: Plan, device: torch.device) -> dict:
    """Accuracy by number of views and crops, on videos that are longer and wider than a clip. Chapter 10.

    The videos are written as H.264 files and read as the protocols say. One view with one crop sees a fifth of the
    time and less than half of the area.
    """
    clip, crop = plan.model.frames, plan.model.crop
    height = 2 * round(crop * TALLER / 2)
    long = {**plan.data, "frames": LONGER * clip, "size": (height, WIDER * crop)}
    videos = MotionShapes(min(plan.test, 240), "test", seed=plan.seed, **long)
    spec, five = ClipSpec(clip, 1, fps=None), Protocol("five", views=5)
    with tempfile.TemporaryDirectory() as folder:
        found = VideoList.read(videos.write(folder))
        rows = [row for count in VIEWS for row in by_crops(model, found, spec, crop, count, device)]
        dataset = five.dataset(found, spec, crop)
        reports = {
            order: evaluate(model, dataset, protocol=five, order=order, batch=60, device=device) for order in ORDERS
        }
    return {
        "videos": len(videos),
        "clip": [clip, crop, crop],
        "video": [long["frames"], *long["size"]],
        "macs_of_a_clip": stage_table(plan.model).macs,
        "results": rows,
        "orders": {order: report.correct() for order, report in reports.items()},
    }


def by_crops(
    model: nn.Module, videos: VideoList, spec: ClipSpec, crop: int, count: int, device: torch.device
) -> list[dict]:
    """With one crop and with three, by every rule of combination. The center is the second of the three."""
    dataset = Protocol("test", views=count, crops=3).dataset(videos, spec, crop)
    logits, labels = clip_logits(model, dataset, device)  # (N, count * 3, C), (N,)
    rows = []
    for crops in CROPS:
        chosen = logits if crops == 3 else logits[:, 1::3]  # (N, count * crops, C)
        correct = {rule: top_k_correct(combined(chosen, rule), labels) for rule in RULES}
        confusion = confusion_matrix(combined(chosen, RULES[0]), labels).tolist()
        top1 = correct[RULES[0]] / len(labels)
        rows.append({"views": count, "crops": crops, "top1": top1, "correct": correct, "confusion": confusion})
    return rows


@torch.inference_mode()
def clip_logits(model: nn.Module, dataset: VideoDataset, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all clips of every video, (N, R, C), and labels, (N,)."""
    made, labels = [], []
    for index in range(len(dataset)):
        batch = collate([dataset[index]])
        made.append(torch.cat([model(part.to(device)).cpu() for part in batch.clips.split(30)]))
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


def attention(model: nn.Module, plan: Plan, device: torch.device) -> dict:
    """Mean attention distance of every head. Chapter 14.

    On test clips, or for a model of another size on the book's example clip.
    """
    if plan.model.crop != plan.data["size"]:
        clips = load_clip(
            example_clip(), frames=plan.model.frames, stride=64 // plan.model.frames, size=plan.model.crop
        )
    else:
        shapes = plan.shapes("test")
        clips = torch.stack([shapes[index][0] for index in range(min(LOOKED_AT, len(shapes)))])  # (B, 3, T, H, W)
    return {"clips": len(clips), "blocks": [block.as_row() for block in attention_distance(model, clips.to(device))]}


MEASURES: dict[str, Measure] = {"views": Measure(views), "attention": Measure(attention, before=True)}
