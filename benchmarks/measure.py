"""Measurements that alternate between the contenders within one process, so that noise hits all of them alike."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn


def amp(device: str, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Autocast for bfloat16, nothing for float32."""
    return torch.autocast(device, dtype) if dtype != torch.float32 else contextlib.nullcontext()


def forward(model: nn.Module, clip: Tensor, dtype: torch.dtype) -> None:
    model.eval()
    with torch.no_grad(), amp(clip.device.type, dtype):
        model(clip)


def training_step(model: nn.Module, clip: Tensor, dtype: torch.dtype) -> None:
    """Forward and backward; the optimizer is the same for all and left out."""
    model.train()
    model.zero_grad(set_to_none=True)
    with amp(clip.device.type, dtype):
        loss = model(clip).float().square().mean()
    loss.backward()


def alternate(
    job: Callable, models: dict[str, nn.Module], clip: Tensor, dtype: torch.dtype, repeats: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each run: {name: [...]}; the models take turns, and the first turns are thrown away."""
    seconds = {name: [] for name in models}
    for turn in range(warm_up + repeats):
        for name, model in models.items():
            synchronize(clip)
            start = time.perf_counter()
            job(model, clip, dtype)
            synchronize(clip)
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronize(clip: Tensor) -> None:
    if clip.is_cuda:
        torch.cuda.synchronize()


def median_ratio(seconds: dict[str, list[float]], ours: str, other: str) -> float:
    """The median, over turns, of the other's time over ours."""
    return statistics.median(b / a for a, b in zip(seconds[ours], seconds[other], strict=True))


def saved_mib(model: nn.Module, clip: Tensor) -> float:
    """MiB that autograd keeps for the backward pass; each storage once, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(clip)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2**20


class Peak:
    """The process's memory above its start, in MiB: the allocator's on CUDA, sampled from the system on a CPU."""

    def __init__(self, device: str):
        self.device = device

    def of(self, job: Callable[[], None]) -> float:
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            start = torch.cuda.memory_allocated()
            job()
            return (torch.cuda.max_memory_allocated() - start) / 2**20
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            job()
        now = peak = 0
        for event in sorted(recorded.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                now += event.nbytes()
                peak = max(peak, now)
        return peak / 2**20
