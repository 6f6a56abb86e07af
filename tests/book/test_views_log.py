"""What Chapter 10 says about its run log, against the log."""

from __future__ import annotations

import pytest

from book.tools.chapters import ROOT
from mvit_edu.studies.study_log import StudyLog

RUNS = [run["after"]["views"] for run in StudyLog(ROOT / "book" / "results" / "views.json").runs("cpu")]
TEXT = (ROOT / "book" / "10_views.md").read_text(encoding="utf-8")


def mean(views: int, crops: int, rule: str = "mean of softmax") -> float:
    rows = [row for run in RUNS for row in run["results"] if (row["views"], row["crops"]) == (views, crops)]
    return 100 * sum(row["correct"][rule] for row in rows) / sum(run["videos"] for run in RUNS)


@pytest.mark.parametrize(
    ("views", "crops", "sentence"),
    [
        (1, 1, "From one view to five the mean rises from {} to"),
        (5, 1, "the mean rises from 73.3 to {}, from five to ten by 1.8 more"),
        (1, 3, "Three crops of a single view reach {}"),
        (3, 3, "three views with three crops reach {}"),
    ],
)
def test_the_means_are_those_of_the_log(views, crops, sentence):
    assert sentence.format(f"{mean(views, crops):.1f}") in TEXT


def test_the_sentences_hold_in_the_log():
    assert len(RUNS) == 5 and {run["videos"] for run in RUNS} == {240}
    assert round(mean(10, 1) - mean(5, 1), 1) == 1.8 and mean(1, 3) > mean(10, 1)
    rules = RUNS[0]["results"][0]["correct"]
    few, many = ([mean(*test, rule) for rule in rules] for test in ((5, 1), (10, 3)))
    assert 1 < max(few) - min(few) < 2 and max(many) - min(many) < 1


def test_every_run_gains_from_views_and_from_crops():
    for run in RUNS:
        top1 = {(row["views"], row["crops"]): row["top1"] for row in run["results"]}
        assert top1[1, 1] < min(top1[10, 1], top1[1, 3])


def test_views_repair_what_travels_sideways_and_crops_the_rest():
    def right(views: int, crops: int, classes: tuple[int, ...]) -> float:
        rows = [row for run in RUNS for row in run["results"] if (row["views"], row["crops"]) == (views, crops)]
        return sum(row["confusion"][k][k] for row in rows for k in classes) / (60 * len(classes) * len(rows))

    sideways, upright = (0, 1), (2, 3)
    assert right(10, 1, sideways) - right(1, 1, sideways) > 0.2
    assert abs(right(10, 1, upright) - right(1, 1, upright)) < 0.03
    assert right(1, 3, upright) - right(1, 1, upright) > 0.1
