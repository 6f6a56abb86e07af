"""Checks for the exercises of Chapter 3: the shape of the scores, pooled attention, heads, a budget."""

from __future__ import annotations

from math import prod

from torch import Tensor

from mvit_edu.check.core import Case, Draw, Exercise, Mistake
from mvit_edu.model.pooling import Size3, TokenPool, pooled_size

KERNEL = (3, 3, 3)
STRIDES = (1, 2, 4, 8)
SPLIT_HINT = (
    "The split mixes tokens and heads: a reshape to (B, heads, N, d) cuts the sequence, not the channels. "
    "Go to (B, N, heads, d) first, then exchange dimensions 1 and 2."
)


def _shape(thw: Size3, q_stride: Size3, kv_stride: Size3) -> tuple[int, int]:
    """Rows and columns of the attention matrix, class token included."""
    return 1 + prod(pooled_size(thw, KERNEL, q_stride)), 1 + prod(pooled_size(thw, KERNEL, kv_stride))


def _shape_without_cls(thw: Size3, q_stride: Size3, kv_stride: Size3) -> tuple[int, int]:
    rows, columns = _shape(thw, q_stride, kv_stride)
    return rows - 1, columns - 1


def _shape_kv_after_q(thw: Size3, q_stride: Size3, kv_stride: Size3) -> tuple[int, int]:
    thw_q = pooled_size(thw, KERNEL, q_stride)
    return 1 + prod(thw_q), 1 + prod(pooled_size(thw_q, KERNEL, kv_stride))


