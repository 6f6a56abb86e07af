"""Chapter 6: a loader of weights that says what it did, or what is wrong."""

from __future__ import annotations

import pickle
import re
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mvit_edu.model.dialects import CheckpointError, State, detect_dialect, to_native, unwrap
from mvit_edu.model.embed import resize_position
from mvit_edu.model.pooling import Size3

ADDRESSES = {
    "torchvision:KINETICS400_V1": "https://download.pytorch.org/models/mvit_v1_b-dbeb1030.pth",
    "pytorchvideo:MVIT_B_16x4": "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/MVIT_B_16x4.pyth",
    "pytorchvideo:MVIT_B_32x3": (
        "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/MVIT_B_32x3_f294077834.pyth"
    ),
    "pytorchvideo:MVIT_B_16_IN1K": (
        "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/imagenet/MVIT_B_16_f292487636.pyth"
    ),
}


@dataclass(frozen=True)
class LoadReport:
    """What ``load_weights`` did. Chapter 6."""

    dialect: str
    loaded: int
    resized: tuple[str, ...] = ()
    new_head: bool = False
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"loaded {self.loaded} tensors from {self.dialect} names"]
        parts += [f"resized {what}" for what in self.resized]
        parts += ["left the head at its random start"] if self.new_head else []
        parts += [f"{len(self.missing)} missing, first {self.missing[0]}"] if self.missing else []
        parts += [f"{len(self.unexpected)} unexpected, first {self.unexpected[0]}"] if self.unexpected else []
        return "; ".join(parts)


def read_checkpoint(source: str | Path) -> Mapping:
    """Read a file with ``weights_only=True``, or download one of the named public ones through ``torch.hub``.

    Raises:
        CheckpointError: it is missing, no checkpoint, or cannot be downloaded.
    """
    if str(source) in ADDRESSES:
        address = ADDRESSES[str(source)]
        try:
            return torch.hub.load_state_dict_from_url(address, map_location="cpu", weights_only=True)
        except (urllib.error.URLError, OSError) as error:
            raise CheckpointError(
                f"could not download {source} ({error}); fetch {address} on a machine with a network and give the "
                "path of the file"
            ) from error
    path = Path(source)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise CheckpointError(f"{path} {what}; give a file, a state dict or one of {', '.join(ADDRESSES)}")
    with path.open("rb") as file:
        start = file.read(256).lstrip()
    if not start:
        raise CheckpointError(f"{path} is empty; download it again")
    if start[:1] == b"<":
        raise CheckpointError(
            f"{path} is a web page (it starts with {start[:15]!r}), not a checkpoint; download it again"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0][:150] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as weights ({first}); it is damaged or holds more than tensors and plain values"
        ) from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not named tensors; save model.state_dict()")
    return state


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping,
    strict: bool = True,
    new_head: bool = False,
    thw: Size3 | None = None,
) -> LoadReport:
    """Load weights of any public dialect into a model; nothing is changed unless all goes well. Chapter 6.

    Positions are resized when the model has another grid of tokens than the checkpoint; the report says so.

    Args:
        model: an ``MViT``.
        source: a state dict, a training checkpoint, a file, or a name like "torchvision:KINETICS400_V1", which is
            downloaded.
        strict: raise if a tensor is missing, left over or of another shape; otherwise such tensors are listed in the
            report and the model keeps its own.
        new_head: let the classifier stay random when the checkpoint has another number of classes, or none.
        thw: the checkpoint's grid of tokens, where it cannot be told from the model's (positions that are joint, or
            frames that are not square).

    Raises:
        CheckpointError: the weights cannot be read or belong to another model; names the first missing and unexpected
            tensors and the likely cause.
    """
    raw = unwrap(source if isinstance(source, Mapping) else read_checkpoint(source))
    dialect = detect_dialect(raw)
    state, own = to_native(raw), model.state_dict()
    resized = resize_positions(state, own, model.pos_embed.thw, thw)
    head = {name for name in own if name.startswith("head.")}
    head_fits = all(name in state and state[name].shape == own[name].shape for name in head)
    if new_head and not head_fits:
        state = {name: value for name, value in state.items() if name not in head}
    wrong = [name for name in state if name in own and state[name].shape != own[name].shape]
    started = head if new_head and not head_fits else set()
    missing = tuple(name for name in own if name not in state and name not in started)
    unexpected = tuple(name for name in state if name not in own)
    if strict and (missing or unexpected or wrong):
        raise CheckpointError(explain(state, own, missing, unexpected, wrong))
    fitting = {name: value for name, value in state.items() if name in own and name not in wrong}
    model.load_state_dict(fitting, strict=False)
    return LoadReport(dialect, len(fitting), resized, bool(started), missing + tuple(wrong), unexpected)


