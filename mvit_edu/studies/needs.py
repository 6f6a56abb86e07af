"""What it takes to reproduce a number that has to be trained or measured, as a sentence."""

from __future__ import annotations

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
ARRIVES = "training arrives with chapter 8"
SPECIAL = {
    ("4", "vit_b_in21k"): "Needs Kinetics-400 and weights from ImageNet-21K",
    ("4", "mvit_b_64x3"): "Needs Kinetics-400 and the trained 32×3 model",
    ("6", "vit_b"): "Needs Something-Something-v2 and weights from ImageNet-21K",
    ("9", "mvit_b_shuffled"): "Needs the trained model and Kinetics-400's validation videos",
    ("9", "vit_b_shuffled"): "Needs the trained model and Kinetics-400's validation videos",
    ("text", "vit_b_recipe"): "Needs Kinetics-400",
    ("text", "vit_b_in21k_shuffled"): "Needs Table 4's trained model and Kinetics-400's validation videos",
    ("text", "mvit_b_32x3_5"): "The same number as in Table 4",
}


def needs(claim: Claim) -> str:
    """Data and rough GPU-hours of a trained number, or the device of a measured one."""
    if claim.how == "measured":
        if claim.column == "clips":
            return "Needs an M40 GPU: the paper's speeds hold for that one only."
        batch = "512 images spread over the GPUs" if claim.table == "A.3" else "4 clips"
        return f"Needs a GPU: peak memory of a training batch of {batch}."
    if (claim.table, claim.row) in SPECIAL:
        return f"{SPECIAL[claim.table, claim.row]}; {ARRIVES}."
    start = claim.row.rpartition("_")[2]
    model = f" after pre-training on {start.upper()}" if start in ("k400", "k600") else ""
    if claim.reading.gap:  # its multiply-adds, and so its hours, are not known
        return f"Needs {claim.data}{model}; {ARRIVES}."
    hours = f"{gpu_hours(claim.reading, claim.data):,}"
    return f"Needs {claim.data} and roughly {hours} hours of an M40 GPU{model}; {ARRIVES}."


def gpu_hours(reading: Reading, data: str) -> int:
    """Hours of one M40 GPU for the paper's recipe, two digits: Table 16's speed, scaled by multiply-adds."""
    config = reading.config
    pooled = "mvit_b_conv" if config.pool == "conv" else "mvit_b_max"
    row = "vit_b" if reading.preset.startswith("vit") else pooled
    speed = float(paper_table("16").value(row, "clips"))  # clips/s
    scale = stage_table(config).macs / stage_table(READINGS["16"][row].config).macs
    items, passes = PASSES[data]
    return int(float(f"{items * passes * scale / speed / 3600:.1e}"))
