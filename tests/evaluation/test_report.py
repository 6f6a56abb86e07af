"""What a report says and writes."""

from __future__ import annotations

import json

import pytest
import torch

from mvit_edu.data import Failure
from mvit_edu.evaluation import Report

FAILURE = Failure("videos/bad.mp4", "it is no video")


def report(**changes) -> Report:
    """Six videos of three classes, four right; of the wrong ones, the first has its class second, the other third."""
    called, labels = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 0, 1, 1, 1])
    fields = {
        "scores": torch.eye(3)[called] * 0.8 + 0.1,
        "labels": labels,
        "index": torch.tensor([0, 1, 2, 4, 5, 6]),
        "classes": ("left", "right", "up"),
        "protocol": "center: 1 view x 1 crop of 32x32, short side 36",
        "failures": (FAILURE,),
    }
    return Report(**(fields | changes))


def several() -> Report:
    """Three classes of which one has no video; average precision 1 and (1/1 + 2/3) / 2."""
    scores = torch.tensor([[0.9, 0.9, 0.2], [0.2, 0.8, 0.2], [0.1, 0.7, 0.2]])
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 0], [0, 1, 0]])
    return Report(scores, labels, torch.arange(3), protocol="charades: 10 views")


def test_the_numbers():
    made = report()
    assert (made.videos, made.failed, made.correct(), made.correct(2)) == (6, 1, 4, 5)
    assert made.top1 == made.main == 4 / 6 and made.top5 == 1.0 and not made.multi_label
    assert made.confusion.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    torch.testing.assert_close(made.per_class, torch.tensor([2 / 3, 2 / 3, torch.nan]), equal_nan=True)
    assert made.metrics() == {"top1": 4 / 6, "videos": 6, "failed": 1}
    with pytest.raises(ValueError, match="these have one: see top1"):
        _ = made.mean_average_precision


def test_next_to_the_accuracy_stand_protocol_videos_and_failures():
    assert str(report()) == (
        "top-1 66.67% (4 of 6)\n"
        "center: 1 view x 1 crop of 32x32, short side 36\n"
        "videos: 6, failed to decode: 1\n"
        "lowest classes: left 66.67% (2 of 3), right 66.67% (2 of 3)"
    )
    assert "order of the frames: shuffled" in str(report(order="shuffled"))
    right = torch.tensor([0, 0, 1, 1, 1, 2])
    assert "lowest" not in str(report(labels=right)) and "class 1 66.67% (2 of 3)" in str(report(classes=()))


def test_top_5_is_told_from_six_classes_on():
    many = report(scores=torch.eye(6)[torch.tensor([0, 0, 1, 1, 1, 2])], classes=())
    assert many.metrics()["top5"] == 1.0 and "top-1 66.67% (4 of 6), top-5 100.00% (6 of 6)" in str(many)
    assert many.correct(5) == 6


def test_at_most_three_classes_are_called_lowest():
    scores = torch.eye(6).roll(1, dims=1)  # every answer is wrong
    lines = str(Report(scores, torch.arange(6), torch.arange(6))).splitlines()
    assert lines[-1] == "lowest classes: class 0 0.00% (0 of 1), class 1 0.00% (0 of 1), class 2 0.00% (0 of 1)"


def test_several_labels():
    made = several()
    assert (
        made.multi_label and made.mean_average_precision == pytest.approx((1 + 5 / 6) / 2) and made.per_class[2].isnan()
    )
    assert made.main == made.mean_average_precision == made.metrics()["map"] and "top1" not in made.metrics()
    assert str(made).splitlines()[0] == "mAP 91.67% (mean over 2 of 3 classes)"
    assert str(made).splitlines()[-1] == "lowest classes: class 1 83.33%"
    for ask in (lambda: made.top1, lambda: made.confusion, lambda: made.correct(5)):
        with pytest.raises(ValueError, match="several labels"):
            ask()


def test_a_written_report(tmp_path):
    path = report(classes=("left", "right", "über")).write(tmp_path / "new" / "report.json")
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read == {
        "top1": 4 / 6,
        "videos": 6,
        "failed": 1,
        "protocol": "center: 1 view x 1 crop of 32x32, short side 36",
        "order": "in order",
        "classes": ["left", "right", "über"],
        "per_class": [pytest.approx(2 / 3), pytest.approx(2 / 3), None],
        "failures": [{"path": "videos/bad.mp4", "cause": "it is no video"}],
        "confusion": [[2, 1, 0], [0, 2, 1], [0, 0, 0]],
    }
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]
    again = json.loads(several().write(path).read_text())
    assert "confusion" not in again and again["map"] == pytest.approx(11 / 12) and again["per_class"][2] is None


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = report().write(tmp_path / "report.json")
    before = path.read_text()
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        several().write(path)
    assert path.read_text() == before and len(list(tmp_path.iterdir())) == 1
