"""How we read each row of the paper's tables: the config whose counts stand against the printed ones.

A reading is a preset and the fields that the row changes, nothing more. The paper's counts need its own
form of the model (no key-value pooling in the last stage, `kv_pool_last_stage=False`); its ablations use
max pooling with windows of stride + 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from mvit_edu.model.config import MViTConfig
from mvit_edu.model.presets import get_config


@dataclass(frozen=True)
class Reading:
    """A config as a preset and changed fields.

    `label` says in words what an alternative reading is; `gap` says what the paper leaves out, where we know
    that its number cannot follow from what it describes.
    """

    preset: str
    changes: tuple[tuple[str, object], ...] = ()
    label: str = ""
    gap: str = ""

    @property
    def config(self) -> MViTConfig:
        return dataclasses.replace(get_config(self.preset), **dict(self.changes))

    def change(self, **changes) -> Reading:
        """The same reading with more fields changed."""
        return dataclasses.replace(self, changes=tuple((dict(self.changes) | changes).items()))

    def __str__(self) -> str:
        """The expression that makes the config."""
        changes = "".join(f", {name}={value!r}" for name, value in self.changes).replace("'", '"')
        preset = f'get_config("{self.preset}")'
        return f"replace({preset}{changes})" if changes else preset


def paper_form(preset: str, **changes) -> Reading:
    """A preset as the paper counts it, with conv pooling."""
    return Reading(preset, (("kv_pool_last_stage", False), *changes.items()))


def max_form(preset: str, **changes) -> Reading:
    """A preset as the paper's ablations count it, with max pooling."""
    return paper_form(preset, pool="max", pool_kernel="s+1", **changes)


S_GAP = "The paper gives no K,V stride for MViT-S; we take 1×4×4, adaptive."
NONE_GAP = "Read literally, no block pools keys and values; the paper describes nothing else."

VIT = Reading("vit_b_8x8")
B_MAX = max_form("mvit_b_16x4")
S_MAX = dataclasses.replace(max_form("mvit_s_16x4"), gap=S_GAP)
S_CONV = dataclasses.replace(paper_form("mvit_s_16x4"), gap=S_GAP)
B16_MAX = max_form("mvit_b_16_in1k")
VIDEO = {
    "mvit_b_16x4": paper_form("mvit_b_16x4"),
    "mvit_b_32x3": paper_form("mvit_b_32x3"),
    "mvit_b_64x3": paper_form("mvit_b_64x3"),
    "mvit_b_24_32x3": paper_form("mvit_b_24_32x3"),
}


def classes(readings: Mapping[str, Reading], number: int) -> dict[str, Reading]:
    return {row: reading.change(num_classes=number) for row, reading in readings.items()}


def pretrained(number: int) -> dict[str, Reading]:
    """Rows of Tables 6 to 8: models pre-trained on K400 or K600, with a new head."""
    heads = classes(VIDEO, number)
    models = {
        "k400": ("mvit_b_16x4", "mvit_b_32x3", "mvit_b_64x3"),
        "k600": ("mvit_b_16x4", "mvit_b_32x3", "mvit_b_24_32x3"),
    }
    return {f"{model}_{data}": heads[model] for data, names in models.items() for model in names}


def stage_rows(*stages: str, reading: Reading) -> dict[str, Reading]:
    return dict.fromkeys(("data", "cube1", *stages, "total"), reading)


