"""The checks of Chapter 14: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvit_edu import check
from mvit_edu.check import ch14
from mvit_edu.evaluation import Lattice


# 14.1
def middles_of_the_module(n, layers):
    lattice = Lattice((1, 1, n), (1, 1, n), (0.5, 0.5, 0.5), (1, 1, 1))
    for k, s, p in layers:
        lattice = lattice.pooled((1, 1, k), (1, 1, s), (0, 0, p))
    return lattice.centers()[2]


def middles_of_windows(n, layers):
    """First and last pixel of each window."""
    first, last = np.arange(n), np.arange(n)
    for k, s, p in layers:
        step = first[1] - first[0]
        count = (n + 2 * p - k) // s + 1
        starts = np.arange(count) * s - p
        first, last = first[0] + step * starts, last[0] + step * (starts + k - 1)
        n = count
    return (first + last + 1) / 2


def evenly(n, layers):
    count = len(middles_of_windows(n, layers))
    return torch.linspace(0, n, count + 1)[:-1] + n / count / 2


def corners(n, layers):
    return middles_of_windows(n, layers) - 0.5


def without_padding(n, layers):
    shift, step = 0.0, 1
    for _, s, p in layers:
        shift, step = shift + step * p, step * s
    return middles_of_windows(n, layers) + shift


def shifts_in_pixels(n, layers):
    found = middles_of_windows(n, layers)
    return found - found[0] + 0.5 + sum((k - 1) / 2 - p for k, _, p in layers)


# 14.2
def distance_by_loops(weights, q, k):
    heads = []
    for one in weights[:, 1:, 1:]:
        rows = [(row * (k - place).norm(dim=1)).sum() / row.sum() for row, place in zip(one, q, strict=True)]
        heads.append(torch.stack(rows).mean())
    return torch.stack(heads)


def distance_as_is(weights, q, k):
    return torch.einsum("hqk,qk->h", weights[:, 1:, 1:], torch.cdist(q, k)) / len(q)


def distance_summed(weights, q, k):
    return distance_by_loops(weights, q, k) * len(q)


def distance_squared(weights, q, k):
    apart = ((q[:, None] - k) ** 2).sum(dim=-1)
    rows = weights[:, 1:, 1:]
    return ((rows * apart).sum(dim=2) / rows.sum(dim=2)).mean(dim=1)


# 14.3
def rollout_from_the_end(maps, pools):
    row = torch.zeros(maps[0].shape[1])
    row[0] = 1.0
    for weights, pool in zip(maps[::-1], pools[::-1], strict=True):
        row = 0.5 * (row @ weights.mean(dim=0)) @ pool + 0.5 * row
    return row[1:]


def rollout_backwards(maps, pools):
    return rollout_from_the_end(maps[::-1], pools[::-1])


def rollout_without_skip(maps, pools):
    row = torch.eye(maps[0].shape[1])[0]
    for weights, pool in zip(maps[::-1], pools[::-1], strict=True):
        row = (row @ weights.mean(dim=0)) @ pool
    return row[1:]


def rollout_of_all_tokens(maps, pools):
    shares = rollout_from_the_end(maps, pools)
    return torch.cat([1 - shares.sum(keepdim=True, dim=0), shares])


def rollout_normalized(maps, pools):
    found = rollout_from_the_end(maps, pools)
    return found / found.sum()


# 14.4
def cam_by_einsum(tokens, slope, thw):
    weight = torch.einsum("nc->c", slope[1:]) / (len(slope) - 1)
    return torch.einsum("nc,c->n", tokens[1:], weight).clamp(min=0).unflatten(0, thw)


def gradient_times_input(tokens, slope, thw):
    return torch.einsum("nc,nc->n", tokens, slope)[1:].clamp(min=0).unflatten(0, thw)


def cam_with_signs(tokens, slope, thw):
    return (tokens @ slope[1:].mean(dim=0))[1:].reshape(thw)


def cam_with_class(tokens, slope, thw):
    return (tokens @ slope.mean(dim=0))[1:].clamp(min=0).reshape(thw)


RIGHT = [
    ("ex_14_1", middles_of_the_module),
    ("ex_14_1", middles_of_windows),
    ("ex_14_2", distance_by_loops),
    ("ex_14_3", rollout_from_the_end),
    ("ex_14_4", cam_by_einsum),
]
WRONG = [
    ("ex_14_1", evenly, "divided the row evenly"),
    ("ex_14_1", corners, "half a pixel too far"),
    ("ex_14_1", without_padding, "The padding is missing"),
    ("ex_14_1", shifts_in_pixels, "multiply it by the step so far"),
    ("ex_14_2", distance_as_is, "divide it by its sum"),
    ("ex_14_2", distance_summed, "the distance of a head is their mean"),
    ("ex_14_2", distance_squared, "take the root"),
    ("ex_14_3", rollout_backwards, "the wrong order"),
    ("ex_14_3", rollout_without_skip, "half attention and half identity"),
    ("ex_14_3", rollout_of_all_tokens, "own share is in your answer"),
    ("ex_14_3", rollout_normalized, "so they sum to less"),
    ("ex_14_4", gradient_times_input, "one weight, the mean over places"),
    ("ex_14_4", cam_with_signs, "speak against the class"),
    ("ex_14_4", cam_with_class, "it is on no grid"),
]
EXERCISES = ("ex_14_1", "ex_14_2", "ex_14_3", "ex_14_4")


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_right_answers_pass(name, answer):
    report = getattr(check, name)(answer)
    assert report.ok, report


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_wrong_answers_get_their_hint(name, answer, hint):
    report = getattr(check, name)(answer)
    assert not report.ok and report.attempted
    assert report.hint is not None, report
    assert hint in report.hint


@pytest.mark.parametrize("name", EXERCISES)
def test_every_known_mistake_is_told_from_the_others(name):
    exercise = getattr(ch14, name)
    for mistake in exercise.mistakes:
        report = exercise(mistake.wrong)
        assert not report.ok and report.hint == mistake.hint, report


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_attempted(name):
    def stub(*args):
        raise NotImplementedError(f"Exercise 14.{name[-1]}")

    report = getattr(check, name)(stub)
    assert not report.attempted and "not attempted" in str(report)


def test_inputs_must_stay_as_they_are():
    def in_place(weights, q, k):
        weights[:, :, 0] = 0
        return distance_by_loops(weights, q, k)

    assert "changes its input" in str(check.ex_14_2(in_place))
