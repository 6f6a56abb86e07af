"""Checks for Chapter 6: a longer clip counted, the forward pass, longer positions, a checkpoint renamed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit_edu.check.core import Case, Draw, Exercise, Mistake, fill_
from mvit_edu.model.dialects import from_native, to_native
from mvit_edu.model.embed import resize_position
from mvit_edu.model.mvit import MViT
from mvit_edu.model.presets import get_config

# 6.1: what changes with the number of frames


def _longer_clip(
    frames: int,
    times: Callable[[int], int] = lambda frames: (frames + 2 - 3) // 2 + 1,
    cls: int = 1,
    keys_a_frame: int = 49,
    keys_times: Callable[[int], int] = lambda times: times,
    rows: Callable[[int], int] = lambda times: times - 8,
    width: int = 96,
) -> tuple[int, int, int]:
    """The right answer, and with other arguments the usual wrong ones."""
    t = times(frames)
    return cls + t * 56 * 56, cls + keys_times(t) * keys_a_frame, width * rows(t)


ex_06_1 = Exercise(
    "6.1",
    reference=_longer_clip,
    cases=lambda draw: [
        Case("32 frames", 32),
        Case("64 frames", 64),
        Case("an odd number", 2 * draw.integer(9, 30) + 1),
        Case("16 frames", 16),
    ],
    mistakes=(
        Mistake(
            "The class token is missing from both lengths: add 1 to the tokens and 1 to the keys.",
            partial(_longer_clip, cls=0),
        ),
        Mistake(
            "A cube steps over two frames, so the grid has half as many times as the clip has frames.",
            partial(_longer_clip, times=lambda frames: frames),
        ),
        Mistake(
            "frames // 2 is not the size formula: floor((n + 2p - k) / s) + 1 with k = 3, s = 2, p = 1.",
            partial(_longer_clip, times=lambda frames: frames // 2),
        ),
        Mistake(
            "That is a joint table. The separate one has a row for each time, shared by all places.",
            partial(_longer_clip, rows=lambda times: (times - 8) * 56 * 56),
        ),
        Mistake("That is the number of new rows. Each row holds 96 parameters.", partial(_longer_clip, width=1)),
        Mistake(
            "That is the whole temporal table. Asked is what comes in addition to the 8 rows of 16 frames.",
            partial(_longer_clip, rows=lambda times: times),
        ),
        Mistake(
            "Keys and values are pooled in space only, with stride (1, 8, 8): all times stay.",
            partial(_longer_clip, keys_times=lambda times: (times - 1) // 8 + 1),
        ),
        Mistake(
            "Those are the keys without pooling. Block 0 pools them with stride (1, 8, 8): 7 x 7 a frame.",
            partial(_longer_clip, keys_a_frame=56 * 56),
        ),
    ),
)

# 6.2: the forward pass from its parts


def _assemble(clip, cube, cls_token, positions, blocks, norm, head):
    return _forward(clip, cube, cls_token, positions, blocks, norm, head)


def _forward(
    clip: Tensor,
    cube: nn.Module,
    cls_token: Tensor,
    positions: nn.Module,
    blocks: list[nn.Module],
    norm: nn.Module,
    head: nn.Module,
    cls_at: str = "front",
    position_of: str = "all",
    grid: str = "kept up",
    read: str = "norm(x[:, 0])",
    scores: str = "logits",
) -> Tensor:
    """The right answer, and with other arguments the usual wrong ones."""
    x, thw = cube(clip)  # (B, T'*H'*W', D)
    if position_of == "patches first":
        x = positions(x)
    if position_of == "patches":
        x = x + positions.table()[:, 1:]
    first = cls_token.expand(x.shape[0], -1, -1)  # (B, 1, D)
    x = torch.cat([x, first] if cls_at == "end" else [first, x], dim=1)  # (B, 1 + T'*H'*W', D)
    if position_of == "all":
        x = positions(x)
    for block in blocks:
        if grid == "kept up":
            x, thw = block(x, thw)
        else:
            x, _ = block(x, thw)
    out = {
        "norm(x[:, 0])": lambda: norm(x[:, 0]),
        "norm(x[:, -1])": lambda: norm(x[:, -1]),
        "x[:, 0]": lambda: x[:, 0],
        "mean": lambda: norm(x).mean(dim=1),
        "mean of patches": lambda: norm(x[:, 1:]).mean(dim=1),
        "all": lambda: norm(x),
    }[read]()
    logits = head(out)
    return logits.softmax(dim=-1) if scores == "softmax" else logits


def _parts(draw: Draw, batch: int, **fields) -> tuple:
    config = replace(get_config("mvit_tiny"), **{"frames": 3, "crop": 16, "dim": 8, "depths": (1, 1, 1)} | fields)
    model = fill_(MViT(config)).eval()
    clip = draw.normal(batch, 3, *config.size)
    parts = (model.patch_embed, model.cls_token.detach(), model.pos_embed)
    return (clip, *parts, list(model.blocks), model.norm, model.head)


ex_06_2 = Exercise(
    "6.2",
    reference=_assemble,
    cases=lambda draw: [
        Case("two clips", *_parts(draw, 2)),
        Case("frames that are not square", *_parts(draw, 1, crop=(16, 24))),
        Case("joint positions", *_parts(draw, 2, position="joint")),
    ],
    mistakes=(
        Mistake(
            "The last norm is missing: the head reads norm(x[:, 0]).",
            partial(_forward, read="x[:, 0]"),
        ),
        Mistake(
            "The class token is at the end. Every block expects it at index 0: cat([cls, x]), not cat([x, cls]).",
            partial(_forward, cls_at="end"),
        ),
        Mistake(
            "The class token is at the end. Every block expects it at index 0, and the head reads index 0.",
            partial(_forward, cls_at="end", read="norm(x[:, -1])"),
        ),
        Mistake(
            "Positions come after the class token is in front, since the class token has a position too.",
            partial(_forward, position_of="patches first"),
        ),
        Mistake(
            "The class token got no position. Put it in front first, then call positions(x) on all rows.",
            partial(_forward, position_of="patches"),
        ),
        Mistake("The positions are missing: x = positions(x).", partial(_forward, position_of="none")),
        Mistake(
            "Each block returns a new grid; hand it to the next one: x, thw = block(x, thw).",
            partial(_forward, grid="the first one"),
        ),
        Mistake(
            "That is the mean of all tokens. This model classifies from its class token, x[:, 0].",
            partial(_forward, read="mean"),
        ),
        Mistake(
            "That is the mean of the patches. This model classifies from its class token, x[:, 0].",
            partial(_forward, read="mean of patches"),
        ),
        Mistake(
            "You read the last token, a patch. The class token is x[:, 0].",
            partial(_forward, read="norm(x[:, -1])"),
        ),
        Mistake(
            "Those are scores for every token. Only the class token goes into the head.",
            partial(_forward, read="all"),
        ),
        Mistake(
            "Those are probabilities. The model returns logits; the softmax is the caller's.",
            partial(_forward, scores="softmax"),
        ),
    ),
)

# 6.3: positions for a longer clip


def _longer_positions(table: Tensor, frames: int) -> Tensor:
    return resize_position(table, (table.shape[1] - 1, 1, 1), (frames, 1, 1))


def _stretched(
    table: Tensor, frames: int, cls: str = "front", mode: str = "linear", align_corners: bool | None = False
) -> Tensor:
    """The right answer, and with other arguments the usual wrong ones."""
    rows = table if cls == "stretched" else table[:, 1:]
    size = frames + 1 if cls == "stretched" else frames
    corners = {} if mode == "nearest" else {"align_corners": align_corners}
    series = F.interpolate(rows.transpose(1, 2), size, mode=mode, **corners).transpose(1, 2)  # (1, T, D)
    parts = {"front": [table[:, :1], series], "end": [series, table[:, :1]]}.get(cls, [series])
    return torch.cat(parts, dim=1)


def _stretched_channels(table: Tensor, frames: int) -> Tensor:
    return torch.cat([table[:, :1], F.interpolate(table[:, 1:], frames, mode="linear")], dim=1)


def _table_cases(draw: Draw) -> list[Case]:
    times, dim = draw.integer(4, 6), draw.integer(3, 5)
    return [
        Case("twice as long", draw.normal(1, 1 + 8, dim), 16),
        Case("no whole multiple", draw.normal(1, 1 + times, dim), times + 3),
        Case("shorter", draw.normal(1, 1 + 8, dim), 4),
    ]


ex_06_3 = Exercise(
    "6.3",
    reference=_longer_positions,
    cases=_table_cases,
    mistakes=(
        Mistake(
            "You stretched the class token's row along with the times. It belongs to no time: keep row 0 as it is.",
            partial(_stretched, cls="stretched"),
        ),
        Mistake(
            "That copies the nearest row. Between two times the new rows are mixed linearly: mode='linear'.",
            partial(_stretched, mode="nearest"),
        ),
        Mistake(
            "You put the first and last new time on the first and last old one (align_corners=True). The released "
            "code leaves align_corners=False.",
            partial(_stretched, align_corners=True),
        ),
        Mistake(
            "The class token's row is missing: put table[:, :1] back in front.",
            partial(_stretched, cls="dropped"),
        ),
        Mistake("The class token's row is at the end; it belongs to the front.", partial(_stretched, cls="end")),
        Mistake(
            "F.interpolate stretches the last dimension, and there you have the channels. Transpose to (1, D, T) "
            "before, and back after.",
            _stretched_channels,
        ),
    ),
)

# 6.4: a PyTorchVideo checkpoint under our names


def _to_ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return to_native(state)


def _renamed(
    state: dict[str, Tensor],
    order: str = "qkv",
    join: Callable[[list[Tensor]], Tensor] = torch.cat,
    only: tuple[str, ...] = ("weight", "bias"),
    keep_parts: bool = False,
    keep_twins: bool = False,
    head: str = "head.proj.",
    first: str = "stem",
    skip: str = "",
) -> dict[str, Tensor]:
    """The right answer, and with other arguments the usual wrong ones."""
    out = {}
    for name, value in state.items():
        if "_attention_pool_" in name and not keep_twins:
            continue
        part = re.fullmatch(r"(.*\.attn\.)([qkv])\.(weight|bias)", name)
        if part and part[3] in only:
            if keep_parts:
                out[name] = value
            if part[2] == "q":
                out[f"{part[1]}qkv.{part[3]}"] = join([state[f"{part[1]}{x}.{part[3]}"] for x in order])
            continue
        rules = {
            "stem": ("patch_embed.patch_model.", "patch_embed.proj."),
            "norm": ("norm_embed.", "norm."),
            "head": (head, head.replace("proj.", "")),
        }
        for key in sorted(rules, key=lambda key: key != first):
            name = name if key == skip else name.replace(*rules[key])
        if "_attention_pool_" not in name and skip != "pool":
            name = re.sub(r"\.attn\.pool_([qkv])\.", r".attn.pool_\1.conv.", name)
            name = re.sub(r"\.attn\.norm_([qkv])\.", r".attn.pool_\1.norm.", name)
        out[name] = value
    return out


KINDS = r"patch_embed|blocks\.\d+\.(norm1|attn\.(qkv|proj|pool_k)|mlp\.fc1)|norm|head"


def _with_checkpoint(fn: Callable, blocks: int, twins: bool) -> dict[str, Tensor]:
    """The answer for a small checkpoint of PyTorchVideo: some kinds of tensors, small random numbers in them."""
    config = replace(get_config("mvit_tiny"), dim=4, dim_mul=1, depths=(blocks,))
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in MViT(config).state_dict().items()}
    draw = Draw(blocks)
    ours = {name: draw.normal(*shape) for name, shape in shapes.items() if re.match(rf"({KINDS})\.", name)}
    return fn(from_native(ours, "pytorchvideo_main" if twins else "pytorchvideo"))


ex_06_4 = Exercise(
    "6.4",
    reference=_to_ours,
    cases=lambda draw: [
        Case("one block", blocks=1, twins=False),
        Case("eleven blocks", blocks=11, twins=False),
        Case("each pooling twice", blocks=2, twins=True),
    ],
    build=_with_checkpoint,
    mistakes=(
        *(
            Mistake(
                f"The three parts are stacked as {', '.join(order)}. The order in qkv is q, then k, then v.",
                partial(_renamed, order=order),
            )
            for order in ("kqv", "vkq", "kvq", "qvk", "vqk")
        ),
        Mistake(
            "The parts are joined side by side. The three outputs lie one above the other: join along dimension 0.",
            partial(_renamed, join=lambda parts: torch.cat(parts, dim=-1)),
        ),
        Mistake(
            "A bias has one dimension only, and the three weights lie one above the other: join along dimension 0.",
            partial(_renamed, join=lambda parts: torch.cat(parts, dim=1)),
        ),
        Mistake(
            "torch.stack makes a new dimension. One linear layer has a weight (3D, D): use torch.cat.",
            partial(_renamed, join=torch.stack),
        ),
        Mistake(
            "Only the weights are joined. The biases of q, k and v become one qkv.bias in the same way.",
            partial(_renamed, only=("weight",)),
        ),
        Mistake(
            "The parts q, k and v are still there beside qkv; leave them out.",
            partial(_renamed, keep_parts=True),
        ),
        *(
            Mistake(
                "'proj.' also stands in blocks.N.attn.proj. Replace 'head.proj.' by 'head.' and nothing else.",
                partial(_renamed, head="proj.", first=first),
            )
            for first in ("stem", "head")
        ),
        Mistake(
            "The twins under _attention_pool_ are the same tensors a second time; leave them out.",
            partial(_renamed, keep_twins=True),
        ),
        Mistake(
            "The poolings keep their old names: pool_k.weight becomes pool_k.conv.weight, and norm_k.* becomes "
            "pool_k.norm.*.",
            partial(_renamed, skip="pool"),
        ),
        Mistake("norm_embed.* becomes norm.*.", partial(_renamed, skip="norm")),
        Mistake(
            "patch_embed.patch_model.* becomes patch_embed.proj.*.",
            partial(_renamed, skip="stem"),
        ),
    ),
)
