from __future__ import annotations

import pytest
import torch
from torch import nn

from mvit_edu.model.attention import MultiHeadPoolingAttention

THW = (2, 6, 6)


def make(**kwargs):
    torch.manual_seed(0)
    defaults = dict(dim=24, heads=3, q_kernel=(3, 3, 3), q_stride=(1, 2, 2), kv_kernel=(3, 3, 3), kv_stride=(1, 3, 3))
    return MultiHeadPoolingAttention(**(defaults | kwargs)).double()


@pytest.mark.parametrize("pool", ["conv", "max", "avg"])
@pytest.mark.parametrize("residual", ["none", "patches", "all"])
@pytest.mark.parametrize("cls_token", [True, False])
def test_readable_and_fused_attention_agree(pool, residual, cls_token):
    attention = make(pool=pool, residual_pooling=residual, cls_token=cls_token)
    x = torch.randn(2, cls_token + 72, 24, dtype=torch.float64)
    fused, thw = attention(x, THW)
    attention.sdpa = False
    readable, thw_readable = attention(x, THW)
    assert thw == thw_readable == (2, 3, 3)
    assert fused.shape == (2, cls_token + 18, 24)
    torch.testing.assert_close(fused, readable)


def test_without_pooling_it_is_torchs_multihead_attention():
    attention = make(q_kernel=None, q_stride=(1, 1, 1), kv_kernel=None)
    reference = nn.MultiheadAttention(24, 3, batch_first=True).double()
    reference.in_proj_weight.data = attention.qkv.weight.data
    reference.in_proj_bias.data = attention.qkv.bias.data
    reference.out_proj.load_state_dict(attention.proj.state_dict())
    x = torch.randn(2, 73, 24, dtype=torch.float64)
    torch.testing.assert_close(attention(x, THW)[0], reference(x, x, x)[0])


def test_key_value_pooling_keeps_the_output_length_and_query_pooling_sets_it():
    x = torch.randn(1, 73, 24, dtype=torch.float64)
    assert make(q_kernel=None, q_stride=(1, 1, 1))(x, THW)[0].shape == (1, 73, 24)
    assert make(kv_kernel=None)(x, THW)[0].shape == (1, 19, 24)


def test_attention_weights_are_rows_of_one():
    attention = make()
    q, k, _, _ = attention.pooled_qkv(torch.randn(1, 73, 24, dtype=torch.float64), THW)
    q, k = (t.unflatten(-1, (3, -1)).transpose(1, 2) for t in (q, k))
    weights = attention.attention_weights(q, k)
    assert weights.shape == (1, 3, 19, 9)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 3, 19, dtype=torch.float64))


def test_residual_pooling_adds_the_pooled_query():
    """ "all" and "patches" differ in the class token's row only; both differ from "none" by the projected query."""
    x = torch.randn(1, 73, 24, dtype=torch.float64)
    none, patches, full = (make(residual_pooling=kind) for kind in ("none", "patches", "all"))
    q, _, _, _ = none.pooled_qkv(x, THW)
    added = nn.functional.linear(q, none.proj.weight)
    torch.testing.assert_close(full(x, THW)[0], none(x, THW)[0] + added)
    torch.testing.assert_close(patches(x, THW)[0][:, 1:], full(x, THW)[0][:, 1:])
    torch.testing.assert_close(patches(x, THW)[0][:, :1], none(x, THW)[0][:, :1])


def test_errors():
    with pytest.raises(ValueError, match="24 channels do not split into 5 heads"):
        make(heads=5)
    with pytest.raises(ValueError, match="'some'; use one of none, patches, all"):
        make(residual_pooling="some")
