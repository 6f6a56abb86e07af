"""What Chapters 12 and 13 say of runs that no cell prints: earlier versions of studies, and single runs of today's."""

from __future__ import annotations

from statistics import correlation

import pytest

from book.tools.chapters import ROOT
from mvit_edu.studies.ablations import get_study
from mvit_edu.studies.findings import accuracies, by_motion, by_seed, little_room
from mvit_edu.studies.statistics import difference
from mvit_edu.studies.study_log import StudyLog

RESULTS = ROOT / "book" / "results"
TEXT = {name: (ROOT / "book" / f"{name}.md").read_text() for name in ("12_pooling_functions", "13_scale")}


def log(name: str) -> list[dict]:
    return StudyLog(RESULTS / f"{name}.json").runs("cpu")


def against(runs: list[dict], one: str, other: str):
    return difference(by_seed(runs, one), by_seed(runs, other))


def below(run: dict, loss: float, unit: str) -> float:
    return next((point[unit] for point in run["curve"] if point["loss"] < loss), float("inf"))


def ranks(values: list[float]) -> list[float]:
    """The rank of each value, equal values sharing their mean rank."""
    return [sum(other < one for other in values) + values.count(one) / 2 for one in values]


def says(chapter: str, *words: str) -> None:
    for one in words:
        assert one in TEXT[chapter], one


def test_the_first_version_of_pooling():
    runs, study = log("earlier/pooling"), get_study("pooling")
    assert {(run["data"]["train"], run["recipe"]["epochs"]) for run in runs} == {(640, 8.0)}
    left = [below(run, 1.6, "step") for run in runs]
    found = correlation(ranks(left), ranks([run["top1"]["in order"] for run in runs]))
    names = [variant.name for variant in study.variants[1:]]
    halves = sorted(against(runs, name, "max, s+1").half for name in names)[-2:]
    others = [
        v
        for name, values in accuracies(study, runs).items()
        if name not in ("max, s", "avg, s+1")
        for v in values.values
    ]
    assert all(0 in against(runs, name, "max, s+1") for name in names)
    says("12_pooling_functions", f"the last at step {max(left):.0f}", f"correlation was −{-found:.2f}")
    says("12_pooling_functions", f"±{halves[0]:.0f} and ±{halves[1]:.0f} points")
    says("12_pooling_functions", f"between {min(others):.0f}% and {max(others):.0f}%")


def test_the_first_version_of_positions_had_no_room():
    runs, study = log("earlier/positions"), get_study("positions")
    assert little_room(study, runs) and not little_room(study, log("positions"))
    for variant in study.variants:
        told = [right.mean for right in by_motion(runs, variant.name).values()]
        assert min(told[:2]) > 97 and told[2] == pytest.approx(50, abs=3)


def test_the_first_version_of_cubes():
    runs = log("earlier/cubes")
    assert against(runs, "4 frames, 3x7x7", "8 frames, 3x7x7").low > 0
    late = {n: sum(below(r, 1, "epoch") > 8 for r in runs if r["variant"] == f"{n} frames, 3x7x7") for n in (4, 8)}
    assert late == {4: 0, 8: 3}
    says("13_scale", "Three of its six runs with eight frames never came below a loss of 1")


def test_stages_on_noisier_clips():
    runs = log("earlier/stages")
    assert {(run["data"]["noise"], run["recipe"]["epochs"]) for run in runs} == {(0.45, 24.0)}
    assert len(runs) == 10 and sum(run["top1"]["in order"] < 0.5 for run in runs) == 2
    says("13_scale", "of ten runs that we tried with noise 0.45 and 24 passes, two never got far")


def test_single_runs_and_intervals_of_today():
    found = against(log("pooling"), "max, 2s+1", "max, s+1")
    says("12_pooling_functions", f"its interval begins at {found.low:.1f} points")
    runs = log("skips")
    found = against(runs, "none", "normalized")
    says("13_scale", f"the interval goes from {-found.high:.1f} to {-found.low:.1f}")
    steps = {run["seed"]: below(run, 1.6, "step") for run in runs if run["variant"] == "none"}
    late = max(steps, key=steps.get)
    apart = {seed: by_seed(runs, "none")[seed] - by_seed(runs, "normalized")[seed] for seed in steps}
    assert steps[late] > 3 * sorted(steps.values())[-2] and min(apart, key=apart.get) == late
    for variant in get_study("cubes").variants:
        assert 55 < by_motion(log("cubes"), variant.name)["turn"].mean < 61
    for name in ("none", "1x8x8 adaptive"):
        passes = [below(run, 1, "epoch") for run in log("kv_stride") if run["variant"] == name]
        assert 5 < max(passes) <= 7
