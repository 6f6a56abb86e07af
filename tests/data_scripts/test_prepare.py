"""Many files: what failed is reported, the rest is done, and a run that was ended at any moment can go on."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_scripts import prepare
from data_scripts.prepare import Job, run
from data_scripts.transcode import Settings, problem
from tests.data_scripts.videos import make_video, watch

ROOT = Path(prepare.__file__).parents[1]
SMALL = Settings(short_side=48, preset="ultrafast")
# A worker that does what the name of the source says.
FAKE = r"""
import json, os, pathlib, signal, sys, time
for line in sys.stdin:
    job = json.loads(line)
    name = pathlib.Path(job["source"]).stem
    if name == "crash":
        print("the decoder gave up", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang":
        time.sleep(60)
    reply = {"status": "encoded", "cause": ""}
    if name == "full":
        reply = {"status": "full", "cause": "No space left on device."}
    elif name == "bad":
        reply = {"status": "failed", "cause": "it is bad."}
    else:
        pathlib.Path(job["target"]).write_text(str(os.getpid()))
    print(json.dumps(reply), flush=True)
"""


def jobs_for(folder: Path, names: str) -> list[Job]:
    return [Job(folder / "in" / f"{name}.mp4", folder / "out" / f"{name}.mp4") for name in names.split()]


def fake(tmp_path: Path, names: str, **options) -> prepare.Report:
    script = tmp_path / "worker.py"
    script.write_text(FAKE)
    return run(jobs_for(tmp_path, names), tmp_path / "out", command=[sys.executable, str(script)], **options)


def rows(folder: Path) -> list[list[str]]:
    with open(folder / "failed.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_real_files(tmp_path):
    for name in ("a", "b", "c"):
        make_video(tmp_path / "in" / f"{name}.mp4")
    (tmp_path / "in" / "b.mp4").write_text("not a video")
    report = run(jobs_for(tmp_path, "a b c"), tmp_path / "out", SMALL, workers=2)
    assert report.counts == {"encoded": 2, "failed": 1} and not report.stopped
    assert rows(tmp_path / "out")[0] == ["path", "cause"]
    assert [Path(path).name for path, _ in rows(tmp_path / "out")[1:]] == ["b.mp4"]
    assert "cannot be read as a video" in rows(tmp_path / "out")[1][1]
    make_video(tmp_path / "in" / "b.mp4")
    report = run(jobs_for(tmp_path, "a b c"), tmp_path / "out", SMALL, workers=2)
    assert report.counts == {"encoded": 1, "skipped": 2}
    assert sorted(os.listdir(tmp_path / "out")) == ["a.mp4", "b.mp4", "c.mp4"]  # no failures left to list


def test_verify_makes_what_is_wrong_again(tmp_path):
    for name in ("a", "b"):
        make_video(tmp_path / "in" / f"{name}.mp4")
    run(jobs_for(tmp_path, "a b"), tmp_path / "out", SMALL, workers=1)
    good = (tmp_path / "out" / "a.mp4").stat().st_mtime_ns
    (tmp_path / "out" / "b.mp4").write_bytes((tmp_path / "out" / "b.mp4").read_bytes()[:-500])
    report = run(jobs_for(tmp_path, "a b"), tmp_path / "out", SMALL, workers=1, verify=True)
    assert report.counts == {"kept": 1, "encoded": 1}
    assert (tmp_path / "out" / "a.mp4").stat().st_mtime_ns == good
    assert problem(tmp_path / "out" / "b.mp4", SMALL, 40) == ""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_crash_and_a_hang_cost_one_file_each(tmp_path, workers):
    report = fake(tmp_path, "a crash b hang c bad d", workers=workers, timeout=8)
    assert report.counts == {"encoded": 4, "failed": 3}
    assert sorted(path.name for path in (tmp_path / "out").glob("*.mp4")) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    causes = {Path(path).stem: cause for path, cause in rows(tmp_path / "out")[1:]}
    assert causes["bad"] == "it is bad."
    assert "SIGSEGV" in causes["crash"] and "the decoder gave up" in causes["crash"]
    assert "longer than 8 s" in causes["hang"]


def test_a_full_disk_stops_the_run(tmp_path):
    report = fake(tmp_path, "a full hang b", workers=1)
    assert report.stopped == f"Nothing more can be written to {tmp_path / 'out'}: No space left on device."
    assert not report.failed and report.counts["encoded"] == 1
    assert not (tmp_path / "out" / "b.mp4").exists()


def test_the_worker_tells_a_full_disk_from_a_bad_source(tmp_path, monkeypatch):
    from data_scripts import worker

    def fail(number):
        def transcode(*args):
            raise OSError(number, os.strerror(number))

        return transcode

    job = {"source": "a", "target": str(tmp_path / "b"), "kind": "video", "verify": False, "settings": {}}
    for number, status in ((28, "full"), (30, "full"), (5, "failed"), (13, "failed")):
        monkeypatch.setattr(worker, "transcode", fail(number))
        assert worker.work(job | {"start": None, "end": None}) == {"status": status, "cause": os.strerror(number) + "."}


def test_targets_are_checked(tmp_path):
    twice = [Job(tmp_path / "a.webm", tmp_path / "out" / "a.mp4"), Job(tmp_path / "a.mp4", tmp_path / "out" / "a.mp4")]
    with pytest.raises(ValueError, match=r"a.webm and .*a.mp4 would both become .*out.a.mp4"):
        run(twice, tmp_path / "out")
    with pytest.raises(ValueError, match="over itself"):
        run([Job(tmp_path / "a.mp4", tmp_path / "a.mp4")], tmp_path)


# A dataset's script without a dataset: every video of SOURCE, and a list of what is there at the end.
SCRIPT = """
import sys
from data_scripts.command import Plan, add_video_options, execute, make_parser
from data_scripts.prepare import Job

def plan(args):
    jobs = [Job(path, args.target / "videos" / path.name) for path in sorted(args.source.glob("*.mp4"))]
    def write():
        (args.target / "all.csv").write_text(str(len(jobs)))
        return ["all.csv"]
    return Plan(jobs, [f"{len(jobs)} videos"], write)

parser = make_parser("Any videos.", "any")
add_video_options(parser)
sys.exit(execute(parser, None, plan))
"""


def obey_ctrl_c() -> None:
    """Tests that run in the background ignore SIGINT, and so would the processes that they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_script(tmp_path: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "in"), str(tmp_path / "out"), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=obey_ctrl_c,
        start_new_session=True,
    )  # fmt: skip


