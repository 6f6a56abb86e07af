"""Checks of Chapter 9: an all-reduce on a ring, whose turn it is, the same step on other GPUs, what a rank holds."""

from __future__ import annotations

import math
from typing import Any

import torch

from mvit_edu.check.core import Case, Draw, Exercise, Mistake


# 9.1: an all-reduce on a ring
def _ring(values, *, steps=None, right=1, pieces=None, adds=None, share=1.0):
    """The states after every step; each keyword is one thing to get wrong."""
    n, held, states = len(values), values.clone(), []
    for step in range(2 * (n - 1) if steps is None else steps(n)):
        before = held.clone()
        for rank in range(n):
            piece = (rank - right * step) % n if pieces is None else pieces(rank, step, n)
            to = (rank + right) % n
            add = step < n - 1 if adds is None else adds(step, n)
            held[to, piece] = before[rank, piece] + (held[to, piece] if add else 0)
        states.append(held.clone())
    if share != 1.0 and states:
        states[-1] = states[-1] / len(values)
    return states


def _one_tensor(values):
    last = _ring(values)[-1]
    return [last] * (2 * (len(values) - 1))


def _with_start(values):
    return [values.clone(), *_ring(values)]


def _only_last(values):
    return _ring(values)[-1]


ex_09_1 = Exercise(
    "9.1",
    reference=_ring,
    cases=lambda draw: [Case(f"{n} ranks", draw.normal(n, n)) for n in (2, 3, 4, 5)],
    mistakes=(
        Mistake("Yours sends to the left. Rank r sends to rank (r + 1) % n.", lambda v: _ring(v, right=-1)),
        Mistake(
            "You add in the second half, too, where finished sums go around: there the receiver replaces what it has.",
            lambda v: _ring(v, adds=lambda step, n: True),
        ),
        Mistake(
            "Yours never adds. In the first n - 1 steps the receiver adds what comes to what it has.",
            lambda v: _ring(v, adds=lambda step, n: False),
        ),
        Mistake(
            "You stop adding one step too early: the first half has n - 1 steps.",
            lambda v: _ring(v, adds=lambda step, n: step < n - 2),
        ),
        Mistake(
            "You add one step too long: the first half has n - 1 steps, and then the sums are complete.",
            lambda v: _ring(v, adds=lambda step, n: step < n),
        ),
        Mistake(
            "Every rank sends its own piece r in each step. After the first step it passes on the piece that it has "
            "just received: (r - step) % n.",
            lambda v: _ring(v, pieces=lambda rank, step, n: rank),
        ),
        Mistake(
            "The pieces go in the wrong order: rank r has just received piece r - 1, then r - 2, not r + 1.",
            lambda v: _ring(v, pieces=lambda rank, step, n: (rank + step) % n),
        ),
        Mistake(
            "Yours begins with another piece: in the first step rank r sends its piece r.",
            lambda v: _ring(v, pieces=lambda rank, step, n: (rank + 1 - step) % n),
        ),
        Mistake(
            "You begin with piece r again in the second half. There, too, a rank passes on the piece that it has just "
            "received: (r - step) % n.",
            lambda v: _ring(v, pieces=lambda rank, step, n: (rank - step % (n - 1)) % n),
        ),
        Mistake(
            "Every state in your list is the end. If you append the same tensor each time, later steps change it: "
            "append held.clone(). If you add up everything at once: in a step a rank receives one piece, from its left "
            "neighbor.",
            _one_tensor,
        ),
        Mistake(
            "Only the first half is there. The finished sums have to go around, too.", lambda v: _ring(v)[: len(v) - 1]
        ),
        Mistake("The start is no step: the list begins with what is held after step 1.", _with_start),
        Mistake("Return the states after all steps, in a list, not the last one only.", _only_last),
        Mistake("There are 2 (n - 1) steps, not 2 n.", lambda v: _ring(v, steps=lambda n: 2 * n)),
        Mistake("An all-reduce here gives the sum. The division comes afterwards.", lambda v: _ring(v, share=0.0)),
    ),
)


# 9.2: whose turn it is
def _turns(order, batch, accumulate, rank, size, step):
    per_step = batch * accumulate * size
    videos = order[step * per_step : (step + 1) * per_step]
    if len(videos) < per_step:
        return []
    return [videos[i : i + batch] for i in range(0, per_step, batch)][rank::size]


