"""The checks of Chapter 11: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import random

import pytest
import torch

from mvit_edu import check
from mvit_edu.check.ch11 import blind_configs
from mvit_edu.data.motion_shapes import bag_of_frames_bound
from mvit_edu.model.mvit import MViT
from tests.check.answers import answer_tests


# 11.1
def implied_bias(accuracy, alike):
    low, high = 0.0, 1.0
    if alike == 1:
        return low
    for _ in range(60):  # bisection
        middle = (low + high) / 2
        low, high = (low, middle) if bag_of_frames_bound(middle, alike) >= accuracy else (middle, high)
    return high if high > 1e-12 else 0.0


def with_integers(accuracy, alike):
    return max((accuracy * alike - 1) / (alike - 1), 0) if alike > 1 else 0


def negative(accuracy, alike):
    return (accuracy * alike - 1) / (alike - 1) if alike > 1 else 0


def pairs(accuracy, alike):
    return max(0, 1 - 2 * (1 - accuracy))


def the_bound(accuracy, alike):
    return bag_of_frames_bound(accuracy, alike)


def minus_chance(accuracy, alike):
    return max(accuracy - 1 / alike, 0)


def times_n(accuracy, alike):
    return max(alike * accuracy - 1, 0)


def the_accuracy(accuracy, alike):
    return accuracy


def division(accuracy, alike):
    return max(0.0, (accuracy - 1 / alike) / (1 - 1 / alike))


# 11.2
def order_blind(config):
    if config.position in ("joint", "separate") or config.cube_kernel[0] * config.cube_stride[0] != 1:
        return False
    pools = [(b.q_kernel, b.q_stride) for b in config.blocks] + [(b.kv_kernel, b.kv_stride) for b in config.blocks]
    return not any(kernel and (kernel[0] > 1 or stride[0] > 1) for kernel, stride in pools)


def tried_out(config):
    torch.manual_seed(0)
    model = MViT(config).eval()
    clip = torch.randn(1, 3, *config.size)
    with torch.inference_mode():
        return torch.allclose(model(clip), model(clip[:, :, torch.randperm(config.frames)]), atol=1e-6)


def not_blind(config):
    return not order_blind(config)


def kernels_only(config):
    kernels = [k for b in config.blocks for k in (b.q_kernel, b.kv_kernel) if k]
    strides = [s for b in config.blocks for s in (b.q_stride, b.kv_stride)]
    return all(w[0] == 1 for w in (config.cube_kernel, config.cube_stride, *kernels, *strides))


def positions_only(config):
    return config.position in {"none", "space"}


def no_joint(config):
    return config.position != "joint" and kernels_only(config)


def no_separate(config):
    return config.position != "separate" and kernels_only(config)


def no_positions_at_all(config):
    return config.position == "none" and kernels_only(config)


def field(config):
    windows = (config.cube_kernel, config.cube_stride, config.pool_kernel)
    return positions_only(config) and all(w[0] == 1 for w in windows)


def cubes_only(config):
    return positions_only(config) and config.cube_kernel[0] == config.cube_stride[0] == 1


def pools_only(config):
    pools = [w for b in config.blocks for w in (b.q_kernel, b.q_stride, b.kv_kernel, b.kv_stride) if w]
    return positions_only(config) and all(w[0] == 1 for w in pools)


def no_strides(config):
    kernels = [k for b in config.blocks for k in (b.q_kernel, b.kv_kernel) if k]
    return positions_only(config) and all(k[0] == 1 for k in (config.cube_kernel, *kernels))


def queries_only(config):
    kernels = [b.q_kernel for b in config.blocks if b.q_kernel]
    windows = (config.cube_kernel, config.cube_stride, *kernels)
    return positions_only(config) and all(k[0] == 1 for k in windows)


# 11.3
def repaired(table, thw, order):
    per_frame = thw[1] * thw[2]
    frames = table[:, 1:].split(per_frame, dim=1)
    return torch.cat([table[:, :1], *(frames[step] for step in order.tolist())], dim=1)


def imitated(table, thw, order):
    new = table.clone()
    grid, old = new[:, 1:].unflatten(1, thw), table[:, 1:].unflatten(1, thw)
    grid[:, order] = old
    return new


def hwt(table, thw, order):
    t, h, w = thw
    grid = table[:, 1:].reshape(1, h, w, t, -1)[:, :, :, order]
    return torch.cat([table[:, :1], grid.reshape(1, h * w * t, -1)], dim=1)


def cls_along(table, thw, order):
    t, h, w = thw
    grid = table[:, :-1].unflatten(1, thw)[:, order].flatten(1, 3)
    return torch.cat([grid, table[:, -1:]], dim=1)


def no_cls(table, thw, order):
    return repaired(table, thw, order)[:, 1:]


def single_rows(table, thw, order):
    new = table.clone()
    new[:, 1 : 1 + len(order)] = table[:, 1 + order]
    return new


def nothing(table, thw, order):
    return table + 0


def all_alike(table, thw, order):
    mean = table[:, 1:].unflatten(1, thw).mean(1)
    return torch.cat([table[:, :1], mean.repeat(1, thw[0], 1, 1).flatten(1, 2)], dim=1)


# 11.4
class ShuffledClips:
    def __init__(self, pairs, seed=0):
        self.pairs, self.seed = pairs, seed

    def __len__(self):
        return len(self.pairs)

    def order(self, index, frames):
        return random.Random(f"{self.seed} {index}").sample(range(frames), frames)

    def __getitem__(self, index):
        clip, label = self.pairs[index]
        return clip[:, self.order(index, clip.shape[1])], label


class MadeAhead(ShuffledClips):
    def __init__(self, pairs, seed=0):
        super().__init__(pairs, seed)
        generator = torch.Generator().manual_seed(seed)
        self.orders = [torch.randperm(clip.shape[1], generator=generator) for clip, _ in pairs]

    def order(self, index, frames):
        return self.orders[index]


class OneForAll(ShuffledClips):
    def order(self, index, frames):
        return super().order(0, frames)


class NoSeed(ShuffledClips):
    def order(self, index, frames):
        return random.Random(str(index)).sample(range(frames), frames)


class GlobalDraws(ShuffledClips):
    def order(self, index, frames):
        return torch.randperm(frames).tolist()


class RunningGenerator(ShuffledClips):
    def __init__(self, pairs, seed=0):
        super().__init__(pairs, seed)
        self.random = random.Random(seed)

    def order(self, index, frames):
        return self.random.sample(range(frames), frames)


class Choices(ShuffledClips):
    def order(self, index, frames):
        return random.Random(f"{self.seed} {index}").choices(range(frames), k=frames)


class FirstAxis(ShuffledClips):
    def __getitem__(self, index):
        clip, label = self.pairs[index]
        return clip[self.order(index, 3)], label


class ThirdAxis(ShuffledClips):
    def __getitem__(self, index):
        clip, label = self.pairs[index]
        return clip[:, :, self.order(index, clip.shape[2])], label


class InPlace(ShuffledClips):
    def __getitem__(self, index):
        clip, label = self.pairs[index]
        clip[:] = clip[:, self.order(index, clip.shape[1])]
        return clip, label


class Backwards(ShuffledClips):
    def order(self, index, frames):
        return list(range(frames))[::-1]


class Same(ShuffledClips):
    def order(self, index, frames):
        return list(range(frames))


class OtherClips(ShuffledClips):
    def __getitem__(self, index):
        order = random.Random(self.seed).sample(range(len(self)), len(self))
        return super().__getitem__(order[index])


class OnlyClips(ShuffledClips):
    def __getitem__(self, index):
        return super().__getitem__(index)[0]


class EachPixel(ShuffledClips):
    def __getitem__(self, index):
        clip, label = self.pairs[index]
        order = torch.rand(clip.shape, generator=torch.Generator().manual_seed(index)).argsort(dim=1)
        return clip.gather(1, order), label


RIGHT = {
    "ex_11_1": [implied_bias, with_integers],
    "ex_11_2": [order_blind, tried_out],
    "ex_11_3": [repaired],
    "ex_11_4": [ShuffledClips, MadeAhead],
}
WRONG = [
    ("ex_11_1", negative, "Below chance"),
    ("ex_11_1", pairs, "You took n = 2"),
    ("ex_11_1", the_bound, "the bound itself"),
    ("ex_11_1", minus_chance, "divide by what there is above chance"),
    ("ex_11_1", times_n, "is n - 1"),
    ("ex_11_1", the_accuracy, "also guesses right"),
    ("ex_11_1", division, "With alike = 1"),
    ("ex_11_2", not_blind, "the opposite"),
    ("ex_11_2", kernels_only, "You did not look at the positions"),
    ("ex_11_2", positions_only, "positions only"),
    ("ex_11_2", no_joint, '"separate" have'),
    ("ex_11_2", no_separate, '"joint" have'),
    ("ex_11_2", no_positions_at_all, 'Positions in "space"'),
    ("ex_11_2", field, "The field `pool_kernel` does not tell"),
    ("ex_11_2", cubes_only, "kernels of the poolings"),
    ("ex_11_2", pools_only, "You did not look at the cubes"),
    ("ex_11_2", no_strides, "skips every second frame"),
    ("ex_11_2", queries_only, "keys and values"),
    ("ex_11_3", imitated, "the other way"),
    ("ex_11_3", hwt, "time-major"),
    ("ex_11_3", cls_along, "class token's position along"),
    ("ex_11_3", no_cls, "is lost"),
    ("ex_11_3", single_rows, "single rows"),
    ("ex_11_3", nothing, "as it was"),
    ("ex_11_3", all_alike, "forgotten"),
    ("ex_11_4", OneForAll, "one fixed order"),
    ("ex_11_4", NoSeed, "do not depend on the seed"),
    ("ex_11_4", GlobalDraws, "drawn before"),
    ("ex_11_4", RunningGenerator, "drawn before"),
    ("ex_11_4", Choices, "twice and others missing"),
    ("ex_11_4", FirstAxis, "You shuffled channels"),
    ("ex_11_4", ThirdAxis, "rows of pixels"),
    ("ex_11_4", EachPixel, "no frame is left whole"),
    ("ex_11_4", InPlace, "changed the clip"),
    ("ex_11_4", Backwards, "reversed, not shuffled"),
    ("ex_11_4", Same, "in their old order"),
    ("ex_11_4", OtherClips, "item i is clip i"),
    ("ex_11_4", OnlyClips, "a pair, the clip and its label"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


@pytest.mark.parametrize(("name", "config"), blind_configs().items())
def test_models_are_as_blind_as_the_check_says(name, config):
    assert check.ex_11_2.reference(config) == tried_out(config), name


def test_a_table_changed_in_place_is_reported():
    def in_place(table, thw, order):
        table[:, 1:] = repaired(table, thw, order)[:, 1:]
        return table

    assert "in place" in check.ex_11_3(in_place).text
