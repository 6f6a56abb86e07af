"""The commands under `torchrun`: the same words, the same numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mvit_edu.cli import main
from mvit_edu.data import MotionShapes
from tests.distributed.launch import launch

SMALL = ["--model", "mvit_tiny", "--recipe", "motion_shapes", "--tensorboard", "off", "--progress", "off"]
for change in ("dim=8", "depths=(1, 1)", "crop=16", "cube_stride=(2, 4, 4)"):
    SMALL += ["--set", change]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """MotionShapes as H.264 files: 24 to train on, 7 to validate on."""
    folder = tmp_path_factory.mktemp("motion data")
    for split, length in (("train", 24), ("val", 7)):
        MotionShapes(length, split, size=16, motions=("horizontal", "vertical")).write(folder)
    return folder


def rows(out: Path) -> list[dict]:
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("clips_per_second", "wait")} for row in found]


def test_train_and_evaluate_are_the_same_commands(videos, tmp_path, capfd):
    words = ["train", "--data", videos, *SMALL, "--batch", 4, "--epochs", 1, "--log-every", 1, "--workers", 1]
    code, text = launch(2, "mvit_edu", *words, "--out", tmp_path / "two")
    assert code == 0, text
    assert text.count("steps: 3 of 8 clips (4 videos x 1 batches x 1 copies x 2 processes)") == 1  # rank 0 speaks
    assert text.count("Done after 3 steps") == 1
    alone = [*words, "--out", tmp_path / "one", "--accumulate", 2, "--device", "cpu"]
    assert main([str(word) for word in alone]) == 0
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in one] == [1, 2, 3, 3]
    for mine, theirs in zip(one, two, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)

    assert main([*map(str, words), "--out", str(tmp_path / "two"), "--device", "cpu", "--dry-run"]) == 0
    told = "steps: 3 of 8 clips (4 videos x 2 batches x 1 copies)"  # one process goes on with steps as large
    assert told in capfd.readouterr().out

    code, text = launch(2, "mvit_edu", "evaluate", "--weights", tmp_path / "two", "--data", videos, "--workers", 0)
    assert code == 0, text
    top1 = two[-1]["top1"]
    assert text.count(f"top-1 {top1:.2%} ({round(7 * top1)} of 7)") == 1 and text.count("videos: 7") == 1


def test_an_error_is_one_line_of_the_rank_and_a_traceback_of_torchrun(videos, tmp_path):
    words = ["train", "--data", videos, *SMALL, "--out", tmp_path / "x", "--batch", 13]
    code, text = launch(2, "mvit_edu", *words)
    assert code == 1
    sentence = "24 videos are fewer than a step takes (batch=13 x accumulate=1 x 2 processes); give a smaller --batch."
    told = re.findall(r"^mvit-edu: rank ([01]) of 2 \(.*\): error: (.*)$", text, re.M)
    assert told, text  # `torchrun` may end one of them before it has spoken
    assert len(dict(told)) == len(told) and {line for _, line in told} == {sentence}, text
    assert "ValueError: 24 videos" in text.partition("Root Cause")[2]


def test_more_processes_than_gpus(videos, tmp_path):
    code, text = launch(2, "mvit_edu", "train", "--data", videos, *SMALL, "--out", tmp_path / "x", "--device", "cuda")
    if "GPUs and 2 processes" not in text:
        pytest.skip("this machine has two GPUs or more")
    assert code == 1 and "start one for each GPU (--nproc-per-node), or take device cpu" in text
