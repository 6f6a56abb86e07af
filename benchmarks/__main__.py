"""Run the comparisons and write the tables: `make bench`, or `python -m benchmarks [--repeats 5] [--device cuda]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import reading
from benchmarks.contenders import OURS, contenders
from benchmarks.measure import Peak, alternate, forward, median_ratio, saved_mib, training_step
from mvit_edu import MViT, get_config

HERE = Path(__file__).parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# job, preset, batch, precision
TIMINGS = [
    *[(job, "mvit_b_16x4", batch, dtype) for dtype in DTYPES for batch in (1, 2) for job in ("forward", "step")],
    ("step", "mvit_tiny", 32, "float32"),
]
# What this repository asks of itself, against torchvision on two CPU cores: at least, or for memory at most.
WANTED = {
    ("forward", "mvit_b_16x4", 1, "float32"): 1.2,
    ("step", "mvit_b_16x4", 1, "float32"): 1.25,
    ("step", "mvit_tiny", 32, "float32"): 2.0,
    "saved": 0.78,
    "checkpointed": 0.1,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="measured turns of each contender (default 5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all cores)")
    parser.add_argument("--only", default="", help="only rows whose words contain this, such as 'step mvit_tiny'")
    parser.add_argument("--profile", action="store_true", help="only print where our training step spends its time")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the table and the log")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    if options.profile:
        print(profile_of_our_step(options.device))
        return
    file = options.out / f"results_{options.device}.json"
    log = {"timings": [], "memory": []}
    if options.only and file.exists():
        log = json.loads(file.read_text())  # rows that are measured again replace the old ones
    about = machine(options)
    for part, measure in (("timings", timings), ("memory", memory)):
        for row in measure(options):
            row |= {"measured": about | {"load": os.getloadavg()[1]}}
            replace_or_add(log[part], row)
            file.write_text(json.dumps(log, indent=1) + "\n")
    if log["timings"]:
        text = table(log, options.device)
        print(text)
        (options.out / f"RESULTS_{options.device}.md").write_text(text + "\n")
    if options.device == "cpu":  # reading and decoding are work for a CPU
        reading.measure(options.repeats, options.only, options.out)


def identity(row: dict) -> tuple:
    """What a row of the log is about, apart from its numbers."""
    return tuple(row.get(key) for key in ("job", "model", "preset", "batch", "dtype"))


def replace_or_add(rows: list[dict], row: dict) -> None:
    """Put a measured row into the log, in the place of an older one of the same thing."""
    for index, old in enumerate(rows):
        if identity(old) == identity(row):
            rows[index] = row
            return
    rows.append(row)


def profile_of_our_step(device: str) -> str:
    """Each operator's share of the time of one training step of MViT-B 16x4, one clip, float32."""
    config = replace(get_config("mvit_b_16x4"), drop_path=0.0, dropout=0.0)
    model, clip = MViT(config).to(device), torch.randn(1, config.in_channels, *config.size, device=device)
    training_step(model, clip, torch.float32)
    with torch.profiler.profile() as recorded:
        training_step(model, clip, torch.float32)
    on_gpu = device == "cuda"
    times = {
        event.key: event.self_device_time_total if on_gpu else event.self_cpu_time_total
        for event in recorded.key_averages()
    }
    total = sum(times.values())
    largest = sorted(times, key=times.get, reverse=True)[:12]
    return "\n".join(f"{times[key] / total:6.1%}  {key}" for key in largest)


