"""How fast are random clips read from files, and does training wait for them?

    python -m benchmarks.reading                    # about 8 minutes on two cores
    python -m benchmarks.reading --only wait        # some rows again: "every 12", "every 250" or "wait"
    python -m benchmarks.reading --table            # only rewrite the table

Writes `results_reading.json`, with every single time, and `RESULTS_reading.md`. PyTorchVideo, decord and torchcodec
take part where they import.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from benchmarks.measure import median_ratio
from benchmarks.readers import (
    FRAMES,
    OURS,
    OURS_AGAIN,
    PYTORCHVIDEO,
    WINDOW,
    all_frames,
    as_frames,
    clip_numbers,
    kilobits,
    make_files,
    readers,
)
from mvit_edu import MViT, get_config
from mvit_edu.data import ClipSpec, MotionShapes, VideoDataset, VideoList, collate, train_transform

HERE = Path(__file__).parent
FILES, CLIPS = 12, 24  # files of a kind, and clips that every reader reads in a turn
KEY_FRAMES = (12, 250)
BATCH, STEPS, SKIPPED = 32, 30, 5  # of the training; the first steps, with the start of the workers, do not count
LOADERS = ((1, 1), (1, 2), (2, 2))  # workers, and threads of the training process
PACKAGES = ("av", "pytorchvideo", "decord", "torchcodec", "torch")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reading", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=7, help="measured turns of each reader (default 7)")
    parser.add_argument("--only", default="", help="only rows whose words contain this")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the table and the log")
    parser.add_argument("--table", action="store_true", help="measure nothing, only rewrite the table")
    options = parser.parse_args()
    measure(options.turns, "" if options.table else options.only, options.out, only_table=options.table)


def measure(turns: int, only: str, out: Path, only_table: bool = False) -> None:
    """Measure the rows whose words contain `only`, put them into the log, and write the table."""
    file = out / "results_reading.json"
    rows = json.loads(file.read_text()) if file.exists() else []
    threads = torch.get_num_threads()
    measured = 0
    for row in () if only_table else chain(reading(turns, only), waiting(only)):
        measured += 1
        rows = [old for old in rows if old["row"] != row["row"]] + [row | {"measured": about()}]
        file.write_text(json.dumps(rows, indent=1) + "\n")
    torch.set_num_threads(threads)
    if measured or (only_table and rows):
        text = table(rows)
        print(text)
        (out / "RESULTS_reading.md").write_text(text + "\n")


def about() -> dict:
    """Where, when and with what a row was measured."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return {
        "device": name,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit.stdout.strip(),
        "date": date.today().isoformat(),
        "command": "python " + " ".join(sys.orig_argv[1:]),
    }


def reading(turns: int, only: str) -> Iterator[dict]:
    """Every reader reads the same clips, one after the other; who is first changes from clip to clip."""
    torch.set_num_threads(1)
    found, missing = readers()
    for distance in (n for n in KEY_FRAMES if only in f"read every {n}"):
        with tempfile.TemporaryDirectory() as folder:
            files = make_files(Path(folder), FILES, distance)
            everything = [all_frames(file) for file in files]
            for file in files:  # for the reader that has read it before
                found[OURS_AGAIN](file, [0])
            rng = np.random.default_rng(0)
            seconds = {name: [] for name in found}
            differences = dict.fromkeys(found, 0)
            new = Path(folder) / "new.mp4"
            bar = tqdm(total=(turns + 1) * CLIPS, desc=f"key frame every {distance}", unit="clip")
            for turn in range(turns + 1):  # the first only warms up
                sums = dict.fromkeys(found, 0.0)
                for clip in range(CLIPS):
                    which, start = clip % FILES, int(rng.integers(FRAMES - WINDOW + 1))
                    numbers = clip_numbers(start)
                    order = list(found)
                    for name in order[clip % len(order) :] + order[: clip % len(order)]:
                        path = files[which] if name == OURS_AGAIN else new_name(files[which], new, turn * CLIPS + clip)
                        mark = time.perf_counter()
                        read = found[name](path, numbers)
                        sums[name] += time.perf_counter() - mark
                        off = np.abs(as_frames(read).astype(int) - everything[which][numbers]).max()
                        differences[name] = max(differences[name], int(off))
                    bar.update()
                if turn:
                    for name, value in sums.items():
                        seconds[name].append(value)
            bar.close()
            yield {
                "row": f"read every {distance}",
                "kilobits": kilobits(files),
                "clips": CLIPS,
                "seconds": seconds,
                "differences": differences,
                "missing": missing,
                "ratios": {name: median_ratio(seconds, OURS, name) for name in found},
            }


def new_name(file: Path, link: Path, number: int) -> Path:
    """The file under a name that nobody has opened before."""
    path = link.with_stem(f"{link.stem}_{number}")
    path.unlink(missing_ok=True)
    os.link(file, path)
    return path


def epochs(length: int) -> Iterator[tuple[int, int]]:
    """Keys (epoch, index) of `VideoDataset`, in random order within an epoch, without end."""
    generator, epoch = torch.Generator().manual_seed(0), 0
    while True:
        yield from ((epoch, index) for index in torch.randperm(length, generator=generator).tolist())
        epoch += 1