def resize_positions(state: State, own: State, thw: Size3, thw_old: Size3 | None) -> tuple[str, ...]:
    """Resize the position tables of ``state`` in place to those of ``own``; returns what was done, in words."""
    done = []
    for name in ("pos_embed.spatial", "pos_embed.temporal", "pos_embed.joint"):
        if name not in state or name not in own or state[name].shape == own[name].shape:
            continue
        rows, kind = state[name].shape[1], name.split(".")[1]
        places = rows - (kind == "joint" and "cls_token" in state)
        old = (
            {"spatial": (1, *thw_old[1:]), "temporal": (thw_old[0], 1, 1), "joint": thw_old}[kind] if thw_old else None
        )
        if old is None and kind == "temporal":
            old = (rows, 1, 1)
        elif old is None:
            frames = thw[0] if kind == "joint" else 1
            side = round((places / frames) ** 0.5)
            old = (frames, side, side)
        new = {"spatial": (1, *thw[1:]), "temporal": (thw[0], 1, 1), "joint": thw}[kind]
        if old[0] * old[1] * old[2] != places:
            raise CheckpointError(
                f"{name} has {places} places and its grid cannot be told from the model's {thw}; "
                "pass the checkpoint's grid as thw=(T, H, W)"
            )
        state[name] = resize_position(state[name], old, new)
        done.append(f"{name} from {by(old)} to {by(new)}")
    return tuple(done)


def by(sizes: Size3) -> str:
    return "x".join(map(str, sizes))


def explain(state: State, own: State, missing: tuple, unexpected: tuple, wrong: list[str]) -> str:
    """One sentence: what does not fit, and the likely cause."""
    facts = []
    if missing:
        facts.append(f"{len(missing)} tensors are missing, first {missing[0]}")
    if unexpected:
        facts.append(f"{len(unexpected)} are unexpected, first {unexpected[0]}")
    if wrong:
        name = wrong[0]
        shapes = f"{tuple(state[name].shape)} in the checkpoint, {tuple(own[name].shape)} in the model"
        facts.append(f"{len(wrong)} have another shape, first {name}: {shapes}")
    return f"the weights do not fit the model: {'; '.join(facts)}. {likely_cause(state, own, missing, wrong)}"


def likely_cause(state: State, own: State, missing: tuple, wrong: list[str]) -> str:
    """Why weights do not fit, and what to do about it."""
    depths = [len({name.split(".")[1] for name in names if name.startswith("blocks.")}) for names in (state, own)]
    if any("rel_pos" in name for name in state):
        return "They are an MViTv2's (rel_pos); this package holds MViT v1 only."
    if not any(name.startswith("blocks.") for name in state):
        return "There are no blocks in them: this is no MViT, or a file of something else."
    if depths[0] != depths[1]:
        return (
            f"They have {depths[0]} blocks, the model {depths[1]}: choose a preset of that depth "
            "(16: mvit_b_16x4, mvit_b_32x3; 24: mvit_b_24_32x3, mvit_b_24_32x3_slowfast)."
        )
    if not missing and set(wrong) <= {"head.weight", "head.bias"} and wrong:
        return "The number of classes differs: pass num_classes to create_model, or new_head=True to train a new head."
    if any(name.startswith("pos_embed.") for name in missing):
        return "The position embeddings differ: pass position='separate', 'joint', 'space' or 'none' to create_model."
    if not wrong and missing and all(name.startswith("head.") for name in missing):
        return "They have no classifier: pass new_head=True to train one."
    if missing and not wrong and all(re.search(r"\.attn\.pool_[kv]\.", name) for name in missing):
        return "They are of the paper's form (June 2021): create the model with kv_pool_last_stage=False."
    if not missing and not wrong:
        return "They are of the released form or of a larger model: create the model with kv_pool_last_stage=True."
    if any(".conv.weight" in name for name in wrong):
        return (
            "The pooling kernels differ: pool_kernel=(3, 3, 3) for most checkpoints, 's+1' for SlowFast's "
            "k400.pyth and k600.pyth (preset mvit_b_24_32x3_slowfast)."
        )
    if "patch_embed.proj.weight" in wrong:
        return "The cubes differ: image weights want mvit_b_16_in1k, video weights one of the video presets."
    return "Compare the checkpoint's config with the preset's."
