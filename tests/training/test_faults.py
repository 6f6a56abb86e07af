"""Runs that are killed, told to stop, or run out of disk: what is on the disk afterwards, and how they go on."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest
import torch

from mvit_edu.training import Checkpoints, TrainingStopped, read_state
from tests.training.small import STEPS, clips, rows, run, same_weights, small_model

fork = multiprocessing.get_context("fork")


class Slow(type(clips())):
    """Clips that take some time, so that a signal meets the run in the middle.

    After `last` of them it waits for the file `go`, so that the run cannot end while the test is held up.
    """

    def __init__(self, pairs, last: int, go: Path) -> None:
        super().__init__(pairs)
        self.last, self.go, self.asked = last, go, 0

    def __getitem__(self, key):
        time.sleep(0.004)
        while self.asked >= self.last and not self.go.exists():
            time.sleep(0.002)
        self.asked += 1
        return super().__getitem__(key)


def train(out: Path, seed: int, changes: dict) -> None:
    """The body of a process that trains; its exit code is 9 if the disk was full, otherwise that of a program."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    torch.set_num_threads(1)
    limit, last = changes.pop("file_size", None), changes.pop("last", 1000)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        run(out, small_model(seed), Slow(clips().pairs, last, out / "go"), **changes)
    except TrainingStopped as stop:
        os._exit(stop.code)
    except OSError as error:
        (out / "error.txt").write_text(str(error)[:4000])
        os._exit(9)
    os._exit(0)


def start(out: Path, seed: int = 0, **changes) -> multiprocessing.Process:
    out.mkdir(exist_ok=True)
    process = fork.Process(target=train, args=(out, seed, {"save_minutes": 0, **changes}))
    process.start()
    return process


def wait_for(condition, process: multiprocessing.Process, seconds: float = 60) -> bool:
    """Whether the condition came true while the process lived."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        if not process.is_alive():
            return condition()
        time.sleep(0.002)
    raise AssertionError("nothing happened")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole")
    model, _ = run(out, small_model(0), save_minutes=0)
    return model, rows(out)


def final(out: Path) -> torch.nn.Module:
    model = small_model(1)
    model.load_state_dict(read_state(Checkpoints(out / "checkpoints").files()[0])["model_state"])
    return model


@pytest.mark.parametrize("trial", range(3))
def test_killed_at_random_moments(tmp_path, whole, trial):
    """SIGKILL gives no time for anything; every start goes on from the newest whole checkpoint."""
    rng = random.Random(trial)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for kill in range(4):
        before = checkpoints.files()[:1]
        # Three steps at most of the fifteen; weights to start with do not matter later.
        process = start(tmp_path, seed=kill if before else 0, last=3 * 4 + 1)
        assert wait_for(lambda before=before: checkpoints.files()[:1] != before, process)
        time.sleep(rng.random() * 0.03)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert checkpoints.latest()[2] == []  # whatever has its name is whole
    process = start(tmp_path, seed=9)
    process.join(60)
    assert process.exitcode == 0
    model, log = whole
    assert same_weights(final(tmp_path), model)
    assert rows(tmp_path) == log


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("workers", [0, 1])
def test_asked_to_stop(tmp_path, whole, number, code, workers):
    """SIGTERM and Ctrl-C save; nothing at all is lost."""
    process = start(tmp_path, save_minutes=60, workers=workers, last=6 * 4)
    log = tmp_path / "metrics.jsonl"
    assert wait_for(lambda: log.exists() and log.stat().st_size > 0, process)
    os.kill(process.pid, number)
    (tmp_path / "go").touch()
    process.join(60)
    assert process.exitcode == code
    newest = Checkpoints(tmp_path / "checkpoints").files()[0]
    done = read_state(newest)["progress"]["step"]
    assert 2 <= done < STEPS and newest.name == f"step_{done:08d}.pt"
    process = start(tmp_path, seed=5)
    process.join(60)
    assert process.exitcode == 0
    assert same_weights(final(tmp_path), whole[0]) and rows(tmp_path) == whole[1]


def test_a_truncated_newest_checkpoint(tmp_path, whole, capsys):
    process = start(tmp_path, keep=3)
    wait_for(lambda: len(Checkpoints(tmp_path / "checkpoints").files()) == 3, process)
    process.kill()
    process.join()
    newest, older = Checkpoints(tmp_path / "checkpoints").files()[:2]
    with newest.open("r+b") as file:
        file.truncate(newest.stat().st_size // 2)
    model, result = run(tmp_path, small_model(3), save_minutes=0, progress=True)
    said = "".join(capsys.readouterr())
    assert f"{newest} is damaged" in said and f"Going on from {older}:" in said
    assert result.step == STEPS and same_weights(model, whole[0]) and rows(tmp_path) == whole[1]


def test_a_full_disk_in_the_middle_of_a_run(tmp_path, whole):
    process = start(tmp_path, last=3 * 4 + 1)
    wait_for(lambda: bool(Checkpoints(tmp_path / "checkpoints").files()), process)
    process.kill()
    process.join()
    last = Checkpoints(tmp_path / "checkpoints").files()[0]
    process = start(tmp_path, file_size=20_000)
    process.join(60)
    assert process.exitcode == 9
    said = (tmp_path / "error.txt").read_text()
    assert "could not be written" in said and str(last) in said and "Make room" in said
    assert Checkpoints(tmp_path / "checkpoints").files()[0] == last
    model, _ = run(tmp_path, small_model(3), save_minutes=0)
    assert same_weights(model, whole[0]) and rows(tmp_path) == whole[1]
