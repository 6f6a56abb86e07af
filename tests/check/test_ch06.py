"""The checks of Chapter 6: solutions pass, stubs are not attempted, wrong answers get the right hint."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F

from mvit_edu import check
from mvit_edu.model.pooling import pooled_size


def longer_clip(frames):
    t, h, w = pooled_size((frames, 224, 224), (3, 7, 7), (2, 4, 4))
    _, kh, kw = pooled_size((t, h, w), (3, 3, 3), (1, 8, 8))
    return 1 + t * h * w, 1 + t * kh * kw, 96 * (t - 8)


def assemble(clip, cube, cls_token, positions, blocks, norm, head):
    x, thw = cube(clip)
    x = positions(torch.cat([cls_token.expand(len(x), -1, -1), x], dim=1))
    for block in blocks:
        x, thw = block(x, thw)
    return head(norm(x)[:, 0])


def longer_positions(table, frames):
    series = F.interpolate(table[:, 1:].transpose(1, 2), frames, mode="linear", align_corners=False)
    return torch.cat([table[:, :1], series.transpose(1, 2)], dim=1)


def to_ours(state):
    out = {}
    for name, value in state.items():
        if "_attention_pool_" in name:
            continue
        if match := re.search(r"attn\.([qkv])\.", name):
            if match[1] == "q":
                parts = [state[name.replace(".q.", f".{x}.")] for x in "qkv"]
                out[name.replace(".q.", ".qkv.")] = torch.cat(parts)
            continue
        name = name.replace("patch_model", "proj").replace("norm_embed", "norm")
        name = name.replace("head.proj", "head")
        name = re.sub(r"pool_(.)\.", r"pool_\1.conv.", name)
        out[re.sub(r"norm_(.)\.", r"pool_\1.norm.", name)] = value
    return out


SOLUTIONS = {"1": longer_clip, "2": assemble, "3": longer_positions, "4": to_ours}


def checked(k: str, answer):
    return getattr(check, f"ex_06_{k}")(answer)


@pytest.mark.parametrize("k", SOLUTIONS)
def test_solution_passes(k):
    report = checked(k, SOLUTIONS[k])
    assert report.ok, report.text


@pytest.mark.parametrize("k", SOLUTIONS)
def test_stub_is_not_attempted(k):
    def stub(*args):
        raise NotImplementedError(f"Exercise 6.{k}")

    report = checked(k, stub)
    assert not report.attempted and "not attempted" in report.text


def counts(times=lambda n: (n - 1) // 2 + 1, cls=1, keys=49, rows=lambda t: 96 * (t - 8)):
    return lambda n: (cls + times(n) * 3136, cls + times(n) * keys, rows(times(n)))


def assembled(cls_last=False, add="after", keep_thw=False, read=lambda x, norm: norm(x[:, 0]), soft=False):
    def answer(clip, cube, cls_token, positions, blocks, norm, head):
        x, thw = cube(clip)
        x = positions(x) if add == "before" else x + positions.table()[:, 1:] if add == "patches" else x
        cls = cls_token.repeat(x.shape[0], 1, 1)
        x = torch.cat([x, cls] if cls_last else [cls, x], 1)
        x = positions(x) if add == "after" else x
        for block in blocks:
            x, new = block(x, thw)
            thw = thw if keep_thw else new
        logits = head(read(x, norm))
        return F.softmax(logits, -1) if soft else logits

    return answer


def stretched(table, frames):
    return F.interpolate(table.mT, frames + 1, mode="linear").mT


def resized(mode="linear", order=lambda cls, rows: [cls, rows], **options):
    def answer(table, frames):
        rows = F.interpolate(table[:, 1:].mT, frames, mode=mode, **options).mT
        return torch.cat(order(table[:, :1], rows), 1)

    return answer


def over_channels(table, frames):
    return torch.cat([table[:, :1], F.interpolate(table[:, 1:], frames, mode="linear")], 1)


def fused(order="qkv", join=torch.cat, **options):
    """`to_ours`, with another way to join q, k and v."""

    def answer(state):
        out = to_ours(state)
        for name in out:
            if ".qkv." in name:
                theirs = [state[name.replace(".qkv.", f".{x}.")] for x in order]
                out[name] = join(theirs, **options)
        return out

    return answer


def weights_only(state):
    out = {name: value for name, value in to_ours(state).items() if not name.endswith("qkv.bias")}
    return out | {name: value for name, value in state.items() if re.search(r"attn\.[qkv]\.bias", name)}


def parts_kept(state):
    return to_ours(state) | {n: value for n, value in state.items() if re.search(r"attn\.[qkv]\.", n)}


def twins_kept(state):
    return to_ours(state) | {name: value for name, value in state.items() if "_attention_pool_" in name}


def back(*rules):
    """`to_ours` without some of the renamings."""

    def answer(state):
        out = {}
        for name, value in to_ours(state).items():
            for new, old in rules:
                name = re.sub(new, old, name)
            out[name] = value
        return out

    return answer


WRONG = [
    ("1", counts(cls=0), "class token is missing"),
    ("1", counts(times=lambda n: n), "half as many times"),
    ("1", counts(times=lambda n: n // 2), "not the size formula"),
    ("1", counts(rows=lambda t: 96 * 3136 * (t - 8)), "joint table"),
    ("1", counts(rows=lambda t: t - 8), "holds 96 parameters"),
    ("1", counts(rows=lambda t: 96 * t), "in addition"),
    ("1", counts(keys=3136), "keys without pooling"),
    ("1", lambda n: (longer_clip(n)[0], 1 + 49 * ((n + 1) // 2 // 8), longer_clip(n)[2]), "in space only"),
    ("2", assembled(read=lambda x, norm: x[:, 0]), "last norm is missing"),
    ("2", assembled(cls_last=True), "class token is at the end"),
    ("2", assembled(cls_last=True, read=lambda x, norm: norm(x[:, -1])), "class token is at the end"),
    ("2", assembled(add="before"), "Positions come after"),
    ("2", assembled(add="patches"), "got no position"),
    ("2", assembled(add="never"), "positions are missing"),
    ("2", assembled(keep_thw=True), "returns a new grid"),
    ("2", assembled(read=lambda x, norm: norm(x).mean(1)), "mean of all tokens"),
    ("2", assembled(read=lambda x, norm: norm(x)[:, 1:].mean(1)), "mean of the patches"),
    ("2", assembled(read=lambda x, norm: norm(x[:, -1])), "the last token"),
    ("2", assembled(read=lambda x, norm: norm(x)), "for every token"),
    ("2", assembled(soft=True), "those are probabilities"),
    ("3", stretched, "class token's row along"),
    ("3", resized("nearest"), "nearest row"),
    ("3", resized(align_corners=True), "align_corners=False"),
    ("3", resized(order=lambda cls, rows: [rows]), "row is missing"),
    ("3", resized(order=lambda cls, rows: [rows, cls]), "row is at the end"),
    ("3", over_channels, "there you have the channels"),
    ("4", fused("kqv"), "stacked as k, q, v"),
    ("4", fused("vkq"), "stacked as v, k, q"),
    ("4", fused(dim=-1), "side by side"),
    ("4", fused(dim=1), "A bias has one dimension"),
    ("4", fused(join=torch.stack), "makes a new dimension"),
    ("4", weights_only, "Only the weights are joined"),
    ("4", parts_kept, "still there beside qkv"),
    ("4", twins_kept, "a second time"),
    ("4", back((r"attn\.proj\.", "attn.")), "also stands in blocks.N.attn.proj"),
    ("4", back((r"pool_(.)\.norm", r"norm_\1"), (r"\.conv\.", ".")), "poolings keep their old names"),
    ("4", back((r"^norm\.", "norm_embed.")), "norm_embed.* becomes"),
    ("4", back((r"_embed\.proj", "_embed.patch_model")), "becomes patch_embed.proj"),
]


@pytest.mark.parametrize(("k", "answer", "hint"), WRONG, ids=[f"{k}-{hint}" for k, _, hint in WRONG])
def test_wrong_answer_gets_its_hint(k, answer, hint):
    report = checked(k, answer)
    assert not report.ok and report.attempted
    assert report.hint is not None, report.text
    assert hint.lower() in report.hint.lower(), report.text
