"""Training with 1, 2 and 4 processes on this machine, beside what the cost model of Chapter 9 predicts.

    python -m benchmarks.scaling                # 3 to 6 minutes; leave the machine alone meanwhile
    python -m benchmarks.scaling --turns 2      # rougher
    python -m benchmarks.scaling --table        # only rewrite the table

Writes `book/results/scaling.json`, with every single time, and `RESULTS_scaling.md`. The numbers of processes take
turns: each turn measures everything once with each of them. Before each measurement it waits until other programs take
less than 5% of the cores, and what they disturbed is measured again, up to four times in all. The quietest counts, and
the log tells how quiet it was. `--patience 20` spends up to 20 minutes on that, for a machine with other work.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from tqdm import tqdm

from benchmarks.readers import FRAMES, WINDOW, clip_numbers, make_files
from mvit_edu import MViT, get_config, stage_table
from mvit_edu.data import Batch, MotionShapes, read_frames, train_transform
from mvit_edu.studies.clusters import LARGE, QUIET, SMALL, compare, measured_machine, quiet_seconds, typical
from mvit_edu.training import Objective, get_recipe, make_optimizer, train_step
from mvit_edu.training.parallel import spread
from mvit_edu.training.state import versions

LOG = Path(__file__).parent.parent / "book" / "results" / "scaling.json"
TABLE = Path(__file__).parent / "RESULTS_scaling.md"
PROCESSES = (1, 2, 4)
TINY = get_config("mvit_tiny")
CHAPTER = dataclasses.replace(TINY, num_classes=4, crop=16, dim=24, depths=(1, 2), kv_stride=(1, 2, 2))
MODELS = {"mvit_tiny": (TINY, 16, 8), "chapter": (CHAPTER, 32, 16)}  # config, clips of a process, measured steps
SKIPPED = 2  # first steps, in which DDP sorts its buckets
SIZES = (4_000, 64_000, 1_000_000, 6_400_000, 32_000_000)  # bytes of an all-reduce
REDUCED = (10, 300)  # fewest and most all-reduces of a size in a turn: about 100 MB, if the limits let it be
CLIPS = {SMALL: 60, LARGE: 16}  # that a process decodes, and augments, in a turn
TRIES = 4  # how often something is measured at most, in search of a quiet moment
LOOK = 0.3  # seconds of a look at how busy the machine is
TIMEOUT = 600  # seconds that a process waits for the others, beyond the patience
LISTS = ("steps", "apart", "all_reduce", "cpu")  # of the log

Cell = tuple[str, dict, Callable[[int], float]]  # list of the log, what is measured, turn -> seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5, help="measured turns (default 5)")
    parser.add_argument("--patience", type=float, default=3, help="minutes to wait for other programs (default 3)")
    parser.add_argument("--table", action="store_true", help="measure nothing, only rewrite the table")
    options = parser.parse_args()
    if not options.table:
        write(measure(options.turns, options.patience))
    text = table(json.loads(LOG.read_text()))
    TABLE.write_text(text)
    print(text)


def measure(turns: int, patience: float) -> dict:
    """Start the processes, let the numbers of them take turns, and collect what they measured."""
    load, began = os.getloadavg()[0], time.monotonic()
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(max(PROCESSES)), context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        make_files(Path(folder), 2, 12)
        MotionShapes(60).write(Path(folder) / "shapes")
        work = (turns, patience, folder, barrier, results)
        running = mp.start_processes(worker, work, max(PROCESSES), join=False, start_method="spawn")
        rows: dict[str, dict] = {}
        with tqdm(total=(1 + turns) * len(PROCESSES), unit="part") as bar:
            while not running.join(timeout=1):
                while not results.empty():
                    for kind, key, seconds, others in results.get():
                        new = {"kind": kind, **key, "seconds": [], "others": []}
                        row = rows.setdefault(json.dumps([kind, key]), new)
                        row["seconds"].append(float(f"{seconds:.4g}"))
                        row["others"].append(round(others, 3))
                    bar.update()
    models = {}
    for name, (config, batch, _) in MODELS.items():
        counted = stage_table(config)
        models[name] = {"macs": counted.macs, "params": counted.params, "batch": batch, "clip": config.size}
    lists = {
        kind: [{name: row[name] for name in row if name != "kind"} for row in rows.values() if row["kind"] == kind]
        for kind in LISTS
    }
    measured = {
        "command": f"python -m benchmarks.scaling --turns {turns} --patience {patience:g}",
        "device": processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "backend": "gloo",
        "load": round(load, 1),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "when": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }
    return {"measured": measured, "models": models, **lists}


def worker(rank: int, turns: int, patience: float, folder: str, barrier, results) -> None:
    """One process: in every turn it is part of the first 1, 2 and 4, or waits asleep."""
    torch.set_num_threads(1)
    models = {name: MViT(config) for name, (config, _, _) in MODELS.items()}
    left = [60 * patience]  # seconds
    for turn in range(1 + turns):  # the first one only warms up
        for count in PROCESSES if turn % 2 else PROCESSES[::-1]:
            barrier.wait(60 * patience + TIMEOUT)
            if rank < count:
                dist.init_process_group("gloo", f"file://{folder}/{turn}_{count}", rank=rank, world_size=count)
                found = []
                for kind, key, run in cells(count, models, Path(folder)):
                    seconds, others = quietest(partial(run, turn), TRIES if turn else 1, left)
                    found.append((kind, {**key, "processes": count}, seconds, others))
                dist.destroy_process_group()
                if rank == 0:
                    results.put(found if turn else [])


def quietest(run: Callable[[], float], tries: int, left: list[float]) -> tuple[float, float]:
    """Seconds of the slowest process, and the share of the cores that other programs took; the same in all processes.

    It waits for a quiet moment, and repeats what was disturbed; both take from `left[0]`, the seconds for that.
    """
    best = (math.inf, math.inf)
    for number in range(tries):
        began = time.monotonic()
        if dist.get_rank() == 0 and tries > 1:
            while left[0] > time.monotonic() - began and busy_share(LOOK) > QUIET:
                pass
        left[0] -= time.monotonic() - began
        dist.barrier()
        own, start = time.process_time(), core_seconds()
        began = time.monotonic()
        seconds = torch.tensor(run(), dtype=torch.float64)
        dist.all_reduce(seconds, dist.ReduceOp.MAX)
        spent = torch.tensor(time.process_time() - own, dtype=torch.float64)
        dist.all_reduce(spent)
        left[0] -= time.monotonic() - began if number else 0.0
        heard = torch.tensor([share_of(start, core_seconds(), spent.item()), left[0] <= 0], dtype=torch.float64)
        dist.broadcast(heard, 0)
        best = min(best, (heard[0].item(), seconds.item()))
        if best[0] <= QUIET or heard[1]:
            break
    return best[1], best[0]


def busy_share(seconds: float) -> float:
    """The share of the cores that works, while this process sleeps."""
    start = core_seconds()
    time.sleep(seconds)
    return share_of(start, core_seconds())


def share_of(start: tuple[float, float], end: tuple[float, float], own: float = 0.0) -> float:
    """The share of all cores between two `core_seconds`, without `own` seconds."""
    return max(0.0, (end[0] - start[0] - own) / (end[1] - start[1]) / os.cpu_count())


def core_seconds() -> tuple[float, float]:
    """Seconds that all cores have worked since the start of the machine, for anyone (0 where it does not tell), and
    the clock."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0, time.perf_counter()
    user, nice, system, _, _, *interrupts = map(int, stat.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + sum(interrupts[:3])) / os.sysconf("SC_CLK_TCK"), time.perf_counter()


