"""Chapter 6: the public dialects of MViT weights, to our names and back."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]

# One row a tensor: our name, then SlowFast's, PyTorchVideo's and torchvision's. {N} is a block, {I} is 1 or 2, {X} is
# q, k or v, {P} is weight or bias.
NAMES = (
    ("patch_embed.proj.{P}", "patch_embed.proj.{P}", "patch_embed.patch_model.{P}", "conv_proj.{P}"),
    ("cls_token", "cls_token", "cls_positional_encoding.cls_token", "pos_encoding.class_token"),
    ("pos_embed.joint", "pos_embed", "cls_positional_encoding.pos_embed", "pos_encoding.joint_pos"),
    (
        "pos_embed.spatial",
        "pos_embed_spatial",
        "cls_positional_encoding.pos_embed_spatial",
        "pos_encoding.spatial_pos",
    ),
    (
        "pos_embed.temporal",
        "pos_embed_temporal",
        "cls_positional_encoding.pos_embed_temporal",
        "pos_encoding.temporal_pos",
    ),
    ("pos_embed.cls", "pos_embed_class", "cls_positional_encoding.pos_embed_class", "pos_encoding.class_pos"),
    *[(f"blocks.{{N}}.{name}.{{P}}",) * 4 for name in ("norm{I}", "attn.qkv")],
    (
        "blocks.{N}.attn.proj.{P}",
        "blocks.{N}.attn.proj.{P}",
        "blocks.{N}.attn.proj.{P}",
        "blocks.{N}.attn.project.0.{P}",
    ),
    (
        "blocks.{N}.attn.pool_{X}.conv.weight",
        "blocks.{N}.attn.pool_{X}.weight",
        "blocks.{N}.attn.pool_{X}.weight",
        "blocks.{N}.attn.pool_{X}.pool.weight",
    ),
    (
        "blocks.{N}.attn.pool_{X}.norm.{P}",
        "blocks.{N}.attn.norm_{X}.{P}",
        "blocks.{N}.attn.norm_{X}.{P}",
        "blocks.{N}.attn.pool_{X}.norm_act.0.{P}",
    ),
    ("blocks.{N}.mlp.fc1.{P}", "blocks.{N}.mlp.fc1.{P}", "blocks.{N}.mlp.fc1.{P}", "blocks.{N}.mlp.0.{P}"),
    ("blocks.{N}.mlp.fc2.{P}", "blocks.{N}.mlp.fc2.{P}", "blocks.{N}.mlp.fc2.{P}", "blocks.{N}.mlp.3.{P}"),
    ("blocks.{N}.proj.{P}", "blocks.{N}.proj.{P}", "blocks.{N}.proj.{P}", "blocks.{N}.project.{P}"),
    ("norm.{P}", "norm.{P}", "norm_embed.{P}", "norm.{P}"),
    ("head.{P}", "head.projection.{P}", "head.proj.{P}", "head.1.{P}"),
)
COLUMNS = {
    "native": 0,
    "slowfast": 1,
    "slowfast_separate": 1,
    "pytorchvideo": 2,
    "pytorchvideo_main": 2,
    "torchvision": 3,
}
SEPARATE_QKV = ("slowfast_separate", "pytorchvideo", "pytorchvideo_main")
HOLES = {"{N}": r"(?P<N>\d+)", "{I}": "(?P<I>[12])", "{X}": "(?P<X>[qkv])", "{P}": "(?P<P>weight|bias)"}
WRAPPERS = ("model_state", "state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
PTV_TWIN = re.compile(r"\.attn\._attention_pool_[qkv]\.")  # the same tensors registered a second time


class CheckpointError(ValueError):
    """Weights that cannot be read, or that do not belong to the model; the message says which and why."""


def detect_dialect(state: Mapping[str, Tensor]) -> str:
    """Whose names these are: one of the dialects of ``from_native``, or "native"."""
    if "conv_proj.weight" in state:
        return "torchvision"
    if "patch_embed.patch_model.weight" in state:
        return "pytorchvideo_main" if any(PTV_TWIN.search(name) for name in state) else "pytorchvideo"
    if "blocks.0.attn.q.weight" in state:
        return "slowfast_separate"
    slowfast = ("head.projection.weight", "pos_embed_spatial", "pos_embed")
    return "slowfast" if any(name in state for name in slowfast) else "native"


def rename(name: str, source: str, target: str) -> str:
    """One tensor's name from one dialect to another; a name that is in no row of the table stays as it is."""
    for row in NAMES:
        pattern = re.escape(row[COLUMNS[source]]).replace(r"\{", "{").replace(r"\}", "}")
        for hole, group in HOLES.items():
            pattern = pattern.replace(hole, group)
        match = re.fullmatch(pattern, name)
        if match:
            return row[COLUMNS[target]].format(**match.groupdict())
    return name


