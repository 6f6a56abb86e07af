"""The configs that the tests walk through: every preset, and variants of a small model that turn every switch."""

from __future__ import annotations

from dataclasses import replace

from mvit_edu import get_config, list_models

TINY = get_config("mvit_tiny")
SMALL = replace(TINY, frames=4, dim=16, depths=(1, 1, 1), num_classes=5)

VARIANTS = {
    "conv": SMALL,
    "max s+1": replace(SMALL, pool="max", pool_kernel="s+1"),
    "avg s+1": replace(SMALL, pool="avg", pool_kernel="s+1"),
    "conv s": replace(SMALL, pool_kernel="s"),
    "max s": replace(SMALL, pool="max", pool_kernel="s"),
    "conv s+1": replace(SMALL, pool_kernel="s+1"),
    "avg 2s+1": replace(SMALL, pool="avg", pool_kernel="2s+1"),
    "fixed kv stride": replace(SMALL, kv_adaptive=False),
    "kv stride in time": replace(SMALL, kv_stride=(2, 4, 4)),
    "max, kv stride in time": replace(SMALL, kv_stride=(2, 4, 4), pool="max", pool_kernel="s+1"),
    "no kv pooling": replace(SMALL, kv_stride=None),
    "paper form": replace(SMALL, kv_pool_last_stage=False),
    "no positions": replace(SMALL, position="none"),
    "space": replace(SMALL, position="space"),
    "joint": replace(SMALL, position="joint"),
    "linear skip": replace(SMALL, skip="linear"),
    "no skip": replace(SMALL, skip="none"),
    "residual patches": replace(SMALL, residual_pooling="patches"),
    "residual all": replace(SMALL, residual_pooling="all"),
    "no class token": replace(SMALL, cls_token=False, residual_pooling="patches"),
    "no class token, joint": replace(SMALL, cls_token=False, position="joint"),
    "one stage": replace(get_config("vit_tiny"), depths=(2,)),
    "one frame": replace(SMALL, frames=1, cube_kernel=(1, 7, 7), cube_stride=(1, 4, 4), pool_kernel=(1, 3, 3)),
    "odd sizes": replace(SMALL, frames=5, crop=(38, 46)),
    "odd sizes, kernel s": replace(SMALL, frames=5, crop=(38, 46), pool="max", pool_kernel="s"),
    "no bias, two heads": replace(SMALL, qkv_bias=False, heads=2, mlp_ratio=3.0),
    "query stride in time": replace(SMALL, q_stride=(2, 2, 2), frames=8),
    "query stride 3": replace(SMALL, q_stride=(1, 3, 3), kv_stride=(1, 9, 9), crop=72),
    "same width": replace(SMALL, dim_mul=1),
    "gray": replace(SMALL, in_channels=1),
}
PRESETS = {name: get_config(name) for name in list_models()}