def cells(count: int, models: dict[str, MViT], folder: Path) -> Iterator[Cell]:
    """What so many processes measure in a turn."""
    for name, model in models.items():
        together = spread(model, "ddp", torch.device("cpu"))
        yield "steps", {"model": name}, partial(seconds_of_a_step, name, model, partial(train_step, together))
        if count > 1:
            yield "apart", {"model": name}, partial(seconds_of_a_step, name, model, partial(step_apart, model))
    for size in SIZES if count > 1 else ():
        yield "all_reduce", {"bytes": size}, partial(seconds_of_an_all_reduce, size)
    shapes = sorted((folder / "shapes").rglob("*.mp4"))
    for clip, files, crop in ((SMALL, shapes, 32), (LARGE, sorted(folder.glob("*.mp4")), 224)):
        key = {"clip": clip, "clips": CLIPS[clip]}
        yield "cpu", {"part": "decode", **key}, partial(seconds_of_decoding, clip, files)
        yield "cpu", {"part": "augment", **key}, partial(seconds_of_augmenting, clip, files, crop)


def seconds_of_a_step(name: str, model: MViT, step: Callable, turn: int) -> float:
    """The mean of several steps of training on clips in memory."""
    config, batch, steps = MODELS[name]
    recipe = get_recipe("motion_shapes")
    objective, optimizer = Objective(recipe, config.num_classes), make_optimizer(model, recipe)
    index = torch.arange(batch)
    clips = torch.randn(batch, 3, *config.size, generator=torch.Generator().manual_seed(turn))
    data = Batch(clips, index % config.num_classes, index, 1, ())
    for number in range(SKIPPED + steps):
        if number == SKIPPED:
            began = time.perf_counter()
        step(optimizer, objective, [data], recipe.clip_norm)
    return (time.perf_counter() - began) / steps


