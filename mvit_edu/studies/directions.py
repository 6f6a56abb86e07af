"""Which trained numbers of the paper's ablations have a counterpart at small scale, and whether it goes the same way.

An ablation table compares its rows with its default row. The direction of a row is the sign of that difference;
a study repeats it on small models and generated clips (Chapters 11 to 13). Only the sign is compared: sizes of
effects are those of another task.

The models of the studies pool by convolution, those of the paper's ablations by maximum; in the studies of Tables 10
and 15 both pool alike.

What stands for what:

- Table 9: shuffled against in order, model by model, at appearance bias 0.9. A shuffled MViT-B keeps 70.1 of its 77.2
  points, so looks tell most of Kinetics; 0.9 is the largest bias of the study that leaves order anything to tell.
  The verdicts at the other biases are told beside it.
- Table 13: half of the paper's blocks. Halved, V5 and V6 would be the same, so V6 keeps what sets it apart from V5.
- Tables 14 and A.3: a stride by what it does in its model. Query pooling shrinks MViT-B's sides 8 times in all and
  the small model's 4 times; so the paper's 8×8 is 4×4 in small, and 4×4 is 2×2. "none" is 1×1×1: it keeps every key,
  as the paper's does, and the convolutions that a model without pooling would lose. 2×2 would be 1×1×1 again. Strides
  in time are the same. Fixed strides pool the last stage too in small, not in the paper. Table A.3 is on images, the
  study on clips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mvit_edu.studies.ablations import get_study
from mvit_edu.studies.findings import by_seed, current
from mvit_edu.studies.paper import paper_table
from mvit_edu.studies.statistics import Interval, difference, verdict
from mvit_edu.studies.study_log import StudyLog

if TYPE_CHECKING:
    from mvit_edu.studies.claims import Claim

# The logs of the repository that this file stands in; a package that was installed without it has none.
RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"
SCALE = "cpu"
COLUMNS = ("top1", "top1_change")  # the logs have no other accuracy


@dataclass(frozen=True)
class Counterpart:
    """Two sides of a study that differ as a row of an ablation table and its default row do.

    Args:
        study: its name, as in `mvit-edu study run NAME`.
        variant: stands for the row, tested in `order` of the frames.
        default: the row that the paper compares with; `against` is the variant that stands for it, in order.
        note: what a reader of the comparison should know.
        bias: of the variant, where the study has others; `others` are these, with the variants that have them.
    """

    study: str
    variant: str
    default: str
    against: str
    order: str = "in order"
    note: str = ""
    bias: str = ""
    others: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Direction:
    """What a log says about a row: `apart` is ours in points, `paper` the printed difference from the default row.

    `kind` is "same direction", "opposite", "no difference", or "" where the paper's own difference is 0.
    """

    kind: str
    apart: Interval
    paper: float
    text: str
    command: str


def compared(
    table: str, study: str, default: str, variants: Mapping[str, str], **notes: str
) -> dict[tuple[str, str], Counterpart]:
    """Rows of a table -> variants of a study, all against the default row's. `notes` are by row."""
    return {
        (table, row): Counterpart(study, variant, default, variants[default], note=notes.get(row, ""))
        for row, variant in variants.items()
        if row != default
    }


def shuffled(row: str, base: str, note: str = "") -> dict[tuple[str, str], Counterpart]:
    """A row of Table 9: the same trained model on shuffled frames and in order."""
    tested = f"{base}, bias 0.9"
    others = tuple((bias, f"{base}, bias {bias}") for bias in ("0", "0.25", "0.5", "0.75", "1"))
    found = Counterpart("frame_order", tested, row, tested, "shuffled", note, "0.9", others)
    return {("9", f"{row}_shuffled"): found}


