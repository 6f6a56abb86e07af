"""The checks of Chapter 7: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import math
from bisect import bisect_right

import numpy as np
import torch

from mvit_edu import check
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.data.transforms import RandomErasing
from tests.check.answers import answer_tests


# 7.1
def window(length, fps, T, tau, start):
    step = (T * tau * fps / 30 - 1) / (T - 1)
    return np.minimum(np.floor(start + step * np.arange(T) + 1e-9).astype(int), length - 1)


def window_of_the_module(length, fps, T, tau, start):
    class Footage:
        frames, seconds = length, length / fps

    Footage.fps = fps
    return np.rint(ClipSpec(T, tau)._clip(start, Footage) * fps).astype(int).tolist()


def exact_stride(length, fps, T, tau, start):
    return [min(int(start + t * tau * fps / 30), length - 1) for t in range(T)]


def exact_stride_of_30(length, fps, T, tau, start):
    return [min(start + t * tau, length - 1) for t in range(T)]


def ignores_rate(length, fps, T, tau, start):
    return window(length, 30, T, tau, start)


def rate_upside_down(length, fps, T, tau, start):
    return window(length, 30 * 30 / fps, T, tau, start)


def one_too_far(length, fps, T, tau, start):
    span = T * tau / 30 * fps
    return np.linspace(start, start + span, T).astype(int).clip(0, length - 1)


def without_end(length, fps, T, tau, start):
    span = T * tau / 30 * fps
    return np.linspace(start, start + span, T, endpoint=False).astype(int).clip(0, length - 1)


def rounds(length, fps, T, tau, start):
    span = T * tau / 30 * fps
    return np.linspace(start, start + span - 1, T).round().astype(int).clip(0, length - 1)


def rounds_the_length(length, fps, T, tau, start):
    return np.linspace(start, start + round(T * tau * fps / 30) - 1, T).astype(int).clip(0, length - 1)


def cuts_the_length(length, fps, T, tau, start):
    return np.linspace(start, start + T * tau * fps // 30 - 1, T).astype(int).clip(0, length - 1)


def past_the_end(length, fps, T, tau, start):
    return window(10**6, fps, T, tau, start)


def forgets_start(length, fps, T, tau, start):
    return window(length, fps, T, tau, 0)


def seconds(length, fps, T, tau, start):
    return window(length, fps, T, tau, start) / fps


# 7.2
def packets(frame, key, wanted):
    keys = [place for place, is_key in enumerate(key) if is_key]
    places = [frame.index(number) for number in wanted]
    return {p for place in places for p in range(keys[bisect_right(keys, place) - 1], place + 1)}


def number_is_place(frame, key, wanted):
    keys = [place for place, is_key in enumerate(key) if is_key]
    return {p for number in wanted for p in range(keys[bisect_right(keys, number) - 1], number + 1)}


def numbers(frame, key, wanted):
    return {frame[place] for place in packets(frame, key, wanted)}


def key_before(frame, key, wanted):
    keys = [place for place, is_key in enumerate(key) if is_key]
    places = [frame.index(number) for number in wanted]
    return {p for place in places for p in range(max(k for k in keys if k < place), place + 1)}


def from_the_start(frame, key, wanted):
    return range(max(map(frame.index, wanted)) + 1)


def one_stretch(frame, key, wanted):
    return range(min(packets(frame, key, wanted)), max(map(frame.index, wanted)) + 1)


def twice(frame, key, wanted):
    return [place for number in wanted for place in sorted(packets(frame, key, [number]))]


def wanted_only(frame, key, wanted):
    return [frame.index(number) for number in wanted]


def stops_before(frame, key, wanted):
    return {p for number in wanted for p in packets(frame, key, [number]) - {frame.index(number)}}


def after_the_key(frame, key, wanted):
    return [place for place in packets(frame, key, wanted) if not key[place]]


def whole_groups(frame, key, wanted):
    group = np.cumsum(key)
    return [p for p in range(len(key)) if group[p] in {group[frame.index(number)] for number in wanted}]


# 7.3
def erase(clip, p=0.25):
    if torch.rand(()).item() < p:
        clip = clip.clone()
        area, aspect = torch.empty(()).uniform_(0.05, 0.3).item(), math.exp(torch.empty(()).uniform_(-1, 1).item())
        h, w = (max(1, min(23, round(24 * math.sqrt(area * part)))) for part in (aspect, 1 / aspect))
        top, left = torch.randint(25 - h, ()).item(), torch.randint(25 - w, ()).item()
        clip[:, :, top : top + h, left : left + w] = torch.randn(3, clip.shape[1], h, w)
    return clip


def erase_of_the_module(clip, p=0.25):
    return RandomErasing(p)(clip)


def erase_with(clip, noise):
    clip = clip.clone()
    top, left = torch.randint(14, ()).item(), torch.randint(14, ()).item()
    clip[:, :, top : top + 10, left : left + 10] = noise
    return clip


def place_a_frame(clip, p=0.25):
    if torch.rand(()) >= p:
        return clip
    return torch.cat([erase(clip[:, t : t + 1], 1.0) for t in range(clip.shape[1])], dim=1)


def coin_a_frame(clip, p=0.25):
    return torch.cat([erase(clip[:, t : t + 1], p) for t in range(clip.shape[1])], dim=1)


def one_picture(clip, p=0.25):
    return erase_with(clip, torch.randn(3, 1, 10, 10)) if torch.rand(()) < p else clip


def gray(clip, p=0.25):
    return erase_with(clip, torch.randn(1, 8, 10, 10)) if torch.rand(()) < p else clip


def one_value(clip, p=0.25):
    return erase_with(clip, torch.randn(3, 8, 1, 1)) if torch.rand(()) < p else clip


def zeros(clip, p=0.25):
    return erase_with(clip, 0.0) if torch.rand(()) < p else clip


def uniform(clip, p=0.25):
    return erase_with(clip, torch.rand(3, 8, 10, 10)) if torch.rand(()) < p else clip


def always(clip, p=0.25):
    return erase(clip, 1.0)


def never(clip, p=0.25):
    return clip


def fixed_place(clip, p=0.25):
    if torch.rand(()) >= p:
        return clip
    clip = clip.clone()
    clip[:, :, 5:15, 5:15] = torch.randn(3, 8, 10, 10)
    return clip


def average(clip, p=0.25):
    return clip.mean()


# 7.4
def bound(rho, alike, looks):
    total = 0.0
    for look in range(looks):
        total += max(rho if look == c else (1 - rho) / (looks - 1) for c in range(alike))
    return total / alike


def rule_of_the_book(rho, alike, looks):
    return rho + (1 - rho) / alike


def trusts_the_look(rho, alike, looks):
    return rho + (looks - alike) * (1 - rho) / (looks - 1) / alike


def own_looks_only(rho, alike, looks):
    return sum(max(rho, (1 - rho) / (looks - 1)) for _ in range(alike)) / alike


def counts_all_looks(rho, alike, looks):
    return max(rho, (1 - rho) / looks) + (looks - alike) * (1 - rho) / looks / alike


def not_divided(rho, alike, looks):
    return alike * bound(rho, alike, looks)


def look_or_guess(rho, alike, looks):
    return max(rho, 1 / alike)


RIGHT = {
    "ex_07_1": [window, window_of_the_module],
    "ex_07_2": [packets],
    "ex_07_3": [erase, erase_of_the_module],
    "ex_07_4": [bound],
}
WRONG = [
    ("ex_07_1", exact_stride, "Your frames are exactly tau apart"),
    ("ex_07_1", exact_stride_of_30, "you ignored the rate of the file"),
    ("ex_07_1", ignores_rate, "You ignored the rate of the file"),
    ("ex_07_1", rate_upside_down, "upside down"),
    ("ex_07_1", one_too_far, "one frame too far"),
    ("ex_07_1", without_end, "Your frames are exactly tau apart"),
    ("ex_07_1", rounds, "which rounds down"),
    ("ex_07_1", rounds_the_length, "rounded the length of the window"),
    ("ex_07_1", cuts_the_length, "rounded the length of the window"),
    ("ex_07_1", past_the_end, "Repeat its last frame"),
    ("ex_07_1", forgets_start, "You forgot `start`"),
    ("ex_07_1", seconds, "These are seconds"),
    ("ex_07_2", number_is_place, "the number of a frame for the place"),
    ("ex_07_2", from_the_start, "from the start of the file"),
    ("ex_07_2", one_stretch, "take one stretch for each wanted frame"),
    ("ex_07_2", twice, "use a set"),
    ("ex_07_2", wanted_only, "the wanted frames alone"),
    ("ex_07_2", stops_before, "The wanted frame itself is missing"),
    ("ex_07_2", after_the_key, "The key frames are missing"),
    ("ex_07_2", numbers, "places of their packets"),
    ("ex_07_2", key_before, "needs only itself"),
    ("ex_07_2", whole_groups, "You decode whole groups"),
    ("ex_07_3", place_a_frame, "Draw its place once"),
    ("ex_07_3", coin_a_frame, "Toss it once for the clip"),
    ("ex_07_3", one_picture, "the box stands still"),
    ("ex_07_3", gray, "All three channels"),
    ("ex_07_3", one_value, "have the same value"),
    ("ex_07_3", zeros, "filled the box with zeros"),
    ("ex_07_3", uniform, "standard normal"),
    ("ex_07_3", always, "You erase every clip"),
    ("ex_07_3", never, "You erase no clip"),
    ("ex_07_3", fixed_place, "anew in every call"),
    ("ex_07_4", rule_of_the_book, "the bound of MotionShapes"),
    ("ex_07_4", trusts_the_look, "speaks against its class"),
    ("ex_07_4", own_looks_only, "belong to none of these classes"),
    ("ex_07_4", counts_all_looks, "looks - 1 other looks"),
    ("ex_07_4", not_divided, "Divide by the number of classes"),
    ("ex_07_4", look_or_guess, "Sum over the looks"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_another_shape_is_reported():
    report = check.ex_07_3(average)
    assert not report.ok
    assert "same shape" in report.text


def test_a_clip_changed_in_place_is_reported():
    def in_place(clip, p=0.25):
        clip[:, :, :4] = 0
        return clip

    assert "in place" in check.ex_07_3(in_place).text
