"""Checks of Chapter 10: where views begin, scores of videos, merged counts, average precision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mvit_edu.check.core import Case, Draw, Exercise, Mistake, as_list, as_number
from mvit_edu.check.difference import difference


# 10.1: where the views begin
def _room(frames, fps, T, tau):
    return max(0.0, frames - T * tau / 30 * fps)


def _spread(room, K):
    step = math.floor(room / 2 if K == 1 else room / (K - 1))
    return [step] if K == 1 else [step * view for view in range(K)]


def _starts(frames, fps, T, tau, K):
    return _spread(_room(frames, fps, T, tau), K)


def _rate_ignored(frames, fps, T, tau, K):
    return _starts(frames, 30.0, T, tau, K)


def _rate_upside_down(frames, fps, T, tau, K):
    return _starts(frames, 900 / fps, T, tau, K)


def _not_to_the_end(frames, fps, T, tau, K):
    step = math.floor(_room(frames, fps, T, tau) / K)
    return _starts(frames, fps, T, tau, K) if K == 1 else [step * view for view in range(K)]


def _one_at_the_start(frames, fps, T, tau, K):
    return [0] if K == 1 else _starts(frames, fps, T, tau, K)


def _places_rounded_down(frames, fps, T, tau, K):
    room = _room(frames, fps, T, tau)
    return [math.floor(room / 2)] if K == 1 else [math.floor(room * view / (K - 1) + 1e-9) for view in range(K)]


def _places_rounded(frames, fps, T, tau, K):
    room = _room(frames, fps, T, tau)
    return [math.floor(room / 2)] if K == 1 else [round(room * view / (K - 1)) for view in range(K)]


def _whole_window(frames, fps, T, tau, K):
    return _spread(max(0, frames - round(T * tau / 30 * fps)), K)


def _window_rounded_down(frames, fps, T, tau, K):
    return _spread(max(0, frames - int(T * tau / 30 * fps)), K)


def _below_zero(frames, fps, T, tau, K):
    return _spread(frames - T * tau / 30 * fps, K)


def _clip_of_exact_steps(frames, fps, T, tau, K):
    return _spread(max(0.0, frames - ((T - 1) * tau + 1) / 30 * fps), K)


def _whole_video(frames, fps, T, tau, K):
    return _spread(frames, K)


def _starts_cases(draw: Draw) -> list[Case]:
    return [
        Case("five views of ten seconds", 300, 30.0, 16, 4, 5),
        Case("one view", 300, 30.0, 16, 4, 1),
        Case("ten views at 25 fps", 250, 25.0, 16, 4, 10),
        Case("60 fps", draw.integer(500, 620), 60.0, 32, 3, 7),
        Case("a window of 25.6 frames", 58, 12.0, 8, 8, 5),
        Case("a window of 13.6 frames, one view", 50, 17.0, 8, 3, 1),
        Case("a window of 53.3 frames", 249, 25.0, 16, 4, 3),
        Case("a video shorter than the window", 40, 30.0, 16, 4, 5),
    ]


ex_10_1 = Exercise(
    "10.1",
    reference=_starts,
    cases=_starts_cases,
    build=as_list,
    mistakes=(
        Mistake(
            "You ignored the rate of the file. T * tau counts frames at 30 fps; in this file the window has "
            "T * tau / 30 * fps frames.",
            _rate_ignored,
        ),
        Mistake("The rate is upside down: a file of more frames a second has a longer window.", _rate_upside_down),
        Mistake(
            "Your last view does not reach the end. From the first of K views to the last there are K - 1 steps.",
            _not_to_the_end,
        ),
        Mistake("One view alone lies in the middle: it begins at half of the room.", _one_at_the_start),
        *(
            Mistake(
                "You spread the views and rounded each place. The released code rounds the step, down, and "
                "multiplies it by the number of the view.",
                wrong,
            )
            for wrong in (_places_rounded_down, _places_rounded)
        ),
        *(
            Mistake(
                "You rounded the length of the window to whole frames. Keep it as it is, and round down the step.",
                wrong,
            )
            for wrong in (_whole_window, _window_rounded_down)
        ),
        Mistake(
            "For a video shorter than the window your views begin before the video. There is no room then: take 0.",
            _below_zero,
        ),
        Mistake(
            "You took (T - 1) * tau + 1 for the length of the clip. The window of the Kinetics sampler has T * tau "
            "frames at 30 fps.",
            _clip_of_exact_steps,
        ),
        Mistake(
            "You spread the starts over the whole video. The last window has to end with the video: spread them over "
            "what the video is longer than the window.",
            _whole_video,
        ),
    ),
)


# 10.2: from clips to videos
def _video_scores(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))  # (B, R, C)
    return by_video.sigmoid().amax(dim=1) if several else by_video.softmax(dim=2).mean(dim=1)


def _mean_of_logits(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.sigmoid().amax(dim=1) if several else by_video.mean(dim=1).softmax(dim=1)


def _raw_mean(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.amax(dim=1) if several else by_video.mean(dim=1)


def _interleaved(logits, R, several=False):
    by_video = logits.unflatten(0, (R, -1)).transpose(0, 1)
    return by_video.sigmoid().amax(dim=1) if several else by_video.softmax(dim=2).mean(dim=1)


def _sum(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.sigmoid().amax(dim=1) if several else by_video.softmax(dim=2).sum(dim=1)


def _over_clips(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.sigmoid().amax(dim=1) if several else by_video.softmax(dim=1).mean(dim=1)


def _over_batch(logits, R, several=False):
    scores = logits.sigmoid() if several else logits.softmax(dim=0)
    by_video = scores.unflatten(0, (-1, R))
    return by_video.amax(dim=1) if several else by_video.mean(dim=1)


def _vote(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    if several:
        return by_video.sigmoid().amax(dim=1)
    return torch.nn.functional.one_hot(by_video.argmax(dim=2), logits.shape[1]).float().mean(dim=1)


def _never_several(logits, R, several=False):
    return _video_scores(logits, R)


def _softmax_for_several(logits, R, several=False):
    by_video = logits.softmax(dim=1).unflatten(0, (-1, R))
    return by_video.amax(dim=1) if several else by_video.mean(dim=1)


def _mean_for_several(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.sigmoid().mean(dim=1) if several else by_video.softmax(dim=2).mean(dim=1)


def _sum_for_several(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.sigmoid().sum(dim=1) if several else by_video.softmax(dim=2).mean(dim=1)


def _max_always(logits, R, several=False):
    by_video = logits.unflatten(0, (-1, R))
    return by_video.sigmoid().amax(dim=1) if several else by_video.softmax(dim=2).amax(dim=1)


def _scores_cases(draw: Draw) -> list[Case]:
    videos, clips, classes = draw.integer(2, 4), draw.integer(5, 7), draw.integer(8, 11)
    return [
        Case("several videos", 3 * draw.normal(videos * clips, classes), clips),
        Case("one clip a video", 3 * draw.normal(4, classes), 1),
        Case("one video", 3 * draw.normal(clips, classes), clips),
        Case("several labels", 3 * draw.normal(videos * clips, classes), clips, several=True),
    ]


ex_10_2 = Exercise(
    "10.2",
    reference=_video_scores,
    cases=_scores_cases,
    mistakes=(
        Mistake(
            "You averaged the logits and took the softmax of the mean. The paper averages scores: softmax of each "
            "clip first, then the mean.",
            _mean_of_logits,
        ),
        Mistake("These are logits. Turn them into scores first, by softmax or sigmoid.", _raw_mean),
        Mistake(
            "You mixed the clips of different videos. Those of one video follow one another: "
            "logits.unflatten(0, (-1, R)) parts the videos.",
            _interleaved,
        ),
        Mistake(
            "You summed the scores. That is what the released code does, and the ranks are right; the task wants the "
            "mean.",
            _sum,
        ),
        Mistake(
            "Your softmax runs over the clips of a video. It belongs over the classes, the last axis.", _over_clips
        ),
        Mistake("Your softmax runs over all clips. It belongs over the classes, the last axis.", _over_batch),
        Mistake("This is a vote: how sure a clip is gets lost. Average the softmax scores.", _vote),
        Mistake("You took the maximum for videos with one label. There the paper averages.", _max_always),
        Mistake("You did not look at `several`.", _never_several),
        Mistake(
            "For several labels you took a softmax, in which classes compete. Each class has a sigmoid of its own.",
            _softmax_for_several,
        ),
        *(
            Mistake(
                "For several labels the paper takes the maximum over the clips: an action may be in one of them only.",
                wrong,
            )
            for wrong in (_mean_for_several, _sum_for_several)
        ),
    ),
)


# 10.3: merge the processes
def _merge(parts):
    results = {place: result for part in parts for place, result in part}
    scored = [result for result in results.values() if result is not None]
    return sum(scored), len(scored), len(results) - len(scored)


def _counts_all(parts):
    results = [result for part in parts for _, result in part]
    scored = [result for result in results if result is not None]
    return sum(scored), len(scored), len(results) - len(scored)


def _failed_are_wrong(parts):
    right, scored, failed = _merge(parts)
    return right, scored + failed, failed


def _failed_are_left_out(parts):
    right, scored, _ = _merge(parts)
    return right, scored, 0


def _failed_twice(parts):
    right, scored, _ = _merge(parts)
    return right, scored, sum(result is None for part in parts for _, result in part)


def _right_twice(parts):
    _, scored, failed = _merge(parts)
    return sum(bool(result) for part in parts for _, result in part), scored, failed


def _first_process(parts):
    return _merge(parts[:1])


def _all_seen(parts):
    right, scored, failed = _merge(parts)
    return right, len({place for part in parts for place, _ in part}), 0


def _drops_doubles(parts):
    places = [place for part in parts for place, _ in part]
    return _merge([[(place, result) for place, result in part if places.count(place) == 1] for part in parts])


def _share(parts):
    right, scored, failed = _merge(parts)
    return right / scored, scored, failed


def _as_counts(answer: Any, parts: Sequence) -> Any:
    found = answer(parts)
    if isinstance(found, list | tuple):
        found = tuple(value.item() if isinstance(value, np.generic | torch.Tensor) else value for value in found)
    return found


def _parts(videos: int, processes: int, results: list[bool | None]) -> list[list[tuple[int, bool | None]]]:
    """As torch's DistributedSampler hands them out: padded from the front."""
    each = -(-videos // processes)
    order = [place % videos for place in range(each * processes)]
    return [[(place, results[place]) for place in order[rank::processes]] for rank in range(processes)]


def _merge_cases(draw: Draw) -> list[Case]:
    def results(videos: int, failures: Sequence[int]) -> list[bool | None]:
        drawn = [draw.integer(0, 9) < 7 for _ in range(videos)]
        return [None if place in failures else place < 2 or right for place, right in enumerate(drawn)]

    return [
        Case("no padding", _parts(12, 3, results(12, []))),
        Case("two videos twice", _parts(10, 4, results(10, []))),
        Case("one failed", _parts(10, 4, results(10, [7]))),
        Case("a failed video twice", _parts(13, 5, results(13, [0, 9]))),
        Case("one process", _parts(5, 1, results(5, [3]))),
    ]


ex_10_3 = Exercise(
    "10.3",
    reference=_merge,
    cases=_merge_cases,
    build=_as_counts,
    mistakes=(
        Mistake(
            "Some videos count twice: padding gave them to two processes. Keep one result for each place.", _counts_all
        ),
        Mistake("You kept only what one process knows. Go through all lists.", _first_process),
        Mistake(
            "You threw away the videos that two processes had. They count, too, once.",
            _drops_doubles,
        ),
        Mistake(
            "The second number holds the videos that failed, too. They were not scored, so they are neither right nor "
            "wrong.",
            _failed_are_wrong,
        ),
        Mistake("The videos that could not be read are not counted. They are the third number.", _failed_are_left_out),
        Mistake("Failed videos are counted as scored. A result of None was not scored.", _all_seen),
        Mistake("A failed video that two processes had counts twice.", _failed_twice),
        Mistake("A right video that two processes had counts twice.", _right_twice),
        Mistake("The first number is a share. The task wants the count.", _share),
    ),
)


# 10.4: average precision with ties
def _precision(scores, truth):
    precisions = []
    for own, yes in zip(scores, truth, strict=True):
        if yes:
            above = [t for s, t in zip(scores, truth, strict=True) if s >= own]
            precisions.append(sum(above) / len(above))
    return sum(precisions) / len(precisions) if precisions else math.nan


def _in_order(truth):
    found, precisions = 0, []
    for place, yes in enumerate(truth, start=1):
        found += yes
        if yes:
            precisions.append(found / place)
    return sum(precisions) / len(precisions) if precisions else math.nan


def _sorted_truth(scores, truth, reverse=True):
    order = sorted(range(len(scores)), key=lambda i: scores[i], reverse=reverse)  # stable
    return [truth[i] for i in order]


def _not_sorted(scores, truth):
    return _in_order(truth)


def _ascending(scores, truth):
    return _precision([-score for score in scores], truth)


def _ties_in_order(scores, truth):
    return _in_order(_sorted_truth(scores, truth))


def _ties_lucky(scores, truth):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], -truth[i]))
    return _in_order([truth[i] for i in order])


