"""The training loop (Chapter 8): from a list of videos to checkpoints from which a run goes on bit by bit."""

from __future__ import annotations

import dataclasses
import math
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mvit_edu.data import Batch, FailureLog, collate
from mvit_edu.data.videos import item_seed
from mvit_edu.data.workers import leave_signals_to_parent
from mvit_edu.distributed import check_same, gather, largest, mean_over_ranks, meet, process_group
from mvit_edu.evaluation import Protocol, Report, evaluate
from mvit_edu.training.config import TrainConfig
from mvit_edu.training.device import autocast, pick_device, pick_precision
from mvit_edu.training.objective import Objective
from mvit_edu.training.parallel import gathered, sharing, spread, whole
from mvit_edu.training.recipe import Recipe, learning_rate, make_optimizer, set_learning_rate
from mvit_edu.training.run_log import Bar, RunLog
from mvit_edu.training.sampler import TrainSampler
from mvit_edu.training.session import Progress, common, describe, newest, pack, resume, same_step
from mvit_edu.training.state import Checkpoints, restore_random_states
from mvit_edu.training.stop import StopRequest

NAMES_SHOWN = 16
GRAPHS_PER_BLOCK = 4  # training, evaluation, and for each a batch of another size


@dataclass(frozen=True)
class FitResult:
    """How far a training came, its newest checkpoint, its best validation result, and the report of the last one."""

    step: int
    steps: int
    checkpoint: Path | None
    best: float | None
    report: Report | None = field(repr=False)


class TrainingStopped(SystemExit):
    """Ctrl-C or SIGTERM ended a training, and it is saved. Uncaught, it ends the program with code 130 or 143.

    `result` is the `FitResult` up to there.
    """

    def __init__(self, number: signal.Signals, result: FitResult) -> None:
        super().__init__(128 + number)
        self.result = result


class NonFiniteLoss(RuntimeError):
    """The loss or the gradient of a step is infinite or not a number. `own` is the loss of this process alone."""

    def __init__(self, text: str, own: float = math.nan) -> None:
        super().__init__(text)
        self.own = own


