"""What the tests of several processes run: `python -m torch.distributed.run ... -m tests.distributed.job WHAT OUT`."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from mvit_edu import distributed
from mvit_edu.data import ClipDataset, VideoError
from mvit_edu.data.failures import Failure
from mvit_edu.data.mixing import MixUpCutMix
from mvit_edu.data.videos import Sample, collate
from mvit_edu.distributed import current, gather, meet, process_group, shard
from mvit_edu.evaluation import evaluate
from mvit_edu.training import NonFiniteLoss, Objective, fit, make_optimizer, train_step
from mvit_edu.training.parallel import gathered, spread, whole, whole_state
from tests.training.small import RECIPE, clips, small_config, small_model

VIDEOS_PER_STEP = 8
OPTIMIZERS = ("adamw", "sgd")
STEP_BATCH = {1: 2, 2: 2, 4: 1}  # videos at a time, by the number of processes


def gradients(out: Path, parallel: str, optimizer: str = "adamw") -> None:
    """Gradients of one step, and the weights after it; all processes together have eight clips."""
    model = small_model(drop_path=0.0, dropout=0.0)
    torch.manual_seed(current().rank)  # what a process draws by itself must not matter
    if not current().first:
        torch.nn.init.zeros_(model.head.weight)  # all start from the weights of rank 0
    net = spread(model, parallel, torch.device("cpu"))
    recipe = RECIPE.changed(mixup=0.0, cutmix=0.0, optimizer=optimizer)
    optimizer = make_optimizer(model, recipe)
    data = clips(VIDEOS_PER_STEP)
    mine = [data[i] for i in shard(VIDEOS_PER_STEP)]
    half = len(mine) // 2 or 1
    batches = [collate(mine[i : i + half]) for i in range(0, len(mine), half)]
    loss, norm = train_step(net, optimizer, Objective(recipe, 12), batches, clip_norm=None)
    found = {name: whole(tensor.grad).clone() for name, tensor in model.named_parameters()}
    weights, _ = whole_state(model, optimizer)
    if current().first:
        torch.save({"loss": loss, "norm": norm, "gradients": found, "weights": weights}, out)


class Watched(ClipDataset):
    """Notes every key that this process asks for, and has accidents on demand."""

    def __init__(self, data: ClipDataset, accident: str = "", at: int = -1) -> None:
        super().__init__(data.pairs)
        self.keys: list[tuple[int, int]] = []
        self.accident, self.at = accident, at

    def __getitem__(self, key):
        if len(self.keys) == self.at and current().rank == 1 and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            if self.accident == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.accident == "raises":
                raise VideoError("clip 7 of rank 1 is made of cheese")
            if self.accident == "hangs":
                time.sleep(3600)
        self.keys.append(tuple(key))
        sample = super().__getitem__(key)
        if self.accident == "infinite" and len(self.keys) == self.at + 1 and current().rank == 1:
            return dataclasses.replace(sample, clip=sample.clip * math.nan)
        return sample


def training(out: Path, accident: str = "", at: int = -1, steps: int | None = None, **changes) -> None:
    """A whole small training with everything random in it switched on; `steps` ends it early, as a signal would."""
    size = current().size
    batch = STEP_BATCH[size]
    settings = dict(batch=batch, accumulate=VIDEOS_PER_STEP // batch // size, save_minutes=0.0) | changes
    data = Watched(clips(20), accident, at)
    model, draws = small_model(), []
    draw = MixUpCutMix.draw
    MixUpCutMix.draw = lambda self, *size: draws.append(draw(self, *size)) or draws[-1]
    if steps is not None:
        stop_after(data, steps * VIDEOS_PER_STEP // size)
    result = fit(model, data, RECIPE, small_config(out, **settings), clips(11, "val"))
    MixUpCutMix.draw = draw
    keys, mixed = gather(data.keys), gather(draws)
    if current().first:
        assert result.step == result.steps
        (out / "seen.json").write_text(json.dumps({"keys": keys, "draws": mixed}))


def stop_after(data: Watched, items: int) -> None:
    """SIGTERM to this process when it has asked for so many clips; the other processes learn of it by themselves."""
    if current().rank == current().size - 1:
        ask = data.__class__.__getitem__

        def asking(self, key):
            if len(self.keys) == items - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return ask(self, key)

        data.__class__ = type("Stopping", (Watched,), {"__getitem__": asking})


class Unreadable(ClipDataset):
    """One process cannot read the video that it wants, and takes another."""

    def __getitem__(self, key):
        broken = (Failure("igloo.mp4", "broken"),) * current().rank
        return dataclasses.replace(super().__getitem__(key), failures=broken)


def infinite(out: Path, parallel: str) -> None:
    """In the third step the first clip of the last process is not a number."""
    data = Watched(clips(20), "infinite", at=2 * VIDEOS_PER_STEP // current().size)
    try:
        fit(small_model(), data, RECIPE, small_config(out, batch=2, accumulate=2, save_minutes=0.0, parallel=parallel))
    except NonFiniteLoss as error:
        names = str(error).partition("Its clips on rank 1: ")[2].partition(". The last")[0]
        # one write: two processes share this pipe, and print writes the end of its line apart
        os.write(1, f"rank {current().rank} stops: NonFiniteLoss, its clips are {names}\n".encode())
        meet()  # or `torchrun` may end the other before it has said so, too
        raise


class Broken(ClipDataset):
    """A list in which one video cannot be read."""

    def __getitem__(self, key):
        sample = super().__getitem__(key)
        return Sample(None, sample.label, sample.index, (Failure("clip 4", "broken"),)) if sample.index == 4 else sample


def scores(out: Path, parallel: str) -> None:
    """The report of eleven videos, one of them broken, as every process sees it."""
    model = small_model()
    net = spread(model, parallel, torch.device("cpu"))
    with gathered(model):
        report = evaluate(model, Broken(clips(11, "val").pairs), batch=2, max_failures=0.2)
    net.train()
    rows = {"correct": report.correct(), "videos": report.videos, "failed": report.failed, "top5": report.correct(5)}
    rows |= {"scores": report.scores.tolist(), "index": report.index.tolist()}
    everyone = gather(rows)
    if current().first:
        out.write_text(json.dumps(everyone))


@record
def main() -> None:
    what, out = sys.argv[1], Path(sys.argv[2])
    if what != "hangs":  # the cause has ended long before; `torchrun` need not be quick to see it, and ends the others
        distributed.LINGER_SECONDS = 20.0
    minutes = 0.25 if what == "hangs" else 10
    with process_group("cpu", minutes) as ranks:
        if what == "correct":
            out.mkdir(exist_ok=True)
            for parallel in ("ddp", "fsdp"):
                scores(out / f"scores_{parallel}.json", parallel)
                if ranks.size in STEP_BATCH:  # divides the videos of a step
                    for optimizer in OPTIMIZERS:
                        gradients(out / f"{optimizer}_{parallel}.pt", parallel, optimizer)
                    training(out / f"training_{parallel}", parallel=parallel)
        elif what == "savings":
            out.mkdir(exist_ok=True)
            real = torch.nn.Module.compile
            torch.nn.Module.compile = lambda self, **more: real(self, backend="eager", **more)  # no minutes of building
            for parallel in ("ddp", "fsdp"):
                training(out / f"plain_{parallel}", parallel=parallel)
                training(out / f"checkpointed_{parallel}", parallel=parallel, checkpoint_blocks=2)
                training(out / f"bf16_{parallel}", parallel=parallel, precision="bf16")
                training(out / f"compiled_{parallel}", parallel=parallel, compile=True)
        elif what == "empty":
            data = ClipDataset([] if ranks.rank == 1 else clips(20).pairs)
            fit(small_model(), data, RECIPE, small_config(out))
        elif what == "unequal":
            fit(small_model(), clips(20 - ranks.rank), RECIPE, small_config(out))
        elif what == "other_steps":  # as many videos a step, but cut in other ways
            batch, accumulate = ((1, 2), (2, 1))[ranks.rank]
            fit(small_model(), clips(20), RECIPE, small_config(out, batch=batch, accumulate=accumulate))
        elif what == "other_ends":
            fit(small_model(), clips(20), RECIPE, small_config(out), clips(11, "val") if ranks.first else None)
        elif what == "unequal_videos":
            evaluate(small_model(), clips(11 - ranks.rank, "val"))
        elif what == "unreadable":
            fit(small_model(), Unreadable(clips(60).pairs), RECIPE, small_config(out))
        elif what == "infinite":
            infinite(out, sys.argv[3])
        elif what == "stopped":
            training(out, steps=4, parallel=sys.argv[3])
        else:
            training(out, "" if what == "training" else what, at=9, timeout_minutes=minutes)


if __name__ == "__main__":
    main()
