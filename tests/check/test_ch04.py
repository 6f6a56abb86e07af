"""The checks of Chapter 4: solutions pass, stubs are not attempted, wrong answers get the right hint."""

from __future__ import annotations

from pathlib import Path

import jupytext
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mvit_edu import check
from mvit_edu.check import ch04

CHAPTER = Path(__file__).parents[2] / "book" / "04_skip.md"
NAMES = ["ex_04_1", "ex_04_2", "ex_04_3", "ex_04_4"]


def cells(tag: str) -> list[str]:
    notebook = jupytext.reads(CHAPTER.read_text(encoding="utf-8"), fmt="md:myst")
    return [cell.source for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def functions(tag: str) -> list:
    """The function that each cell with this tag defines; the call of the check at its end is left out."""
    found = []
    for source in cells(tag):
        names: dict = {"torch": torch, "F": F, "nn": nn}
        exec(source.split("\ncheck.")[0], names)
        found.append([value for key, value in names.items() if key.split("_solution")[0] in STUBS][-1])
    return found


STUBS = {"drop_rate", "attention_half", "drop_path", "residual_pooling"}


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_solution_passes_and_stub_is_not_attempted(number):
    exercise = getattr(check, NAMES[number])
    solutions, stubs = functions("solution"), functions("exercise")
    assert len(solutions) == len(stubs) == len(NAMES)
    report = exercise(solutions[number])
    assert report.ok, report.text
    report = exercise(stubs[number])
    assert not report.attempted and not report.ok
    assert "not attempted" in report.text


# Wrong answers as a student may write them, without the helpers of the checks.


def half(x, thw, norm1, attn, pool, source=None):
    y, thw_out = attn(norm1(x), thw)
    source = x if source is None else source
    grid = source[:, 1:].unflatten(1, thw).permute(0, 4, 1, 2, 3)  # (B, D, T, H, W)
    return torch.cat([source[:, :1], pool(grid).flatten(2).transpose(1, 2)], dim=1) + y, thw_out


def max_pool(grid):
    return F.max_pool3d(grid, (1, 3, 3), (1, 2, 2), (0, 1, 1))


def average(x, thw, norm1, attn):
    return half(x, thw, norm1, attn, lambda g: F.avg_pool3d(g, (1, 3, 3), (1, 2, 2), (0, 1, 1)))


def normed(x, thw, norm1, attn):
    return half(x, thw, norm1, attn, max_pool, norm1(x))


def no_overlap(x, thw, norm1, attn):
    return half(x, thw, norm1, attn, lambda g: F.max_pool3d(g, (1, 2, 2), (1, 2, 2)))


def over_time(x, thw, norm1, attn):
    return half(x, thw, norm1, attn, lambda g: F.max_pool3d(g, 3, (1, 2, 2), 1))


def zero_padded(x, thw, norm1, attn):
    return half(x, thw, norm1, attn, lambda g: F.max_pool3d(F.pad(g, (1, 1, 1, 1)), (1, 3, 3), (1, 2, 2)))


def without_class_token(x, thw, norm1, attn):
    y, thw_out = attn(norm1(x), thw)
    pooled = max_pool(x[:, 1:].unflatten(1, thw).permute(0, 4, 1, 2, 3))
    return pooled.flatten(2).transpose(1, 2) + y, thw_out


def class_token_in_grid(x, thw, norm1, attn):
    return half(
        torch.cat([x[:, -1:], x[:, :-1]], dim=1), thw, lambda _: norm1(x), attn, max_pool
    )  # row 0 becomes a patch


def class_token_pooled(x, thw, norm1, attn):
    out, thw_out = half(x, thw, norm1, attn, max_pool)
    first = out[:, :1] - x[:, :1] + x.max(dim=1, keepdim=True).values
    return torch.cat([first, out[:, 1:]], dim=1), thw_out


def scrambled(x, thw, norm1, attn):
    y, thw_out = attn(norm1(x), thw)
    grid = x[:, 1:].reshape(x.shape[0], x.shape[2], *thw)
    return torch.cat([x[:, :1], max_pool(grid).flatten(2).transpose(1, 2)], dim=1) + y, thw_out


def unnormed_attention(x, thw, norm1, attn):
    return half(x, thw, lambda t: t, attn, max_pool)


def old_grid(x, thw, norm1, attn):
    return half(x, thw, norm1, attn, max_pool)[0], thw


def in_place_half(x, thw, norm1, attn):
    x -= x.mean()
    return half(x, thw, norm1, attn, max_pool)


def dropout(x, rate, training):
    return F.dropout(x, rate, training)


def a_coin_a_token(x, rate, training):
    return x if not training else x * (torch.rand(*x.shape[:2], 1) > rate) / (1 - rate)


def a_coin_a_batch(x, rate, training):
    return x if not training else x * (torch.rand(1) > rate) / (1 - rate)


def unscaled(x, rate, training):
    return x if not training else x * (torch.rand(x.shape[0], 1, 1) > rate)


def active_in_evaluation(x, rate, training):
    return x * (torch.rand(x.shape[0], 1, 1) > rate) / (1 - rate)


def keeps_with_rate(x, rate, training):
    return x if not training or rate == 0 else x * (torch.rand(x.shape[0], 1, 1) < rate) / (1 - rate)


def divided_by_rate(x, rate, training):
    return x if not training or rate == 0 else x * (torch.rand(x.shape[0], 1, 1) > rate) / rate


def scales_in_evaluation(x, rate, training):
    return x * (torch.rand(x.shape[0], 1, 1) > rate) if training else x * (1 - rate)


def attention(q, k, v, scale=True):
    scores = q @ k.transpose(-2, -1)
    return (scores / q.shape[-1] ** 0.5 if scale else scores).softmax(-1) @ v


def query_for_all(q, k, v, cls_token):
    return (attention(q, k, v) + q).transpose(1, 2).flatten(2)


def attention_alone(q, k, v, cls_token):
    return attention(q, k, v).transpose(1, 2).flatten(2)


def patches(out, q):
    return torch.cat([out[:, :, :1], out[:, :, 1:] + q[:, :, 1:]], dim=2)


def row_0_always_left_out(q, k, v, cls_token):
    return patches(attention(q, k, v), q).transpose(1, 2).flatten(2)


def heads_mixed(q, k, v, cls_token):
    out = attention(q, k, v)
    out = patches(out, q) if cls_token else out + q
    return out.reshape(q.shape[0], q.shape[2], -1)


def scaled_query(q, k, v, cls_token):
    out, term = attention(q, k, v), q / q.shape[-1] ** 0.5
    return (patches(out, term) if cls_token else out + term).transpose(1, 2).flatten(2)


def no_scale(q, k, v, cls_token):
    out = attention(q, k, v, scale=False)
    return (patches(out, q) if cls_token else out + q).transpose(1, 2).flatten(2)


WRONG = [
    ("ex_04_1", lambda block, depth, rate: rate * block / depth, "depth - 1 steps"),
    ("ex_04_1", lambda block, depth, rate: rate * (block + 1) / depth, "count from 0"),
    ("ex_04_1", lambda block, depth, rate: rate, "one rate for all blocks"),
    ("ex_04_1", lambda block, depth, rate: 1 - rate * block / (depth - 1), "probability to keep"),
    ("ex_04_1", lambda block, depth, rate: block * rate / (depth - 1), "model of one block"),
    ("ex_04_2", average, "average pooling"),
    ("ex_04_2", normed, "You pool norm1(x)"),
    ("ex_04_2", no_overlap, "do not overlap"),
    ("ex_04_2", over_time, "three frames"),
    ("ex_04_2", old_grid, "the grid that came in"),
    ("ex_04_2", zero_padded, "minus infinity"),
    ("ex_04_2", without_class_token, "class token is missing"),
    ("ex_04_2", class_token_in_grid, "row 0 became the first place"),
    ("ex_04_2", class_token_pooled, "pooled the class token too. Take row 0 aside"),
    ("ex_04_2", scrambled, "mixes tokens and channels"),
    ("ex_04_2", unnormed_attention, "not x: the norm comes first"),
    ("ex_04_3", dropout, "a coin for each value"),
    ("ex_04_3", a_coin_a_token, "a coin for each token"),
    ("ex_04_3", a_coin_a_batch, "whole batch"),
    ("ex_04_3", unscaled, "scale 1 / (1 - rate) is missing"),
    ("ex_04_3", active_in_evaluation, "active in evaluation"),
    ("ex_04_3", keeps_with_rate, "keeps with probability rate"),
    ("ex_04_3", divided_by_rate, "divided by the rate"),
    ("ex_04_3", scales_in_evaluation, "scale in evaluation"),
    ("ex_04_4", query_for_all, 'the variant "all"'),
    ("ex_04_4", attention_alone, "attention alone"),
    ("ex_04_4", row_0_always_left_out, "row 0 is a patch like any other"),
    ("ex_04_4", heads_mixed, "Heads and tokens are mixed"),
    ("ex_04_4", scaled_query, "belongs to the scores"),
    ("ex_04_4", no_scale, "square root of the head dimension"),
]


@pytest.mark.parametrize(("name", "wrong", "hint"), WRONG)
def test_wrong_answer_gets_its_hint(name, wrong, hint):
    report = getattr(check, name)(wrong)
    assert report.attempted and not report.ok
    assert report.hint is not None, report.text
    assert hint in report.hint, report.text


def test_input_changed_in_place_is_told():
    report = check.ex_04_2(in_place_half)
    assert not report.ok and "in place" in report.text

    def released_form(q, k, v, cls_token):
        q *= q.shape[-1] ** -0.5
        return (q @ k.transpose(-2, -1)).softmax(-1) @ v

    report = check.ex_04_4(released_form)
    assert not report.ok and "in place" in report.text


def test_drop_path_of_another_shape_is_told():
    report = check.ex_04_3(lambda x, rate, training: x.mean(1))
    assert not report.ok and "shape" in report.text


def test_every_hint_is_tested():
    tested = {(name, hint) for name, _, hint in WRONG}
    for name in NAMES:
        for mistake in getattr(ch04, name).mistakes:
            assert any(name == n and hint in mistake.hint for n, hint in tested), mistake.hint
