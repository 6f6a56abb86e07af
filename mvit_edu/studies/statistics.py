"""Means with intervals over seeds, differences between variants, and the sentence that follows (Chapters 11 to 14)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

# Student's t for 95 %, two-sided, by degrees of freedom from 1 on; beyond 30 the last one is too wide by 4 % at most.
STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Interval:
    """The values of n seeds, their mean, and the half width of its 95 % interval by Student's t; infinite for n = 1."""

    values: tuple[float, ...]
    mean: float
    half: float

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        shown = f"{round(self.mean, 1) + 0.0:.1f}"  # not -0.0
        return f"{shown} ± {self.half:.1f}" if self.n > 1 else f"{shown} (one seed)"


def interval(values: Sequence[float]) -> Interval:
    """The mean of the values of several seeds.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("There are no values to average.")
    n = len(values)
    if n == 1:
        return Interval((values[0],), values[0], math.inf)
    half = STUDENT[min(n - 1, len(STUDENT)) - 1] * stdev(values) / math.sqrt(n)
    return Interval(tuple(values), mean(values), half)


def difference(one: Mapping[int, float], other: Mapping[int, float]) -> Interval:
    """One minus the other, paired by seed: seeds that only one of them has do not count.

    Raises:
        ValueError: they have no seed in common.
    """
    seeds = sorted(set(one) & set(other))
    if not seeds:
        raise ValueError("The two have no seed in common, so no difference can be taken.")
    return interval([one[seed] - other[seed] for seed in seeds])


def verdict(found: Interval) -> str:
    """ "higher", "lower", or why nothing can be said: fewer than three seeds, or an interval with 0 in it."""
    if found.n < 3:
        return f"{'one seed tells' if found.n == 1 else 'two seeds tell'} no difference"
    if 0 in found:
        return "no difference seen at this scale"
    return "higher" if found.mean > 0 else "lower"
