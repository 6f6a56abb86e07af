"""Which small models learn MotionShapes, how fast, and do they use the order of the frames?

    python -m benchmarks.motion_shapes --variant mvit_tiny --steps 600            # one run, a few minutes on a CPU
    python -m benchmarks.motion_shapes --variant vit_tiny --bias 0 0.5 0.9 --seeds 0 1
    python -m benchmarks.motion_shapes --variant mvit_tiny --set background=photo noise=0.05
    python -m benchmarks.motion_shapes --table                                     # only rewrite the table

Every run trains on fresh clips, tests on 1200 clips with the frames in order, shuffled and reversed, and adds
its settings, its curve and its numbers to `results_motion_shapes.json`. `RESULTS_motion_shapes.md` is made from it.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader
from tqdm import tqdm

from mvit_edu import MViT, MViTConfig, get_config
from mvit_edu.data.motion_shapes import MotionShapes, bag_of_frames_bound

LOG = Path(__file__).parent / "results_motion_shapes.json"
TABLE = Path(__file__).parent / "RESULTS_motion_shapes.md"
TEST_CLIPS = 1200
CURVE_CLIPS = 240
MVIT, VIT = get_config("mvit_tiny"), get_config("vit_tiny")
# What can see motion: the cube (its kernel spans frames), the poolings (so do theirs), and attention in all of them.
VARIANTS: dict[str, tuple[MViTConfig, str]] = {
    "mvit_tiny": (MVIT, "cube 3x7x7, poolings 3x3x3"),
    "mvit_no_cube": (dataclasses.replace(MVIT, cube_kernel=(1, 7, 7)), "cube 1x7x7, poolings 3x3x3"),
    "mvit_no_pool": (dataclasses.replace(MVIT, pool_kernel=(1, 3, 3)), "cube 3x7x7, poolings 1x3x3"),
    "mvit_attention": (
        dataclasses.replace(MVIT, cube_kernel=(1, 7, 7), pool_kernel=(1, 3, 3)),
        "cube 1x7x7, poolings 1x3x3: only attention sees two frames",
    ),
    "vit_tiny": (VIT, "cube 1x8x8: only attention sees two frames"),
    "vit_cube3": (dataclasses.replace(VIT, cube_kernel=(3, 8, 8)), "cube 3x8x8, stride 1x8x8"),
}
ORDERS = ("in order", "shuffled", "reversed")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.motion_shapes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=["mvit_tiny"], help="which model(s)")
    parser.add_argument("--bias", nargs="+", type=float, default=[0.0], help="appearance_bias, one run each")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="seeds of data and weights, one run each")
    parser.add_argument("--steps", type=int, default=600, help="training steps (default 600)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop a run early after this long")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate (default 1e-3)")
    parser.add_argument("--warmup", type=int, default=50, help="steps of linear warm-up (default 50)")
    parser.add_argument("--position-scale", type=float, default=1.0, help="times the initial position embedding (1)")
    parser.add_argument("--points", type=int, default=10, help="points on the curve (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that draw clips (default 0: none)")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of MotionShapes")
    parser.add_argument("--table", action="store_true", help="train nothing, only rewrite the table")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.table:
        for variant, bias, seed in itertools.product(options.variant, options.bias, options.seeds):
            row = run(variant, bias, seed, options)
            rows = json.loads(LOG.read_text()) if LOG.exists() else []
            temporary = LOG.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps([*rows, row], indent=1) + "\n")
            os.replace(temporary, LOG)
    text = table(json.loads(LOG.read_text()))
    TABLE.write_text(text + "\n")
    print(text)


def run(variant: str, bias: float, seed: int, options: argparse.Namespace) -> dict:
    """Train one model and test it; the row of the log."""
    config, about = VARIANTS[variant]
    settings = dict(pair.split("=", 1) for pair in options.set)
    words = ("background", "contrast")
    settings = {name: value if name in words else json.loads(value) for name, value in settings.items()}
    data = MotionShapes(options.steps * options.batch, seed=seed, appearance_bias=bias, **settings)
    if (config.frames, config.size[1:], config.num_classes) != (data.frames, data.hw, len(data.classes)):
        config = dataclasses.replace(config, frames=data.frames, crop=data.hw, num_classes=len(data.classes))
    torch.manual_seed(seed)
    model = MViT(config).to(options.device)
    with torch.no_grad():
        for positions in model.pos_embed.parameters():
            positions *= options.position_scale
    decay = [weight for weight in model.parameters() if weight.ndim > 1]
    rest = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.lr)
    validation = batches(dataclasses.replace(data, split="val", length=CURVE_CLIPS), options)
    loader = DataLoader(data, options.batch, num_workers=options.workers)
    every = max(1, options.steps // options.points)
    curve, loss_sum, seconds, waited, cpu_seconds = [], 0.0, 0.0, 0.0, 0.0
    bar = tqdm(total=options.steps, desc=f"{variant} rho={bias:g} seed={seed}")
    mark, cpu_mark = time.perf_counter(), time.process_time()
    for step, (clips, labels) in enumerate(loader):
        waited += time.perf_counter() - mark
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate_at(step, options.steps, options.warmup)
        loss = F.cross_entropy(model(clips.to(options.device)), labels.to(options.device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss_sum += loss.item()
        seconds += time.perf_counter() - mark
        cpu_seconds += time.process_time() - cpu_mark
        if (step + 1) % every == 0 or step + 1 == options.steps:
            scores = test(model, validation, options)
            point = {
                "step": step + 1,
                "seconds": round(seconds, 1),
                "loss": round(loss_sum / every, 4),
                **summary(scores),
            }
            curve.append(point)
            loss_sum = 0.0
            bar.set_postfix_str(f"loss {point['loss']:.2f}, top-1 {scores['in order']:.2f}, pair {scores['pair']:.2f}")
        bar.update()
        if seconds > 60 * options.minutes:
            break
        mark, cpu_mark = time.perf_counter(), time.process_time()
    bar.close()
    scores = test(model, batches(dataclasses.replace(data, split="test", length=TEST_CLIPS), options), options)
    return {
        "variant": variant,
        "about": about,
        "appearance_bias": bias,
        "seed": seed,
        "data": {field.name: getattr(data, field.name) for field in dataclasses.fields(data)},
        "config": dataclasses.asdict(config),
        "training": {
            "steps": step + 1,
            "planned_steps": options.steps,
            "batch": options.batch,
            "lr": options.lr,
            "warmup": options.warmup,
            "position_scale": options.position_scale,
            "schedule": "linear warm-up, then half a cosine to 0",
            "optimizer": "AdamW, weight decay 0.05, gradient norm at most 1",
        },
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "seconds_waiting_for_data": round(waited, 1),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "bound": bag_of_frames_bound(bias),
        "test": scores,
        "test_clips": TEST_CLIPS,
        "curve": curve,
        "measured": {
            "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.machine(),
            "threads": options.threads,
            "load": round(os.getloadavg()[0], 1),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "commit": commit(),
            "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": "python -m benchmarks.motion_shapes " + " ".join(sys.argv[1:]),
        },
    }


def rate_at(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate: linear warm-up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def batches(data: MotionShapes, options: argparse.Namespace) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All clips of a small split, drawn once."""
    return list(DataLoader(data, 60, num_workers=options.workers))