def waiting(only: str) -> Iterator[dict]:
    """Train mvit_tiny on files of MotionShapes: how much of the time goes to waiting for the next batch?"""
    chosen = [pair for pair in LOADERS if only in row_of(*pair)]
    if not chosen:
        return
    with tempfile.TemporaryDirectory() as folder:
        listed = MotionShapes(1200).write(folder)
        videos = VideoList.read(listed)
        transform = train_transform(32, flip=0.0, rand_augment=False, area=(0.6, 1.0))
        data = VideoDataset(videos, ClipSpec(8, 1, sampling="stride", fps=None), transform)
        batch = seconds_of_a_batch(data)
        for workers, threads in chosen:
            waits, steps = wait_of_training(data, workers, threads)
            yield {
                "row": row_of(workers, threads),
                "workers": workers,
                "threads": threads,
                "batch": batch,
                "waits": waits,
                "steps": steps,
            }


def seconds_of_a_batch(data: VideoDataset, count: int = 7) -> float:
    """How long one process takes to make a batch when nothing waits for it: the median of several, on one thread."""
    torch.set_num_threads(1)
    keys, seconds = epochs(len(data)), []
    for _ in range(count):
        start = time.perf_counter()
        collate([data[next(keys)] for _ in range(BATCH)])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row_of(workers: int, threads: int) -> str:
    return f"wait {workers}+{threads}"


def wait_of_training(data: VideoDataset, workers: int, threads: int) -> tuple[list[float], list[float]]:
    """Seconds of each step that went to waiting for its batch, and of the whole step."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = MViT(get_config("mvit_tiny"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = DataLoader(data, BATCH, sampler=epochs(len(data)), num_workers=workers, collate_fn=collate)
    batches = iter(loader)
    waits, steps = [], []
    for step in tqdm(range(SKIPPED + STEPS), desc=f"{workers} workers, {threads} threads", unit="step"):
        start = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - start
        loss = F.cross_entropy(model(batch.clips), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step >= SKIPPED:
            waits.append(waited)
            steps.append(time.perf_counter() - start)
    return waits, steps


def table(rows: list[dict]) -> str:
    """The log as a page of Markdown."""
    found = {row["row"]: row for row in rows}
    reads = [found[f"read every {n}"] for n in KEY_FRAMES if f"read every {n}" in found]
    waits = [row for row in rows if row["row"].startswith("wait")]
    lines = ["# Reading video beside PyTorchVideo, decord and torchcodec", "", described(rows)]
    if reads:
        rates = " and ".join(f"{row['kilobits']:.0f} kbit/s ({row['row'].removeprefix('read ')})" for row in reads)
        lines += [
            "",
            f"**Random 16x4 clips.** {FILES} files of 10 s, 340x256, 30 fps, H.264 by x264 with its presets, a key "
            f"frame every 12 or every 250 frames: {rates}. They show a camera that sways over a photograph, a part "
            "that moves on its own, and noise. One process with one decoder thread reads each clip from a file that "
            'it opens for it, under a name never opened before; "read before" opens a file whose list of packets it '
            "still knows. The bytes are in the memory of the operating system for all. The readers take turns clip "
            "by clip, and each opens, reads and closes; a ratio is "
            f"the median, over the turns of {reads[0]['clips']} clips, of the other's time over ours. PyTorchVideo "
            "gives floats, and they count as delivered. *Off* is the largest difference of a pixel, of 255, from "
            "decoding the whole file in order.",
            "",
            f"| reader | {' | '.join(column for row in reads for column in columns(row))} | wanted |",
            "|---" * (2 + 3 * len(reads)) + "|",
        ]
        for name in [*reads[0]["seconds"], *reads[0]["missing"]]:
            cells = [cell for row in reads for cell in cells_of(row, name)]
            wanted = {OURS: "", OURS_AGAIN: "", PYTORCHVIDEO: ">= 2"}.get(name, ">= 1")
            lines.append(f"| {name} | {' | '.join(cells)} | {wanted} |")
    if waits:
        lines += [
            "",
            "**Training that reads files.** `mvit_tiny` with AdamW, batches of 32 clips, from 1200 H.264 files of "
            "MotionShapes (8 frames of 32x32) through `VideoDataset`, with a random crop. *Waiting* is the share of "
            f"the time that the step waits for its batch, over {STEPS} steps after the first {SKIPPED}. *Batch* is how "
            "long one process without a model takes to make one, so as long as the step takes longer, one worker keeps "
            "up. On a busy machine the step is slow, and waiting looks better than it is: read both.",
            "",
            "| workers | training threads | step (s) | clips/s | batch (s) | waiting | longest (s) | load | wanted |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in waits:
            total = sum(row["steps"])
            cells = [row["workers"], row["threads"], f"{statistics.median(row['steps']):.3f}"]
            cells += [
                f"{BATCH * len(row['steps']) / total:.0f}",
                f"{row['batch']:.3f}",
                f"{sum(row['waits']) / total:.1%}",
            ]
            cells += [f"{max(row['waits']):.3f}", row["measured"]["load"], "< 10 %"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def described(rows: list[dict]) -> str:
    measured = rows[0]["measured"]
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in measured["versions"].items())
    loads = ", ".join(f"{row['measured']['load']} ({row['row']})" for row in rows if row["row"].startswith("read"))
    return (
        f"Measured on {measured['date']} on {measured['device']}, {measured['cores']} cores, Python "
        f"{measured['python']}, {versions}, by `python -m benchmarks.reading`. Load of the machine: {loads}."
    )


def columns(row: dict) -> list[str]:
    what = row["row"].removeprefix("read ")
    return [f"{what}: clips/s", "time / ours", "off"]


def cells_of(row: dict, name: str) -> list[str]:
    if name not in row["seconds"]:
        return [row["missing"].get(name, "not measured"), "", ""]
    per_second = row["clips"] / statistics.median(row["seconds"][name])
    return [f"{per_second:.1f}", f"{row['ratios'][name]:.2f}", str(row["differences"][name])]


if __name__ == "__main__":
    main()