def _ties_unlucky(scores, truth):
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], truth[i]))
    return _in_order([truth[i] for i in order])


def _strictly_above(scores, truth):
    precisions = []
    for own, yes in zip(scores, truth, strict=True):
        if yes:
            above = [t for s, t in zip(scores, truth, strict=True) if s > own]
            precisions.append((sum(above) + 1) / (len(above) + 1))
    return sum(precisions) / len(precisions) if precisions else math.nan


def _over_all_videos(scores, truth):
    value = _precision(scores, truth)
    return value if math.isnan(value) else value * sum(truth) / len(truth)


def _mean_of_all_places(scores, truth):
    shares = []
    for own in scores:
        above = [t for s, t in zip(scores, truth, strict=True) if s >= own]
        shares.append(sum(above) / len(above))
    return sum(shares) / len(shares) if any(truth) else math.nan


def _interpolated(scores, truth):
    own = sorted({s for s, t in zip(scores, truth, strict=True) if t}, reverse=True)
    at = {}
    for score in own:
        above = [t for s, t in zip(scores, truth, strict=True) if s >= score]
        at[score] = sum(above) / len(above)
    best = [max(p for s, p in at.items() if s <= score) for score, t in zip(scores, truth, strict=True) if t]
    return sum(best) / len(best) if best else math.nan