READINGS: dict[str, dict[str, Reading]] = {
    "3a": stage_rows("scale2", reading=VIT),
    "3b": stage_rows("scale2", "scale3", "scale4", "scale5", reading=B_MAX),
    "3c": stage_rows("scale2", "scale3", "scale4", reading=S_MAX),
    "4": {
        "vit_b_in21k": VIT,
        "vit_b": VIT,
        "mvit_s": S_CONV,
        **{row: VIDEO[row] for row in ("mvit_b_16x4", "mvit_b_32x3", "mvit_b_64x3")},
    },
    "5": classes({row: VIDEO[row] for row in ("mvit_b_16x4", "mvit_b_32x3", "mvit_b_24_32x3")}, 600),
    "6": {"vit_b": VIT.change(num_classes=174), **pretrained(174)},
    "7": pretrained(157),
    "8": pretrained(80),
    "9": {"mvit_b": B_MAX, "mvit_b_shuffled": B_MAX, "vit_b": VIT, "vit_b_shuffled": VIT},
    "10": {
        "vit_b": VIT,
        "two_scales": VIT.change(depths=(6, 6), dim_mul=1, pool="max", pool_kernel="s+1"),
        # 11 of 12 blocks pool keys and values: a "last stage" of one block, at the same width and resolution.
        "kv_pool": VIT.change(
            depths=(11, 1),
            dim_mul=1,
            q_stride=(1, 1, 1),
            pool="max",
            pool_kernel="s+1",
            kv_stride=(1, 2, 2),
            kv_pool_last_stage=False,
        ),
    },
    "11": {position: B_MAX.change(position=position) for position in ("none", "space", "joint", "separate")},
    "12": {
        "8x8_c144": B_MAX.change(frames=8, cube_kernel=(1, 4, 4), cube_stride=(1, 4, 4), cube_padding=(0, 0, 0)),
        "8x8_c177": B_MAX.change(frames=8, cube_kernel=(1, 7, 7), cube_stride=(1, 4, 4), cube_padding=(0, 3, 3)),
        "8x8_c377": B_MAX.change(frames=8, cube_stride=(1, 4, 4), cube_padding=(1, 3, 3)),
        "16x4_c377": B_MAX,
        "32x2_c377": B_MAX.change(frames=32, cube_stride=(4, 4, 4), cube_padding=(1, 3, 3)),
        "32x2_c777": B_MAX.change(frames=32, cube_kernel=(7, 7, 7), cube_stride=(4, 4, 4), cube_padding=(3, 3, 3)),
    },
    "13": {
        variant: B_MAX.change(depths=depths, kv_stride=(2, 4, 4))
        for variant, depths in {
            "v1": (2, 6, 6, 2),
            "v2": (2, 4, 6, 4),
            "v3": (2, 4, 8, 2),
            "v4": (2, 2, 8, 4),
            "v5": (1, 2, 11, 2),
            "v6": (2, 2, 10, 2),
        }.items()
    },
    "14": {
        "none": dataclasses.replace(B_MAX.change(kv_stride=None), gap=NONE_GAP),
        "144_fixed": B_MAX.change(kv_stride=(1, 4, 4), kv_adaptive=False),
        "244_fixed": B_MAX.change(kv_stride=(2, 4, 4), kv_adaptive=False),
        "244_adaptive": B_MAX.change(kv_stride=(2, 4, 4)),
        "188_adaptive": B_MAX,
        "288_adaptive": B_MAX.change(kv_stride=(2, 8, 8)),
    },
    "15": {
        "s_max": B_MAX.change(pool_kernel="s"),
        "2s1_max": B_MAX.change(pool_kernel="2s+1"),
        "s1_max": B_MAX,
        "s1_avg": B_MAX.change(pool="avg"),
        "s1_conv": B_MAX.change(pool="conv"),
        "333_conv": VIDEO["mvit_b_16x4"],
    },
    "16": {
        "vit_b": VIT,
        "mvit_s_max": S_MAX,
        "mvit_b_max": B_MAX,
        "mvit_s_conv": S_CONV,
        "mvit_b_conv": VIDEO["mvit_b_16x4"],
    },
    "17": {
        "b16_max": B16_MAX,
        "b24_max": max_form("mvit_b_24_in1k"),
        "wide_max": max_form("mvit_b_24_wide_320_in1k"),
        "b16_conv": paper_form("mvit_b_16_in1k"),
        "wide_conv": paper_form("mvit_b_24_wide_320_in1k"),
    },
    "A.1": {skip: B_MAX.change(skip=skip) for skip in ("normalized", "linear", "none")},
    "A.3": {
        "88": B16_MAX.change(kv_stride=(1, 8, 8)),
        "44": B16_MAX,
        "22": B16_MAX.change(kv_stride=(1, 2, 2)),
        "none": B16_MAX.change(kv_stride=None),
    },
    "text": {
        "vit_b_tokens": VIT,
        "mvit_b_tokens": B_MAX,
        "vit_b_recipe": VIT,
        "vit_b_in21k_shuffled": VIT,
        "mvit_b_32x3_5": VIDEO["mvit_b_32x3"],
    },
}


def alternatives(table: str, row: str, column: str) -> tuple[Reading, ...]:
    """Other readings of a counted cell, each with a label, in the order to try them where ours differs."""
    reading = READINGS[table][row]
    found = []
    if dict(reading.changes).get("pool") == "max":
        kernel = get_config(reading.preset).pool_kernel
        found.append((reading.change(pool="conv", pool_kernel=kernel), "the same model with conv pooling"))
    elif table == "17":
        found.append((reading.change(pool="max", pool_kernel="s+1"), "the same model with max pooling"))
    if table == "12":
        found.append((B_MAX, "the default row"))
        found.append((VIDEO["mvit_b_16x4"], "the default row with conv pooling"))
    for number in {"5": (80,), "6": (400,)}.get(table, ()) if column == "params" else ():
        found.append((reading.change(num_classes=number), f"the same model with a head of {number} classes"))
    return tuple(dataclasses.replace(reading, label=label) for reading, label in found)