def machine(options: argparse.Namespace) -> dict:
    """Where, when and with what the numbers were measured."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    if options.device == "cuda":
        name = torch.cuda.get_device_name()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    return {
        "device": name,
        "threads": options.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "date": date.today().isoformat(),
        "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
    }


def timings(options: argparse.Namespace) -> Iterator[dict]:
    jobs = {"forward": forward, "step": training_step}
    chosen = [timing for timing in TIMINGS if options.only in " ".join(map(str, timing))]
    bar = tqdm(chosen, desc="timings")
    for name, preset, batch, dtype in bar:
        bar.set_postfix_str(f"{name} {preset} x{batch} {dtype}")
        config = get_config(preset)
        models = {key: model.to(options.device) for key, model in contenders(config).items()}
        clip = torch.randn(batch, config.in_channels, *config.size, device=options.device)
        slow = dtype == "bfloat16" and options.device == "cpu"  # ten times slower where the CPU has no such units
        turns = (1, 0) if slow else (options.repeats, 1)
        seconds = alternate(jobs[name], models, clip, DTYPES[dtype], *turns)
        ratios = {key: median_ratio(seconds, OURS, key) for key in seconds if key != OURS}
        yield {
            "job": name,
            "preset": preset,
            "batch": batch,
            "dtype": dtype,
            "seconds": seconds,
            "ratios": ratios,
        }


def memory(options: argparse.Namespace) -> Iterator[dict]:
    if options.only and options.only not in "memory":
        return
    config = get_config("mvit_b_16x4")
    clip = torch.randn(1, config.in_channels, *config.size, device=options.device)
    models = {key: model.to(options.device) for key, model in contenders(config).items()}
    peak = Peak(options.device)
    cases = [(key, model, 0) for key, model in models.items()]
    cases += [(f"{OURS}, first 4 blocks checkpointed", models[OURS], 4)]
    cases += [(f"{OURS}, all blocks checkpointed", models[OURS], len(config.blocks))]
    for key, model, blocks in tqdm(cases, desc="memory"):
        if hasattr(model, "checkpoint_blocks"):
            model.checkpoint_blocks = blocks
        saved = saved_mib(model, clip)
        yield {
            "model": key,
            "saved": saved,
            "peak": peak.of(lambda m=model: training_step(m, clip, torch.float32)),
        }


def table(log: dict, device: str) -> str:
    """The log as Markdown; what is wanted holds for a CPU."""
    about = log["timings"][0]["measured"]
    lines = [
        "# Speed and memory beside torchvision and PyTorchVideo",
        "",
        f"Measured on {about['date']} on {about['device']}, {about['threads']} threads, torch {about['torch']}, "
        f"Python {about['python']}, by `make bench`. "
        "All three models have the same weights and take turns in one process; a ratio is the median over the turns "
        "of the other's time over ours, so 1.3 means that ours is 1.3 times as fast. *Load* is the machine's average "
        "over the five minutes up to the end of the row, this job included.",
        "",
        "| job | model | batch | precision | turns | load | ours (s) "
        "| torchvision / ours | PyTorchVideo / ours | wanted |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in log["timings"]:
        key = (row["job"], row["preset"], row["batch"], row["dtype"])
        load = row["measured"]["load"]
        cells = [*key, len(row["seconds"][OURS]), "not logged" if load is None else f"{load:.1f}"]
        cells += [f"{statistics.median(row['seconds'][OURS]):.3f}", *(f"{r:.2f}" for r in row["ratios"].values())]
        cells += [f">= {WANTED[key]}" if key in WANTED and device == "cpu" else ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if log["memory"]:
        lines += [
            "",
            "Memory of one training step of MViT-B 16x4, one clip, float32. *Saved* is what autograd keeps for the "
            "backward pass, *peak* the most that is allocated at once, gradients included, parameters not.",
            "",
            "| model | saved (MiB) | over torchvision's | peak (MiB) | wanted (saved) |",
            "|---|---|---|---|---|",
        ]
        reference = next(row["saved"] for row in log["memory"] if row["model"] == "torchvision")
        for row in log["memory"]:
            wanted = {
                OURS: f"<= {WANTED['saved']}",
                f"{OURS}, all blocks checkpointed": f"<= {WANTED['checkpointed']}",
            }
            share = row["saved"] / reference
            cells = f"{row['saved']:.0f} | {share:.3f} | {row['peak']:.0f} | {wanted.get(row['model'], '')}"
            lines.append(f"| {row['model']} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
