"""Checks of Chapter 5: strides that adapt, the costs of a block, a model under a budget."""

from __future__ import annotations

from functools import partial

from mvit_edu.check.core import Case, Draw, Exercise, Mistake
from mvit_edu.check.difference import describe
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.pooling import Size3
from mvit_edu.model.presets import get_config
from mvit_edu.model.stages import by, stage_table


# 5.1: strides that adapt
def _kv_strides(
    first: Size3, q_stride: Size3, stages: int, low: int = 1, again: bool = True, early: bool = False
) -> list[Size3]:
    """``low``, ``again`` and ``early`` make the mistakes: no lower bound, one division only, one too early."""

    def divided(stride: Size3) -> Size3:
        return tuple(max(kv // q, low) for kv, q in zip(stride, q_stride, strict=True))

    strides = [divided(first) if early else tuple(first)]
    while len(strides) < stages:
        strides.append(divided(strides[-1] if again else first))
    return strides


def _stride_cases(draw: Draw) -> list[Case]:
    return [
        Case("MViT-B", (1, 8, 8), (1, 2, 2), 4),
        Case("Table 13", (2, 4, 4), (1, 2, 2), 4),
        Case("queries pooled in time", (2, 8, 8), (2, 2, 2), draw.integer(4, 6)),
        Case("one stage", (1, 4, 4), (1, 2, 2), 1),
    ]


ex_05_1 = Exercise(
    "5.1",
    reference=_kv_strides,
    cases=_stride_cases,
    mistakes=(
        Mistake(
            "A stride of 0 moves nowhere: no stride falls below 1. `max(kv // q, 1)` along each axis.",
            partial(_kv_strides, low=0),
        ),
        Mistake(
            "You divide once and stop. Each stage divides what the stage before had.",
            partial(_kv_strides, again=False),
        ),
        Mistake(
            "The first stage is divided already. It has no query pooling and uses the stride as given.",
            partial(_kv_strides, early=True),
        ),
        Mistake(
            "The stride stays the same in all stages: that is the fixed stride of Table 14. Divide it by "
            "q_stride at each new stage.",
            lambda first, q_stride, stages: [tuple(first)] * stages,
        ),
        Mistake(
            "The stride grows. The grid shrinks from stage to stage, so the stride has to shrink with it.",
            lambda first, q_stride, stages: [
                tuple(kv * q**stage for kv, q in zip(first, q_stride, strict=True)) for stage in range(stages)
            ],
        ),
    ),
)


# 5.2 and 5.3: the costs of a block
def _block_params(
    dim: int,
    dim_out: int,
    heads: int,
    poolings: int,
    bias: int = 1,
    hidden_of: str = "dim",
    pool_of: str = "head",
    skip: str = "where it widens",
    skip_bias: int = 1,
    norms: int = 2,
    pool_norm: bool = True,
    projections: int = 3,
) -> int:
    """The options make the mistakes."""
    hidden = 4 * (dim if hidden_of == "dim" else dim_out)
    span = dim // heads if pool_of == "head" else dim
    attention = (projections + 1) * dim * (dim + bias)
    mlp = hidden * (dim + bias) + dim_out * (hidden + bias)
    widens = dim_out != dim if skip == "where it widens" else skip == "everywhere"
    proj = dim_out * (dim + bias * skip_bias) if widens else 0
    return attention + mlp + proj + norms * 2 * dim + poolings * (27 * span + 2 * span * pool_norm)


def _param_cases(draw: Draw) -> list[Case]:
    head_dim, heads = draw.choice((16, 32, 64)), draw.integer(2, 6)
    dim = head_dim * heads
    return [
        Case("block 4 of MViT-B", 384, 384, 4, 2),
        Case("block 13, which widens", 384, 768, 4, 2),
        Case("block 14, which pools queries", 768, 768, 8, 3),
        Case("a block of ViT-B", 768, 768, 12, 0),
        Case("drawn sizes", dim, 2 * dim, heads, draw.integer(1, 3)),
    ]


ex_05_2 = Exercise(
    "5.2",
    reference=_block_params,
    cases=_param_cases,
    mistakes=(
        Mistake(
            "The biases are missing. A linear layer from a to b has b * (a + 1) numbers.",
            partial(_block_params, bias=0),
        ),
        Mistake(
            "Your poolings span all channels. The heads share one kernel and one norm of dim // heads channels.",
            partial(_block_params, pool_of="dim"),
        ),
        Mistake(
            "You made the hidden layer of the MLP four times dim_out. It is four times the width that comes in.",
            partial(_block_params, hidden_of="dim_out"),
        ),
        Mistake(
            "The skip of a widening block is missing: a linear layer from dim to dim_out, with bias.",
            partial(_block_params, skip="nowhere"),
        ),
        Mistake(
            "The skip has its linear layer only where dim_out differs from dim; elsewhere it has no parameters.",
            partial(_block_params, skip="everywhere"),
        ),
        Mistake(
            "The bias of the skip's linear layer is missing: dim_out numbers.",
            partial(_block_params, skip_bias=0),
        ),
        Mistake(
            "You left dim_out out. The MLP ends in dim_out, and where that is not dim the skip is a linear layer.",
            lambda dim, dim_out, heads, poolings: _block_params(dim, dim, heads, poolings),
        ),
        Mistake(
            "norm1 and norm2 are missing: a LayerNorm has a scale and a shift for each channel.",
            partial(_block_params, norms=0),
        ),
        Mistake(
            "One of the block's two norms is missing: there is one before the attention and one before the MLP.",
            partial(_block_params, norms=1),
        ),
        Mistake(
            "The LayerNorm after each pooling is missing: 2 * head_dim numbers.",
            partial(_block_params, pool_norm=False),
        ),
        Mistake(
            "You counted one projection for queries, keys and values. There are three, and then proj.",
            partial(_block_params, projections=1),
        ),
    ),
)


def _block_macs(
    dim: int,
    dim_out: int,
    n: int,
    n_q: int,
    n_kv: int,
    qkv: str = "n",
    after: str = "n_q",
    products: int = 2,
    hidden_of: str = "dim",
    skip: bool = True,
    skip_over: str = "n_q",
    scale: int = 1,
) -> int:
    """The options make the mistakes."""
    lengths = {"n": n, "n_q": n_q, "q and kv": None}
    read = n_q + 2 * n_kv if qkv == "q and kv" else 3 * lengths[qkv]
    late, hidden = lengths[after], 4 * (dim if hidden_of == "dim" else dim_out)
    attention = read * dim**2 + products * n_q * n_kv * dim + late * dim**2
    mlp = late * hidden * (dim + dim_out)
    proj = (late if skip_over == "n_q" else n) * dim * dim_out if skip and dim_out != dim else 0
    return scale * (attention + mlp + proj)


def _mac_cases(draw: Draw) -> list[Case]:
    n = draw.integer(200, 900)
    return [
        Case("block 4 of MViT-B", 384, 384, 1569, 1569, 393),
        Case("block 14, which pools queries", 768, 768, 1569, 393, 1569),
        Case("block 0, which widens", 96, 192, 25089, 25089, 393),
        Case("drawn sizes", 32 * draw.integer(1, 5), 224, n, n // 4, n // 2),
    ]


ex_05_3 = Exercise(
    "5.3",
    reference=_block_macs,
    cases=_mac_cases,
    mistakes=(
        Mistake(
            "You count the multiplication and the addition apart. A multiply-add counts once.",
            partial(_block_macs, scale=2),
        ),
        Mistake(
            "Attention is two products: queries with keys, then the weights with the values.",
            partial(_block_macs, products=1),
        ),
        Mistake(
            "You projected after pooling. q, k and v are projected first, each over all n tokens.",
            partial(_block_macs, qkv="q and kv"),
        ),
        Mistake(
            "You projected n_q tokens to q, k and v. The projections come before the pooling: n tokens.",
            partial(_block_macs, qkv="n_q"),
        ),
        Mistake(
            "proj and the MLP come after the attention, where n_q tokens are left, not n.",
            partial(_block_macs, after="n"),
        ),
        Mistake(
            "The skip of a widening block is missing: a linear layer from dim to dim_out over n_q tokens.",
            partial(_block_macs, skip=False),
        ),
        Mistake(
            "The skip's linear layer sees n_q tokens: it reads norm2's output, which comes after the attention.",
            partial(_block_macs, skip_over="n"),
        ),
        Mistake(
            "You left dim_out out. The MLP ends in dim_out, and where that is not dim the skip is a linear layer.",
            lambda dim, dim_out, n, n_q, n_kv: _block_macs(dim, dim, n, n_q, n_kv),
        ),
        Mistake(
            "You made the hidden layer of the MLP four times dim_out. It is four times the width that comes in.",
            partial(_block_macs, hidden_of="dim_out"),
        ),
    ),
)


# 5.4: a model under a budget
CLIP, GRID, STAGES, MAX_MACS, MIN_PARAMS = (16, 224, 224), (8, 56, 56), 4, 20e9, 15e6


def _design_problem(_: MViTConfig, got: MViTConfig) -> str | None:
    """What is wrong with a config; the first that holds nothing else is judged by its properties alone."""
    if not hasattr(got, "blocks") or not hasattr(got, "depths"):
        return f"return an MViTConfig, for instance from dataclasses.replace; got {describe(got)}."
    if got.size != CLIP:
        return f"the clip is {by(got.size)}; the task keeps {by(CLIP)}. A shorter or smaller clip sees less."
    if got.thw != GRID:
        return (
            f"the first grid is {by(got.thw)}; the task keeps {by(GRID)}. A coarser cube is the easy way out: "
            "the fine first stage is what it saves."
        )
    if len(got.depths) != STAGES:
        return f"the model has {len(got.depths)} stages; the task keeps {STAGES}."
    table = stage_table(got)
    problems = []
    if table.macs > MAX_MACS:
        problems.append(
            f"it costs {table.macs / 1e9:.2f} GMACs, over the budget of {MAX_MACS / 1e9:.0f}. The multiply-adds "
            "of every stage grow with the square of dim."
        )
    if table.params < MIN_PARAMS:
        problems.append(
            f"it has {table.params / 1e6:.2f} M parameters, fewer than {MIN_PARAMS / 1e6:.0f} M. A block of the "
            "last stage holds four times as many as one of the stage before, for about the same multiply-adds."
        )
    return " And ".join(problems) or None


def _small_config() -> MViTConfig:
    return MViTConfig(dim=48, depths=(1, 1, 2, 8))


ex_05_4 = Exercise(
    "5.4",
    reference=_small_config,
    cases=lambda _: [Case("your model")],
    compare=_design_problem,
    mistakes=(
        Mistake(
            "That is MViT-B itself. Change it with `dataclasses.replace(config, dim=..., depths=...)`.",
            lambda: get_config("mvit_b_16x4"),
        ),
        Mistake(
            "Half the channels bring the multiply-adds down to a quarter and the parameters as well. Now move "
            "blocks to the stage where parameters are many and tokens few.",
            lambda: MViTConfig(dim=48),
        ),
    ),
)
