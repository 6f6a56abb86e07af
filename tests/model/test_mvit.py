"""What people do to a model: other sizes, precisions, copies, exports; and what they hand it by mistake."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from torch import nn

import mvit_edu
from mvit_edu import MViT, create_model, get_config, list_models
from mvit_edu.model.embed import CubeEmbed, PositionEmbedding
from tests.model.variants import SMALL, TINY, VARIANTS


def model_and_clip(config=SMALL, batch=2):
    torch.manual_seed(0)
    return MViT(config).eval(), torch.randn(batch, config.in_channels, *config.size)


@pytest.mark.parametrize("name", VARIANTS)
def test_variant_trains_and_evaluates(name):
    config = VARIANTS[name]
    model, clip = model_and_clip(config)
    before = clip.clone()
    logits = model(clip)
    assert logits.shape == (2, config.num_classes) and logits.isfinite().all()
    tokens, thw = model.features(clip)
    last = config.blocks[-1]
    assert tokens.shape == (2, last.tokens_q, last.dim_out) and thw == last.thw_out
    model.train()(clip).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert torch.equal(clip, before)


@pytest.mark.parametrize("size", [(15, 224, 224), (16, 230, 230), (16, 224, 320)])
def test_odd_sizes_of_mvit_b(size):
    model = create_model("mvit_b_16x4", frames=size[0], crop=size[1:], depths=(1, 1, 1, 1)).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, *size)).shape == (1, 400)


def test_train_and_eval_return_logits():
    model, clip = model_and_clip(replace(SMALL, drop_path=0.0, dropout=0.0))
    torch.testing.assert_close(model.train()(clip), model.eval()(clip))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    model, clip = model_and_clip()
    expected = model(clip)
    with torch.autocast("cpu", dtype=dtype):
        mixed = model(clip)
        mixed.float().sum().backward()
    torch.testing.assert_close(mixed.float(), expected, atol=0.05, rtol=0.05)
    torch.testing.assert_close(model.to(dtype)(clip.to(dtype)).float(), expected, atol=0.05, rtol=0.05)


def test_copies_are_equal_and_apart():
    model, clip = model_and_clip()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(twin(clip), model(clip), rtol=0, atol=0)
        nn.init.zeros_(twin.head.weight)
        assert model.head.weight.any()
    assert pickle.loads(pickle.dumps(SMALL)) == SMALL and hash(SMALL) == hash(replace(SMALL))


@pytest.mark.parametrize("name", ["conv", "max s+1", "avg s+1", "no class token", "kv stride in time"])
def test_export(name):
    model, clip = model_and_clip(VARIANTS[name])
    exported = torch.export.export(model, (clip,)).module()
    torch.testing.assert_close(exported(clip), model(clip))


def test_compile():
    model, clip = model_and_clip()
    expected = model(clip)
    model.blocks[1].compile()  # block by block; this one pools queries, keys and values and widens
    torch.testing.assert_close(model(clip), expected, atol=1e-5, rtol=1e-4)
    model(clip).sum().backward()
    assert model.blocks[1].attn.pool_q.conv.weight.grad.isfinite().all()


def test_activation_checkpointing_changes_no_gradient():
    model, clip = model_and_clip(replace(SMALL, drop_path=0.0, dropout=0.0))
    model.train()
    model(clip).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.checkpoint_blocks = 2
    model(clip).square().sum().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_share_no_memory(name):
    """Or changing them in place, as clipping and accumulation do, would change some of them twice."""
    model, clip = model_and_clip(VARIANTS[name], batch=1)
    model(clip).sum().backward()
    found = [p.grad for p in model.parameters() if p.grad is not None]
    spans = sorted((g.data_ptr(), g.data_ptr() + g.numel() * g.element_size()) for g in found)
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))


def test_initialization_is_the_release_of_2021():
    torch.manual_seed(0)
    model = create_model("mvit_b_16x4", depths=(1, 1, 1, 1))
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any(), name
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05), name
        elif isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all() and not module.bias.any() and module.eps == 1e-6
    for table in (model.cls_token, model.pos_embed.spatial, model.pos_embed.temporal, model.pos_embed.cls):
        assert table.std().item() == pytest.approx(0.02, rel=0.3)
    kernel = model.blocks[1].attn.pool_q.conv.weight
    assert kernel.std().item() == pytest.approx(1 / 27**0.5 / 3**0.5, rel=0.05)  # torch's default, not 0.02


def test_images_with_and_without_a_time_axis():
    model, clip = model_and_clip(VARIANTS["one frame"])
    torch.testing.assert_close(model(clip[:, :, 0]), model(clip))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 3, 4, 64, 64),
            r"has shape \(1, 3, 4, 64, 64\), this model wants \(batch, 3, 4, 32, 32\).*crop=\(64, 64\)",
        ),
        ((1, 3, 8, 32, 32), "create the model with frames=8"),
        ((3, 4, 32, 32), r"add the batch dimension: clip\[None\]"),
        ((1, 4, 32, 32, 3), r"clip.permute\(0, 4, 1, 2, 3\)"),
        ((1, 4, 3, 32, 32), r"clip.transpose\(1, 2\)"),
        ((1, 3, 32, 32), "resize the clip"),
    ],
)
def test_wrong_shapes_get_one_sentence(shape, message):
    model, _ = model_and_clip()
    with pytest.raises(ValueError, match=message) as caught:
        model(torch.zeros(shape))
    assert "\n" not in str(caught.value)


def test_wrong_dtype_and_wrong_override():
    model, clip = model_and_clip()
    with pytest.raises(TypeError, match="torch.uint8, this model wants floating point; divide by 255"):
        model(clip.to(torch.uint8))
    with pytest.raises(TypeError, match="no field 'classes'; its fields are frames, crop"):
        create_model("mvit_tiny", classes=3)


def test_public_names():
    assert set(mvit_edu.__all__) <= set(dir(mvit_edu))
    assert list_models()[0] == "mvit_b_16x4" and "mvit_tiny" in list_models()
    assert create_model("mvit_tiny", num_classes=101).head.out_features == 101
    assert get_config("mvit_tiny") is TINY
    with pytest.raises(FrozenInstanceError):
        TINY.dim = 3


def test_position_table_is_in_the_order_of_the_tokens():
    """Each token gets the vector of its own place and time."""
    torch.manual_seed(0)
    embedding = PositionEmbedding("separate", (2, 3, 4), 5)
    table = embedding.table()
    t, h, w = 1, 2, 3
    index = 1 + (t * 3 + h) * 4 + w
    expected = embedding.spatial[0, h * 4 + w] + embedding.temporal[0, t]
    torch.testing.assert_close(table[0, index], expected)
    torch.testing.assert_close(table[0, 0], embedding.cls[0, 0])
    with pytest.raises(ValueError, match="'time'; use one of none, space, joint, separate"):
        PositionEmbedding("time", (2, 3, 4), 5)


def test_cubes_are_time_major():
    embed = CubeEmbed(1, 1, (1, 2, 2), (1, 2, 2), (0, 0, 0))
    nn.init.ones_(embed.proj.weight)
    nn.init.zeros_(embed.proj.bias)
    clip = torch.arange(2 * 4 * 6.0).reshape(1, 1, 2, 4, 6)
    tokens, thw = embed(clip)
    assert thw == (2, 2, 3)
    assert tokens[0, (1 * 2 + 1) * 3 + 2, 0] == clip[0, 0, 1, 2:4, 4:6].sum()


def test_one_stage_is_torchs_vision_transformer():
    """A ViT block of ours equals torch's pre-norm encoder layer with the same weights."""
    config = replace(get_config("vit_tiny"), depths=(1,))
    model, clip = model_and_clip(config)
    layer = nn.TransformerEncoderLayer(
        config.dim, config.heads, 4 * config.dim, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
    ).eval()
    block = model.blocks[0]
    layer.self_attn.in_proj_weight.data = block.attn.qkv.weight.data
    layer.self_attn.in_proj_bias.data = block.attn.qkv.bias.data
    layer.self_attn.out_proj.load_state_dict(block.attn.proj.state_dict())
    layer.linear1.load_state_dict(block.mlp.fc1.state_dict())
    layer.linear2.load_state_dict(block.mlp.fc2.state_dict())
    x = torch.randn(2, 17, config.dim)
    torch.testing.assert_close(block(x, (1, 4, 4))[0], layer(x), atol=1e-5, rtol=1e-4)
