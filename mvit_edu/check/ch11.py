"""Checks of Chapter 11: the bound upside down, blind by construction, repaired positions, shuffled clips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mvit_edu.check.core import Case, Draw, Exercise, Mistake
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.presets import get_config


# 11.1: the bound, upside down
def _implied(accuracy, alike):
    return 0.0 if alike == 1 else max(0.0, (accuracy - 1 / alike) / (1 - 1 / alike))


def _below_zero(accuracy, alike):
    return 0.0 if alike == 1 else (accuracy - 1 / alike) / (1 - 1 / alike)


def _always_pairs(accuracy, alike):
    return max(0.0, 2 * accuracy - 1)


def _forwards(accuracy, alike):
    return accuracy + (1 - accuracy) / alike


def _above_chance(accuracy, alike):
    return max(0.0, accuracy - 1 / alike)


def _share_of_chance(accuracy, alike):
    return max(0.0, accuracy * alike - 1)


def _no_guessing(accuracy, alike):
    return accuracy


def _divides_by_zero(accuracy, alike):
    return max(0.0, (accuracy - 1 / alike) / (1 - 1 / alike))


def _one_alike_all(accuracy, alike):
    return accuracy if alike == 1 else _implied(accuracy, alike)


def _one_alike_one(accuracy, alike):
    return 1.0 if alike == 1 else _implied(accuracy, alike)


def _implied_cases(draw: Draw) -> list[Case]:
    return [
        Case("a pair", 0.875, 2),
        Case("400 classes", 0.701, 400),
        Case("some number of classes", draw.integer(60, 90) / 100, draw.integer(3, 9)),
        Case("all right", 1.0, 12),
        Case("at chance", 0.25, 4),
        Case("below chance", 0.4, 2),
        Case("nothing alike", 0.7, 1),
    ]


def _as_number(answer: Any, *args: Any) -> Any:
    found = answer(*args)
    found = found.item() if isinstance(found, np.generic | torch.Tensor) and np.ndim(found) == 0 else found
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


ex_11_1 = Exercise(
    "11.1",
    reference=_implied,
    cases=_implied_cases,
    build=_as_number,
    rtol=1e-6,
    mistakes=(
        Mistake("You took n = 2. The number of classes that are alike is `alike`.", _always_pairs),
        Mistake(
            "This is the bound itself, from ρ to accuracy. The task goes the other way: solve it for ρ.", _forwards
        ),
        Mistake("What is above chance is not ρ yet: divide by what there is above chance, 1 - 1/n.", _above_chance),
        Mistake("Multiplied by n, the room above chance is n - 1: divide by it.", _share_of_chance),
        Mistake("A blind model also guesses right, in 1/n of the clips whose look says nothing.", _no_guessing),
        Mistake("Below chance the formula gives a negative number. No ρ is smaller than 0.", _below_zero),
        *(
            Mistake("With alike = 1 every accuracy is possible at ρ = 0, so the answer is 0.", wrong)
            for wrong in (_divides_by_zero, _one_alike_all, _one_alike_one)
        ),
    ),
)


# 11.2: blind by construction
def _windows(config: MViTConfig, cubes: bool = True, pools: bool = True, strides: bool = True) -> list:
    found = [config.cube_kernel, *([config.cube_stride] if strides else [])] if cubes else []
    for block in config.blocks if pools else ():
        for kernel, stride in ((block.q_kernel, block.q_stride), (block.kv_kernel, block.kv_stride)):
            found += [kernel, *([stride] if strides else [])] if kernel else []
    return found


def _one_step(windows: list) -> bool:
    return all(window[0] == 1 for window in windows)


def _blind(config):
    return config.position in ("none", "space") and _one_step(_windows(config))


def _no_positions(config):
    return _one_step(_windows(config))


def _positions_only(config):
    return config.position in ("none", "space")


def _joint_only(config):
    return config.position != "joint" and _one_step(_windows(config))


def _temporal_only(config):
    return config.position != "separate" and _one_step(_windows(config))


def _none_only(config):
    return config.position == "none" and _one_step(_windows(config))


def _no_pools(config):
    return config.position in ("none", "space") and _one_step(_windows(config, pools=False))


def _no_cubes(config):
    return config.position in ("none", "space") and _one_step(_windows(config, cubes=False))


def _no_strides(config):
    return config.position in ("none", "space") and _one_step(_windows(config, strides=False))


def _strides_only(config):
    steps = [config.cube_stride, *(s for block in config.blocks for s in (block.q_stride, block.kv_stride))]
    return config.position in ("none", "space") and _one_step(steps)


def _queries_only(config):
    kernels = [config.cube_kernel, config.cube_stride, *(b.q_kernel for b in config.blocks if b.q_kernel)]
    return config.position in ("none", "space") and _one_step(kernels)


def _field_of_the_pooling(config):
    windows = [config.cube_kernel, config.cube_stride, config.pool_kernel]
    return config.position in ("none", "space") and _one_step(windows)


def _opposite(config):
    return not _blind(config)


def blind_configs() -> dict[str, MViTConfig]:
    """The models of the cases, small enough to be tried out."""
    small = {"crop": 16, "num_classes": 3}
    vit = replace(get_config("vit_tiny"), **small, depths=(2,), dim=24, heads=1)
    mvit = replace(get_config("mvit_tiny"), **small, depths=(1, 1), dim=8, kv_stride=(1, 2, 2))
    flat = replace(mvit, cube_kernel=(1, 7, 7), pool_kernel=(1, 3, 3))
    space = {"position": "space"}
    return {
        "ViT, positions in space": replace(vit, **space),
        "ViT, joint positions": vit,
        "ViT, no positions": replace(vit, position="none"),
        "ViT, separate positions": replace(vit, position="separate"),
        "MViT, positions in space": replace(mvit, **space),
        "MViT, kernels of one frame": flat,
        "MViT, kernels of one frame, positions in space": replace(flat, **space),
        "MViT, cubes of three frames only": replace(flat, **space, cube_kernel=(3, 7, 7)),
        "MViT, poolings of three frames only": replace(flat, **space, pool_kernel=(3, 3, 3)),
        "MViT, max pooling of stride + 1": replace(flat, **space, pool="max", pool_kernel="s+1"),
        "MViT, keys of every second frame": replace(flat, **space, kv_stride=(2, 2, 2)),
        "MViT, s+1, keys of every second frame": replace(flat, **space, pool_kernel="s+1", kv_stride=(2, 2, 2)),
        "ViT, cubes of every second frame": replace(vit, **space, cube_stride=(2, 8, 8)),
    }


def _blind_cases(draw: Draw) -> list[Case]:
    return [Case(name, config) for name, config in blind_configs().items()]


def _as_bool(answer: Any, config: MViTConfig) -> Any:
    found = answer(config)
    return bool(found) if isinstance(found, np.bool_ | torch.Tensor) else found


def _compare_truth(expected: bool, got: Any) -> str | None:
    if not isinstance(got, bool):
        return f"expected True or False, got {got!r}."
    said = {True: "order-blind", False: "not order-blind"}
    return None if got == expected else f"this model is {said[expected]}, and you say that it is {said[got]}."


ex_11_2 = Exercise(
    "11.2",
    reference=_blind,
    cases=_blind_cases,
    build=_as_bool,
    compare=_compare_truth,
    mistakes=(
        Mistake("This is the opposite: True stands for blind.", _opposite),
        Mistake("You did not look at the positions.", _no_positions),
        Mistake(
            "You looked at the positions only. Cubes and poolings that reach over several frames know order, too.",
            _positions_only,
        ),
        Mistake('Positions "separate" have a vector for each time, as "joint" ones do.', _joint_only),
        Mistake('Positions "joint" have a vector for each place and time, so for each time.', _temporal_only),
        Mistake('Positions in "space" are the same for all frames: with them a model can be blind.', _none_only),
        Mistake(
            "The field `pool_kernel` does not tell: a ViT has it and pools nothing, and it may be a rule. Ask the "
            "blocks for `q_kernel` and `kv_kernel`.",
            _field_of_the_pooling,
        ),
        Mistake("You did not look at the kernels of the poolings.", _no_pools),
        Mistake("You did not look at the kernels of keys and values.", _queries_only),
        Mistake("You did not look at the cubes.", _no_cubes),
        Mistake(
            "A kernel of one frame with a stride of two skips every second frame, and which ones depends on the order.",
            _no_strides,
        ),
        Mistake("You looked at strides. A kernel of three frames mixes frames at any stride.", _strides_only),
    ),
)


# 11.3: repair a ViT for a broken player
def _repaired(table, thw, order):
    cls, grid = table[:, :1], table[:, 1:].unflatten(1, tuple(thw))  # (1, T', H', W', D)
    return torch.cat([cls, grid[:, order].flatten(1, 3)], dim=1)


def _inverse(table, thw, order):
    return _repaired(table, thw, order.argsort())


def _time_last(table, thw, order):
    t, h, w = thw
    grid = table[:, 1:].unflatten(1, (h, w, t))
    return torch.cat([table[:, :1], grid[:, :, :, order].flatten(1, 3)], dim=1)


def _class_token_moves(table, thw, order):
    t, h, w = thw
    rows = torch.cat([torch.arange(h * w) + int(step) * h * w for step in order])
    return torch.cat([table[:, rows], table[:, t * h * w :]], dim=1)


def _without_class_token(table, thw, order):
    return _repaired(table, thw, order)[:, 1:]


def _rows_of_the_table(table, thw, order):
    return torch.cat([table[:, :1], table[:, 1:][:, order], table[:, 1 + len(order) :]], dim=1)


def _untouched(table, thw, order):
    return table.clone()


def _frames_averaged(table, thw, order):
    grid = table[:, 1:].unflatten(1, tuple(thw)).mean(dim=1, keepdim=True).expand(-1, thw[0], -1, -1, -1)
    return torch.cat([table[:, :1], grid.flatten(1, 3)], dim=1)


def _repaired_cases(draw: Draw) -> list[Case]:
    def case(name: str, thw: tuple[int, int, int], order: list[int]) -> Case:
        return Case(name, draw.normal(1, 1 + thw[0] * thw[1] * thw[2], 5), thw, torch.tensor(order))

    return [
        case("a frame moved to the end", (5, 2, 3), [1, 2, 3, 4, 0]),
        case("reversed", (4, 3, 2), [3, 2, 1, 0]),
        case("shuffled", (8, 2, 2), [2, 0, 5, 7, 1, 6, 4, 3]),
        case("in order", (3, 2, 2), [0, 1, 2]),
    ]


ex_11_3 = Exercise(
    "11.3",
    reference=_repaired,
    cases=_repaired_cases,
    mistakes=(
        Mistake(
            "You moved the positions the other way, as the text does to imitate a shuffle. At step t the model sees "
            "frame order[t], and that frame wants the position it had before, of step order[t].",
            _inverse,
        ),
        Mistake("Tokens are time-major: the grid is (T', H', W'), not (H', W', T').", _time_last),
        Mistake("You moved the class token's position along. It is row 0 and stays there.", _class_token_moves),
        Mistake("The class token's position is lost. Put row 0 back in front.", _without_class_token),
        Mistake("You moved single rows. A time step has H' * W' of them, and they move together.", _rows_of_the_table),
        Mistake("The table is as it was. At step t stands the frame order[t] now.", _untouched),
        Mistake(
            "You gave all times the same positions. Then no order matters, and the model has forgotten what it knew.",
            _frames_averaged,
        ),
    ),
)


# 11.4: train on shuffled frames
class _Shuffled:
    """Clips with shuffled frames, and hooks for what goes wrong."""

    def __init__(self, pairs, seed=0):
        self.pairs, self.seed = pairs, seed

    def __len__(self):
        return len(self.pairs)

    def order(self, index, frames):
        key = 1_000_003 * self.seed + index
        return torch.randperm(frames, generator=torch.Generator().manual_seed(key))

    def moved(self, clip, index):
        return clip[:, self.order(index, clip.shape[1])]

    def __getitem__(self, index):
        clip, label = self.pairs[index]
        return self.moved(clip, index), label


class _OneOrder(_Shuffled):
    def order(self, index, frames):
        return super().order(0, frames)


class _SeedIgnored(_Shuffled):
    def order(self, index, frames):
        return torch.randperm(frames, generator=torch.Generator().manual_seed(index))


class _NewEachTime(_Shuffled):
    def order(self, index, frames):
        return torch.randperm(frames)


class _OneGenerator(_Shuffled):
    def __init__(self, pairs, seed=0):
        super().__init__(pairs, seed)
        self.generator = torch.Generator().manual_seed(seed)

    def order(self, index, frames):
        return torch.randperm(frames, generator=self.generator)


class _Channels(_Shuffled):
    def moved(self, clip, index):
        return clip[self.order(index, clip.shape[0])]


class _Rows(_Shuffled):
    def moved(self, clip, index):
        return clip[:, :, self.order(index, clip.shape[2])]


class _Pixels(_Shuffled):
    def moved(self, clip, index):
        key = 1_000_003 * self.seed + index
        noise = torch.rand(clip.shape[1:], generator=torch.Generator().manual_seed(key))
        return clip.gather(1, noise.argsort(dim=0).expand_as(clip))


class _WithReplacement(_Shuffled):
    def order(self, index, frames):
        key = 1_000_003 * self.seed + index
        return torch.randint(frames, (frames,), generator=torch.Generator().manual_seed(key))


class _InPlace(_Shuffled):
    def moved(self, clip, index):
        clip.copy_(super().moved(clip, index))
        return clip


class _Untouched(_Shuffled):
    def moved(self, clip, index):
        return clip


class _Reversed(_Shuffled):
    def moved(self, clip, index):
        return clip.flip(1)


class _ClipsToo(_Shuffled):
    def __getitem__(self, index):
        clips = torch.randperm(len(self.pairs), generator=torch.Generator().manual_seed(self.seed))
        clip, label = self.pairs[int(clips[index])]
        return self.moved(clip, index), label


class _NoLabel(_Shuffled):
    def __getitem__(self, index):
        return super().__getitem__(index)[0]


def _orders(items: list, clips: list[torch.Tensor]) -> list[tuple[int, ...] | None]:
    """For each item the numbers of its frames in the clip, None where some frame is none of the clip's."""
    found = []
    for (played, _), clip in zip(items, clips, strict=True):
        same = (played.unsqueeze(2) == clip.unsqueeze(1)).all(dim=(0, 3, 4))  # (T, T)
        found.append(tuple(same.int().argmax(dim=1).tolist()) if bool(same.any(dim=1).all()) else None)
    return found