COUNTERPARTS: dict[tuple[str, str], Counterpart] = {
    **shuffled("mvit_b", "mvit"),
    **shuffled("vit_b", "vit", "In the paper, too, nearly nothing is lost"),
    **compared(
        "10",
        "query_pooling",
        "vit_b",
        {"vit_b": "ViT", "two_scales": "ViT, two scales", "kv_pool": "ViT, pooled keys"},
    ),
    **compared("11", "positions", "separate", {kind: kind for kind in ("separate", "none", "space", "joint")}),
    **compared(
        "12",
        "cubes",
        "16x4_c377",
        {
            "8x8_c144": "4 frames, 1x4x4",
            "8x8_c177": "4 frames, 1x7x7",
            "8x8_c377": "4 frames, 3x7x7",
            "16x4_c377": "8 frames, 3x7x7",
            "32x2_c377": "16 frames, 3x7x7",
            "32x2_c777": "16 frames, 7x7x7",
        },
    ),
    **compared(
        "13",
        "stages",
        "v5",
        {
            "v1": "V1 [1, 3, 3, 1]",
            "v2": "V2 [1, 2, 3, 2]",
            "v3": "V3 [1, 2, 4, 1]",
            "v4": "V4 [1, 1, 4, 2]",
            "v5": "V5 [1, 1, 5, 1]",
            "v6": "V6 [2, 1, 4, 1]",
        },
    ),
    **compared(
        "14",
        "kv_stride",
        "188_adaptive",
        {
            "none": "1x1x1 adaptive",
            "144_fixed": "1x2x2 fixed",
            "244_fixed": "2x2x2 fixed",
            "244_adaptive": "2x2x2 adaptive",
            "188_adaptive": "1x4x4 adaptive",
            "288_adaptive": "2x4x4 adaptive",
        },
        none="Ours keeps every key, and the convolutions of the poolings",
    ),
    **compared(
        "15",
        "pooling",
        "s1_max",
        {
            "s_max": "max, s",
            "2s1_max": "max, 2s+1",
            "s1_max": "max, s+1",
            "s1_avg": "avg, s+1",
            "s1_conv": "conv, s+1",
            "333_conv": "conv, 3x3x3",
        },
    ),
    **compared("A.1", "skips", "normalized", {kind: kind for kind in ("normalized", "linear", "none")}),
    **compared(
        "A.3",
        "kv_stride",
        "44",
        {"44": "1x2x2 adaptive", "88": "1x4x4 adaptive", "none": "1x1x1 adaptive"},
        **{
            "88": "Ours on clips, the paper's on images",
            "none": "Ours on clips, the paper's on images; ours keeps every key, and the convolutions of the poolings",
        },
    ),
}
# Rows of the ablation tables that have no counterpart at small scale, and why.
ALONE = {
    ("A.3", "22"): "it would be 1×1×1, which stands for none",
    ("A.2", "r50"): "another model, with its own recipe",
    ("A.2", "r50_mvit"): "another model; the study recipe takes the recipe apart on a small MViT",
    ("A.2", "r101"): "another model, with its own recipe",
    ("A.2", "r101_mvit"): "another model; the study recipe takes the recipe apart on a small MViT",
}


def direction(claim: Claim, results: str | Path = RESULTS) -> Direction | None:
    """Compare the sign of a row's difference with that in the study's log; None without a counterpart or runs.

    `results` is the folder of the logs, `NAME.json`.
    """
    found = COUNTERPARTS.get((claim.table, claim.row))
    if found is None or claim.column not in COLUMNS or claim.printed is None:
        return None
    runs = runs_of(found.study, results)
    apart = points(runs, found, found.variant)
    if apart is None:
        return None
    paper = claim.claimed
    if claim.column == "top1":
        paper = round(paper - float(paper_table(claim.table).value(found.default, "top1")), claim.decimals)
    seen = verdict(apart)
    where = f"{several(apart.n)}, study {found.study}" + (f", bias {found.bias}" if found.bias else "")
    text = f"ours {signed(apart)} points ({where}), the paper {paper:+.{claim.decimals}f}"
    if paper == 0:
        kind = ""
        text = f"{text}: that is no direction to compare"
    elif seen not in ("higher", "lower"):
        kind = "no difference"
        text = f"{text}: {seen}"
    else:
        kind = "same direction" if (seen == "higher") == (paper > 0) else "opposite"
    text += "".join(f". {more}" for more in (at_others(runs, found), found.note) if more)
    seeds = 1 + max(run["seed"] for run in runs)
    return Direction(kind, apart, paper, text, f"mvit-edu study run {found.study} --seeds {seeds}")


def points(runs: list[Mapping], found: Counterpart, variant: str) -> Interval | None:
    """How far the row's side is above the default's, in points, paired by seed; None if they share no seed."""
    against = found.against if variant == found.variant else variant
    row, default = by_seed(runs, variant, found.order), by_seed(runs, against)
    return difference(row, default) if row.keys() & default.keys() else None


def at_others(runs: list[Mapping], found: Counterpart) -> str:
    """The verdicts at the other biases, for example "At bias 0, 0.25: lower; at bias 1: no difference seen"."""
    places: dict[str, list[str]] = {}
    for bias, variant in found.others:
        apart = points(runs, found, variant)
        if apart is not None:
            places.setdefault(verdict(apart), []).append(bias)
    told = "; ".join(f"at bias {', '.join(biases)}: {seen}" for seen, biases in places.items())
    return told[:1].upper() + told[1:]


def runs_of(study: str, results: str | Path) -> list[Mapping]:
    """The runs of a study's log that have the settings of today; none if there is no log."""
    path = Path(results) / f"{study}.json"
    if not path.exists():
        return []
    stamp = path.stat()
    return _read(path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=64)
def _read(path: Path, changed: int, size: int) -> list[Mapping]:
    return current(get_study(path.stem), StudyLog(path).runs(SCALE))


def signed(apart: Interval) -> str:
    """As an interval prints itself, with the sign of the mean."""
    mean = f"{round(apart.mean, 1) + 0.0:+.1f}"
    return f"{mean} ± {apart.half:.1f}" if apart.n > 1 else mean


def several(seeds: int) -> str:
    return "one seed" if seeds == 1 else f"{seeds} seeds"
