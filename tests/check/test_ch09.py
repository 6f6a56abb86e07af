"""The checks of Chapter 9: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import math

import numpy as np
import torch

from mvit_edu import check
from mvit_edu.distributed import Ranks
from mvit_edu.training import TrainSampler
from tests.check.answers import answer_tests


# 9.1
def ring(values):
    n = values.shape[0]
    held = [[values[r, c].item() for c in range(n)] for r in range(n)]
    states = []
    for step in range(2 * n - 2):
        sent = [(rank, (rank - step) % n) for rank in range(n)]
        for (rank, piece), number in zip(sent, [held[r][c] for r, c in sent], strict=True):
            right = (rank + 1) % n
            held[right][piece] = number + held[right][piece] if step <= n - 2 else number
        states.append(torch.tensor(held))
    return states


def ring_with(direction=1, add=lambda step, n: step < n - 1, piece=None, end=None, copies=True):
    def answer(values):
        n, held, states = len(values), values.clone(), []
        for step in range(2 * (n - 1)):
            before = held.clone()
            for rank in range(n):
                c = piece(rank, step, n) if piece else (rank - direction * step) % n
                to = (rank + direction) % n
                held[to, c] = before[rank, c] + held[to, c] if add(step, n) else before[rank, c]
            states.append(held.clone() if copies else held)
        return end(values, states) if end else states

    return answer


def changes_input(values):
    states = ring(values)
    values.copy_(states[-1])
    return states


# 9.2
def turns(order, batch, accumulate, rank, size, step):
    start = step * batch * accumulate * size
    if start + batch * accumulate * size > len(order):
        return []
    return [
        order[start + turn * batch : start + (turn + 1) * batch]
        for turn in range(rank, accumulate * size, size)
    ]  # fmt: skip


def turns_of_the_sampler(order, batch, accumulate, rank, size, step):
    length = len(order)
    if (step + 1) * batch * accumulate * size > length:
        return []
    sampler = TrainSampler(length, batch, step + 1, accumulate=accumulate, ranks=Ranks(rank, size))
    sampler.order = lambda epoch: order
    return [[i for _, i in one] for one in list(sampler)[step * accumulate :]]


def neighbors(order, batch, accumulate, rank, size, step):
    own, start = batch * accumulate, step * batch * accumulate * size
    if start + own * size > len(order):
        return []
    mine = order[start + rank * own : start + (rank + 1) * own]
    return [mine[i : i + batch] for i in range(0, own, batch)]


def dealt_out(order, batch, accumulate, rank, size, step):
    start, own = step * batch * accumulate * size, batch * accumulate
    if start + own * size > len(order):
        return []
    mine = order[start : start + own * size][rank::size]
    return [mine[i : i + batch] for i in range(0, own, batch)]


def parts_of_the_epoch(order, batch, accumulate, rank, size, step):
    parts = [order[r * (len(order) // size) : (r + 1) * (len(order) // size)] for r in range(size)]
    return turns(parts[rank], batch, accumulate, 0, 1, step)


def without_limit(order, batch, accumulate, rank, size, step):
    start = step * batch * accumulate * size
    found = [order[start + t * batch : start + (t + 1) * batch] for t in range(rank, accumulate * size, size)]
    return [one for one in found if one]


def own_limit(order, batch, accumulate, rank, size, step):
    found = without_limit(order, batch, accumulate, rank, size, step)
    return found if sum(map(len, found)) == batch * accumulate else []


def last_left_out(order, batch, accumulate, rank, size, step):
    return turns(order[:-1], batch, accumulate, rank, size, step)


def filled_up(order, batch, accumulate, rank, size, step):
    if step * batch * accumulate * size >= len(order):
        return []
    return turns(order * 2, batch, accumulate, rank, size, step)


# 9.3
def plan(wanted, lr, gpus, videos, repeats):
    accumulate = 1
    while (accumulate + 1) * gpus * videos * repeats <= wanted:
        accumulate += 1
    clips = accumulate * gpus * videos * repeats
    return [accumulate, clips, torch.tensor(clips / wanted * lr, dtype=torch.float64)]


def plan_with(at_once=None, whole=math.floor, least=1, rate=None):
    def answer(wanted, lr, gpus, videos, repeats):
        seen = at_once(gpus, videos, repeats) if at_once else gpus * videos * repeats
        accumulate = max(least, whole(wanted / seen))
        clips = accumulate * seen
        return accumulate, clips, rate(lr, clips / wanted, seen / wanted) if rate else lr * clips / wanted

    return answer


def kinetics_rate(wanted, lr, gpus, videos, repeats):
    accumulate, clips, _ = plan(wanted, lr, gpus, videos, repeats)
    return accumulate, clips, 1.6e-3 / 512 * clips


def videos_for_clips(wanted, lr, gpus, videos, repeats):
    accumulate = plan(wanted, lr, gpus, videos, repeats)[0]
    clips = accumulate * gpus * videos
    return accumulate, clips, lr / wanted * clips


# 9.4
def held(params, kept, clips, size, parallel):
    weights = gradients = 4 * sum(params)
    parts = weights + gradients + 2 * weights
    if parallel == "fsdp":
        parts = parts / size + 2 * 4 * max(params)
    return np.float64(parts + 4 * clips * kept)


def held_with(each=16, top=8, block=max, clips_of=lambda clips, size, fsdp: clips, bytes_of_clip=4):
    def answer(params, kept, clips, size, parallel):
        fsdp = parallel == "fsdp"
        state = each * sum(params) / (size if fsdp else 1) + (top * block(params) if fsdp else 0)
        return state + bytes_of_clip * kept * clips_of(clips, size, fsdp)

    return answer


RIGHT = {
    "ex_09_1": [ring, ring_with()],
    "ex_09_2": [turns, turns_of_the_sampler],
    "ex_09_3": [plan, plan_with()],
    "ex_09_4": [held, held_with()],
}
WRONG = [
    ("ex_09_1", ring_with(direction=-1), "to the left"),
    ("ex_09_1", ring_with(add=lambda step, n: True), "You add in the second half"),
    ("ex_09_1", ring_with(add=lambda step, n: False), "never adds"),
    ("ex_09_1", ring_with(add=lambda step, n: step < n), "one step too long"),
    ("ex_09_1", ring_with(piece=lambda rank, step, n: rank), "its own piece r in each step"),
    ("ex_09_1", ring_with(piece=lambda rank, step, n: (rank + step) % n), "wrong order"),
    ("ex_09_1", ring_with(piece=lambda rank, step, n: (rank + 1 - step) % n), "begins with another piece"),
    ("ex_09_1", ring_with(piece=lambda rank, step, n: (rank - step % (n - 1)) % n), "again in the second half"),
    ("ex_09_1", ring_with(copies=False), "append held.clone()"),
    ("ex_09_1", ring_with(end=lambda v, states: states[: len(v) - 1]), "Only the first half"),
    ("ex_09_1", ring_with(end=lambda v, states: [v, *states]), "The start is no step"),
    ("ex_09_1", ring_with(end=lambda v, states: states[-1]), "not the last one only"),
    ("ex_09_1", ring_with(end=lambda v, states: [*states[:-1], states[-1] / len(v)]), "The division comes afterwards"),
    (
        "ex_09_1",
        ring_with(end=lambda v, states: [v.sum(0).repeat(len(v), 1)] * len(states)),
        "add up everything at once",
    ),
    ("ex_09_2", neighbors, "take turns"),
    ("ex_09_2", dealt_out, "deal out single videos"),
    ("ex_09_2", parts_of_the_epoch, "one part for each rank"),
    ("ex_09_2", lambda o, b, a, rank, size, step: turns(o, b, a, 0, 1, step), "all see the same videos"),
    ("ex_09_2", lambda o, b, a, rank, size, step: turns(o, b, a, rank, size, 0), "You leave `step` out"),
    ("ex_09_2", without_limit, "wait forever"),
    ("ex_09_2", own_limit, "another one would not"),
    ("ex_09_2", last_left_out, "the very last videos"),
    ("ex_09_2", lambda *a: [video for one in turns(*a) for video in one], "not one long list"),
    ("ex_09_2", filled_up, "some videos come twice"),
    ("ex_09_3", plan_with(at_once=lambda gpus, videos, repeats: gpus * videos), "the copies"),
    ("ex_09_3", plan_with(at_once=lambda gpus, videos, repeats: videos * repeats), "clips of one GPU"),
    ("ex_09_3", plan_with(whole=math.ceil), "rounded up"),
    ("ex_09_3", plan_with(whole=round), "to the nearest"),
    ("ex_09_3", plan_with(least=0), "at least 1"),
    ("ex_09_3", plan_with(rate=lambda lr, step, once: lr), "that of `wanted` clips"),
    ("ex_09_3", plan_with(rate=lambda lr, step, once: lr * once), "leaves accumulation out"),
    ("ex_09_3", plan_with(rate=lambda lr, step, once: lr * step**0.5), "not its square root"),
    ("ex_09_3", plan_with(rate=lambda lr, step, once: lr / step), "upside down"),
    ("ex_09_3", kinetics_rate, "the recipe for Kinetics"),
    ("ex_09_3", videos_for_clips, "the copies among the clips"),
    ("ex_09_4", held_with(each=12), "two means for each parameter"),
    ("ex_09_4", held_with(each=8), "left AdamW's two means out"),
    ("ex_09_4", held_with(each=4), "weights only"),
    ("ex_09_4", held_with(top=0), "The whole block that is computed".lower()),
    ("ex_09_4", held_with(top=4), "the whole gradient of the block"),
    ("ex_09_4", held_with(top=16), "never put together"),
    ("ex_09_4", held_with(block=sum), "one block is whole at a time"),
    ("ex_09_4", held_with(block=lambda params: params[-1]), "not with the last one"),
    ("ex_09_4", held_with(block=lambda params: params[0]), "not with the first one"),
    ("ex_09_4", held_with(clips_of=lambda n, size, fsdp: n / size if fsdp else n), "parameters, not activations"),
    ("ex_09_4", held_with(clips_of=lambda n, size, fsdp: n / size), "per process already"),
    ("ex_09_4", held_with(clips_of=lambda n, size, fsdp: n * size), "not those of all processes"),
    ("ex_09_4", held_with(clips_of=lambda n, size, fsdp: 1), "every clip keeps"),
    ("ex_09_4", lambda *a: held(*a) / 4, "counted numbers"),
    ("ex_09_4", held_with(bytes_of_clip=2), "4 bytes, not 2"),
    ("ex_09_4", lambda p, k, c, n, way: held(p, k, c, n, "ddp") / (n if way == "fsdp" else 1), "not spread everything"),
    ("ex_09_4", lambda p, kept, clips, size, way: held(p, kept, clips, size, "fsdp"), 'with "ddp"'),
    ("ex_09_4", lambda p, kept, clips, size, way: held(p, kept, clips, size, "ddp"), 'with "fsdp"'),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_an_input_changed_in_place_is_reported():
    report = check.ex_09_1(changes_input)
    assert not report.ok
    assert "in place" in report.text