def unwrap(state: Mapping) -> State:
    """The bare state dict: out of a training checkpoint, without the prefixes that wrappers add.

    Raises:
        CheckpointError: there are no named tensors in it.
    """
    for wrapper in WRAPPERS:
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if "param_groups" in state:
        raise CheckpointError(
            "this holds an optimizer's state (param_groups), not a model's weights; give the file or the entry that "
            "holds the model, often 'model_state' or 'state_dict'"
        )
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        found = ", ".join(map(repr, list(state)[:5])) or "nothing"
        raise CheckpointError(f"there are no named tensors here, only {found}; give a state dict or a file with one")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def to_native(state: Mapping) -> State:
    """Rename the tensors of any public dialect to ours; separate q, k, v become one ``qkv``. Chapter 6.

    Takes state dicts and whole training checkpoints. Tensors of 2-D (image) stems get a time axis of length 1. Names
    that are in no dialect are kept.
    """
    state = unwrap(state)
    dialect = detect_dialect(state)
    if dialect in SEPARATE_QKV:
        state = {name: value for name, value in state.items() if not PTV_TWIN.search(name)}
        state = fuse_qkv(state)
    native = {rename(name, dialect, "native"): value for name, value in state.items()}
    for name, value in native.items():
        if name == "cls_token" or name.startswith("pos_embed."):
            native[name] = value.reshape(1, -1, value.shape[-1])  # torchvision keeps (D,) and (N, D)
        elif name == "patch_embed.proj.weight" and value.ndim == 4:
            native[name] = value.unsqueeze(2)  # (D, C, kH, kW) -> (D, C, 1, kH, kW)
    return native


def from_native(state: Mapping[str, Tensor], dialect: str, image: bool = False) -> State:
    """Our tensors under the names and shapes of a public dialect. Chapter 6.

    Args:
        dialect: "slowfast" (one qkv), "slowfast_separate" (its code between 2021-06-30 and 2022-06), "pytorchvideo"
            (release 0.1.5 and the published files), "pytorchvideo_main" (its main branch, which registers every
            pooling twice), "torchvision" or "native".
        image: give the stem's kernel without its time axis of length 1, as the image models have it.
    """
    if dialect not in COLUMNS:
        raise ValueError(f"there is no dialect {dialect!r}; use one of {', '.join(COLUMNS)}")
    out = {}
    for name, value in state.items():
        if dialect == "torchvision" and (name == "cls_token" or name.startswith("pos_embed.")):
            squeezed = name in ("cls_token", "pos_embed.cls")
            value = value.reshape(-1) if squeezed else value[0]  # (D,) and (N, D)
        elif image and name == "patch_embed.proj.weight":
            value = value.squeeze(2)  # (D, C, kH, kW)
        out[rename(name, "native", dialect)] = value
    if dialect in SEPARATE_QKV:
        out = split_qkv(out)
    if dialect == "pytorchvideo_main":
        for name in list(out):
            twin = re.sub(r"\.attn\.(pool|norm)_([qkv])\.", r".attn._attention_pool_\2.\1.", name)
            out[twin] = out[name]
    return out


def fuse_qkv(state: State) -> State:
    """``attn.q``, ``attn.k`` and ``attn.v`` become ``attn.qkv``, in this order along the rows."""
    fused = {}
    for name, value in state.items():
        match = re.fullmatch(r"(blocks\.\d+\.attn)\.([qkv])\.(weight|bias)", name)
        if not match:
            fused[name] = value
        elif match[2] == "q":
            parts = [state[f"{match[1]}.{x}.{match[3]}"] for x in "qkv"]
            fused[f"{match[1]}.qkv.{match[3]}"] = torch.cat(parts)  # (3*dim, dim) or (3*dim,)
    return fused


def split_qkv(state: State) -> State:
    """``attn.qkv`` becomes ``attn.q``, ``attn.k`` and ``attn.v``."""
    split = {}
    for name, value in state.items():
        if ".attn.qkv." in name:
            for x, part in zip("qkv", value.chunk(3), strict=True):
                split[name.replace(".qkv.", f".{x}.")] = part.clone()
        else:
            split[name] = value
    return split
