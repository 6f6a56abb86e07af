"""Chapter 5: the models of the paper, and two small ones for a laptop, as values of ``MViTConfig``."""

from __future__ import annotations

import dataclasses

from mvit_edu.model.config import MViTConfig

MVIT_B = MViTConfig()
MVIT_B_24 = dataclasses.replace(MVIT_B, frames=32, depths=(2, 3, 16, 3), drop_path=0.3)
IMAGE = dict(
    frames=1,
    num_classes=1000,
    cube_kernel=(1, 7, 7),
    cube_stride=(1, 4, 4),
    pool_kernel=(1, 3, 3),
    kv_stride=(1, 4, 4),
    position="joint",
    dropout=0.0,
)
VIT = dict(kv_stride=None, position="joint")

PRESETS: dict[str, MViTConfig] = {
    "mvit_b_16x4": MVIT_B,
    "mvit_b_32x3": dataclasses.replace(MVIT_B, frames=32),
    "mvit_b_64x3": dataclasses.replace(MVIT_B, frames=64),
    "mvit_b_24_32x3": MVIT_B_24,
    "mvit_b_24_32x3_slowfast": dataclasses.replace(MVIT_B_24, pool_kernel="s+1"),
    "mvit_s_16x4": MViTConfig(
        cube_kernel=(3, 8, 8), cube_stride=(2, 8, 8), dim=128, depths=(3, 7, 6), kv_stride=(1, 4, 4)
    ),
    "vit_b_8x8": MViTConfig(
        frames=8, cube_kernel=(1, 16, 16), cube_stride=(1, 16, 16), dim=768, heads=12, depths=(12,), **VIT
    ),
    "mvit_b_16_in1k": dataclasses.replace(MVIT_B, drop_path=0.1, **IMAGE),
    "mvit_b_24_in1k": dataclasses.replace(MVIT_B_24, **IMAGE),
    "mvit_b_24_wide_320_in1k": dataclasses.replace(MVIT_B_24, **IMAGE, crop=320, dim=112),
    # For a CPU: four stages as in MViT-B, and its cubes in space; every frame keeps a step of its own in time.
    "mvit_tiny": MViTConfig(
        frames=8,
        crop=32,
        num_classes=12,
        cube_stride=(1, 4, 4),
        depths=(1, 1, 3, 1),
        dim=32,
        kv_stride=(1, 4, 4),
        drop_path=0.0,
        dropout=0.0,
    ),
    "vit_tiny": MViTConfig(
        frames=8,
        crop=32,
        num_classes=12,
        cube_kernel=(1, 8, 8),
        cube_stride=(1, 8, 8),
        depths=(6,),
        dim=144,
        heads=3,
        drop_path=0.0,
        dropout=0.0,
        **VIT,
    ),
}


def list_models() -> list[str]:
    """Names of the presets."""
    return list(PRESETS)


def get_config(name: str) -> MViTConfig:
    """The preset of that name.

    Raises:
        ValueError: no such preset; the sentence lists them.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
