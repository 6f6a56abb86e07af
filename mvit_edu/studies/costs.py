"""What the variants of a study cost, side by side: multiply-adds, memory, seconds of a training step (Chapter 12).

Timings are noisy, so the variants take turns, and what counts is the ratio to the first variant within a turn.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import torch

from mvit_edu.model.mvit import MViT
from mvit_edu.model.stages import stage_table
from mvit_edu.studies.readings import paper_form
from mvit_edu.studies.study import SCALES, Scale, Study, plan
from mvit_edu.studies.study_log import provenance

# Full size: the models in the form that the paper counts, for variants that do not depend on the size of the clip.
FULL = Scale(
    "full",
    {"mvit": paper_form("mvit_b_16x4").config, "vit": paper_form("vit_b_8x8").config},
    {"size": 224, "frames": 16},
    train=1,
    test=1,
    batch=1,
    epochs=1,
)
COSTED = {**SCALES, "full": FULL}


def side_by_side(
    study: Study,
    scale: str,
    device: torch.device,
    turns: int = 7,
    batch: int | None = None,
    say: Callable[[str], None] = print,
) -> dict:
    """Seconds of a training step (forward and backward, without the optimizer) and of a forward pass without gradients,
    by variant; medians, and the median ratio to the first variant. One more turn comes first and does not count.

    Returns:
        What `StudyLog.add_costs` takes: for each variant "macs", "params", "saved" (bytes that autograd keeps for the
        backward pass), on CUDA "peak" (bytes), and "train" and "test": {"seconds", "ratio"}.

    Raises:
        ValueError: for an unknown scale, or one without the base of a variant.
    """
    if scale not in COSTED:
        raise ValueError(f"There is no scale {scale!r}; choose one of {', '.join(COSTED)}.")
    bases = {variant.base for variant in study.variants}
    if scale == "full" and not bases <= set(FULL.bases):
        raise ValueError(f"The study {study.name!r} has no variants of full size; choose {', '.join(SCALES)}.")
    plans = [plan(study, variant, COSTED[scale], 0) for variant in study.variants]
    jobs, rows = {}, {}
    for one in plans:
        torch.manual_seed(0)
        model = MViT(dataclasses.replace(one.model, drop_path=0.0)).to(device)
        clips = torch.randn(batch or one.batch, 3, *one.model.size, device=device)
        jobs[one.variant] = model, clips
        table = stage_table(one.model)
        rows[one.variant] = {"macs": table.macs, "params": table.params, "saved": saved_bytes(model, clips)}
        if device.type == "cuda":
            rows[one.variant]["peak"] = peak_bytes(model, clips)
    seconds: dict[str, dict[str, list[float]]] = {way: {one.variant: [] for one in plans} for way in ("train", "test")}
    began = time.monotonic()
    for turn in range(turns + 1):
        for name, (model, clips) in jobs.items():
            for way, job in (("train", train_step), ("test", test_step)):
                taken = timed(job, model, clips)
                if turn:
                    seconds[way][name].append(taken)
        left = (time.monotonic() - began) / (turn + 1) * (turns - turn)
        say(f"turn {turn + 1}/{turns + 1}; {left / 60:.1f} min left")
    first = plans[0].variant
    for way, found in seconds.items():
        for name, values in found.items():
            ratio = statistics.median(one / base for one, base in zip(values, found[first], strict=True))
            rows[name][way] = {
                "seconds": float(f"{statistics.median(values):.4g}"),
                "ratio": round(ratio, 3),
                "ratios": [round(one / base, 3) for one, base in zip(values, found[first], strict=True)],
            }
    return {
        "study": study.name,
        "scale": scale,
        "batch": batch or plans[0].batch,
        "turns": turns,
        "variants": rows,
        "measured": provenance(
            f"mvit-edu study costs {study.name} --scale {scale} --turns {turns}"
            + (f" --batch {batch}" if batch else ""),
            device,
        ),
    }


def train_step(model: MViT, clips: torch.Tensor) -> None:
    model.train()
    model(clips).sum().backward()
    model.zero_grad()


@torch.inference_mode()
def test_step(model: MViT, clips: torch.Tensor) -> None:
    model.eval()
    model(clips)


def timed(job: Callable, model: MViT, clips: torch.Tensor) -> float:
    """Seconds of one call."""
    if clips.is_cuda:
        torch.cuda.synchronize()
    began = time.perf_counter()
    job(model, clips)
    if clips.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began


def saved_bytes(model: MViT, clips: torch.Tensor) -> int:
    """What autograd keeps for the backward pass; each storage once, parameters left out."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(clips)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def peak_bytes(model: MViT, clips: torch.Tensor) -> int:
    """The most that a training step has allocated on the GPU at once, the model and the clips included."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    train_step(model, clips)
    return torch.cuda.max_memory_allocated()
