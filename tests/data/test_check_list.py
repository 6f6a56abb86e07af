"""Checking a list: every file gets its row, whatever the decoder does to the process that reads it."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import sys
from dataclasses import asdict

import pytest

from mvit_edu.data import example_clip
from mvit_edu.data.check_list import CheckResult, check_file, check_videos, summarize, write_report

ODD = """
import os, signal, time
from mvit_edu.data.check_list import CheckResult

def check(path, decode):
    name = os.path.basename(path)
    if name.startswith("hang"):
        time.sleep(60)
    if name.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if name.startswith("exit"):
        os._exit(3)
    return CheckResult(path, True, decode)
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A check that hangs or crashes by the name of the file, in a module that workers can import."""
    (tmp_path / "odd_check.py").write_text(ODD)
    monkeypatch.syspath_prepend(tmp_path)
    import odd_check

    yield odd_check.check
    del sys.modules["odd_check"]


@pytest.fixture
def files(tmp_path):
    """A good file, and files that are damaged in different ways."""
    whole = example_clip().read_bytes()
    shutil.copy(example_clip(), tmp_path / "good.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "text.mp4").write_text("no video")
    return tmp_path


def children() -> set[int]:
    return {child.pid for child in multiprocessing.active_children()}


@pytest.mark.parametrize("decode", ["ends", "all", "none"])
def test_a_good_file(decode):
    result = check_file(str(example_clip()), decode)
    assert result.ok and result.cause == "" and (result.frames, result.fps, result.seconds) == (108, 30.0, 3.6)
    assert min(result.width, result.height) > 0 and 1 <= result.key_distance <= 108


@pytest.mark.parametrize(
    ("name", "cause"),
    [("empty.mp4", "empty"), ("cut.mp4", ""), ("text.mp4", ""), ("gone.mp4", "no such file")],
)
def test_bad_files(files, name, cause):
    result = check_file(str(files / name))
    assert not result.ok and cause in result.cause and result.cause and str(files) not in result.cause
    assert result.frames is None


def test_damage_in_the_middle_is_found_by_decoding_all(files):
    data = bytearray(example_clip().read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(range(250)) * 12
    broken = files / "middle.mp4"
    broken.write_bytes(data)
    assert check_file(str(broken), "none").ok
    assert not check_file(str(broken), "all").ok


def test_all_files_in_parallel(files):
    paths = [str(files / name) for name in ("good.mp4", "empty.mp4", "good.mp4", "cut.mp4", "gone.mp4")]
    before = children()
    results = list(check_videos(paths, workers=2))
    found = {result.path: result for result in results}
    assert len(results) == 4, "a file that stands in the list twice is checked once"
    assert {path: result.ok for path, result in found.items()} == {path: "good" in path for path in paths}
    assert found[paths[0]] == check_file(paths[0])
    assert not children() - before


def test_crashes_and_hangs_cost_one_file_each(odd):
    bad = {"hang_1": "not done after 6 s", "crash_1": "crashed (SIGSEGV)", "crash_2": "crashed (SIGSEGV)"}
    bad["exit_1"] = "crashed (exit code 3)"
    paths = [path for pair in zip(bad, ("a", "b", "c", "d"), strict=True) for path in pair]
    before = children()
    results = list(check_videos(paths, workers=2, timeout=6, check=odd, decode="all"))
    assert sorted(result.path for result in results) == sorted(paths)
    for result in results:
        assert result.ok == (result.path not in bad)
        assert bad.get(result.path, "all") in result.cause
    assert not children() - before


def test_stopping_early_ends_the_processes(odd):
    before = children()
    results = check_videos(["a", "hang_1", "hang_2", "b"], workers=2, check=odd)
    assert next(results).path == "a"
    assert len(children() - before) == 2
    results.close()
    assert not children() - before


def test_wrong_arguments():
    with pytest.raises(ValueError, match="decode='some'; use one of ends, all, none"):
        next(check_videos(["a"], decode="some"))
    with pytest.raises(ValueError, match="timeout=0 must be more than 0"):
        next(check_videos(["a"], timeout=0))
    assert list(check_videos([])) == []


RESULTS = [
    CheckResult("a, b.mp4", True, "", 300, 29.97, 340, 256, 1800.0, 12),
    CheckResult("é.mp4", False, 'it said "no", twice.'),
    CheckResult("c.mp4", True, "", 300, 30.0, 340, 256, 1800.0, 250),
]


def test_report_as_csv(tmp_path):
    write_report(tmp_path / "report.csv", RESULTS)
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == ["a, b.mp4", "é.mp4", "c.mp4"] and rows[1][
        "cause"
    ] == 'it said "no", twice.'
    assert rows[0]["key_distance"] == "12" and rows[1]["frames"] == "" and list(rows[0]) == list(asdict(RESULTS[0]))


def test_report_as_json_lines(tmp_path):
    write_report(tmp_path / "report.jsonl", RESULTS)
    lines = (tmp_path / "report.jsonl").read_text(encoding="utf-8").splitlines()
    assert [CheckResult(**json.loads(line)) for line in lines] == RESULTS


def test_a_report_is_whole_or_not_there(tmp_path, monkeypatch):
    (tmp_path / "report.csv").write_text("the one before")
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_report(tmp_path / "report.csv", RESULTS)
    assert [path.name for path in tmp_path.iterdir()] == ["report.csv"]
    assert (tmp_path / "report.csv").read_text() == "the one before"


def test_summary():
    text = summarize(RESULTS, total=3)
    assert text.startswith("2 good, 1 bad; 1.00 hours of video.\n50% of the good ones have more than 12 frames")
    assert "data_scripts" in text
    assert summarize(RESULTS[:2], total=3) == "Stopped after 2 of 3: 1 good, 1 bad; 0.50 hours of video."
    assert summarize([], total=3) == "Stopped after 0 of 3: 0 good, 0 bad; 0.00 hours of video."
