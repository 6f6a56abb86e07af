"""The first training of a reader, from files to an answer: does it keep what the README promises?

    python -m benchmarks.first_training             # about 8 minutes on two cores

Writes MotionShapes as H.264 files, then runs `mvit-edu train`, `evaluate` and `predict` as programs, with the words
that the README has. Fails unless top-1 is at least 95 % after at most 6 minutes of training, the evaluation agrees
with the log of the training, and the prediction is right. Adds a row to `results_first_training.json`, and writes
`RESULTS_first_training.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mvit_edu.data import VideoList
from mvit_edu.training.state import versions

HERE = Path(__file__).parent
LOG, TABLE = HERE / "results_first_training.json", HERE / "RESULTS_first_training.md"
MINUTES, TOP1 = 6.0, 0.95
TRAIN = "train --data {data} --model mvit_tiny --recipe motion_shapes --batch 32 --out {out}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.first_training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="where the files are, if they were written before")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = run(options.seed, options.data, Path(folder))
    rows = [*(json.loads(LOG.read_text()) if LOG.exists() else []), row]
    LOG.write_text(json.dumps(rows, indent=1) + "\n")
    TABLE.write_text(table(rows) + "\n")
    print(table(rows))
    kept = row["top1"] >= TOP1 and row["train_minutes"] <= MINUTES and row["evaluate_agrees"] and row["predict_right"]
    sys.exit(0 if kept else "The promise was not kept.")


def run(seed: int, data: Path | None, folder: Path) -> dict:
    """One training with its test and one prediction; the row of the log."""
    load = os.getloadavg()[0]
    if data is None:
        data = folder / "motion"
        call([sys.executable, "-m", "data_scripts.motion_shapes", str(data)])
    out = folder / "run"
    words = TRAIN.format(data=data, out=out).split() + ["--seed", str(seed)]
    began = time.perf_counter()
    mvit_edu(words)
    minutes = (time.perf_counter() - began) / 60
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    validations = [one for one in rows if one["kind"] == "validation"]
    best = max(validations, key=lambda one: one["top1"])
    report = folder / "report.json"
    tests = {}
    for split in ("val", "test"):
        mvit_edu(["evaluate", "--weights", str(out), "--data", str(data), "--split", split, "--report", str(report)])
        tests[split] = json.loads(report.read_text())
    item = VideoList.read(data / "test.csv").items[0]
    said = mvit_edu(["predict", item.path, "--weights", str(out), "--picture", str(folder / "strip.png")])
    name = re.search(r"%  (\w+)", said)[1]
    trained = [one for one in rows if one["kind"] == "train"]
    return {
        "command": "mvit-edu " + TRAIN.format(data="clips/motion", out="runs/motion"),
        "seed": seed,
        "train_minutes": round(minutes, 2),
        "steps": trained[-1]["step"],
        "top1": best["top1"],
        "last_top1": validations[-1]["top1"],
        "test_top1": tests["test"]["top1"],
        "evaluate_agrees": tests["val"]["top1"] == best["top1"],
        "predict_right": name == tests["test"]["classes"][item.label] and (folder / "strip.png").stat().st_size > 0,
        "clips_per_second": sorted(one["clips_per_second"] for one in trained)[len(trained) // 2],
        "waiting": round(sum(one["wait"] for one in trained) / len(trained), 4),
        "load_before": round(load, 1),
        "cores": os.cpu_count(),
        "device": platform.machine(),
        "when": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }


def mvit_edu(words: list[str]) -> str:
    return call([sys.executable, "-m", "mvit_edu", *words])


def call(command: list[str]) -> str:
    print("$", *command[2:])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
    print(done.stdout)
    done.check_returncode()
    return done.stdout


def table(rows: list[dict]) -> str:
    lines = [
        "# The first training",
        "",
        "Made by `python -m benchmarks.first_training`: mvit_tiny on MotionShapes written as 6,000 H.264 files, by the "
        f"command of the README. Wanted: at least {TOP1:.0%} top-1 in at most {MINUTES:g} minutes on two cores. "
        "*Minutes* are those of the whole command, validations and start included; *load* is that of the machine just "
        "before, 0 where nothing else ran.",
        "",
        "| seed | minutes | clips/s | waiting for data | best top-1 (val) | last | test | evaluate = log | "
        "predict right | load | when |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row["seed"],
            f"{row['train_minutes']:.1f}",
            f"{row['clips_per_second']:.0f}",
            f"{row['waiting']:.1%}",
            *(f"{row[key]:.1%}" for key in ("top1", "last_top1", "test_top1")),
            *("yes" if row[key] else "no" for key in ("evaluate_agrees", "predict_right")),
            row["load_before"],
            row["when"],
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