def step_apart(model: MViT, optimizer, objective: Objective, batches: list[Batch], clip_norm: float) -> None:
    """`train_step` in a process that exchanges nothing with the others, not even the loss."""
    optimizer.zero_grad(set_to_none=True)
    clips, targets = objective.prepare(batches[0].clips, batches[0].labels)
    objective.loss(model(clips), targets).backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip_norm).item()
    optimizer.step()


def seconds_of_an_all_reduce(size: int, turn: int) -> float:
    """The mean of several, one after the other."""
    numbers, (fewest, most) = torch.zeros(size // 4), REDUCED
    count = max(fewest, min(most, 100_000_000 // size))
    dist.all_reduce(numbers)
    began = time.perf_counter()
    for _ in range(count):
        dist.all_reduce(numbers)
    return (time.perf_counter() - began) / count


def seconds_of_decoding(clip: str, files: list[Path], turn: int) -> float:
    """Of all clips of a turn; the same for every process."""
    began = time.perf_counter()
    for number in range(CLIPS[clip]):
        read_frames(files[number % len(files)], frames_of(clip, turn, number))
    return time.perf_counter() - began


def seconds_of_augmenting(clip: str, files: list[Path], crop: int, turn: int) -> float:
    """Of all clips of a turn, by the recipe of Kinetics or the one of MotionShapes; the same draws in every process."""
    large = clip == LARGE
    transform = train_transform(crop) if large else train_transform(crop, flip=0.0, rand_augment=False, area=(0.6, 1.0))
    frames = torch.from_numpy(read_frames(files[0], frames_of(clip, turn, 0))).permute(0, 3, 1, 2)  # (T, 3, H, W)
    torch.manual_seed(turn)
    began = time.perf_counter()
    for _ in range(CLIPS[clip]):
        transform(frames)
    return time.perf_counter() - began


def frames_of(clip: str, turn: int, number: int) -> list[int]:
    return clip_numbers((37 * number + 11 * turn) % (FRAMES - WINDOW)) if clip == LARGE else list(range(TINY.frames))


def processor() -> str:
    """The name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def write(log: dict) -> None:
    """One row a line, and a file that is whole or not there."""
    parts = [f'"{name}": {json.dumps(log[name])}' for name in ("measured", "models")]
    parts += [f'"{kind}": [\n' + ",\n".join(map(json.dumps, log[kind])) + "\n]" for kind in LISTS]
    temporary = LOG.with_suffix(".tmp")
    temporary.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    os.replace(temporary, LOG)


def table(log: dict) -> str:
    """The log as a page of Markdown."""
    measured = log["measured"]
    libraries = ", ".join(f"{name} {number}" for name, number in measured["versions"].items())
    shares = [share for kind in LISTS for row in log[kind] for share in row["others"]]
    quiet = sum(share <= QUIET for share in shares)
    lines = [
        "# Training with 1, 2 and 4 processes, measured and predicted",
        "",
        f"Measured on {measured['when']} on {measured['device']}, {measured['cores']} cores, {libraries}, by "
        f"`{measured['command']}` in {measured['minutes']} minutes. Load of the machine before: {measured['load']}; "
        f"{quiet} of {len(shares)} measurements were quiet: other programs took at most {QUIET:.0%} of the cores.",
        "",
        f"Processes with {measured['threads']} thread each, DDP over {measured['backend']}, `train_step` with AdamW on "
        "clips in memory. *Apart* trains as many processes at the same time, which exchange nothing. A number is the "
        f"median of the quiet ones of {len(log['steps'][0]['seconds'])} turns, with the smallest and the largest of "
        "them; where none was quiet, it is the quietest.",
        "",
        "| model | batch | processes | step (ms) | apart (ms) | clips/s | efficiency |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, model in log["models"].items():
        alone = next(row for row in log["steps"] if row["model"] == name and row["processes"] == 1)
        rows = [row for row in log["steps"] if row["model"] == name]
        for row in sorted(rows, key=lambda row: row["processes"]):
            count, seconds = row["processes"], typical(row)
            apart = [r for r in log["apart"] if r["model"] == name and r["processes"] == count]
            cells = [name, model["batch"], count, times(row), times(apart[0]) if apart else ""]
            cells += [f"{count * model['batch'] / seconds:.1f}", f"{median(alone['seconds']) / seconds:.2f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| all-reduce alone (bytes) | 2 processes (ms) | 4 processes (ms) |", "|---|---|---|"]
    for size in dict.fromkeys(row["bytes"] for row in log["all_reduce"]):
        rows = {row["processes"]: row for row in log["all_reduce"] if row["bytes"] == size}
        lines.append(f"| {size:,} | {times(rows[2])} | {times(rows[4])} |")
    lines += ["", "| of one core | clip | clips/s | ms a clip |", "|---|---|---|---|"]
    for row in log["cpu"]:
        if row["processes"] == 1:
            seconds = typical(row) / row["clips"]
            lines.append(f"| {row['part']} | {row['clip']} | {1 / seconds:.1f} | {1e3 * seconds:.2f} |")
    lines += [
        "",
        "**The cost model** (`mvit_edu.studies.scaling`) knows the step of one process, the all-reduce of two, and "
        "what one core decodes and augments. *Error* is predicted over measured, minus 1.",
        "",
        "| what | processes | predicted | measured | error |",
        "|---|---|---|---|---|",
    ]
    for row in compare(log):
        cells = [row["what"], row["processes"], *(f"{row[key]:.4g} {row['unit']}" for key in ("predicted", "measured"))]
        lines.append(f"| {' | '.join(map(str, cells))} | {row['error']:+.0%} |")
    for name in log["models"]:
        lines += ["", "```", str(measured_machine(log, name)), "```"]
    return "\n".join(lines) + "\n"


def times(row: dict) -> str:
    """Median, smallest and largest, in milliseconds."""
    seconds = [1e3 * value for value in quiet_seconds(row)]
    return f"{median(seconds):.3g} ({min(seconds):.3g} to {max(seconds):.3g})"


if __name__ == "__main__":
    main()
