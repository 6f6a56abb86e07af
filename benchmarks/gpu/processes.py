"""The same training step by DDP on several GPUs, run by torchrun."""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from benchmarks.gpu.log import Log
from benchmarks.gpu.loop import Bench

ROOT = Path(__file__).parents[2]
PROCESSES = (1, 2, 4, 8)


def measure_processes(bench: Bench, log: Log, batch: int) -> None:
    """The same step by DDP with 1, 2, 4, 8 processes, each run by torchrun."""
    most = torch.cuda.device_count() if bench.cuda else 2
    for count in tqdm([count for count in PROCESSES if count <= most], desc="processes"):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
            command += ["-m", "benchmarks.gpu", "--worker", "--device", bench.device.type, "--batch", str(batch)]
            command += ["--preset", bench.options.preset, "--out", folder] + ["--quick"] * bench.options.quick
            row, error = {"name": f"{count} processes", "batch": batch}, ""
            with tempfile.TemporaryFile() as said:
                process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said, start_new_session=True)
                try:
                    process.wait(max(60, bench.left()))
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    error = "took too long"
                said.seek(0)
                last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            made = Path(folder) / "row.json"
            found = json.loads(made.read_text()) if made.exists() else {"error": error or f"failed: {last}"[:150]}
            log.put("processes", row | found)


def work(options: argparse.Namespace) -> None:
    """One of the processes of `measure_processes`; rank 0 writes the row."""
    rank, local, size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    cuda = options.device == "cuda"
    if cuda:
        torch.cuda.set_device(local)
        options.device = f"cuda:{local}"
    bench, batch = Bench(options), options.batch[0]
    dist.init_process_group("nccl" if cuda else "gloo", device_id=bench.device if cuda else None)
    one = bench.build("worker", compiled="blocks" if cuda else None)
    one.model = DistributedDataParallel(one.model, device_ids=[local] if cuda else None, gradient_as_bucket_view=True)
    clip, labels = bench.clips(batch)
    seconds = [bench.timed(lambda: one.step(clip, labels), bench.steps) for _ in range(bench.turns + 2)][2:]
    values = torch.ones(2**26 if cuda else 2**20, device=bench.device)
    shared = [bench.timed(lambda: dist.all_reduce(values), 5) for _ in range(bench.turns + 2)][2:]
    slowest = torch.tensor([statistics.median(seconds), statistics.median(shared)], device=bench.device)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    took, reduced = slowest.tolist()
    row = {"processes": size, "clips_per_second": size * batch / took, "seconds": seconds}
    row |= {"bus_gb_per_second": 2 * (size - 1) / size * values.nbytes / reduced / 1e9 if size > 1 else None}
    if rank == 0:
        (options.out / "row.json").write_text(json.dumps(row))
    dist.destroy_process_group()
