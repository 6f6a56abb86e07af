"""Training steps of MViT-B 16x4 on a GPU: clips/s, memory, utilization, routes of the pooling, profile, several GPUs.

    python -m benchmarks.gpu                                      # about 9 minutes; --quick: 2 minutes
    python -m benchmarks.gpu --batch 16 32 64 --parts steps       # these batches, only the training steps
    python -m benchmarks.gpu --device cpu --preset mvit_tiny --quick    # a dry run: does the program work?

Writes results_gpu.json and RESULTS_gpu.md after every row. Needs torch, torchvision and tqdm, nothing that reads video.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import warnings
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from benchmarks.gpu.log import OURS, REFERENCE, Log, grouped, largest_batch
from benchmarks.gpu.loop import Bench, Contender
from benchmarks.gpu.poolings import measure_poolings, measure_routes
from benchmarks.gpu.processes import measure_processes, work

HERE = Path(__file__).parent.parent
PARTS = {  # in this order, what is cheap first: the seconds that must be left for a part to start
    "rate": 5,
    "poolings": 15,
    "routes": 25,
    "steps": 90,
    "profile": 30,
    "processes": 90,
    "compiled_routes": 200,
}
LIMIT = 256  # the largest batch that is tried
STATIC = f"{OURS}compiled static"


def measure_rate(bench: Bench, log: Log) -> None:
    """The best rate of bf16 matrix products on random data: medians over bursts, several sizes."""
    for size in tqdm((4096, 8192, 16384) if bench.cuda else (256, 512), desc="rate"):
        a, b = (torch.randn(size, size, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
        out, burst = torch.empty_like(a), max(1, int(5e13 / size**3)) if bench.cuda else 1
        seconds = [bench.timed(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), burst) for _ in range(9)][2:]
        rate = 2 * size**3 / statistics.median(seconds)
        bench.rate = max(bench.rate or 0.0, rate)
        log.put("rate", {"name": f"{size} x {size} x {size}", "flop_per_second": rate, "seconds": seconds})
    if not bench.cuda:
        bench.rate = None  # bf16 may be emulated


def find_batch(bench: Bench, log: Log) -> int:
    """The largest power of two with which both eager models leave a tenth of the memory free."""
    found = []
    for name, twin in ((f"{OURS}eager", False), (REFERENCE, True)):
        one = bench.build(name, twin=twin)

        def fits(batch: int, one: Contender = one) -> bool:
            if bench.cuda:
                torch.cuda.reset_peak_memory_stats()
            _, error = bench.attempt(lambda: one.step(*bench.clips(batch)))
            one.optimizer.zero_grad(set_to_none=True)
            bench.free()
            if bench.cuda and torch.cuda.max_memory_allocated() > 0.9 * torch.cuda.mem_get_info()[1]:
                error = error or "leaves less than a tenth of the memory"
            log.put("tried", {"name": one.name, "batch": batch, "error": error})
            return not error

        found.append(largest_batch(fits, *((16, LIMIT) if bench.cuda else (1, 1))))
        del one, fits
        bench.free()
    return min(found)


def measure_steps(bench: Bench, log: Log, batches: list[int]) -> None:
    for batch in batches:
        bench.built = {}
        bench.free()
        torch._dynamo.reset()  # each batch is compiled anew, as if it were the only one
        eager, compiled = bench.build(f"{OURS}eager"), bench.build(f"{OURS}compiled", compiled="blocks")
        contenders = [eager, bench.build(REFERENCE, twin=True), compiled]
        for one in (eager, compiled):
            for name, blocks in (("4", 4), ("all", len(bench.config.blocks))):
                contenders.append(replace(one, name=f"{one.name}, {name} checkpointed", checkpoint=blocks))
        if not bench.options.quick:
            contenders.append(bench.build(STATIC, compiled="static"))
            contenders.append(bench.build("torchvision, compiled", twin=True, compiled="blocks"))
        bench.alternate(log, "steps", contenders, batch)
        bench.built = {one.name: one for one in contenders}  # what is compiled goes with the model
        del eager, compiled, one, contenders


def measure_profile(bench: Bench, log: Log, batch: int) -> None:
    """Milliseconds by kernel (on a CPU: by operator) of one step of the models that `measure_steps` left."""
    kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if bench.cuda else [ProfilerActivity.CPU]
    clip, labels = bench.clips(batch)

    def recorded(one: Contender) -> dict[str, float]:
        for _ in range(2):
            one.step(clip, labels)
        with profile(activities=kinds) as record:
            one.step(clip, labels)
            if bench.cuda:
                torch.cuda.synchronize()
        times: dict[str, float] = {}
        for event in record.key_averages():
            if bench.cuda and (event.device_type != DeviceType.CUDA or getattr(event, "is_user_annotation", False)):
                continue  # the operators that launch kernels carry the kernels' time once more
            took = event.self_device_time_total if bench.cuda else event.self_cpu_time_total
            times[event.key] = times.get(event.key, 0.0) + took / 1e3
        return times

    names = [name for name in (f"{OURS}eager", f"{OURS}compiled", STATIC, REFERENCE) if name in bench.built]
    names = names if bench.cuda else names[:1]
    for name in tqdm(names or [f"{OURS}eager"], desc="profile"):
        one = bench.built.get(name) or bench.build(name)
        if not bench.cuda:  # bf16 takes very many operators on a CPU
            one = replace(one, dtype=torch.float32)
        times, error = bench.attempt(lambda one=one: recorded(one))
        one.optimizer.zero_grad(set_to_none=True)
        row = {"name": name, "batch": batch}
        if times:
            top = sorted(times.items(), key=lambda item: -item[1])[:20]
            row |= {"groups": grouped(times), "kernels": top}
        else:
            row |= {"error": error or "the profiler saw no kernels"}
        log.put("profile", row)


def machine(options: argparse.Namespace) -> dict:
    """Where, when and with what the numbers are measured."""

    def output(*command: str) -> str:
        try:
            lines = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=20).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired):
            lines = []
        return lines[0].strip() if lines else "unknown"

    cuda = options.device == "cuda"
    return {
        "dry_run": not cuda,
        "preset": options.preset,
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "devices": torch.cuda.device_count() if cuda else 0,
        "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else "none",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "python": platform.python_version(),
        "commit": output("git", "rev-parse", "--short", "HEAD"),
        "date": date.today().isoformat(),
        "command": "python -m benchmarks.gpu " + " ".join(sys.argv[1:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu is a dry run")
    parser.add_argument("--preset", default="mvit_b_16x4")
    parser.add_argument("--batch", nargs="+", type=int, help="default: the largest power of two that fits")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure, default all")
    parser.add_argument("--quick", action="store_true", help="fewer turns and contenders, 2 minutes")
    parser.add_argument("--minutes", type=float, help="no part starts, and no turn, after that (8.5; quick 2)")
    parser.add_argument("--out", type=Path, help="folder for log and table; rows that are there already are kept")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.minutes = options.minutes or (2.0 if options.quick else 8.5)
    options.out = options.out or (HERE if options.device == "cuda" else Path(tempfile.mkdtemp(prefix="gpu_dry_run_")))
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("There is no GPU that torch can use here; --device cpu --preset mvit_tiny --quick is a dry run.")
    if options.device == "cpu" and options.out.resolve() == HERE:
        parser.error("A dry run on a CPU must not write into benchmarks/; give another folder, or leave out --out.")
    warnings.filterwarnings("ignore")
    torch._dynamo.config.cache_size_limit = 256  # several models and routes share the code of a block
    if options.worker:
        work(options)
        return
    measure(options)


def measure(options: argparse.Namespace) -> None:
    """All parts that were asked for, as long as there is time; the log says which there was none for."""
    bench, log = Bench(options), Log(options.out, machine(options))
    bench.rate = None if log.dry_run else max((row["flop_per_second"] for row in log.rows("rate")), default=None)
    batches, batch = sorted(options.batch or []), 0
    for part in [part for part in PARTS if part in options.parts]:
        log.forget_skipped(part)
        if bench.left() < PARTS[part] * (0.3 if options.quick else 1):
            log.put("skipped", {"name": part, "error": "no time left"})
            continue
        if part not in ("steps", "profile"):
            bench.built = {}
            bench.free()
        if part == "rate":
            measure_rate(bench, log)
            continue
        batches = batches or [find_batch(bench, log)]
        batch = batch or batches[-1]
        if not batches[0]:
            reason = next(row["error"] for row in reversed(log.rows("tried")) if row["error"])
            log.put("skipped", {"name": part, "error": f"not even a batch of 1 runs: {reason}"})
        elif part == "poolings":
            measure_poolings(bench, log, min(batch, 32))
        elif part in ("routes", "compiled_routes"):
            measure_routes(bench, log, batch, compiled=part == "compiled_routes")
        elif part == "steps":
            measure_steps(bench, log, batches)
            batch = max((r["batch"] for r in log.rows("steps") if "seconds" in r and r["batch"] in batches), default=0)
        elif part == "profile":
            measure_profile(bench, log, batch)
        elif bench.cuda and torch.cuda.device_count() < 2:
            log.put("skipped", {"name": part, "error": "one GPU"})
        else:
            measure_processes(bench, log, max(1, batch // 2))
    print(log.text())
    print(f"\nWritten to {options.out}.")


if __name__ == "__main__":
    main()
