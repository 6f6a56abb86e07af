"""What ``make test`` runs: every step with a heading and its seconds; ends non-zero if any step failed.

python -m book.tools.run_checks                 all steps
python -m book.tools.run_checks lint unit       some of them
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from book.tools.chapters import ROOT

PY = sys.executable
PYTEST = [PY, "-m", "pytest", "-q"]
CHAPTERS = "tests/book/test_chapters.py"


def steps(jobs: int) -> dict[str, tuple[str, list[list[str]]]]:
    """Name -> (heading, commands), in the order they run."""
    # A file's tests run on one worker, so its fixtures are made once; by name, as the last files are short.
    workers = ["-n", str(jobs), "--dist", "loadfile", "--no-loadscope-reorder"]
    nbval = ["-p", "no:python", "--nbval", "--nbval-current-env", "--nbval-cell-timeout", "300"]
    return {
        "lint": ("ruff", [[PY, "-m", "ruff", "check", "."], [PY, "-m", "ruff", "format", "--check", "."]]),
        "unit": (
            "unit tests",
            [[*PYTEST, *workers, "--durations", "10", "tests", "--ignore", CHAPTERS]],
        ),
        "chapters": ("notebook checks", [[*PYTEST, CHAPTERS]]),
        "nbval": ("nbval: every chapter again", [[*PYTEST, *nbval, *workers, "book"]]),
        "build": ("strict book build", [[PY, "-m", "book.tools.build", "--strict"]]),
        "html": ("built pages", [[PY, "-m", "book.tools.html_check"]]),
        "browser": ("browser pass", [[PY, "-m", "book.tools.browser"]]),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.run_checks", description=__doc__.splitlines()[0])
    parser.add_argument("step", nargs="*", help=f"{', '.join(steps(1))}; without it, all")
    parser.add_argument("--jobs", type=int, default=2, help="processes of a test run")
    options = parser.parse_args(arguments)
    todo = steps(options.jobs)
    if unknown := [name for name in options.step if name not in todo]:
        print(f"error: no step {unknown[0]!r}; the steps are: {', '.join(todo)}", file=sys.stderr)
        return 2
    # One thread a process: the processes share the cores.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = threads | {"PYTHONUNBUFFERED": "1"} | os.environ
    results: dict[str, tuple[bool, float]] = {}
    for name, (heading, commands) in todo.items():
        if options.step and name not in options.step:
            continue
        print(f"\n===== {heading}", flush=True)
        start = time.perf_counter()
        codes = [subprocess.run(c, cwd=ROOT, env=environment, check=False).returncode for c in commands]
        results[name] = (not any(codes), time.perf_counter() - start)
        print(
            f"===== {heading}: {'passed' if results[name][0] else 'FAILED'} in {results[name][1]:.0f} s",
            flush=True,
        )
    print("\n===== summary")
    for name, (good, seconds) in results.items():
        print(f"{name:10s}{'passed' if good else 'FAILED':8s}{seconds:5.0f} s")
    failed = [name for name, (good, _) in results.items() if not good]
    total = sum(seconds for _, seconds in results.values())
    print(f"{len(results) - len(failed)} steps passed, {len(failed)} failed in {total:.2f}s")
    if failed:
        print(f'again, only these: make test STEP="{" ".join(failed)}"')
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
