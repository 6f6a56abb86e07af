"""The log and the tables of `benchmarks.gpu`, and its arithmetic: nothing here needs a GPU."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Callable
from pathlib import Path

REFERENCE = "torchvision, eager"
OURS = "mvit_edu, "
GOALS = (("over", "clips/s over torchvision, eager", 2.0), ("utilization", "share of the measured matrix rate", 0.35))
# Kernels (on a CPU: operators) by what their names say; the first that matches counts.
GROUPS = (
    ("optimizer and clipping", r"multi_tensor|adam|foreach"),
    ("LayerNorm", r"layer_?norm|gammabeta"),
    ("other kernels of the compiler", r"^triton"),
    ("attention", r"flash|fmha|sdpa|attention|softmax"),
    ("convolutions", r"depthwise|conv(?!ert)|fprop|dgrad|wgrad|implicit_gemm"),
    ("matrix products", r"gemm|cutlass|nvjet|cublas|splitk|addmm|aten::b?mm"),
    ("copies", r"copy|memcpy|memset|catarray|aten::cat|nchw|nhwc|fill|zero"),
    ("all other", r""),
)


def step_flop(macs: int) -> int:
    """Floating-point operations of a training step of one clip that the model asks for.

    A multiply-add is two operations, and the backward pass has two products for each of the forward pass. What
    checkpointing computes again is not counted.
    """
    return 3 * 2 * macs


def utilization(clips_per_second: float, macs: int, rate: float) -> float:
    """The share of a matrix rate (FLOP/s) that the model's own operations reach."""
    return clips_per_second * step_flop(macs) / rate


def largest_batch(fits: Callable[[int], bool], first: int, limit: int) -> int:
    """The largest of first, 2 first, 4 first ... up to limit that fits; below first, the halves; 0 if not even 1."""
    if not fits(first):
        batch = first // 2
        while batch and not fits(batch):
            batch //= 2
        return batch
    batch = first
    while 2 * batch <= limit and fits(2 * batch):
        batch *= 2
    return batch


def grouped(times: dict[str, float]) -> dict[str, float]:
    """Times of kernels, added up by group, largest first."""
    sums: dict[str, float] = {}
    for name, value in times.items():
        group = next(group for group, pattern in GROUPS if re.search(pattern, name, re.IGNORECASE))
        sums[group] = sums.get(group, 0.0) + value
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def step_row(name: str, batch: int, seconds: list[float], macs: int, rate: float | None, peak: float | None) -> dict:
    """A row of the log: what the seconds of single training steps, one a turn, come to."""
    clips = batch / statistics.median(seconds)
    share = utilization(clips, macs, rate) if rate else None
    row = {"name": name, "batch": batch, "clips_per_second": clips, "utilization": share, "peak_gib": peak}
    return row | {"seconds": seconds}


class Log:
    """Results as they come; both files are written after each row, so that a run that is stopped loses nothing.

    Each row names the run that made it by its place in "measured"; rows that are in the folder already are kept.
    """

    def __init__(self, folder: Path, about: dict):
        self.folder, file = folder, folder / "results_gpu.json"
        self.parts: dict = json.loads(file.read_text()) if file.exists() else {"measured": []}
        self.parts["measured"].append(about)
        self.dry_run = about["dry_run"]
        folder.mkdir(parents=True, exist_ok=True)

    def rows(self, part: str) -> list[dict]:
        return self.parts.get(part, [])

    def put(self, part: str, row: dict) -> None:
        """Add a row to a part, in the place of an older one of the same name and batch."""
        row = row | {"run": len(self.parts["measured"]) - 1}
        rows = self.parts.setdefault(part, [])
        same = [i for i, old in enumerate(rows) if (old["name"], old.get("batch")) == (row["name"], row.get("batch"))]
        if same:
            rows[same[0]] = row
        else:
            rows.append(row)
        self.parts["fastest_pooling"] = fastest_pooling(self.parts)
        for name, text in (("results_gpu.json", json.dumps(self.parts, indent=1)), ("RESULTS_gpu.md", self.text())):
            temporary = self.folder / f"{name}.tmp"
            temporary.write_text(text + "\n")
            os.replace(temporary, self.folder / name)

    def forget_skipped(self, part: str) -> None:
        """A part that an earlier run had no time for is being measured now."""
        self.parts["skipped"] = [row for row in self.rows("skipped") if row["name"] != part]

    def text(self) -> str:
        return table(self.parts)