def _stretch(order, batch, accumulate, rank, size, step):
    """Each rank a stretch of the step."""
    per_step = batch * accumulate * size
    videos = order[step * per_step : (step + 1) * per_step]
    if len(videos) < per_step:
        return []
    batches = [videos[i : i + batch] for i in range(0, per_step, batch)]
    return batches[rank * accumulate : (rank + 1) * accumulate]


def _stretch_of_epoch(order, batch, accumulate, rank, size, step):
    """Each rank a part of the epoch."""
    length = len(order) // size
    mine = order[rank * length : (rank + 1) * length]
    mine = mine[step * batch * accumulate : (step + 1) * batch * accumulate]
    if len(mine) < batch * accumulate:
        return []
    return [mine[i : i + batch] for i in range(0, len(mine), batch)]


def _every_nth_video(order, batch, accumulate, rank, size, step):
    mine = order[rank::size]
    mine = mine[step * batch * accumulate : (step + 1) * batch * accumulate]
    if len(mine) < batch * accumulate:
        return []
    return [mine[i : i + batch] for i in range(0, len(mine), batch)]


def _same_on_all(order, batch, accumulate, rank, size, step):
    return _turns(order, batch, accumulate, 0, 1, step)


def _first_step(order, batch, accumulate, rank, size, step):
    return _turns(order, batch, accumulate, rank, size, 0)


def _short_step(order, batch, accumulate, rank, size, step):
    per_step = batch * accumulate * size
    videos = order[step * per_step : (step + 1) * per_step]
    return [videos[i : i + batch] for i in range(0, len(videos), batch)][rank::size]


def _mine_if_whole(order, batch, accumulate, rank, size, step):
    mine = _short_step(order, batch, accumulate, rank, size, step)
    return mine if len(mine) == accumulate and all(len(one) == batch for one in mine) else []


def _last_left_out(order, batch, accumulate, rank, size, step):
    if (step + 1) * batch * accumulate * size >= len(order):
        return []
    return _turns(order, batch, accumulate, rank, size, step)


def _flat(order, batch, accumulate, rank, size, step):
    return sum(_turns(order, batch, accumulate, rank, size, step), [])


def _padded(order, batch, accumulate, rank, size, step):
    per_step = batch * accumulate * size
    if step * per_step >= len(order):
        return []
    videos = (order + order)[step * per_step : (step + 1) * per_step]
    return [videos[i : i + batch] for i in range(0, per_step, batch)][rank::size]


def _turn_cases(draw: Draw) -> list[Case]:
    def order(length):
        return torch.randperm(length, generator=draw.generator).tolist()

    return [
        Case("2 processes, 2 batches each", order(24), 2, 2, 1, 2, 1),
        Case("4 processes, 1 batch each", order(24), 2, 1, 3, 4, 1),
        Case("3 processes, 2 batches of 3", order(40), 3, 2, 0, 3, 0),
        Case("one process", order(13), 2, 3, 0, 1, 1),
        Case("the epoch ends with this step", order(24), 2, 2, 2, 3, 1),
        Case("6 of 8 videos are left", order(22), 2, 2, 1, 2, 2),
        Case("one rank would still have its videos", order(22), 2, 2, 0, 2, 2),
        Case("nothing is left", order(16), 2, 2, 0, 2, 2),
    ]


ex_09_2 = Exercise(
    "9.2",
    reference=_turns,
    cases=_turn_cases,
    mistakes=(
        Mistake(
            "Each of your ranks takes neighboring batches. They take turns: batches[rank::size], so that it does not "
            "matter for the order of the draws how many processes there are.",
            _stretch,
        ),
        Mistake(
            "You cut the epoch into one part for each rank. Cut it into steps first, then each step into batches.",
            _stretch_of_epoch,
        ),
        Mistake(
            "You deal out single videos. Ranks take whole batches in turn, so that a batch has the same videos for any "
            "number of processes.",
            _every_nth_video,
        ),
        Mistake(
            "Your ranks all see the same videos, so they would compute the same gradients. A step has batch * "
            "accumulate * size videos.",
            _same_on_all,
        ),
        Mistake("You leave `step` out: every step would see the same videos.", _first_step),
        Mistake(
            "Your last step is not whole. A rank that computes it would wait forever for the others: return [] where "
            "the videos do not suffice for all processes.",
            _short_step,
        ),
        Mistake(
            "This rank would have its videos, but another one would not, and both wait for each other. Look at the "
            "videos of the whole step.",
            _mine_if_whole,
        ),
        Mistake(
            "You leave out a step that takes the very last videos of the epoch. It is whole: only a step with fewer "
            "videos is left out.",
            _last_left_out,
        ),
        Mistake("Return a list of batches, each a list of videos, not one long list.", _flat),
        Mistake("You fill up from the front of the list, so some videos come twice in an epoch. Return [].", _padded),
    ),
)


