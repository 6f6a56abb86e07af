"""Two hosts in network namespaces: they train as one machine does, and notice when the cable between them is cut."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from mvit_edu.training import read_state
from tests.distributed.launch import ROOT, environment, launch
from tests.distributed.two_hosts import EPOCHS, PATIENCE, SELF, missing
from tests.training.small import rows

SECONDS = 2 * PATIENCE + 30
WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=f"two hosts cannot be made here: {WHY_NOT}")


def start(*words: object) -> subprocess.Popen:
    words = [*SELF, *map(str, words)]
    return subprocess.Popen(words, env=environment(), cwd=ROOT, stdout=-1, stderr=-2, text=True, start_new_session=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=SECONDS)
    finally:
        process.kill()  # it takes everything along that it started
    return process.returncode, text


def left_behind(out: Path) -> list[str]:
    """The command lines of processes that know the folder of the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_text(errors="replace")
        except OSError:  # it has ended
            continue
        if str(out) in text:
            found.append(text.replace("\0", " "))
    return found


def weights(out: Path) -> dict[str, torch.Tensor]:
    return read_state(max((out / "checkpoints").glob("step_*.pt")))["model_state"]


def test_they_train_as_two_processes_of_one_host(tmp_path):
    code, text = finish(start(tmp_path / "two"))
    assert code == 0, text
    assert "first: exit code 0" in text and "second: exit code 0" in text
    code, text = launch(2, SELF[-1], tmp_path / "one", "--train", EPOCHS)
    assert code == 0, text
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert rows(tmp_path / "one") == rows(tmp_path / "two")
    assert not left_behind(tmp_path)


def test_one_is_cut_off_and_the_other_says_so(tmp_path):
    code, text = finish(start(tmp_path / "cut", "--cut"))
    assert code == 0, text
    cause = text.partition("Root Cause")[2]
    assert "first | " in cause and "LostProcess: Rank 1 did not answer within 15 s" in cause, text
    assert "cable | first: exit code 1" in text
    second = [line for line in text.splitlines() if line.startswith("second | ")]
    assert any("LostProcess: The connection to another process was lost (time limit 15 s)" in line for line in second)
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind_when_it_is_stopped(tmp_path, number):
    process = start(tmp_path / "stopped", "--cut")
    until = time.monotonic() + SECONDS
    while sum("torch.distributed.run" in line for line in left_behind(tmp_path)) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.kill()
    code, text = finish(process)
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL), text
    until = time.monotonic() + 10
    while left_behind(tmp_path) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left_behind(tmp_path)
