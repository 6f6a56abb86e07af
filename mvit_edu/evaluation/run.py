"""`evaluate`: every video of a list through a model once, and a report (Chapter 10)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mvit_edu.data.failures import Failure, FailureLog
from mvit_edu.data.videos import NO_LABEL, Batch, Sample, collate
from mvit_edu.data.workers import leave_signals_to_parent
from mvit_edu.distributed import check_same, current, gather, shard
from mvit_edu.evaluation.orders import check_order, reorder_frames
from mvit_edu.evaluation.protocol import Protocol, combination, combine_views
from mvit_edu.evaluation.report import Report

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def evaluate(
    model: nn.Module,
    dataset: Dataset,
    *,
    protocol: Protocol | None = None,
    aggregate: str | None = None,
    order: str = "in order",
    batch: int = 8,
    workers: int = 0,
    device: torch.device | str | None = None,
    precision: str = "fp32",
    classes: Sequence[str] = (),
    multi_label: bool | None = None,
    seed: int = 0,
    max_failures: float = 0.05,
    progress: bool = False,
) -> Report:
    """Score every video of a dataset once. Chapter 10.

        dataset = get_protocol("paper").dataset(videos, ClipSpec(16, 4), crop=224)
        print(evaluate(model, dataset, protocol=get_protocol("paper")))

    A video that cannot be read is counted and left out, not replaced; no video counts twice to fill a batch. Where
    several processes run together (Chapter 9), all must call it: each takes its own share of the videos, and all
    get the whole report. All of the model's modes (`training`) are afterwards as they were, and no random number is
    taken from torch's global generator, so a training that evaluates in between goes on as if it had not.

    Args:
        model: clips (B, 3, T, H, W) -> logits (B, C).
        dataset: its items are `Sample`s, those of a `VideoDataset` with `views`.
        protocol: what the dataset was made by. It says how the scores are combined, and the report quotes it.
        aggregate: "mean" or "max", in place of the protocol's; without a protocol, "mean" unless told.
        order: the order of the frames, as in `reorder_frames`. seed: for "shuffled".
        batch: how many clips go through the model at once, so that a video of 30 clips takes no more memory. The
            loader reads as many whole videos at a time, at least one.
        workers: processes that decode; 0 decodes in this one.
        device: where to run, and the model is moved there; where the model is unless told.
        precision: "fp32", "bf16" or "fp16" for the model (autocast); softmax and sums are always float32.
        classes: names in the order of their numbers; those of the dataset unless told.
        multi_label: whether a video may have several classes (sigmoid) or has one (softmax); as the labels tell, unless
            told. True with one label a video takes it as the only one of several.
        max_failures: the largest share of videos that may fail to decode.

    Raises:
        ValueError: if something does not fit: a video without a label, a dataset made for training or by another
            protocol, a label that the model has no score for, scores that are not finite.
        RuntimeError: if too many videos cannot be read.
    """
    check_order(order)
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} does not exist; choose one of {', '.join(PRECISIONS)}.")
    if batch < 1:
        raise ValueError(f"batch={batch} must be at least 1.")
    _check_dataset(dataset)
    check_same({"videos": len(dataset)}, "videos to evaluate")
    if protocol is not None and aggregate not in (None, protocol.aggregate):
        protocol = dataclasses.replace(protocol, aggregate=aggregate, source="")
    aggregate = aggregate or (protocol.aggregate if protocol else "mean")
    crops = protocol.crops if protocol else 1
    device = _device(model, device)
    log, failures = FailureLog(max_failures, minimum=len(dataset)), []
    mine = shard(len(dataset))
    scores, labels, index = [], [], []
    shown = ""
    with (
        _evaluating(model),
        torch.inference_mode(),
        tqdm(total=len(mine), unit="video", disable=not (progress and current().first)) as bar,
    ):
        for part in _loader(dataset, mine, batch, workers, protocol, device):
            log.add(part.failures, part.seen)
            failures += part.failures
            if log.draws > max_failures * len(dataset):
                log.finish()  # raises: reading the rest cannot change it
            bar.update(part.seen)
            if not len(part.clips):
                continue
            _check_batch(dataset, part, protocol)
            places = part.index[:: part.repeats]  # (B,)
            truth = part.labels[:: part.repeats]  # (B,) or (B, C)
            several = truth.ndim == 2 if multi_label is None else multi_label
            shown = shown or _described(part, protocol, aggregate, several)
            clips = _reordered(part, order, seed, crops)
            logits = _forward(model, clips, device, precision, batch)  # (B*R, C)
            _check_finite(dataset, logits, part.index)
            truth = _checked_truth(dataset, truth, places, logits.shape[1], several)
            one = logits.sigmoid() if several else logits.softmax(dim=1)
            one = combine_views(one.unflatten(0, (-1, part.repeats)), aggregate)  # (B, C)
            scores.append(one.cpu())
            labels.append(truth)
            index.append(places)
    logs, *parts = zip(*gather((log, scores, labels, index, failures, shown)), strict=True)
    whole = FailureLog.merged(logs)
    whole.finish()  # raises if too many failed
    scores, labels, index, failures = (sum(part, []) for part in parts[:-1])
    shown = max(parts[-1])  # a process without videos has nothing to describe
    if not scores:
        raise RuntimeError(f"None of the {whole.seen} videos could be read; the last of them: {failures[-1]}")
    return _report(dataset, scores, labels, index, tuple(classes), shown, order, failures)


def _check_dataset(dataset: Dataset) -> None:
    if not len(dataset):
        raise ValueError("There are no videos to evaluate.")
    if getattr(dataset, "views", 1) is None:
        raise ValueError(
            "This dataset has random clips for training (views=None); make one by protocol.dataset(videos, spec, crop)."
        )
    items = getattr(getattr(dataset, "videos", None), "items", ())
    if without := next((item for item in items if item.label is None), None):
        raise ValueError(f"{without.path} has no label, so there is nothing to compare with; label every video.")


def _loader(
    dataset: Dataset, places: Sequence[int], batch: int, workers: int, protocol: Protocol | None, device: torch.device
) -> DataLoader:
    clips = protocol.clips if protocol else getattr(dataset, "views", 1)
    return DataLoader(
        dataset,
        sampler=places,
        batch_size=max(1, batch // clips),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # without one, the loader takes a number from the global generator
    )


def _collate(samples: Sequence[Sample]) -> Batch:
    if not isinstance(samples[0], Sample):
        raise TypeError(
            f"evaluate wants a dataset of Samples, such as a VideoDataset; got {type(samples[0]).__name__}."
        )
    return collate(samples)


def _check_batch(dataset: Dataset, part: Batch, protocol: Protocol | None) -> None:
    if protocol is not None and part.repeats != protocol.clips:
        raise ValueError(
            f"The protocol {protocol.name!r} has {protocol.clips} clips a video, the dataset gives {part.repeats}; "
            "make the dataset by protocol.dataset(videos, spec, crop)."
        )
    if part.labels.ndim == 1 and (part.labels == NO_LABEL).any():
        name = _name(dataset, int(part.index[part.labels == NO_LABEL][0]))
        raise ValueError(f"{name} has no label, so there is nothing to compare with; label every video.")


def _described(part: Batch, protocol: Protocol | None, aggregate: str, multi_label: bool) -> str:
    height, width = part.clips.shape[-2:]
    if protocol is not None:
        return protocol.describe((height, width), multi_label)
    if part.repeats == 1:
        return f"1 clip of {height}x{width} a video"
    return f"{part.repeats} clips of {height}x{width} a video, {combination(aggregate, multi_label)}"


def _reordered(part: Batch, order: str, seed: int, crops: int) -> torch.Tensor:
    if order == "in order":
        return part.clips
    videos = part.clips.split(part.repeats)
    places = part.index[:: part.repeats].tolist()
    pairs = zip(videos, places, strict=True)
    return torch.cat([reorder_frames(clips, order, index=place, seed=seed, crops=crops) for clips, place in pairs])


def _forward(model: nn.Module, clips: torch.Tensor, device: torch.device, precision: str, most: int) -> torch.Tensor:
    """Logits as float32, (B*R, 3, T, H, W) -> (B*R, C)."""
    made = []
    for some in clips.split(most):
        with torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32"):
            logits = model(some.to(device, non_blocking=True))
        if logits.ndim != 2 or len(logits) != len(some):
            raise ValueError(f"The model must give one row of logits a clip, got {tuple(logits.shape)}.")
        made.append(logits.float())
    return torch.cat(made)


def _checked_truth(
    dataset: Dataset, truth: torch.Tensor, places: torch.Tensor, classes: int, multi_label: bool
) -> torch.Tensor:
    """Labels that fit the scores: int64 (B,), or (B, C) for several labels."""
    if truth.ndim == 2 and not multi_label:
        raise ValueError("These videos have several labels, so multi_label cannot be False.")
    if truth.ndim == 2 and truth.shape[1] != classes:
        raise ValueError(f"The videos have labels for {truth.shape[1]} classes, the model has scores for {classes}.")
    if truth.ndim == 1 and (high := (truth >= classes).nonzero().flatten()).numel():
        name, label = _name(dataset, int(places[high[0]])), int(truth[high[0]])
        raise ValueError(f"{name} has the label {label}, but the model has scores for 0 to {classes - 1} only.")
    if truth.ndim == 1 and multi_label:
        return nn.functional.one_hot(truth, classes).float()
    return truth


def _check_finite(dataset: Dataset, logits: torch.Tensor, places: torch.Tensor) -> None:
    """Both (B*R, ...): the logits of every clip, and the place of its video."""
    if (bad := (~logits.isfinite()).any(dim=1).nonzero().flatten()).numel():
        name = _name(dataset, int(places[bad[0]]))
        raise ValueError(f"{name}: the model's scores are not finite; look at its weights, or use precision='fp32'.")


def _report(
    dataset: Dataset,
    scores: list[torch.Tensor],
    labels: list[torch.Tensor],
    index: list[torch.Tensor],
    classes: tuple[str, ...],
    protocol: str,
    order: str,
    failures: list[Failure],
) -> Report:
    places = torch.cat(index)
    if len(places.unique()) < len(places):
        raise ValueError("The dataset gave a video twice; an evaluation counts every video once.")
    rows = torch.cat(scores)
    classes = classes or tuple(getattr(dataset, "classes", ()))
    if classes and len(classes) != rows.shape[1]:
        raise ValueError(f"There are names of {len(classes)} classes, but the model has {rows.shape[1]} scores.")
    by_index = places.argsort()
    truth = torch.cat(labels)
    return Report(rows[by_index], truth[by_index], places[by_index], classes, protocol, order, tuple(failures))


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and every module of it in its own mode again afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _device(model: nn.Module, device: torch.device | str | None) -> torch.device:
    if device is not None:
        model.to(device)
        return torch.device(device)
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


def _name(dataset: Dataset, index: int) -> str:
    return dataset.name(index) if hasattr(dataset, "name") else f"Video {index}"
