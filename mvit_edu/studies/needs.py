"""What it takes to reproduce a number that has to be trained or measured, as a sentence; or why nobody can yet."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mvit_edu.model.stages import stage_table
from mvit_edu.studies.paper import paper_table
from mvit_edu.studies.readings import READINGS, Reading

if TYPE_CHECKING:
    from mvit_edu.studies.claims import Claim

# Training videos, clips or images (about), and how often the paper's recipe (Appendix D) passes over them.
PASSES = {
    "Kinetics-400": (240_000, 2 * 200),
    "Kinetics-600": (392_000, 2 * 200),
    "Something-Something-v2": (169_000, 100),
    "Charades": (9_800, 200),
    "AVA v2.2": (211_000, 30),
    "ImageNet-1K": (1_280_000, 3 * 100),
}
RECIPES = {
    "Kinetics-400": "kinetics",
    "Kinetics-600": "kinetics",
    "Something-Something-v2": "ssv2",
    "Charades": "charades",
}
NOT_BUILT = {"AVA v2.2": "training with boxes is not built", "ImageNet-1K": "training on images is not built"}
SHUFFLED = "mvit-edu evaluate --weights runs/k400 --data data/ --protocol paper --order shuffled"
SPECIAL = {
    ("4", "mvit_b_64x3"): (
        "Needs Kinetics-400 and the trained 32×3 model: mvit-edu train --data data/ --model mvit_b_64x3 "
        "--weights runs/32x3 --recipe kinetics --epochs 5 --warmup-epochs 0 --set kv_pool_last_stage=False"
    ),
    ("9", "mvit_b_shuffled"): f"Needs the trained model and Kinetics-400's validation videos: {SHUFFLED}",
    ("9", "vit_b_shuffled"): f"Needs the trained model and Kinetics-400's validation videos: {SHUFFLED}",
}
IN21K = "weights from ImageNet-21K, which the project cannot load into ViT-B"
SLOWFAST = "Needs SlowFast, which is not built here: the study recipe takes the recipe apart on a small MViT"
NOT_ATTEMPTED = {
    ("4", "vit_b_in21k"): f"Needs Kinetics-400 and {IN21K}",
    ("6", "vit_b"): f"Needs Something-Something-v2 and {IN21K}",
    ("A.2", "r50_mvit"): SLOWFAST,
    ("A.2", "r101_mvit"): SLOWFAST,
    ("text", "vit_b_recipe"): "Needs Kinetics-400 and the fine-tuning recipe of Appendix D.1, which is not built",
    ("text", "vit_b_in21k_shuffled"): f"Needs Kinetics-400's validation videos and Table 4's model from {IN21K}",
}


def not_attempted(claim: Claim) -> str:
    """Why a trained number has no command that makes it; "" if it has one."""
    if reason := NOT_ATTEMPTED.get((claim.table, claim.row)):
        return reason
    return needs(claim) if claim.how == "trained" and claim.data in NOT_BUILT else ""


def needs(claim: Claim) -> str:
    """Data and rough GPU-hours of a trained number, or the device of a measured one."""
    if claim.how == "measured":
        if claim.column == "clips":
            return "Needs an M40 GPU: the paper's speeds hold for that one only."
        batch = "512 images spread over the GPUs" if claim.table == "A.3" else "4 clips"
        return f"Needs a GPU: peak memory of a training batch of {batch}."
    if (claim.table, claim.row) in SPECIAL:
        return SPECIAL[claim.table, claim.row]
    start = claim.row.rpartition("_")[2]
    model = f" after pre-training on {start.upper()}" if start in ("k400", "k600") else ""
    if claim.reading.gap:  # its multiply-adds, and so its hours, are not known
        return f"Needs {claim.data}{model}: {train_command(claim)}"
    hours = f"{gpu_hours(claim.reading, claim.data):,}"
    return f"Needs {claim.data} and roughly {hours} hours of an M40 GPU{model}: {train_command(claim)}"


def train_command(claim: Claim) -> str:
    """The command that trains the model of a row, for the data set in `data/`; or what is not there yet."""
    if claim.data in NOT_BUILT:
        return f"{NOT_BUILT[claim.data]}."
    reading = claim.reading
    recipe = RECIPES[claim.data]
    if recipe == "kinetics" and len(reading.config.blocks) == 24:
        recipe = "kinetics_24"
    words = ["mvit-edu", "train", "--data", "data/", "--model", reading.preset, "--recipe", recipe]
    start = claim.row.rpartition("_")[2]
    words += ["--weights", f"runs/{start}"] if start in ("k400", "k600") else []
    for name, value in reading.changes:
        words += [] if name == "num_classes" else ["--set", f"{name}={value}"]  # the data tells the classes
    return shlex.join(words)


def gpu_hours(reading: Reading, data: str) -> int:
    """Hours of one M40 GPU for the paper's recipe, two digits: Table 16's speed, scaled by multiply-adds."""
    config = reading.config
    pooled = "mvit_b_conv" if config.pool == "conv" else "mvit_b_max"
    row = "vit_b" if reading.preset.startswith("vit") else pooled
    speed = float(paper_table("16").value(row, "clips"))  # clips/s
    scale = stage_table(config).macs / stage_table(READINGS["16"][row].config).macs
    items, passes = PASSES[data]
    return int(float(f"{items * passes * scale / speed / 3600:.1e}"))
