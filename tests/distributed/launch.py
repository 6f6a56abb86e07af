"""Starting `torchrun` from a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def torchrun(processes: int, *words: object, options: tuple[str, ...] = ()) -> list[str]:
    """The command line that runs a module in several processes on this machine."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *options]
    return [*start, "-m", *map(str, words)]


def environment() -> dict[str, str]:
    """One thread a process, and nothing left of a `torchrun` around the tests."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("TORCHELASTIC", "MASTER_"))}
    return ours | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def launch(processes: int, *words: object, options: tuple[str, ...] = (), seconds: float = 300) -> tuple[int, str]:
    """The exit code, and what was printed."""
    done = subprocess.run(
        torchrun(processes, *words, options=options),
        env=environment(),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds,
    )
    return done.returncode, done.stdout


def job(processes: int, what: str, out: Path, *words: object, **more) -> tuple[int, str]:
    return launch(processes, "tests.distributed.job", what, out, *words, **more)