def fit(
    model: nn.Module,
    train: Dataset,
    recipe: Recipe,
    config: TrainConfig,
    validation: Dataset | None = None,
    protocol: Protocol | None = None,
) -> FitResult:
    """Train a model; where `config.out` holds a stopped run with the same settings, go on with it. Chapter 8.

    Going on gives the same weights, bit for bit, as a run that never stopped (on a CPU, with the same number of
    threads): the clips of a step and all that is random in it follow from `seed` and the number of the step.

    Started by `torchrun`, its processes share the work (Chapter 9): each takes `batch` videos at a time, rank 0 writes
    log and checkpoints, and every process gets the same result. A stopped run may go on with another number of
    processes if `batch` times that number divides the videos of a step; `accumulate` follows.

    Args:
        model: `MViT`, or any module from clips (B, 3, T, H, W) to logits whose last layer is the linear `head`. With
            `parallel` "fsdp" on several processes it stays sharded; load a checkpoint to have it whole.
        train: `VideoDataset` with the `repeats` of the recipe, or `ClipDataset`.
        validation: `VideoDataset` with views, or `ClipDataset`; None trains without.
        protocol: how `validation` was made, printed with every result.

    Raises:
        TrainingStopped: after Ctrl-C or SIGTERM, when the running step is done and saved.
        NonFiniteLoss: with the names of the clips; the checkpoints are those before the step.
        LostProcess: another process has ended or does not answer.
        OSError: a checkpoint could not be written.
        ValueError: the settings do not fit together, or not to the run in `config.out`.
    """
    if train.repeats != recipe.repeats:
        raise ValueError(f"The dataset gives {train.repeats} copies of a clip, the recipe wants {recipe.repeats}.")
    device = pick_device(config.device)
    config = dataclasses.replace(config, precision=pick_precision(config.precision, device))
    checkpoints = Checkpoints(Path(config.out) / "checkpoints", config.keep)
    progress, report, path = Progress(), None, None
    with ExitStack() as stack:
        ranks = stack.enter_context(process_group(device, config.timeout_minutes))
        found = newest(checkpoints)
        if found:
            config = same_step(config, found[1]["settings"])
        settings = describe(model, train, recipe, config)
        check_same(common(settings, validation is not None), "settings")
        parallel_model = prepare(model, config, device)
        optimizer = make_optimizer(model, recipe)
        objective = Objective(recipe, model.head.out_features)
        if found:
            path, state, damaged = found
            progress = resume(path, state, model, optimizer, settings)
        clips_per_step = config.batch * config.accumulate * ranks.size * recipe.repeats
        per_epoch = len(train) // (config.batch * config.accumulate * ranks.size)
        steps = max(1, round(recipe.epochs * per_epoch))
        between = max(1, round(config.validate_every * per_epoch))  # steps from validation to validation
        sampler = TrainSampler(
            len(train),
            config.batch,
            steps,
            accumulate=config.accumulate,
            first_step=progress.step,
            seed=config.seed,
            labels=train.labels if recipe.spread_classes else None,
            ranks=ranks,
        )
        failures = FailureLog(config.max_failures)
        stop = stack.enter_context(StopRequest())
        log = stack.enter_context(RunLog(config.out, progress.step, config.tensorboard, ranks.first))
        bar = stack.enter_context(Bar(steps, progress.step, config.progress and ranks.first))
        if found:
            for sentence in damaged:
                bar.say(sentence)
            bar.say(f"Going on from {path}: {progress.step} of {steps} steps are done.")
        loader = iter(make_loader(train, sampler, config, device))
        if found:
            restore_random_states(state["random"])
        model.train()
        saved = time.monotonic()
        (stopped,) = largest(stop.signal or 0)
        while progress.step < steps and not stopped:
            began = time.perf_counter()
            batches = [next(loader).to(device, non_blocking=True) for _ in range(config.accumulate)]
            meet()
            arrived = time.perf_counter()
            for batch in batches:
                failures.add(batch.failures, batch.seen)
            rate = learning_rate(recipe, progress.step / per_epoch, clips_per_step)
            set_learning_rate(optimizer, rate)
            seeds = [item_seed(config.seed, progress.step, turn) for turn in sampler.turns()]
            try:
                loss, norm = train_step(
                    parallel_model, optimizer, objective, batches, recipe.clip_norm, config.precision, seeds
                )
            except NonFiniteLoss as error:
                raise NonFiniteLoss(explain(error, progress.step, train, batches, path)) from None
            progress.add(loss, norm, arrived - began, time.perf_counter() - began)
            bar.step()

            last = progress.step == steps
            if last or progress.step % config.log_every == 0:
                row = {"epoch": progress.step / per_epoch, "lr": rate, **progress.row(clips_per_step)}
                log.write("train", progress.step, **row)
                bar.show(row)
            validating = validation is not None and (last or progress.step % between == 0)
            better = False
            if validating:
                report = validate(model, validation, protocol, config, device)
                better = progress.best is None or report.main > progress.best
                progress.best = report.main if better else progress.best
                log.write("validation", progress.step, epoch=progress.step / per_epoch, **report.metrics())
                bar.say(f"epoch {progress.step / per_epoch:.2f}: {'; '.join(str(report).splitlines())}")
            late = time.monotonic() - saved > 60 * config.save_minutes
            stopped, late = largest(stop.signal or 0, late)
            if last or validating or late or stopped:
                state = pack(model, optimizer, progress, sampler, rate, settings)
                path = checkpoints.path(progress.step)
                if ranks.first:
                    checkpoints.save(progress.step, state, best=better)
                saved = time.monotonic()
        everyone = FailureLog.merged(gather(failures))
        if everyone.draws:
            bar.say(everyone.summary())
    result = FitResult(progress.step, steps, path, progress.best, report)
    if stopped and progress.step < steps:
        raise TrainingStopped(signal.Signals(stopped), result)
    return result


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    objective: Objective,
    batches: Sequence[Batch],
    clip_norm: float | None = None,
    precision: str = "fp32",
    seeds: Sequence[int] = (),
) -> tuple[float, float]:
    """One optimizer step over one or more batches; returns the mean loss and the L2 norm of the gradients. Chapter 8.

    The gradients of several batches are averaged, as if they were one batch, and so are those of several processes
    (Chapter 9); MixUp and CutMix pair the clips within each batch. Above `clip_norm`, all gradients are scaled down
    together. `seeds`, one for each batch, make what is random in it the same wherever it is computed.

    Raises:
        NonFiniteLoss: the weights are as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros(())
    for number, batch in enumerate(batches):
        if seeds:
            torch.manual_seed(seeds[number])
        clips, targets = objective.prepare(batch.clips, batch.labels)
        with sharing(model, last=number == len(batches) - 1):
            with autocast(clips.device, precision):
                logits = model(clips)  # (B, num_classes)
            loss = objective.loss(logits, targets) / len(batches)
            loss.backward()
        total = total.to(loss.device) + loss.detach()
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip_norm is None else clip_norm)
    loss, norm = mean_over_ranks(total).item(), whole(norm).item()
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise NonFiniteLoss(f"loss {loss}, gradient norm {norm}", own=total.item())
    optimizer.step()
    return loss, norm


def prepare(model: nn.Module, config: TrainConfig, device: torch.device) -> nn.Module:
    """Move a model to the device, make it spare memory or time as the config says, and return the module to call."""
    by_block = {"blocks": config.compile or config.parallel == "fsdp", "checkpoint_blocks": config.checkpoint_blocks}
    if missing := [name for name, wanted in by_block.items() if wanted and not hasattr(model, name)]:
        raise ValueError(
            f"compile, parallel='fsdp' and checkpoint_blocks work block by block, as `MViT` has them; this "
            f"{type(model).__name__} has no `{'`, no `'.join(missing)}`, so train it without."
        )
    model.to(device)
    if config.checkpoint_blocks:
        model.checkpoint_blocks = config.checkpoint_blocks
    if config.compile:
        compile_blocks(model)
    return spread(model, config.parallel, device)


def compile_blocks(model: nn.Module) -> None:
    """Compile block by block; blocks of one shape and one rate of dropped paths share a graph.

    All blocks have one forward function, of which PyTorch keeps eight graphs and runs the rest uncompiled without a
    word: 16 blocks need more, and others again in evaluation and for a last batch that is smaller.
    """
    from torch._dynamo import config  # takes seconds

    config.recompile_limit = max(config.recompile_limit, GRAPHS_PER_BLOCK * len(model.blocks))
    for block in model.blocks:
        block.compile(dynamic=False)  # a graph for any size takes four times as long to make


def make_loader(train: Dataset, sampler: TrainSampler, config: TrainConfig, device: torch.device) -> DataLoader:
    return DataLoader(
        train,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=config.workers,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # of its own: what it draws must not depend on where a run begins
    )


def validate(
    model: nn.Module,
    validation: Dataset,
    protocol: Protocol | None,
    config: TrainConfig,
    device: torch.device,
) -> Report:
    with gathered(model):
        return evaluate(
            model,
            validation,
            protocol=protocol,
            batch=config.batch,
            workers=config.workers,
            device=device,
            precision=config.precision,
            max_failures=config.max_failures,
        )


def explain(error: NonFiniteLoss, step: int, train: Dataset, batches: Sequence[Batch], path: Path | None) -> str:
    """Which clips a step with a non-finite loss had, and what is left of the run.

    Of several processes only those are named whose own loss is not finite, unless all losses are and a gradient is not.
    """
    mine = [train.name(index) for batch in batches for index in dict.fromkeys(batch.index.tolist())]
    finite, clips = zip(*gather((math.isfinite(error.own), mine)), strict=True)
    ranks = [rank for rank, fine in enumerate(finite) if fine == all(finite)]
    names = [name for rank in ranks for name in clips[rank]]
    where = "" if len(ranks) == len(clips) else f" on rank {', '.join(map(str, ranks))}"
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    left = f"The last good checkpoint is {path}." if path else "There is no checkpoint yet."
    return (
        f"Step {step + 1} has {error}, so the run stops before it changes the weights. Its clips{where}: "
        f"{', '.join(names[:NAMES_SHOWN])}{more}. {left} Look at these videos, lower the learning rate, or take "
        "precision fp32."
    )