# 9.3: the same step on other GPUs
def _plan(wanted, lr, gpus, videos, repeats, *, at_once=None, whole=None, least=1, rate=None):
    now = gpus * videos * repeats
    seen = now if at_once is None else at_once(gpus, videos, repeats)
    accumulate = max(least, wanted // seen if whole is None else whole(wanted / seen))
    clips = accumulate * seen
    return accumulate, clips, lr * clips / wanted if rate is None else rate(lr, clips, wanted, now)


def _videos_for_clips(wanted, lr, gpus, videos, repeats):
    accumulate, clips, rate = _plan(wanted, lr, gpus, videos, repeats)
    return accumulate, clips // repeats, rate / repeats


def _plain(answer: Any, *args: Any) -> Any:
    """Numbers may come as tensors of one number."""
    found = answer(*args)
    if isinstance(found, tuple | list):
        return tuple(x.item() if isinstance(x, torch.Tensor) and x.numel() == 1 else x for x in found)
    return found


ex_09_3 = Exercise(
    "9.3",
    reference=_plan,
    cases=lambda draw: [
        Case("8 GPUs", 512, 1.6e-3, 8, 2, 2),
        Case("the paper's 128", 512, 1.6e-3, 128, 2, 2),
        Case("one GPU, 3 videos", 512, 1.6e-3, 1, 3, 2),
        Case("one GPU, 7 videos", 512, 1.6e-3, 1, 7, 2),
        Case("no repeats", 256, 1e-3, 6, 5, 1),
        Case("more GPUs than wanted", 64, 1e-3, 16, 3, 2),
    ],
    build=_plain,
    rtol=1e-6,
    atol=1e-12,
    mistakes=(
        Mistake(
            "You did not count the copies: a video with 2 copies is 2 clips.",
            lambda *a: _plan(*a, at_once=lambda gpus, videos, repeats: gpus * videos),
        ),
        Mistake(
            "You counted the clips of one GPU. All GPUs make one step together.",
            lambda *a: _plan(*a, at_once=lambda gpus, videos, repeats: videos * repeats),
        ),
        Mistake("You rounded up, so a step has more than `wanted` clips.", lambda *a: _plan(*a, whole=math.ceil)),
        Mistake(
            "You rounded to the nearest. A step must not have more than `wanted` clips.",
            lambda *a: _plan(*a, whole=round),
        ),
        Mistake(
            "`accumulate` is at least 1, also where the GPUs have more clips than wanted.",
            lambda *a: _plan(*a, least=0),
        ),
        Mistake(
            "Your rate is that of `wanted` clips. Scale it to the clips that the step really has.",
            lambda *a: _plan(*a, rate=lambda lr, clips, wanted, now: lr),
        ),
        Mistake(
            "Your rate leaves accumulation out. The step has accumulate times as many clips as one pass.",
            lambda *a: _plan(*a, rate=lambda lr, clips, wanted, now: lr * now / wanted),
        ),
        Mistake(
            "The rule is linear: times clips / wanted, not its square root.",
            lambda *a: _plan(*a, rate=lambda lr, clips, wanted, now: lr * math.sqrt(clips / wanted)),
        ),
        Mistake(
            "Your scale is upside down: fewer clips, a lower rate.",
            lambda *a: _plan(*a, rate=lambda lr, clips, wanted, now: lr * wanted / clips),
        ),
        Mistake(
            "1.6e-3 for 512 clips is the recipe for Kinetics. Another recipe has another `lr` for its `wanted` clips.",
            lambda *a: _plan(*a, rate=lambda lr, clips, wanted, now: 1.6e-3 * clips / 512),
        ),
        Mistake("Count the copies among the clips of the step, too.", _videos_for_clips),
    ),
)


# 9.4: what a rank holds
def _held(params, kept, clips, size, parallel, *, ddp=16, fsdp=16, borrowed=8, block=max, shared=1, times=1):
    activations = 4 * kept * clips * times / shared
    if parallel == "ddp":
        return ddp * sum(params) + activations
    return fsdp * sum(params) / size + borrowed * block(params) + activations


def _activations_spread(params, kept, clips, size, parallel):
    return _held(params, kept, clips, size, parallel, shared=size if parallel == "fsdp" else 1)


def _all_spread(params, kept, clips, size, parallel):
    return (16 * sum(params) + 4 * kept * clips) / (size if parallel == "fsdp" else 1)


def _short_activations(params, kept, clips, size, parallel):
    return _held(params, kept, clips / 2, size, parallel)


def _activations_of_all(params, kept, clips, size, parallel):
    return _held(params, kept, clips, size, parallel, times=size)


def _activations_divided(params, kept, clips, size, parallel):
    return _held(params, kept, clips, size, parallel, shared=size)


def _one_clip(params, kept, clips, size, parallel):
    return _held(params, kept, 1, size, parallel)


def _numbers(params, kept, clips, size, parallel):
    return _held(params, kept, clips, size, parallel) / 4


def _always_fsdp(params, kept, clips, size, parallel):
    return _held(params, kept, clips, size, "fsdp")


def _always_ddp(params, kept, clips, size, parallel):
    return _held(params, kept, clips, size, "ddp")


def _borrowed_beside_share(params, kept, clips, size, parallel):
    """The own share of the largest block is not counted again."""
    taken = 8 * max(params) / size if parallel == "fsdp" else 0
    return _held(params, kept, clips, size, parallel) - taken


ex_09_4 = Exercise(
    "9.4",
    reference=_held,
    cases=lambda draw: [
        Case("ddp", [draw.integer(100, 900) for _ in range(5)], 2000, 3, 4, "ddp"),
        Case("fsdp", [draw.integer(100, 900) for _ in range(5)], 2000, 3, 4, "fsdp"),
        Case("fsdp, large last block", [100, 200, 300, 4000], 50, 1, 8, "fsdp"),
    ],
    rtol=1e-9,
    atol=1e-6,
    mistakes=(
        Mistake(
            "AdamW has two means for each parameter, so weight, gradient and means are 16 bytes.",
            lambda *a: _held(*a, ddp=12, fsdp=12),
        ),
        Mistake(
            "You left the gradients out: weight, gradient and two means.",
            lambda *a: _held(*a, ddp=12, fsdp=12, borrowed=4),
        ),
        Mistake("You left AdamW's two means out.", lambda *a: _held(*a, ddp=8, fsdp=8)),
        Mistake(
            "You counted weights only: there are gradients and AdamW's two means, too.",
            lambda *a: _held(*a, ddp=4, fsdp=4),
        ),
        Mistake(
            "Under FSDP the whole block that is computed is there, too: its weights and its gradient.",
            lambda *a: _held(*a, borrowed=0),
        ),
        Mistake(
            "In the backward pass the whole gradient of the block is there, beside its weights.",
            lambda *a: _held(*a, borrowed=4),
        ),
        Mistake(
            "AdamW's means are never put together; only weights and gradient of a block are.",
            lambda *a: _held(*a, borrowed=16),
        ),
        Mistake(
            "Only one block is whole at a time. Take the largest one, not all of them.", lambda *a: _held(*a, block=sum)
        ),
        Mistake(
            "At most means with the largest block, not with the last one.", lambda *a: _held(*a, block=lambda p: p[-1])
        ),
        Mistake(
            "At most means with the largest block, not with the first one.", lambda *a: _held(*a, block=lambda p: p[0])
        ),
        Mistake(
            "FSDP spreads parameters, not activations: each process has those of its own clips.", _activations_spread
        ),
        Mistake(
            "FSDP does not spread everything: each process has the activations of its own clips, and one whole block.",
            _all_spread,
        ),
        Mistake("Activations are float32 here: 4 bytes, not 2.", _short_activations),
        Mistake("`clips` is per process already; do not divide by `size`.", _activations_divided),
        Mistake("A process holds the activations of its own clips, not those of all processes.", _activations_of_all),
        Mistake("You forgot that every clip keeps its activations.", _one_clip),
        Mistake("You counted numbers. A float32 has 4 bytes.", _numbers),
        Mistake('You left `parallel` out: with "ddp" every process has everything whole.', _always_fsdp),
        Mistake('You left `parallel` out: with "fsdp" weights, gradients and means are spread.', _always_ddp),
        Mistake(
            "The task puts the whole block on top of the shares: its buffer is new memory, the shares stay.",
            _borrowed_beside_share,
        ),
    ),
)