def _facts(cls: Any, clips: torch.Tensor, labels: list[int], seed: int) -> dict[str, bool]:
    """What is true of the items of the student's class; the orders themselves are free."""

    def made(seed: int) -> Any:
        return cls([(clip.clone(), label) for clip, label in zip(clips, labels, strict=True)], seed)

    count = range(len(clips))
    dataset = made(seed)
    items = [dataset[index] for index in count]
    shaped = all(
        isinstance(item, tuple | list)
        and len(item) == 2
        and isinstance(item[0], torch.Tensor)
        and item[0].shape == clips[0].shape
        for item in items
    )
    facts = {"an item is a clip and its label": shaped}
    if not shaped:
        return facts
    facts["len is the number of clips"] = len(dataset) == len(clips)
    facts["labels belong to their clips"] = [int(label) for _, label in items] == labels
    orders = _orders(items, list(clips))
    if None in orders:
        pairs = [(played, clip) for (played, _), clip in zip(items, clips, strict=True)]
        by_channel = [[one.flatten(1).sort(dim=1).values for one in pair] for pair in pairs]  # (3, T*H*W) each
        by_pixel = [[one.sort(dim=1).values for one in pair] for pair in pairs]  # (3, T, H, W) each
        facts["values stay in their channel"] = all(torch.equal(*pair) for pair in by_channel)
        facts["values stay in their pixel"] = all(torch.equal(*pair) for pair in by_pixel)
        facts["all frames are whole frames of the clip"] = False
        return facts
    whole = tuple(range(clips.shape[2]))
    facts["every frame is there once"] = all(tuple(sorted(order)) == whole for order in orders)
    facts["the frames have another order"] = any(order != whole for order in orders)
    facts["the order is not always the reverse"] = any(order != whole[::-1] for order in orders)
    facts["different clips have different orders"] = len(set(orders)) > len(orders) // 2
    again = made(seed)
    backwards = [again[index] for index in reversed(count)][::-1]
    facts["the order is the same whatever was asked for before"] = _orders(backwards, list(clips)) == orders
    once_more = [dataset[index] for index in count]
    facts["the order is the same the second time"] = _orders(once_more, list(clips)) == orders
    other = made(seed + 1)
    facts["another seed gives other orders"] = _orders([other[index] for index in count], list(clips)) != orders
    return facts


