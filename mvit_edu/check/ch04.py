"""Checks for Chapter 4: drop rates, skip pooling, stochastic depth, the residual pooling connection."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit_edu.check.core import Case, Draw, Exercise, Mistake, fill_
from mvit_edu.check.difference import difference
from mvit_edu.model.attention import MultiHeadPoolingAttention
from mvit_edu.model.pooling import Size3, pool_volume

KERNEL, STRIDE, PADDING = (1, 3, 3), (1, 2, 2), (0, 1, 1)

# 4.1: the drop rate of a block


def _drop_rate(block: int, depth: int, rate: float) -> float:
    return rate * block / max(depth - 1, 1)


def _rate_cases(draw: Draw) -> list[Case]:
    depth = draw.integer(5, 30)
    return [
        Case("first block", 0, 16, 0.2),
        Case("last block", 15, 16, 0.2),
        Case("block 13 of MViT-B", 13, 16, 0.2),
        Case("another depth", draw.integer(1, depth - 2), depth, 0.3),
        Case("one block", 0, 1, 0.3),
    ]


ex_04_1 = Exercise(
    "4.1",
    reference=_drop_rate,
    cases=_rate_cases,
    mistakes=(
        Mistake(
            "You divide by the number of blocks. Between the first and the last block lie depth - 1 steps.",
            lambda block, depth, rate: rate * block / depth,
        ),
        Mistake(
            "Blocks count from 0: the first block never drops anything.",
            lambda block, depth, rate: rate * (block + 1) / depth,
        ),
        Mistake(
            "That is one rate for all blocks. It grows linearly from 0 at the first block.",
            lambda block, depth, rate: rate,
        ),
        Mistake(
            "That is the probability to keep a branch; the rate is the probability to drop it.",
            lambda block, depth, rate: 1 - _drop_rate(block, depth, rate),
        ),
        Mistake(
            "A model of one block has no step between first and last block, and its block is the first one.",
            lambda block, depth, rate: rate * block / (depth - 1),
        ),
    ),
)

# 4.2: the attention half of a transition block


def _attention_half(
    x: Tensor,
    thw: Size3,
    norm1: nn.Module,
    attn: nn.Module,
    mode: str = "max",
    kernel: Size3 = KERNEL,
    padding: Size3 = PADDING,
    cls: str = "kept",
    scrambled: bool = False,
    skip_of: str = "x",
    attend_to: str = "norm1(x)",
    zeros: bool = False,
    old_grid: bool = False,
) -> tuple[Tensor, Size3]:
    """The right answer, and with other arguments the usual wrong ones."""
    y, thw_out = attn(norm1(x) if attend_to == "norm1(x)" else x, thw)
    thw_out = thw if old_grid else thw_out
    skip = norm1(x) if skip_of == "norm1(x)" else x
    first, rest = (skip[:, -1:], skip[:, :-1]) if cls == "last" else (skip[:, :1], skip[:, 1:])
    volume = rest.unflatten(1, thw)  # (B, T, H, W, D)
    if scrambled:
        batch, _, channels = rest.shape
        volume = rest.reshape(batch, channels, *thw).permute(0, 2, 3, 4, 1)
    if zeros:
        volume, padding = F.pad(volume, (0, 0, 1, 1, 1, 1)), (0, 0, 0)
    pooled = pool_volume(volume, mode, kernel, STRIDE, padding).flatten(1, 3)  # (B, T'*H'*W', D)
    if cls == "pooled":
        first = skip.amax(1, keepdim=True)
    if cls == "dropped":
        return pooled + y, thw_out
    return torch.cat([first, pooled], dim=1) + y, thw_out


def _transition(dim: int) -> tuple[nn.Module, nn.Module]:
    attn = MultiHeadPoolingAttention(dim, 2, (3, 3, 3), STRIDE, (3, 3, 3), (1, 4, 4))
    return fill_(nn.LayerNorm(dim)), fill_(attn)


def _half_cases(draw: Draw) -> list[Case]:
    norm1, attn = _transition(8)
    even, odd = (2, 4, 6), (3, 5, 7)
    return [
        Case("even grid", draw.normal(2, 1 + 2 * 4 * 6, 8), even, norm1, attn),
        Case("odd grid", draw.normal(1, 1 + 3 * 5 * 7, 8), odd, norm1, attn),
        Case("negative tokens", -1 - draw.normal(1, 1 + 2 * 4 * 6, 8).abs(), even, norm1, attn),
    ]


ex_04_2 = Exercise(
    "4.2",
    reference=_attention_half,
    cases=_half_cases,
    mistakes=(
        Mistake(
            "You pool norm1(x). The skip carries x as it came: only the attention reads norm1(x).",
            partial(_attention_half, skip_of="norm1(x)"),
        ),
        Mistake(
            "That is average pooling. The skip takes the maximum, whatever the queries are pooled with.",
            partial(_attention_half, mode="avg"),
        ),
        Mistake(
            "You pooled the class token too. Take row 0 aside, pool the rest, put row 0 back in front.",
            partial(_attention_half, cls="pooled"),
        ),
        Mistake(
            "You pooled the class token too: it is row 0, and row 0 became the first place of the grid.",
            partial(_attention_half, cls="last"),
        ),
        Mistake(
            "The class token is missing from your skip: put x[:, :1] back in front of the pooled rows.",
            partial(_attention_half, cls="dropped"),
        ),
        Mistake(
            "Your windows are 2 by 2 and do not overlap. The kernel is s + 1 = 3, with padding 1.",
            partial(_attention_half, kernel=STRIDE, padding=(0, 0, 0)),
        ),
        Mistake(
            "Your windows reach over three frames. The stride in time is 1, and so is the skip's kernel there.",
            partial(_attention_half, kernel=(3, 3, 3), padding=(1, 1, 1)),
        ),
        Mistake(
            "You padded with zeros, and a zero wins against negative values. Leave the padding to "
            "F.max_pool3d, which pads with minus infinity.",
            partial(_attention_half, zeros=True),
        ),
        Mistake(
            "A reshape to (B, D, T, H, W) mixes tokens and channels. Unflatten the tokens to (B, T, H, W, D) "
            "first, then permute.",
            partial(_attention_half, scrambled=True),
        ),
        Mistake(
            "The attention reads norm1(x), not x: the norm comes first in each branch.",
            partial(_attention_half, attend_to="x"),
        ),
        Mistake(
            "You return the grid that came in. Return the one that attn gives back: the next block needs it.",
            partial(_attention_half, old_grid=True),
        ),
    ),
)

# 4.3: stochastic depth


def _drop_path(x: Tensor, rate: float, training: bool) -> Tensor:
    return _drop(x, rate, training)


def _drop(
    x: Tensor,
    rate: float,
    training: bool,
    mask_dims: int = 1,
    scale: str = "1 / keep",
    always: bool = False,
    inverted: bool = False,
) -> Tensor:
    """The right answer, and with other arguments the usual wrong ones."""
    keep = 1 - rate
    if scale == "keep in evaluation" and not training:
        return x * keep
    if rate == 0 or not (training or always):
        return x
    shape = [size if axis < mask_dims else 1 for axis, size in enumerate(x.shape)]
    mask = torch.empty(shape).bernoulli_(rate if inverted else keep)
    if scale == "1 / rate":
        return x * mask / rate
    return x * mask / keep if scale == "1 / keep" else x * mask


def _drop_facts(fn, x: Tensor, rate: float, training: bool, calls: int = 300) -> dict:
    """What 300 calls on tokens of ones show; `_compare_facts` puts it into words."""
    with torch.no_grad():
        y = torch.stack([fn(x, rate, training) for _ in range(calls)])  # (calls, B, N, D)
    if y.shape[1:] != x.shape:
        return {"shape": tuple(y.shape[1:])}
    dropped = y == 0
    whole = dropped.all(dim=(-2, -1))  # (calls, B)
    kept = y[~dropped]
    return {
        "shape": tuple(x.shape),
        "channels": bool((dropped.any(-1) & ~dropped.all(-1)).any()),
        "tokens": bool((dropped.any(dim=(-2, -1)) & ~whole).any()),
        "batches": bool((whole == whole[:, :1]).all()),
        "dropped": whole.float().mean().item(),
        "kept": kept.mean().item() if kept.numel() else 0.0,
    }


def _compare_facts(expected: dict, got: dict) -> str | None:
    if got["shape"] != expected["shape"]:
        return difference(expected["shape"], got["shape"], where="the shape of the result")
    if got["channels"] and not expected["channels"]:
        return "inside a token some channels are dropped and others are kept."
    if got["tokens"] and not expected["tokens"]:
        return "inside a sample some tokens are dropped and others are kept."
    if got["batches"] and not expected["batches"]:
        return "in 300 calls the samples of a batch were always all kept or all dropped."
    tolerance = 0.15 if expected["batches"] else 0.03  # 300 coins against thousands
    for key, what in (("dropped", "the share of dropped samples"), ("kept", "what a kept 1 becomes")):
        if abs(expected[key] - got[key]) > tolerance:
            return f"expected {what} to be about {expected[key]:.2f}, got {got[key]:.2f}."
    return None


def _drop_cases(draw: Draw) -> list[Case]:
    ones = torch.ones(draw.integer(20, 30), 3, 4)
    return [
        Case("training", ones, rate=0.2, training=True),
        Case("a high rate", ones, rate=0.6, training=True),
        Case("evaluation", ones, rate=0.2, training=False),
        Case("rate 0", ones, rate=0.0, training=True),
    ]


ex_04_3 = Exercise(
    "4.3",
    reference=_drop_path,
    cases=_drop_cases,
    build=_drop_facts,
    compare=_compare_facts,
    mistakes=(
        Mistake(
            "That is dropout, a coin for each value. Draw one coin a sample: a mask of shape (B, 1, 1).",
            partial(_drop, mask_dims=3),
        ),
        Mistake(
            "You draw a coin for each token. Draw one a sample: a mask of shape (B, 1, 1).",
            partial(_drop, mask_dims=2),
        ),
        Mistake(
            "One coin decides for the whole batch. Draw one for each sample: a mask of shape (B, 1, 1).",
            partial(_drop, mask_dims=0),
        ),
        Mistake(
            "The scale 1 / (1 - rate) is missing, so the mean of the branch shrinks.",
            partial(_drop, scale="none"),
        ),
        Mistake(
            "The branch is divided by the rate; divide by the probability to keep it, 1 - rate.",
            partial(_drop, scale="1 / rate"),
        ),
        Mistake(
            "Your mask keeps with probability rate. It should drop with that probability.",
            partial(_drop, inverted=True),
        ),
        Mistake(
            "It is active in evaluation. With training=False the branch passes as it is.",
            partial(_drop, always=True),
        ),
        Mistake(
            "You scale in evaluation. Here training divides by 1 - rate, so that evaluation needs no scale.",
            partial(_drop, scale="keep in evaluation"),
        ),
    ),
)

# 4.4: the residual pooling connection


def _residual_pooling(q: Tensor, k: Tensor, v: Tensor, cls_token: bool) -> Tensor:
    return _pooled_query_added(q, k, v, cls_token)


def _pooled_query_added(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cls_token: bool,
    rows: str = "patches",
    added: str = "q",
    merge: str = "transpose",
    scale: float | None = None,
) -> Tensor:
    """The right answer, and with other arguments the usual wrong ones."""
    out = F.scaled_dot_product_attention(q, k, v, scale=scale)  # (B, heads, N_q, d)
    term = q * q.shape[-1] ** -0.5 if added == "scaled q" else q
    if added == "nothing":
        term = torch.zeros_like(q)
    start = {"patches": int(cls_token), "all": 0, "never row 0": 1}[rows]
    out = torch.cat([out[:, :, :start], out[:, :, start:] + term[:, :, start:]], dim=2)
    if merge == "reshape":
        return out.reshape(out.shape[0], out.shape[2], -1)
    return out.transpose(1, 2).flatten(2)  # (B, N_q, heads*d)


def _residual_cases(draw: Draw) -> list[Case]:
    heads, d = 2, draw.integer(4, 6)
    q, k = draw.normal(2, heads, 9, d), draw.normal(2, heads, 5, d)
    return [
        Case("with class token", q, k, draw.normal(2, heads, 5, d), cls_token=True),
        Case("without class token", q, k, draw.normal(2, heads, 5, d), cls_token=False),
    ]


ex_04_4 = Exercise(
    "4.4",
    reference=_residual_pooling,
    cases=_residual_cases,
    mistakes=(
        Mistake(
            'You added the query to the class token\'s row as well: that is the variant "all".',
            partial(_pooled_query_added, rows="all"),
        ),
        Mistake(
            "The pooled query is not added: this is the attention alone.",
            partial(_pooled_query_added, added="nothing"),
        ),
        Mistake(
            "You add the scaled query. The scale 1/sqrt(d) belongs to the scores; q itself is added.",
            partial(_pooled_query_added, added="scaled q"),
        ),
        Mistake(
            "Heads and tokens are mixed: transpose to (B, N_q, heads, d) before you flatten the heads.",
            partial(_pooled_query_added, merge="reshape"),
        ),
        Mistake(
            "The scores are not divided by the square root of the head dimension.",
            partial(_pooled_query_added, scale=1.0),
        ),
        Mistake(
            "Without a class token row 0 is a patch like any other, and gets its query too.",
            partial(_pooled_query_added, rows="never row 0"),
        ),
    ),
)
