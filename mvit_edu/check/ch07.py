"""Checks of Chapter 7: the frames of a window, the packets of a frame, erasing, a bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from mvit_edu.check.core import Case, Draw, Exercise, Mistake

FINE = "as it should be"


# 7.1: the frames of a window
def _window(length, fps, T, tau, start):
    span = T * tau / 30 * fps
    return [min(max(0, math.floor(place + 1e-9)), length - 1) for place in np.linspace(start, start + span - 1, T)]


def _window_of_30(length, fps, T, tau, start):
    return _window(length, 30.0, T, tau, start)


def _exact_stride(length, fps, T, tau, start):
    return [min(math.floor(start + t * tau * fps / 30 + 1e-9), length - 1) for t in range(T)]


def _exact_stride_of_30(length, fps, T, tau, start):
    return [min(start + t * tau, length - 1) for t in range(T)]


def _one_too_far(length, fps, T, tau, start):
    places = np.linspace(start, start + T * tau / 30 * fps, T)
    return [min(math.floor(place + 1e-9), length - 1) for place in places]


def _rounded(length, fps, T, tau, start):
    span = T * tau / 30 * fps
    return [min(int(np.rint(place)), length - 1) for place in np.linspace(start, start + span - 1, T)]


def _rounded_span(length, fps, T, tau, start):
    span = round(T * tau / 30 * fps)
    return [min(math.floor(place + 1e-9), length - 1) for place in np.linspace(start, start + span - 1, T)]


def _cut_span(length, fps, T, tau, start):
    span = int(T * tau / 30 * fps)
    return [min(math.floor(place + 1e-9), length - 1) for place in np.linspace(start, start + span - 1, T)]


def _past_the_end(length, fps, T, tau, start):
    return _window(10**9, fps, T, tau, start)


def _from_zero(length, fps, T, tau, start):
    return _window(length, fps, T, tau, 0)


def _rate_upside_down(length, fps, T, tau, start):
    return _window(length, 900 / fps, T, tau, start)


def _seconds(length, fps, T, tau, start):
    return [number / fps for number in _window(length, fps, T, tau, start)]


def _windows(draw: Draw) -> list[Case]:
    return [
        Case("16x4 at 30 fps, from the start", 300, 30.0, 16, 4, 0),
        Case("16x4 at 30 fps", 300, 30.0, 16, 4, draw.integer(20, 90)),
        Case("16x4 at 25 fps", 250, 25.0, 16, 4, draw.integer(10, 90)),
        Case("32x3 at 60 fps", 600, 60.0, 32, 3, draw.integer(100, 300)),
        Case("8x8 at 12 fps", 60, 12.0, 8, 8, draw.integer(3, 20)),
        Case("a video shorter than the clip", 40, 30.0, 16, 4, 0),
    ]


def _as_list(answer: Any, *args: Any) -> list[Any]:
    """Lists, tuples, arrays and tensors of numbers are equally good."""
    found = answer(*args)
    found = found.tolist() if isinstance(found, np.ndarray | torch.Tensor) else found
    if isinstance(found, list | tuple | set | range):
        found = [value.item() if isinstance(value, np.generic | torch.Tensor) else value for value in found]
    return found


ex_07_1 = Exercise(
    "7.1",
    reference=_window,
    cases=_windows,
    build=_as_list,
    mistakes=(
        Mistake(
            "Your frames are exactly tau apart. The released sampler spreads T places evenly over the window, from "
            "its first to its last frame: np.linspace(start, start + span - 1, T).",
            _exact_stride,
        ),
        Mistake(
            "Your frames are tau apart and you ignored the rate of the file. Spread T places evenly over the "
            "window, whose length is T * tau / 30 * fps frames of this file.",
            _exact_stride_of_30,
        ),
        Mistake(
            "You ignored the rate of the file. T * tau counts frames at 30 fps; in this file the window has "
            "T * tau / 30 * fps frames.",
            _window_of_30,
        ),
        Mistake(
            "The rate is upside down: a file of 60 fps has more frames in the window, not fewer.", _rate_upside_down
        ),
        Mistake(
            "Your last place is one frame too far. A window of n frames that begins at start ends at start + n - 1.",
            _one_too_far,
        ),
        Mistake(
            "You rounded to the nearest frame. The released code casts to whole numbers, which rounds down.", _rounded
        ),
        *(
            Mistake(
                "You rounded the length of the window to whole frames. Keep it as it is (at 12 fps, 8x8 has 25.6 "
                "frames), and round down only the places.",
                wrong,
            )
            for wrong in (_rounded_span, _cut_span)
        ),
        Mistake(
            "You ask for frames behind the end of the video. Repeat its last frame, length - 1, instead.",
            _past_the_end,
        ),
        Mistake("You forgot `start`.", _from_zero),
        Mistake("These are seconds. The task wants the numbers of the frames.", _seconds),
    ),
)


# 7.2: which packets have to be decoded
def _packets(frame, key, wanted):
    needed: set[int] = set()
    for number in wanted:
        place = frame.index(number)
        first = max(k for k in range(place + 1) if key[k])
        needed |= set(range(first, place + 1))
    return sorted(needed)


def _number_is_place(frame, key, wanted):
    return _packets(sorted(frame), key, wanted)


def _numbers(frame, key, wanted):
    return sorted(frame[place] for place in _packets(frame, key, wanted))


def _key_before(frame, key, wanted):
    needed: set[int] = set()
    for number in wanted:
        place = frame.index(number)
        needed |= set(range(max((k for k in range(place) if key[k]), default=0), place + 1))
    return sorted(needed)


def _from_the_start(frame, key, wanted):
    return list(range(max(frame.index(number) for number in wanted) + 1))


def _nearest_key_to_last(frame, key, wanted):
    first = min(_packets(frame, key, wanted))
    return list(range(first, max(frame.index(number) for number in wanted) + 1))


def _twice(frame, key, wanted):
    return sorted(place for number in wanted for place in _packets(frame, key, [number]))


def _wanted_only(frame, key, wanted):
    return sorted({frame.index(number) for number in wanted})


def _without_the_last(frame, key, wanted):
    return sorted({p for number in wanted for p in _packets(frame, key, [number]) if p != frame.index(number)})


def _without_the_key(frame, key, wanted):
    return [place for place in _packets(frame, key, wanted) if not key[place]]


def _whole_groups(frame, key, wanted):
    ends = [place for place in range(len(key)) if key[place]] + [len(key)]
    groups = [range(first, last) for first, last in zip(ends, ends[1:], strict=False)]
    return [p for group in groups if any(frame.index(n) in group for n in wanted) for p in group]


def _files(draw: Draw) -> list[Case]:
    def stored(groups: int, pattern: list[int]) -> tuple[list[int], list[bool]]:
        """Packets in the order of the file: groups that begin with a key frame, all of one pattern."""
        frame = [group * len(pattern) + shown for group in range(groups) for shown in pattern]
        return frame, [place % len(pattern) == 0 for place in range(len(frame))]

    plain = stored(4, [0, 1, 2, 3, 4, 5])
    pyramid = stored(3, [0, 4, 2, 1, 3, 8, 6, 5, 7, 11, 9, 10])
    return [
        Case("one frame, no B-frames", *plain, [draw.integer(13, 16)]),
        Case("a key frame", *plain, [12]),
        Case("one frame, with B-frames", *pyramid, [15]),
        Case("two frames of one group", *pyramid, [26, 29]),
        Case("frames of two groups", *pyramid, [2, 35]),
        Case("frames in any order", *pyramid, [28, 13, 16]),
    ]


def _as_sorted(answer: Any, *args: Any) -> Any:
    """A set and an unsorted list are as good as a sorted one."""
    found = _as_list(answer, *args)
    return sorted(found) if isinstance(found, list) else found


ex_07_2 = Exercise(
    "7.2",
    reference=_packets,
    cases=_files,
    build=_as_sorted,
    mistakes=(
        Mistake(
            "You took the number of a frame for the place of its packet. With B-frames they differ: the packet of "
            "frame n stands at frame.index(n).",
            _number_is_place,
        ),
        Mistake(
            "These are the numbers of the frames. The task wants the places of their packets, i and not frame[i].",
            _numbers,
        ),
        Mistake(
            "For a wanted key frame you go back to the key frame before it. A key frame needs only itself: look for "
            "the last one at or before the packet.",
            _key_before,
        ),
        Mistake(
            "You decode from the start of the file. Decoding can begin at the last key frame at or before the "
            "packet that is wanted.",
            _from_the_start,
        ),
        Mistake(
            "You decode everything between the first and the last wanted frame. At each group you may jump to its "
            "key frame: take one stretch for each wanted frame, and unite them.",
            _nearest_key_to_last,
        ),
        Mistake("Some packets are in your list twice. Frames of one group share a stretch: use a set.", _twice),
        Mistake(
            "These are the packets of the wanted frames alone. All between the key frame and them have to be decoded, "
            "too, since a frame is stored as a change to others.",
            _wanted_only,
        ),
        Mistake("The wanted frame itself is missing: its own packet has to be decoded as well.", _without_the_last),
        Mistake(
            "The key frames are missing. They are stored whole, but they have to be decoded, too.", _without_the_key
        ),
        Mistake(
            "You decode whole groups. What comes after the wanted packet, in the order of the file, is not needed.",
            _whole_groups,
        ),
    ),
)


# 7.3: erase the same box in every frame
def _erase(clip, p=0.25):
    if float(torch.rand(())) >= p:
        return clip
    clip = clip.clone()
    height, width = clip.shape[-2:]
    h, w = height // 2, width // 3
    top, left = int(torch.randint(height - h + 1, ())), int(torch.randint(width - w + 1, ()))
    clip[..., top : top + h, left : left + w] = torch.randn(*clip.shape[:-2], h, w)
    return clip


def _a_box_a_frame(clip, p=0.25):
    return torch.stack([_erase(frame, p) for frame in clip.unbind(1)], dim=1)


def _a_place_a_frame(clip, p=0.25):
    if float(torch.rand(())) >= p:
        return clip
    return torch.stack([_erase(frame, 1.0) for frame in clip.unbind(1)], dim=1)


def _one_noise_picture(clip, p=0.25):
    erased = _erase(clip, p)
    changed = (erased != clip)[:, :1].expand_as(clip)
    return torch.where(changed, erased[:, :1].expand_as(clip), clip)


def _gray_noise(clip, p=0.25):
    erased = _erase(clip, p)
    return torch.where(erased != clip, erased[:1].expand_as(clip), clip)


def _one_value(clip, p=0.25):
    erased = _erase(clip, p)
    value = torch.randn(*clip.shape[:2], 1, 1).expand_as(clip)
    return torch.where(erased != clip, value, clip)


def _zeros(clip, p=0.25):
    erased = _erase(clip, p)
    return torch.where(erased != clip, torch.zeros_like(clip), clip)


def _always(clip, p=0.25):
    return _erase(clip, 1.0)


def _never(clip, p=0.25):
    return clip


def _uniform_noise(clip, p=0.25):
    erased = _erase(clip, p)
    return torch.where(erased != clip, torch.rand_like(clip), clip)


def _same_place_always(clip, p=0.25):
    if float(torch.rand(())) >= p:
        return clip
    erased = clip.clone()
    erased[..., 4:16, 4:12] = torch.randn(*clip.shape[:-2], 12, 8)
    return erased


def _verdict(answer: Any, clip: torch.Tensor, p: float) -> str:
    """What is wrong as seen from outside in 60 calls, so that the order of the draws does not matter."""
    places, values = [], []
    for _ in range(60):
        given = clip.clone()
        out = answer(given, p)
        if not isinstance(out, torch.Tensor) or out.shape != clip.shape:
            return f"it should return a clip of the same shape, {tuple(clip.shape)}."
        if not torch.equal(given, clip):
            return "it changes the clip in place. The next copy of the clip still needs it: use clip.clone() first."
        changed = out != clip  # (3, T, H, W)
        frames = [frame.any(0).nonzero() for frame in changed.unbind(1)]  # (n, 2) each: rows and columns
        boxes = {(*found.amin(0).tolist(), *found.amax(0).tolist()) if len(found) else None for found in frames}
        if len(boxes) > 1:
            some = "some frames of a clip are erased and others are not."
            return some if None in boxes else "the box does not lie at the same place in all frames."
        places.append(boxes.pop())
        if places[-1] is not None:
            values.append(out[:, :, changed.any(0).any(0)])  # (3, T, n)
    share = len(values) / len(places)
    if abs(share - p) > 0.25:
        return f"with p={p} it should erase about {round(60 * p)} of 60 clips; it erased {len(values)}."
    if values and len(set(places)) < 3:
        return "the box lies at the same place in every call."
    noise = torch.cat([value.flatten() for value in values]) if values else torch.zeros(0)
    if values and (abs(float(noise.mean())) > 0.1 or abs(float(noise.std()) - 1) > 0.15):
        return f"the noise has mean {noise.mean():.1f} and standard deviation {noise.std():.1f}, not 0 and 1."
    if any(torch.equal(value, value[..., :1].expand_as(value)) for value in values):
        return "all pixels of the box have the same value."
    if any(torch.equal(value[:, 0], value[:, 1]) for value in values):
        return "the noise is the same picture in all frames."
    if any(torch.equal(value[0], value[1]) for value in values):
        return "the noise is the same in all three channels."
    return FINE


ex_07_3 = Exercise(
    "7.3",
    reference=_erase,
    cases=lambda draw: [
        Case("p = 1", draw.normal(3, 8, 24, 24), 1.0),
        Case("p = 0.5", draw.normal(3, 8, 24, 24), 0.5),
        Case("p = 0", draw.normal(3, 8, 24, 24), 0.0),
    ],
    build=_verdict,
    compare=lambda expected, got: None if got == FINE else got,
    mistakes=(
        Mistake(
            "You draw a box for every frame. Draw its place once, and write into all frames at once: "
            "clip[:, :, top : top + h, left : left + w] = ...",
            _a_place_a_frame,
        ),
        Mistake("You toss the coin for every frame. Toss it once for the clip.", _a_box_a_frame),
        Mistake(
            "One noise picture is repeated in all frames, so the box stands still. Draw new noise for every "
            "frame: torch.randn(3, T, h, w).",
            _one_noise_picture,
        ),
        Mistake(
            "All three channels get the same noise. Draw it for every channel: torch.randn(3, T, h, w).", _gray_noise
        ),
        Mistake(
            "All pixels of the box have the same value. Draw noise for every pixel: torch.randn(3, T, h, w).",
            _one_value,
        ),
        Mistake("You filled the box with zeros; the recipe wants noise: torch.randn(3, T, h, w).", _zeros),
        Mistake(
            "torch.rand is uniform in [0, 1). The recipe wants the standard normal distribution: torch.randn.",
            _uniform_noise,
        ),
        Mistake("You erase every clip. Toss a coin first: torch.rand(()) < p.", _always),
        Mistake("You erase no clip.", _never),
        Mistake("Draw the place of the box anew in every call.", _same_place_always),
    ),
)


# 7.4: the bound for another rule
def _bound(rho, alike, looks):
    other = (1 - rho) / (looks - 1)
    return (alike * max(rho, other) + (looks - alike) * other) / alike


def _book_rule(rho, alike, looks):
    return rho + (1 - rho) / alike


def _own_look_always(rho, alike, looks):
    other = (1 - rho) / (looks - 1)
    return (alike * rho + (looks - alike) * other) / alike


def _own_looks_only(rho, alike, looks):
    return max(rho, (1 - rho) / (looks - 1))


def _all_looks(rho, alike, looks):
    other = (1 - rho) / looks
    return (alike * max(rho, other) + (looks - alike) * other) / alike


def _not_divided(rho, alike, looks):
    return alike * _bound(rho, alike, looks)


def _guess(rho, alike, looks):
    return max(rho, 1 / alike)


ex_07_4 = Exercise(
    "7.4",
    reference=_bound,
    cases=lambda draw: [
        Case("the look always tells", 1.0, 2, 12),
        Case("the look tells half of the time", 0.5, 2, 12),
        Case("three classes alike", 0.6, 3, 9),
        Case("the look never tells", 0.0, 2, 12),
        Case("a look for each class and no other", 0.25, 4, 4),
        Case("less often than chance", 0.05, 3, 5),
    ],
    rtol=1e-6,
    atol=1e-9,
    mistakes=(
        Mistake(
            "This is the bound of MotionShapes, where any look may come when the look of the class does not. Here the "
            "look of the class comes with probability rho and no more.",
            _book_rule,
        ),
        Mistake(
            "For small rho the own look is the rarest. Then it speaks against its class, and the best guess is another "
            "one: take the maximum over the classes for every look.",
            _own_look_always,
        ),
        Mistake(
            "The looks that belong to none of these classes are missing from your sum. Each of them comes in every "
            "class with probability (1 - rho) / (looks - 1).",
            _own_looks_only,
        ),
        Mistake("There are looks - 1 other looks, not looks.", _all_looks),
        Mistake(
            "Divide by the number of classes that are alike: each of them is as likely as the others.", _not_divided
        ),
        Mistake(
            "A model may do both: trust the look where it belongs to a class, and guess where it does not. Sum over "
            "the looks.",
            _guess,
        ),
    ),
)