def script(tmp_path: Path, *options: str) -> tuple[int, str, str]:
    process = start_script(tmp_path, *options)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def test_the_command_line(tmp_path):
    wrong = f"{tmp_path / 'in'} is not a folder; give the one that holds the download."
    assert script(tmp_path)[::2] == (1, f"python -m data_scripts.any: error: {wrong}\n")
    for name in "ab":
        make_video(tmp_path / "in" / f"{name}.mp4")
    (tmp_path / "in" / "c.mp4").write_text("not a video")
    code, output, _ = script(tmp_path, "--dry-run")
    assert code == 0 and "Would make 3 files (0 are there already)" in output
    assert f"{tmp_path / 'in' / 'a.mp4'} -> {tmp_path / 'out' / 'videos' / 'a.mp4'}" in output
    assert not (tmp_path / "out").exists()
    code, output, errors = script(tmp_path, "--short-side", "48", "--key-frames", "5")
    assert code == 1 and "2 encoded, 1 failed" in output and "failed.csv" in output and "Traceback" not in errors
    assert (tmp_path / "out" / "all.csv").exists()
    assert watch(tmp_path / "out" / "videos" / "a.mp4")[2] == (72, 48)
    assert problem(tmp_path / "out" / "videos" / "a.mp4", Settings(key_frames=5)) == ""
    (tmp_path / "in" / "c.mp4").unlink()
    assert script(tmp_path)[0] == 0
    assert script(tmp_path, "--short-side", "47")[2].count("\n") == 1
    assert script(tmp_path, "--limit", "0")[0] == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_run_goes_on(tmp_path, how):
    """Kill a run while files are being written; nothing half done counts, and the next run gives the same files."""
    names = [f"{letter}.mp4" for letter in "abcdefghijkl"]
    first = make_video(tmp_path / "in" / names[0], count=100, size=(320, 240), key_frames=100)
    for name in names[1:]:
        shutil.copy(first, tmp_path / "in" / name)
    options = ["--preset", "veryslow", "--workers", "2", "--short-side", "48"]
    videos = tmp_path / "out" / "videos"
    for _ in range(10):  # on a busy machine the signal may come when everything is done
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        process = start_script(tmp_path, *options)
        deadline = time.monotonic() + 60
        while not list(videos.glob("*.mp4")):
            assert time.monotonic() < deadline and process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the workers whose parent was killed
        done = {path.name: path.stat().st_mtime_ns for path in videos.glob("*.mp4")}
        if len(done) < len(names):
            break
    assert 0 < len(done) < len(names)
    assert all(problem(path, SMALL, 100) == "" for path in videos.glob("*.mp4"))
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "Stopped by Ctrl-C. The same command goes on from here." in errors and "Traceback" not in errors
        assert not list(videos.glob(".*"))
    assert not (tmp_path / "out" / "all.csv").exists()  # a list would look like the whole
    again = start_script(tmp_path, *options)
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert sorted(path.name for path in videos.iterdir()) == names
    assert all(watch(path)[0] == list(range(100)) for path in videos.iterdir())
    assert all((videos / name).stat().st_mtime_ns == stamp for name, stamp in done.items())
