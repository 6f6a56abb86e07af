"""The table is the model: parameters and multiply-adds, per block and in total, and the paper's golden numbers."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import prod

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch.utils.flop_counter import FlopCounterMode

from mvit_edu import MViT, MViTConfig, get_config, stage_table
from mvit_edu.model.blocks import MultiscaleBlock
from mvit_edu.model.pooling import default_padding
from tests.model.variants import PRESETS, SMALL, TINY, VARIANTS

CONFIGS = PRESETS | VARIANTS
B = get_config("mvit_b_16x4")
PAPER = replace(B, kv_pool_last_stage=False)
MAX = replace(B, pool="max", pool_kernel="s+1")
VIT = get_config("vit_b_8x8")
VIT_MAX = replace(VIT, pool="max", pool_kernel="s+1", dim_mul=1)
IMAGE = get_config("mvit_b_16_in1k")
IMAGE_MAX = replace(IMAGE, pool="max", pool_kernel="s+1")


def on_meta(config: MViTConfig) -> MViT:
    with torch.device("meta"):
        return MViT(config).eval()


def clip(config: MViTConfig, device="meta") -> torch.Tensor:
    return torch.zeros(1, config.in_channels, *config.size, device=device)


@pytest.mark.parametrize("name", CONFIGS)
def test_table_equals_model(name):
    config = CONFIGS[name]
    table, model = stage_table(config), on_meta(config)
    for spec, block in zip(table.rows, model.blocks, strict=True):
        assert sum(p.numel() for p in block.parameters()) == spec.params
    assert sum(p.numel() for p in model.parameters()) == table.params
    assert table.params == table.stem.params + sum(s.params for s in table.stages) + table.head.params

    sizes = []
    hooks = [b.register_forward_hook(lambda _m, args, out: sizes.append((args, out))) for b in model.blocks]
    with FlopCounterMode(display=False) as counter:
        model(clip(config))
    for hook in hooks:
        hook.remove()
    counts = counter.get_flop_counts()
    for spec, ((x, thw), (y, thw_out)) in zip(table.rows, sizes, strict=True):
        assert sum(counts[f"MViT.blocks.{spec.index}"].values()) == 2 * spec.macs
        assert (x.shape[1], tuple(thw), x.shape[2]) == (spec.tokens_in, spec.thw_in, spec.dim)
        assert (y.shape[1], tuple(thw_out), y.shape[2]) == (spec.tokens_q, spec.thw_out, spec.dim_out)
    assert counter.get_total_flops() == 2 * table.macs


@pytest.mark.parametrize("name", ["mvit_tiny", "vit_tiny"])
def test_fvcore_agrees_up_to_layer_norm(name):
    config = get_config(name)
    model = MViT(config).eval()
    for block in model.blocks:
        block.attn.sdpa = False  # fvcore does not know the fused call
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    count = FlopCountAnalysis(model, clip(config, "cpu")).unsupported_ops_warnings(False)
    by_operator = count.by_operator()
    assert by_operator["layer_norm"] > 0
    assert count.total() - by_operator["layer_norm"] == stage_table(config).macs


def close_to(config, macs, tolerance=0.005):
    assert stage_table(config).macs / 1e9 == pytest.approx(macs, abs=tolerance)


def test_golden_numbers():
    assert stage_table(B).params == 36_610_672
    assert stage_table(B).macs == 70_599_407_808
    assert stage_table(PAPER).params == 36_599_536
    assert stage_table(MAX).params == 36_513_232
    close_to(PAPER, 70.518, 0.0005)
    close_to(MAX, 70.33)
    for frames, paper, released in ((32, 169.80, 169.96), (64, 454.74, 455.06)):
        close_to(replace(PAPER, frames=frames), paper)
        close_to(replace(B, frames=frames), released)
    b24 = replace(get_config("mvit_b_24_32x3"), kv_pool_last_stage=False)
    close_to(b24, 236.04)
    assert round(stage_table(b24).params / 1e6, 2) == 53.16
    assert stage_table(get_config("mvit_b_24_32x3_slowfast")).params == 53_115_280
    assert stage_table(VIT).params == 87_159_952
    close_to(VIT, 179.56)


def test_golden_images():
    assert stage_table(IMAGE).params == 36_982_600
    assert stage_table(IMAGE_MAX).params == 36_945_640
    close_to(IMAGE, 7.81)
    close_to(IMAGE_MAX, 7.78)
    b24 = replace(get_config("mvit_b_24_in1k"), pool="max", pool_kernel="s+1")
    wide = replace(get_config("mvit_b_24_wide_320_in1k"), pool="max", pool_kernel="s+1")
    assert round(stage_table(b24).params / 1e6, 2) == 53.46
    assert round(stage_table(wide).params / 1e6, 2) == 72.90
    close_to(b24, 10.90)
    close_to(wide, 32.63)


def test_table_10_query_and_key_value_pooling_of_vit():
    close_to(replace(VIT_MAX, depths=(6, 6)), 111.15)
    eleven_of_twelve = replace(
        VIT_MAX,
        depths=(11, 1),
        q_stride=(1, 1, 1),
        kv_stride=(1, 2, 2),
        kv_adaptive=False,
        kv_pool_last_stage=False,
    )
    close_to(eleven_of_twelve, 148.39)


@pytest.mark.parametrize(("position", "params"), [("none", 36.2), ("space", 36.5), ("joint", 38.6), ("separate", 36.5)])
def test_table_11_positions(position, params):
    assert round(stage_table(replace(MAX, position=position)).params / 1e6, 1) == params


@pytest.mark.parametrize(
    ("frames", "kernel", "stride", "macs"),
    [(8, (1, 4, 4), (1, 4, 4), 69.38), (8, (1, 7, 7), (1, 4, 4), 69.62), (32, (7, 7, 7), (4, 4, 4), 71.74)],
)
def test_table_12_cubes(frames, kernel, stride, macs):
    close_to(replace(MAX, frames=frames, cube_kernel=kernel, cube_stride=stride), macs, 0.006)


@pytest.mark.parametrize(
    ("depths", "macs", "params"),
    [
        ((2, 6, 6, 2), 90.2, 29.5),
        ((2, 4, 6, 4), 86.9, 42.8),
        ((2, 4, 8, 2), 88.3, 32.2),
        ((2, 2, 8, 4), 85.0, 45.5),
        ((1, 2, 11, 2), 83.6, 36.5),
        ((2, 2, 10, 2), 86.4, 34.9),
    ],
)
def test_table_13_stages(depths, macs, params):
    table = stage_table(replace(MAX, kv_stride=(2, 4, 4), depths=depths, kv_pool_last_stage=False))
    assert table.macs / 1e9 == pytest.approx(macs, abs=0.06)
    assert round(table.params / 1e6, 1) == params


@pytest.mark.parametrize(
    ("stride", "adaptive", "macs"),
    [
        ((1, 4, 4), False, 71.39),
        ((2, 4, 4), False, 64.25),
        ((2, 4, 4), True, 83.55),
        ((1, 8, 8), True, 70.33),
        ((2, 8, 8), True, 63.71),
        (None, True, 279.95),
    ],
)
def test_table_14_key_value_pooling(stride, adaptive, macs):
    close_to(replace(MAX, kv_stride=stride, kv_adaptive=adaptive, kv_pool_last_stage=False), macs, 0.006)


@pytest.mark.parametrize(("stride", "macs"), [((1, 8, 8), 7.2), ((1, 4, 4), 7.8), ((1, 2, 2), 9.0), (None, 10.4)])
def test_table_a3_images(stride, macs):
    assert round(stage_table(replace(IMAGE_MAX, kv_stride=stride)).macs / 1e9, 1) == macs


def test_per_block_plan_of_mvit_b():
    plan = [(b.dim, b.dim_out, b.heads, b.kv_stride, b.tokens_in, b.tokens_q, b.tokens_kv) for b in B.blocks]
    assert plan[0] == (96, 192, 1, (1, 8, 8), 25089, 25089, 393)
    assert plan[1] == (192, 192, 2, (1, 4, 4), 25089, 6273, 1569)
    assert plan[2] == (192, 384, 2, (1, 4, 4), 6273, 6273, 393)
    assert plan[3] == (384, 384, 4, (1, 2, 2), 6273, 1569, 1569)
    assert plan[4:13] == [(384, 384, 4, (1, 2, 2), 1569, 1569, 393)] * 9
    assert plan[13] == (384, 768, 4, (1, 2, 2), 1569, 1569, 393)
    assert plan[14] == (768, 768, 8, (1, 1, 1), 1569, 393, 1569)
    assert plan[15] == (768, 768, 8, (1, 1, 1), 393, 393, 393)
    rates = [b.drop_path for b in B.blocks]
    torch.testing.assert_close(torch.tensor(rates), torch.linspace(0, 0.2, 16))


KEPT = VARIANTS | {
    "tiny": TINY,
    "vit": get_config("vit_tiny"),
    "tiny, max": replace(TINY, pool="max", pool_kernel="s+1"),
    "tiny, avg": replace(TINY, pool="avg", pool_kernel="s+1"),
    "tiny, odd sizes": replace(TINY, frames=5, crop=(38, 46)),
}


@pytest.mark.parametrize("name", KEPT)
def test_kept_activations(name):
    """Each block's count is what autograd keeps, plus a copy of its pooling kernels for every head.

    Frames smaller than a convolution's window are padded first, and autograd keeps the padded copy instead.
    """
    config = replace(KEPT[name], drop_path=0.0)
    for spec in config.blocks:
        block = MultiscaleBlock(**spec.module_kwargs()).train()
        weights = {p.untyped_storage().data_ptr() for p in block.parameters()}
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor, weights=weights, kept=kept):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage  # held, so that no other tensor gets its address
            return tensor

        x = torch.randn(1, spec.tokens_in, spec.dim, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            block(x, spec.thw_in)
        measured = sum(storage.nbytes() for storage in kept.values()) / 4
        kernels = [kernel for kernel in (spec.q_kernel, spec.kv_kernel, spec.kv_kernel) if kernel]
        repeated = spec.dim * sum(map(prod, kernels)) if spec.pool == "conv" else 0
        assert measured == spec.activations + repeated + sum(padding_of(spec, kernel) for kernel in kernels)


def padding_of(spec, kernel) -> int:
    """Numbers by which the padded frames exceed the sequence that they were made of."""
    t, h, w = spec.thw_in
    if spec.pool != "conv" or min(h, w) >= max(kernel[1:]) or kernel[0] % 2 == 0:
        return 0
    _, p_h, p_w = default_padding(kernel, spec.q_stride if kernel == spec.q_kernel else spec.kv_stride)
    return spec.dim * (t * (h + 2 * p_h) * (w + 2 * p_w) - spec.tokens_in)


def test_tables_as_text_and_html():
    table = stage_table(B)
    assert "36,610,672" in str(table) and "70.60" in str(table)
    assert table._repr_html_().count("<tr>") == len(str(table).splitlines())
    assert [s.thw for s in table.stages] == [(8, 56, 56), (8, 28, 28), (8, 14, 14), (8, 7, 7)]


def test_config_errors():
    for change, message in (
        (dict(pool="median"), "pool is 'median'; use one of conv, max, avg"),
        (dict(pool_kernel="3s"), "pool_kernel is '3s'; use"),
        (dict(position="time"), "position is 'time'; use one of none, space, joint, separate"),
        (dict(kv_stride=(8, 8)), r"kv_stride is \(8, 8\); give three numbers"),
        (dict(depths=()), "depths is"),
        (dict(drop_path=1.0), r"drop_path is 1.0; give a probability in \[0, 1\)"),
        (dict(heads=5), "do not split into 5 heads"),
        (dict(crop=2, cube_kernel=(3, 9, 9), cube_padding=(1, 0, 0)), "does not fit into a grid"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SMALL, **change)
    with pytest.raises(ValueError, match="no preset 'mvit_xl'; choose one of mvit_b_16x4"):
        get_config("mvit_xl")