def _shape_by_division(thw: Size3, q_stride: Size3, kv_stride: Size3) -> tuple[int, int]:
    rows, columns = (prod(n // s for n, s in zip(thw, stride, strict=True)) for stride in (q_stride, kv_stride))
    return 1 + rows, 1 + columns


def _shape_from_count(thw: Size3, q_stride: Size3, kv_stride: Size3) -> tuple[int, int]:
    tokens = 1 + prod(thw)
    return tokens // prod(q_stride), tokens // prod(kv_stride)


def _shape_cases(draw: Draw) -> list[Case]:
    odd = (draw.integer(3, 6), 2 * draw.integer(5, 9) + 1, 2 * draw.integer(5, 9) + 1)
    return [
        Case("block 0 of MViT-B", (8, 56, 56), (1, 1, 1), (1, 8, 8)),
        Case("block 1 of MViT-B", (8, 56, 56), (1, 2, 2), (1, 4, 4)),
        Case("block 14 of MViT-B", (8, 14, 14), (1, 2, 2), (1, 1, 1)),
        Case("sizes that the strides do not divide", odd, (1, 2, 2), (2, 4, 4)),
    ]


ex_03_1 = Exercise(
    "3.1",
    reference=_shape,
    cases=_shape_cases,
    mistakes=(
        Mistake("The class token is missing: it is one more query and one more key.", _shape_without_cls),
        Mistake(
            "The keys are pooled from the grid that enters the layer, not from the pooled queries' grid: "
            "use `thw` for both.",
            _shape_kv_after_q,
        ),
        Mistake(
            "n // s is not the size formula: with kernel 3 and padding 1 an axis of n tokens keeps "
            "floor((n - 1) / s) + 1.",
            _shape_by_division,
        ),
        Mistake(
            "Pool each axis by itself and leave the class token out: dividing the whole length by the "
            "product of the strides does not do that.",
            _shape_from_count,
        ),
        Mistake(
            "Rows and columns are exchanged: the queries are the rows.",
            lambda thw, q_stride, kv_stride: _shape(thw, q_stride, kv_stride)[::-1],
        ),
    ),
)


def _pool(x: Tensor, thw: Size3, stride: Size3) -> tuple[Tensor, Size3]:
    return TokenPool(x.shape[-1], KERNEL, stride, "max")(x, thw)


def _pool_but_not_stride_1(x: Tensor, thw: Size3, stride: Size3) -> tuple[Tensor, Size3]:
    return (x, thw) if max(stride) == 1 else _pool(x, thw, stride)


def _attend_pooled(
    x: Tensor,
    thw: Size3,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    q_stride: Size3,
    kv_stride: Size3,
    mistake: str = "",
) -> tuple[Tensor, Size3]:
    """One head with max-pooling: (B, N, d) -> (B, N_q, d) and the grid of the queries."""
    if mistake == "pool first":
        (q, thw_q), (k, thw_k), (v, _) = (_pool(x, thw, s) for s in (q_stride, kv_stride, kv_stride))
        q, k, v = q @ w_q, k @ w_k, v @ w_v
    elif mistake == "class pooled":  # the class token is cut off, and the rest is left
        (q, thw_q), (k, thw_k), (v, _) = (
            TokenPool(w.shape[-1], KERNEL, s, "max", cls_token=False)(x[:, 1:] @ w, thw)
            for w, s in zip((w_q, w_k, w_v), (q_stride, kv_stride, kv_stride), strict=True)
        )
    elif mistake == "class in the grid":
        pool = TokenPool(w_q.shape[-1], KERNEL, q_stride, "max", cls_token=False)
        return pool(x @ w_q, thw)
    else:
        pool = _pool_but_not_stride_1 if mistake == "stride 1 left out" else _pool
        q, thw_q = pool(x @ w_q, thw, q_stride)
        grid = thw_q if mistake == "kv on the pooled grid" else thw
        k, thw_k = pool(x @ w_k, grid, kv_stride)
        v, _ = pool(x @ w_v, grid, kv_stride)
    scale = 1.0 if mistake == "no scale" else q.shape[-1] ** -0.5
    weights = (scale * q @ k.transpose(1, 2)).softmax(dim=1 if mistake == "softmax over queries" else -1)
    return weights @ v, thw_k if mistake == "grid of the keys" else thw_q


def _pooled_mistake(name: str):
    return lambda x, thw, w_q, w_k, w_v, q_stride, kv_stride: _attend_pooled(
        x, thw, w_q, w_k, w_v, q_stride, kv_stride, name
    )


def _pooled_cases(draw: Draw) -> list[Case]:
    cases = []
    for name, thw, q_stride, kv_stride in (
        ("K,V pooled", (2, 4, 6), (1, 1, 1), (1, 2, 2)),
        ("Q pooled", (2, 6, 4), (1, 2, 2), (1, 1, 1)),
        ("both pooled", (3, 8, 8), (1, 2, 2), (1, 4, 4)),
    ):
        d = draw.choice((4, 6))
        x = draw.normal(draw.integer(1, 3), 1 + prod(thw), d)
        cases.append(Case(name, x, thw, *(draw.normal(d, d) for _ in "qkv"), q_stride, kv_stride))
    return cases


ex_03_2 = Exercise(
    "3.2",
    reference=_attend_pooled,
    cases=_pooled_cases,
    mistakes=(
        Mistake("The scale is missing: divide the scores by the square root of d.", _pooled_mistake("no scale")),
        Mistake(
            "You pool before you project. Max-pooling and a projection cannot change places: first x @ W, then pool.",
            _pooled_mistake("pool first"),
        ),
        Mistake(
            "The class token is lost. It takes part in the attention, only the pooling leaves it out: "
            "TokenPool does that by itself.",
            _pooled_mistake("class pooled"),
        ),
        Mistake(
            "The class token went into the grid: the sequence has 1 + T*H*W tokens, so leave cls_token=True.",
            _pooled_mistake("class in the grid"),
        ),
        Mistake(
            "The softmax runs over the queries. Each query shares out its weights among the keys: dim=-1.",
            _pooled_mistake("softmax over queries"),
        ),
        Mistake(
            "That is the grid of the keys. The output has one token for each query, so return the grid of q.",
            _pooled_mistake("grid of the keys"),
        ),
        Mistake(
            "k and v have not been pooled yet: their grid is still `thw`, not that of the pooled queries.",
            _pooled_mistake("kv on the pooled grid"),
        ),
        Mistake(
            "Nothing is pooled where the stride is 1. A 3 x 3 x 3 maximum keeps the length there and changes the "
            "values: pool for stride (1, 1, 1) too.",
            _pooled_mistake("stride 1 left out"),
        ),
    ),
)


def _attend_heads(q: Tensor, k: Tensor, v: Tensor, heads: int, mistake: str = "") -> Tensor:
    """q (B, N_q, D), k and v (B, N_kv, D) -> (B, N_q, D)."""
    batch, rows, channels = q.shape
    if mistake == "one head":
        heads = 1
    if mistake == "view":
        q, k, v = (t.reshape(batch, heads, -1, channels // heads) for t in (q, k, v))
    else:
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, heads, N, d)
    scale = {"no scale": 1.0, "scale of D": channels**-0.5}.get(mistake, q.shape[-1] ** -0.5)
    weights = (scale * q @ k.transpose(-2, -1)).softmax(dim=-2 if mistake == "softmax over queries" else -1)
    out = weights @ v  # (B, heads, N_q, d)
    if mistake in ("view", "merge"):
        return out.reshape(batch, rows, channels)
    return out.transpose(1, 2).flatten(2)  # (B, N_q, D)


def _heads_mistake(name: str):
    return lambda q, k, v, heads: _attend_heads(q, k, v, heads, name)


def _view_then_merge(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Split by a bare view, merged the right way."""
    q, k, v = (t.reshape(t.shape[0], heads, -1, t.shape[-1] // heads) for t in (q, k, v))
    weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def _heads_cases(draw: Draw) -> list[Case]:
    cases = []
    for name, heads in (("two heads", 2), ("four heads", 4), ("one head", 1)):
        batch, rows, columns = draw.integer(1, 3), draw.integer(5, 9), draw.integer(10, 14)
        shapes = ((rows, 8), (columns, 8), (columns, 8))
        cases.append(Case(name, *(2 * draw.normal(batch, *shape) for shape in shapes), heads))
    return cases


ex_03_3 = Exercise(
    "3.3",
    reference=_attend_heads,
    cases=_heads_cases,
    mistakes=(
        Mistake(SPLIT_HINT, _heads_mistake("view")),
        Mistake(SPLIT_HINT, _view_then_merge),
        Mistake(
            "The heads are merged wrongly: exchange heads and tokens back, (B, heads, N_q, d) -> "
            "(B, N_q, heads, d), before you flatten the last two dimensions.",
            _heads_mistake("merge"),
        ),
        Mistake("The scale is missing: divide the scores by the square root of d.", _heads_mistake("no scale")),
        Mistake(
            "The scale is that of all D channels; each head's scores are sums over d = D / heads of them.",
            _heads_mistake("scale of D"),
        ),
        Mistake(
            "The softmax runs over the queries. Each query shares out its weights among the keys: dim=-1.",
            _heads_mistake("softmax over queries"),
        ),
        Mistake("This is one head of D channels: the argument heads is not used.", _heads_mistake("one head")),
    ),
)


def _layer_macs(thw: Size3, dim: int, stride: int) -> int:
    n, kv = 1 + prod(thw), 1 + prod(pooled_size(thw, KERNEL, (1, stride, stride)))
    return 4 * n * dim**2 + 2 * n * kv * dim


def _short_kv_macs(thw: Size3, dim: int, stride: int) -> int:
    """K and V projected after the pooling."""
    n, kv = 1 + prod(thw), 1 + prod(pooled_size(thw, KERNEL, (1, stride, stride)))
    return 2 * (n + kv) * dim**2 + 2 * n * kv * dim


def _choose(macs):
    """The chooser for a way to count: the first stride that fits."""

    def choose_kv_stride(thw: Size3, dim: int, budget: int) -> tuple[int, int] | None:
        return next(((s, macs(thw, dim, s)) for s in STRIDES if macs(thw, dim, s) <= budget), None)

    return choose_kv_stride


def _largest(thw: Size3, dim: int, budget: int) -> tuple[int, int] | None:
    macs = _layer_macs(thw, dim, STRIDES[-1])
    return (STRIDES[-1], macs) if macs <= budget else None


def _attention_macs(thw: Size3, dim: int, stride: int) -> int:
    return _layer_macs(thw, dim, stride) - 4 * (1 + prod(thw)) * dim**2


def _no_cls_macs(thw: Size3, dim: int, stride: int) -> int:
    n, kv = prod(thw), prod(pooled_size(thw, KERNEL, (1, stride, stride)))
    return 4 * n * dim**2 + 2 * n * kv * dim


def _budget_cases(draw: Draw) -> list[Case]:
    cases = []
    for stride in (4, 2, 8, 1):
        thw, dim = (
            (draw.integer(2, 4), 8 * draw.integer(2, 4), 8 * draw.integer(2, 4)),
            8 * draw.integer(1, 3),
        )
        budget = _layer_macs(thw, dim, stride)
        cases.append(Case(f"stride {stride} just fits", thw, dim, budget))
    cases.append(Case("nothing fits", (2, 16, 16), 16, _layer_macs((2, 16, 16), 16, 8) - 1))
    return cases


ex_03_4 = Exercise(
    "3.4",
    reference=_choose(_layer_macs),
    cases=_budget_cases,
    mistakes=(
        Mistake(
            "You count two operations for each multiply-add. A budget in multiply-adds counts them once.",
            _choose(lambda thw, dim, s: 2 * _layer_macs(thw, dim, s)),
        ),
        Mistake(
            "The linear layers are missing: the three projections and the output layer cost 4 N D^2.",
            _choose(_attention_macs),
        ),
        Mistake(
            "Only one of the two products is counted: q k^T and weights times v cost N_q N_kv D each.",
            _choose(lambda thw, dim, s: _layer_macs(thw, dim, s) - _attention_macs(thw, dim, s) // 2),
        ),
        Mistake(
            "The output layer is missing: with it there are four linear layers of N D^2, not three.",
            _choose(lambda thw, dim, s: _layer_macs(thw, dim, s) - (1 + prod(thw)) * dim**2),
        ),
        Mistake(
            "The projections of K and V run before the pooling, on all N tokens.",
            _choose(_short_kv_macs),
        ),
        Mistake("The class token is missing: it is one more query and one more key.", _choose(_no_cls_macs)),
        Mistake(
            "That is the largest stride. The smallest one that fits keeps the most keys for the same budget.",
            _largest,
        ),
        Mistake(
            "The budget may be used up entirely: a layer that costs exactly the budget fits (<=).",
            lambda thw, dim, budget: _choose(_layer_macs)(thw, dim, budget - 1),
        ),
    ),
)