@torch.no_grad()
def test(model: MViT, loaded: list[tuple[torch.Tensor, torch.Tensor]], options: argparse.Namespace) -> dict:
    """Top-1 accuracy with the frames in each order; "pair": in order, right or its partner."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    guesses: dict[str, list[torch.Tensor]] = {order: [] for order in ORDERS}
    for clips, _ in loaded:
        shuffled = torch.stack([clip[:, torch.randperm(clip.shape[1], generator=generator)] for clip in clips])
        for order, shown in zip(ORDERS, (clips, shuffled, clips.flip(2)), strict=True):
            guesses[order].append(model(shown.to(options.device)).argmax(1).cpu())
    model.train()
    labels = torch.cat([labels for _, labels in loaded])
    right = {order: torch.cat(guesses[order]) == labels for order in ORDERS}
    scores = {order: right[order].float().mean().item() for order in ORDERS}
    for name, order in (("pair", "in order"), ("pair shuffled", "shuffled")):
        scores[name] = (torch.cat(guesses[order]) // 2 == labels // 2).float().mean().item()
    for label in labels.unique().tolist():
        scores[f"class {label}"] = right["in order"][labels == label].float().mean().item()
    return {key: round(value, 4) for key, value in scores.items()}


def summary(scores: dict) -> dict:
    """Scores without those of single classes."""
    return {key: value for key, value in scores.items() if not key.startswith("class")}


def commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return found.stdout.strip()


def reached(row: dict, accuracy: float) -> str:
    """When the curve first passed an accuracy, in steps."""
    first = next((point for point in row["curve"] if point["in order"] >= accuracy), None)
    return f"{first['step']}" if first else "-"


def changed(row: dict) -> str:
    """The settings that are not the default."""
    ignored = ("length", "seed", "appearance_bias", "split")
    default = {f.name: f.default for f in dataclasses.fields(MotionShapes) if f.name not in ignored}
    now = {name: tuple(value) if isinstance(value, list) else value for name, value in row["data"].items()}
    words = [f"{name} {now[name]}" for name in default if name in now and now[name] != default[name]]
    scale = row["training"].get("position_scale", 1)
    return ", ".join(words + ([f"positions start {scale:g} times larger"] if scale != 1 else []))


def table(rows: list[dict]) -> str:
    """The log as a page of Markdown."""
    lines = [
        "# What small models learn of MotionShapes",
        "",
        "Made by `python -m benchmarks.motion_shapes --table` from `results_motion_shapes.json`. One row is one run. "
        "Accuracy is top-1 on 1200 clips of 12 classes, with the frames in order, shuffled, and reversed; *pair* "
        "counts the partner class as right. *Bound* is the best of any model that does not look at the order. "
        "*CPU min* is the processor time of training, drawing the clips included: minutes on one idle core. *95% at* "
        "is the first point of the curve (240 validation clips) there, in steps.",
        "",
        "| model | what sees two frames | ρ | settings | seed | lr | steps | CPU min | 95% at | in order "
        "| shuffled | reversed | pair | bound |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    order = list(VARIANTS)
    keys = ("in order", "shuffled", "reversed", "pair")
    for row in sorted(rows, key=lambda row: (order.index(row["variant"]), row["appearance_bias"], changed(row))):
        training = row["training"]
        cells = [
            f"`{row['variant']}`",
            row["about"],
            f"{row['appearance_bias']:g}",
            changed(row),
            row["seed"],
            f"{training['lr']:g}",
            training["steps"],
            f"{row['cpu_seconds'] / 60:.1f}" if "cpu_seconds" in row else "",
            reached(row, 0.95),
            *(f"{row['test'][key]:.3f}" for key in keys),
            f"{row['bound']:.2f}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
