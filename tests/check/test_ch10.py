"""The checks of Chapter 10: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.nn import functional as F

from mvit_edu import check
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.evaluation import average_precision, combine_views
from tests.check.answers import answer_tests


# 10.1
def starts(frames, fps, T, tau, K):
    room = np.maximum(frames - T * tau * fps / 30, 0)
    return np.floor(room / 2 if K == 1 else room / (K - 1)).astype(int) * (np.arange(K) if K > 1 else np.ones(1, int))


def starts_of_the_module(frames, fps, T, tau, K):
    class Footage:
        pass

    footage = Footage()
    footage.frames, footage.fps, footage.seconds = frames, fps, frames / fps
    return np.rint(ClipSpec(T, tau).views(footage, K)[:, 0] * fps).astype(int).tolist()


def of_thirty(frames, fps, T, tau, K):
    return starts(frames, 30, T, tau, K)


def rate_upside_down(frames, fps, T, tau, K):
    return starts(frames, 30 / fps * 30, T, tau, K)


def k_steps(frames, fps, T, tau, K):
    step = int(max(0, frames - T * tau * fps / 30) // K)
    return starts(frames, fps, T, tau, K) if K == 1 else [i * step for i in range(K)]


def from_zero(frames, fps, T, tau, K):
    return starts(frames, fps, T, tau, K) if K > 1 else [0]


def linspace(frames, fps, T, tau, K):
    room = max(0, frames - T * tau * fps / 30)
    return [int(room // 2)] if K == 1 else np.linspace(0, room, K).astype(int)


def linspace_rounded(frames, fps, T, tau, K):
    room = max(0, frames - T * tau * fps / 30)
    return [int(room // 2)] if K == 1 else np.linspace(0, room, K).round().astype(int)


def whole_window(frames, fps, T, tau, K):
    return starts(frames - round(T * tau * fps / 30), fps, 0, 0, K)


def cut_window(frames, fps, T, tau, K):
    return starts(frames - math.floor(T * tau * fps / 30), fps, 0, 0, K)


def before_the_video(frames, fps, T, tau, K):
    room = frames - T * tau * fps / 30
    return [math.floor(room / 2)] if K == 1 else [math.floor(room / (K - 1)) * i for i in range(K)]


def exact_steps(frames, fps, T, tau, K):
    return starts(frames, fps, (T - 1) * tau + 1, 1, K)


def whole_video(frames, fps, T, tau, K):
    return starts(frames, fps, 0, 0, K)


# 10.2
def video_scores(logits, R, several=False):
    scores = torch.sigmoid(logits) if several else F.softmax(logits, -1)
    return torch.stack([part.max(0).values if several else part.mean(0) for part in scores.split(R)])


def with_the_module(logits, R, several=False):
    scores = logits.sigmoid() if several else logits.softmax(1)
    return combine_views(scores.reshape(-1, R, logits.shape[1]), "max" if several else "mean")


def mean_of_logits(logits, R, several=False):
    if several:
        return video_scores(logits, R, several)
    return logits.reshape(-1, R, logits.shape[1]).mean(1).softmax(-1)


def raw(logits, R, several=False):
    parts = logits.reshape(-1, R, logits.shape[1])
    return parts.amax(1) if several else parts.mean(1)


def interleaved(logits, R, several=False):
    scores = logits.sigmoid() if several else logits.softmax(1)
    parts = scores.reshape(R, -1, logits.shape[1])
    return parts.amax(0) if several else parts.mean(0)


def summed(logits, R, several=False):
    return video_scores(logits, R, several) * (1 if several else R)


def over_clips(logits, R, several=False):
    if several:
        return video_scores(logits, R, several)
    return logits.reshape(-1, R, logits.shape[1]).softmax(1).mean(1)


def over_batch(logits, R, several=False):
    if several:
        return video_scores(logits, R, several)
    return logits.softmax(0).reshape(-1, R, logits.shape[1]).mean(1)


def vote(logits, R, several=False):
    if several:
        return video_scores(logits, R, several)
    return torch.eye(logits.shape[1])[logits.argmax(1)].reshape(-1, R, logits.shape[1]).mean(1)


def one_label_only(logits, R, several=False):
    return video_scores(logits, R)


def compete(logits, R, several=False):
    if not several:
        return video_scores(logits, R)
    return logits.softmax(1).reshape(-1, R, logits.shape[1]).amax(1)


def mean_of_sigmoid(logits, R, several=False):
    return logits.sigmoid().reshape(-1, R, logits.shape[1]).mean(1) if several else video_scores(logits, R)


def always_max(logits, R, several=False):
    if several:
        return video_scores(logits, R, several)
    return logits.softmax(1).reshape(-1, R, logits.shape[1]).amax(1)


# 10.3
def merge(parts):
    right, wrong, failed = set(), set(), set()
    for place, result in (pair for part in parts for pair in part):
        (failed if result is None else right if result else wrong).add(place)
    return [len(right), len(right | wrong), len(failed)]


def no_dictionary(parts):
    pairs = [pair for part in parts for pair in part]
    scored = [result for _, result in pairs if result is not None]
    return sum(scored), len(scored), len(pairs) - len(scored)


def failed_are_wrong(parts):
    right, scored, failed = merge(parts)
    return right, scored + failed, failed


def forgets_failures(parts):
    return *merge(parts)[:2], 0


def only_own(parts):
    return merge([parts[0]])


def unique_only(parts):
    places = [place for part in parts for place, _ in part]
    return merge([[pair for pair in part if places.count(pair[0]) < 2] for part in parts])


def failures_twice(parts):
    return *merge(parts)[:2], sum(result is None for part in parts for _, result in part)


def right_twice(parts):
    return sum(result is True for part in parts for _, result in part), *merge(parts)[1:]


def share(parts):
    right, scored, failed = merge(parts)
    return right / scored, scored, failed


# 10.4
def by_thresholds(scores, truth):
    if not any(truth):
        return float("nan")
    total, recall = 0.0, 0.0
    for score in sorted(set(scores), reverse=True):
        taken = [t for s, t in zip(scores, truth, strict=True) if s >= score]
        total += (sum(taken) / sum(truth) - recall) * sum(taken) / len(taken)
        recall = sum(taken) / sum(truth)
    return total


def by_the_module(scores, truth):
    two = torch.tensor(scores)[:, None].expand(-1, 2), torch.tensor(truth)[:, None].expand(-1, 2)
    return average_precision(*two)[0]


def ranked(truth):
    found, precisions = 0, []
    for place, yes in enumerate(truth, 1):
        if yes:
            found += 1
            precisions.append(found / place)
    return sum(precisions) / len(precisions) if precisions else math.nan


def unsorted(scores, truth):
    return ranked(truth)


def lowest_first(scores, truth):
    return by_thresholds([1 - score for score in scores], truth)


def one_by_one(scores, truth):
    return ranked([truth[i] for i in np.argsort(-np.array(scores), kind="stable")])


def optimistic(scores, truth):
    pairs = sorted(zip(scores, truth, strict=True), reverse=True)
    return ranked([t for _, t in pairs])


def by_all_videos(scores, truth):
    return by_thresholds(scores, truth) * sum(truth) / len(truth)


def everywhere(scores, truth):
    taken = [[t for s, t in zip(scores, truth, strict=True) if s >= own] for own in scores]
    return sum(sum(t) / len(t) for t in taken) / len(taken) if any(truth) else math.nan


def zero_without(scores, truth):
    return by_thresholds(scores, truth) if any(truth) else 0.0


def divides_by_zero(scores, truth):
    if not any(truth):
        return 0 / sum(truth)
    return by_thresholds(scores, truth)


RIGHT = {
    "ex_10_1": [starts, starts_of_the_module],
    "ex_10_2": [video_scores, with_the_module],
    "ex_10_3": [merge],
    "ex_10_4": [by_thresholds, by_the_module],
}
WRONG = [
    ("ex_10_1", of_thirty, "You ignored the rate"),
    ("ex_10_1", rate_upside_down, "upside down"),
    ("ex_10_1", k_steps, "K - 1 steps"),
    ("ex_10_1", from_zero, "One view alone lies in the middle"),
    ("ex_10_1", linspace, "rounds the step"),
    ("ex_10_1", linspace_rounded, "rounds the step"),
    ("ex_10_1", whole_window, "length of the window to whole frames"),
    ("ex_10_1", cut_window, "length of the window to whole frames"),
    ("ex_10_1", before_the_video, "begin before the video"),
    ("ex_10_1", exact_steps, "(T - 1) * tau + 1"),
    ("ex_10_1", whole_video, "longer than the window"),
    ("ex_10_2", mean_of_logits, "You averaged the logits"),
    ("ex_10_2", raw, "These are logits"),
    ("ex_10_2", interleaved, "mixed the clips of different videos"),
    ("ex_10_2", summed, "You summed the scores"),
    ("ex_10_2", over_clips, "over the clips of a video"),
    ("ex_10_2", over_batch, "over all clips"),
    ("ex_10_2", vote, "This is a vote"),
    ("ex_10_2", always_max, "There the paper averages"),
    ("ex_10_2", one_label_only, "look at `several`"),
    ("ex_10_2", compete, "in which classes compete"),
    ("ex_10_2", mean_of_sigmoid, "takes the maximum"),
    ("ex_10_3", no_dictionary, "count twice"),
    ("ex_10_3", only_own, "one process knows"),
    ("ex_10_3", unique_only, "threw away"),
    ("ex_10_3", failed_are_wrong, "neither right nor wrong"),
    ("ex_10_3", forgets_failures, "the third number"),
    ("ex_10_3", failures_twice, "A failed video that two processes had"),
    ("ex_10_3", right_twice, "A right video that two processes had"),
    ("ex_10_3", share, "The first number is a share"),
    ("ex_10_4", unsorted, "not sorted"),
    ("ex_10_4", lowest_first, "from the lowest score"),
    ("ex_10_4", one_by_one, "come in together"),
    ("ex_10_4", optimistic, "come in together"),
    ("ex_10_4", by_all_videos, "divided by the number of all videos"),
    ("ex_10_4", everywhere, "at every video"),
    ("ex_10_4", zero_without, "math.nan"),
    ("ex_10_4", divides_by_zero, "math.nan"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_logits_changed_in_place_are_reported():
    def in_place(logits, R, several=False):
        logits.sub_(logits.max())
        return video_scores(logits, R, several)

    assert "in place" in check.ex_10_2(in_place).text