def over_reference(row: dict, rows: list[dict], name: str = REFERENCE) -> float | None:
    """How many times as fast as the reference with the same batch: the median over the turns they share."""
    other = next((o for o in rows if o["name"] == name and o["batch"] == row["batch"] and "seconds" in o), None)
    if other is None or "seconds" not in row:
        return None
    return statistics.median(b / a for a, b in zip(row["seconds"], other["seconds"], strict=False))


def goals(log: dict) -> list[tuple[str, float, float | None, str]]:
    """Each goal: its words, what is wanted, our best, and the row that reaches it."""
    rows = log.get("steps", [])
    ours = [row | {"over": over_reference(row, rows)} for row in rows if row["name"].startswith(OURS)]
    found = []
    for key, words, wanted in GOALS:
        best = max((row for row in ours if row.get(key) is not None), key=lambda row, key=key: row[key], default=None)
        found.append((words, wanted, best and best[key], f"{best['name']}, batch {best['batch']}" if best else ""))
    return found


def fastest_pooling(log: dict) -> dict[str, str]:
    """The fastest route of the depthwise pooling: for the poolings alone, and in the whole step, eager and compiled."""
    fastest = {}
    sums = pooling_sums(log)
    if sums:
        fastest["poolings alone"] = min(sums, key=sums.get)
    for mode in ("eager", "compiled"):
        rows = [row for row in log.get("routes", []) if row["name"].startswith(f"{mode}, ") and "seconds" in row]
        if len(rows) > 1:
            best = max(rows, key=lambda row: row["clips_per_second"])
            fastest[f"whole step, {mode}"] = best["name"].removeprefix(f"{mode}, ")
    return fastest


def pooling_sums(log: dict) -> dict[str, float]:
    """Milliseconds of all poolings of one step by route; a route that fails somewhere is left out."""
    rows = log.get("poolings", [])
    routes = set.intersection(*(set(row["milliseconds"]) for row in rows)) if rows else set()
    return {route: sum(row["count"] * row["milliseconds"][route] for row in rows) for route in sorted(routes)}


def shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def table(log: dict) -> str:
    """The log as Markdown."""
    about = log["measured"][-1]
    commands = ", ".join(f"`{one['command'].strip()}`" for one in log["measured"])
    lines = [f"# Training steps of {about['preset']} on a GPU", ""]
    if any(one["dry_run"] for one in log["measured"]):
        lines += ["**Dry run on a CPU: it shows that the program runs. Its numbers mean nothing.**", ""]
    lines += [
        f"Measured on {about['date']} on {about['device']} (driver {about['driver']}), torch {about['torch']}, CUDA "
        f"{about['cuda']}, Python {about['python']}, commit {about['commit']}, by {commands}. bf16 autocast, "
        "AdamW, gradients clipped to norm 1, no stochastic depth, random clips; the models take turns. *Compiled* is "
        "block by block, *static* with `dynamic=False`. Clips/s are medians over the turns; *over* is the median ratio "
        "to torchvision, eager. *Utilization* is 6 x multiply-adds of the model x clips/s over the best matrix rate. "
        "*Peak* is what the allocator gave out, with parameters, gradients and moments.",
    ]
    if "rate" in log:
        lines += ["", "| bf16 matrix product | TFLOP/s |", "|---|---|"]
        lines += [f"| {row['name']} | {row['flop_per_second'] / 1e12:.3g} |" for row in log["rate"]]
    lines += step_table("Training step", log.get("steps", []), REFERENCE, "over torchvision")
    lines += ["", "| goal | wanted | best | by | reached |", "|---|---|---|---|---|"]
    for words, wanted, best, name in goals(log):
        reached = "not measured" if best is None else "yes" if best >= wanted else "no"
        lines.append(f"| {words} | >= {wanted:g} | {shown(best, '.2f')} | {name} | {reached} |")
    if log.get("poolings"):
        routes = sorted({route for row in log["poolings"] for route in row["milliseconds"]})
        lines += [
            "",
            "## Routes of the depthwise pooling",
            "",
            "Milliseconds, forward and backward, LayerNorm included.",
        ]
        lines += ["", f"| pooling | in a step | batch | {' | '.join(routes)} |", "|---" * (3 + len(routes)) + "|"]
        for row in log["poolings"]:
            cells = [shown(row["milliseconds"].get(route), ".3f") or row["errors"][route] for route in routes]
            lines.append(f"| {row['name']} | {row['count']} | {row['batch']} | {' | '.join(cells)} |")
        sums = pooling_sums(log)
        lines.append(f"| all of a step | | | {' | '.join(shown(sums.get(route), '.2f') for route in routes)} |")
    lines += step_table("Whole step by route", log.get("routes", []), "eager, contiguous", "over eager, contiguous")
    if log.get("fastest_pooling"):
        lines += ["", "Fastest: " + "; ".join(f"{key}: {value}" for key, value in log["fastest_pooling"].items()) + "."]
    for row in log.get("profile", []):
        lines += ["", f"## Where the time goes: {row['name']}, batch {row['batch']}", ""]
        if "error" in row:
            lines.append(row["error"])
            continue
        total = sum(row["groups"].values())
        lines += ["| group | share | ms a step |", "|---|---|---|"]
        lines += [f"| {name} | {value / total:.1%} | {value:.2f} |" for name, value in row["groups"].items()]
        lines += ["", "| kernel | share | ms a step |", "|---|---|---|"]
        lines += [f"| `{name[:90]}` | {value / total:.1%} | {value:.2f} |" for name, value in row["kernels"]]
    if log.get("processes"):
        lines += ["", "## Several processes", "", "DDP, one process a device, the same batch on each.", ""]
        lines += [
            "| processes | batch of each | clips/s | over one | all-reduce (GB/s, bus) |",
            "|---|---|---|---|---|",
        ]
        alone = next((row["clips_per_second"] for row in log["processes"] if row.get("processes") == 1), None)
        for row in log["processes"]:
            if "error" in row:
                lines.append(f"| {row['name']} | {row['batch']} | {row['error']} | | |")
                continue
            over = row["clips_per_second"] / alone if alone else None
            cells = [row["processes"], row["batch"], f"{row['clips_per_second']:.1f}", shown(over, ".2f")]
            lines.append(f"| {' | '.join(map(str, [*cells, shown(row['bus_gb_per_second'], '.1f')]))} |")
    if log.get("skipped"):
        lines += ["", "Not measured: " + "; ".join(f"{row['name']} ({row['error']})" for row in log["skipped"]) + "."]
    return "\n".join(lines)


def step_table(title: str, rows: list[dict], reference: str, words: str) -> list[str]:
    if not rows:
        return []
    lines = ["", f"## {title}", "", f"| model | batch | turns | clips/s | {words} | utilization | peak (GiB) |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        if "seconds" not in row:
            lines.append(f"| {row['name']} | {row['batch']} | | {row['error']} | | | |")
            continue
        cells = [row["name"], row["batch"], len(row["seconds"]), f"{row['clips_per_second']:.1f}"]
        cells += [shown(over_reference(row, rows, reference), ".2f"), shown(row["utilization"], ".1%")]
        lines.append(f"| {' | '.join(map(str, [*cells, shown(row['peak_gib'], '.1f')]))} |")
    return lines
