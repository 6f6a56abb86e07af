"""The training recipe with one piece changed at a time: the miniature of Chapter 8 on four motions.

    python -m benchmarks.recipe_pieces                 # all variants, 10 seeds; about 10 seconds a run
    python -m benchmarks.recipe_pieces --variant base SGD --seeds 0 1

Adds each run to `book/results/recipe_pieces.json`; a run that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import torch

from mvit_edu import MViT, get_config
from mvit_edu.data import ClipDataset, MotionShapes
from mvit_edu.evaluation import evaluate
from mvit_edu.training import TrainConfig, fit, get_recipe
from mvit_edu.training.state import versions

LOG = Path(__file__).parent.parent / "book" / "results" / "recipe_pieces.json"
CLIPS = {"train": 640, "val": 200, "test": 400}
BATCH, EPOCHS = 32, 8
SMALL = dataclasses.replace(get_config("mvit_tiny"), num_classes=4, crop=16, dim=24, depths=(1, 2), kv_stride=(1, 2, 2))
BASE = get_recipe("kinetics").changed(
    lr=1e-3,
    start_lr=1e-5,
    end_lr=1e-5,
    lr_clips=BATCH,
    epochs=EPOCHS,
    warmup_epochs=EPOCHS * 30 / 200,  # the paper's share of the training
    repeats=1,
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.1,
    dropout=0.0,
    augmentation="none",
    protocol="whole",
)
VARIANTS: dict[str, dict] = {
    "base": {},
    "no warm-up": {"warmup_epochs": 0.0},
    "constant rate": {"end_lr": BASE.lr},
    "no clipping": {"clip_norm": None},
    "no weight decay": {"weight_decay": 0.0},
    "no label smoothing": {"smoothing": 0.0},
    "no stochastic depth": {"drop_path": 0.0},
    "classes spread": {"spread_classes": True},
    "with MixUp, CutMix": {"mixup": 0.8, "cutmix": 1.0},
    "ten times the rate": {"lr": 1e-2, "start_lr": 1e-4, "end_lr": 1e-4},
    "a tenth of the rate": {"lr": 1e-4, "start_lr": 1e-6, "end_lr": 1e-6},
    "SGD": {"optimizer": "sgd", "lr": 0.05, "start_lr": 5e-4, "end_lr": 5e-4},
}
KEPT = ("kind", "step", "epoch", "lr", "loss", "top1")  # of a row of the run's own log


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipe_pieces",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(10)))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for seed, variant in itertools.product(options.seeds, options.variant):
        runs = json.loads(LOG.read_text())["runs"] if LOG.exists() else []
        if any((run["variant"], run["seed"]) == (variant, seed) for run in runs):
            continue
        runs.append(run(variant, seed))
        write(sorted(runs, key=lambda one: (list(VARIANTS).index(one["variant"]), one["seed"])))
        print(f"{variant}, seed {seed}: top-1 {runs[-1]['test']['top1']:.3f}", flush=True)


def run(variant: str, seed: int) -> dict:
    """Train and test one variant; its row of the log."""
    recipe = dataclasses.replace(BASE, name=variant, **VARIANTS[variant])
    torch.manual_seed(seed)
    model = MViT(dataclasses.replace(SMALL, drop_path=recipe.drop_path, dropout=recipe.dropout))
    data = {split: drawn(split, length, seed) for split, length in CLIPS.items()}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(folder, batch=BATCH, workers=0, seed=seed, log_every=8, progress=False, tensorboard=False)
        fit(model, data["train"], recipe, config, data["val"])
        seconds = time.perf_counter() - began
        rows = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return {
        "variant": variant,
        "seed": seed,
        "recipe": {name: value for name, value in dataclasses.asdict(recipe).items() if name != "sources"},
        "clips": CLIPS,
        "batch": BATCH,
        "seconds": round(seconds, 1),
        "test": evaluate(model, data["test"], batch=50).metrics(),
        "rows": [{name: rounded(row[name]) for name in KEPT if name in row} for row in rows],
        "measured": {
            "command": "python -m benchmarks.recipe_pieces",
            "device": platform.machine(),
            "threads": torch.get_num_threads(),
            "load": round(os.getloadavg()[0], 1),
            "when": time.strftime("%Y-%m-%d"),
            "versions": versions(),
        },
    }


def drawn(split: str, length: int, seed: int) -> ClipDataset:
    """Clips drawn once and kept in memory."""
    shapes = MotionShapes(length, split, seed=seed, size=16, motions=("horizontal", "vertical"))
    return ClipDataset([shapes[i] for i in range(length)])


def rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def write(runs: list[dict]) -> None:
    """One run a line: readable differences, and a file that is whole or not there."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(json.dumps(one) for one in runs)
    temporary = LOG.with_suffix(".tmp")
    temporary.write_text(f'{{"runs": [\n{text}\n]}}\n')
    os.replace(temporary, LOG)


if __name__ == "__main__":
    main()