def _shuffled_cases(draw: Draw) -> list[Case]:
    labels = [draw.integer(0, 3) for _ in range(12)]
    return [
        Case("12 clips of 6 frames", draw.normal(12, 3, 6, 4, 5), labels, 0),
        Case("as many frames as rows", draw.normal(12, 3, 8, 8, 8), labels, 7),
    ]


def _compare_facts(expected: dict[str, bool], got: Any) -> str | None:
    failed = [name for name, true in got.items() if not true]
    return f"this is not so: {failed[0]}." if failed else None


ex_11_4 = Exercise(
    "11.4",
    reference=_Shuffled,
    cases=_shuffled_cases,
    build=_facts,
    compare=_compare_facts,
    mistakes=(
        Mistake("An item is a pair, the clip and its label.", _NoLabel),
        Mistake("You shuffled the clips, too: item i is clip i.", _ClipsToo),
        Mistake("You shuffled channels. A clip is (3, T, H, W), and time is axis 1.", _Channels),
        Mistake("You shuffled rows of pixels. A clip is (3, T, H, W), and time is axis 1.", _Rows),
        Mistake(
            "Every pixel has an order of its own, so no frame is left whole. One order holds for the whole clip.",
            _Pixels,
        ),
        Mistake(
            "Some frames are there twice and others missing. A permutation (torch.randperm) has each of them once.",
            _WithReplacement,
        ),
        Mistake("You changed the clip that you were given: next time it is shuffled again.", _InPlace),
        Mistake("The frames are in their old order.", _Untouched),
        Mistake("The frames are reversed, not shuffled.", _Reversed),
        Mistake("All clips have the same order. A model learns one fixed order as easily as the true one.", _OneOrder),
        Mistake("The orders do not depend on the seed.", _SeedIgnored),
        *(
            Mistake(
                "The order depends on what was drawn before. Make a generator for each item, from the seed and the "
                "number of the clip.",
                wrong,
            )
            for wrong in (_OneGenerator, _NewEachTime)
        ),
    ),
)