def _zero_without(scores, truth):
    value = _precision(scores, truth)
    return 0.0 if math.isnan(value) else value


def _divides_by_zero(scores, truth):
    value = _precision(scores, truth)
    if math.isnan(value):
        raise ZeroDivisionError("division by zero")
    return value


def _precision_cases(draw: Draw) -> list[Case]:
    def drawn(videos: int, levels: int) -> tuple[list[float], list[int]]:
        scores = [draw.integer(0, levels) / levels for _ in range(videos)]
        return scores, [draw.integer(0, 1) for _ in range(videos)]

    return [
        Case("five videos, sorted", [0.9, 0.8, 0.7, 0.6, 0.3], [1, 0, 1, 0, 1]),
        Case("five videos, unsorted", [0.3, 0.9, 0.6, 0.8, 0.7], [1, 0, 1, 1, 0]),
        Case("two equal scores", [0.9, 0.5, 0.5, 0.1], [0, 1, 0, 1]),
        Case("two equal scores, the other first", [0.9, 0.5, 0.5, 0.1], [0, 0, 1, 1]),
        Case("many ties", *drawn(20, 5)),
        Case("no video has the class", [0.9, 0.5, 0.2], [0, 0, 0]),
    ]


def _compare_with_nan(expected: float, got: Any) -> str | None:
    """`difference`, for which nan is as good as nan."""
    if isinstance(got, float) and math.isnan(expected) and math.isnan(got):
        return None
    return difference(expected, got)


ex_10_4 = Exercise(
    "10.4",
    reference=_precision,
    cases=_precision_cases,
    build=as_number,
    compare=_compare_with_nan,
    mistakes=(
        Mistake("The lists are not sorted. Rank the videos by their scores first.", _not_sorted),
        Mistake("You ranked from the lowest score to the highest. The surest video comes first.", _ascending),
        Mistake(
            "You divided by the number of all videos. The mean is over the videos that have the class.",
            _over_all_videos,
        ),
        Mistake(
            "You took the precision at every video. Only those that have the class count.",
            _mean_of_all_places,
        ),
        Mistake(
            "You raised each precision to the best one that follows it. That is the interpolated kind, of Pascal VOC; "
            "the task wants it as it is.",
            _interpolated,
        ),
        *(
            Mistake(
                "Videos with equal scores came in one after the other. They come in together: each gets the precision "
                "that holds once the last of them is in.",
                wrong,
            )
            for wrong in (_ties_in_order, _ties_lucky, _ties_unlucky, _strictly_above)
        ),
        *(
            Mistake("No video has the class, so there is nothing to average: the result is math.nan.", wrong)
            for wrong in (_zero_without, _divides_by_zero)
        ),
    ),
)
