"""What happens to the others when one process is killed, raises, hangs, has no data, or is asked to stop."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch

from mvit_edu.training import read_state
from tests.distributed import job as program
from tests.distributed.launch import job
from tests.training.small import rows

pytestmark = pytest.mark.xdist_group("faults")  # one worker: they share what was started


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_state(max((folder / "checkpoints").glob("step_*.pt")))["model_state"]


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    code, text = job(2, "training", out)
    assert code == 0, text
    return out


def test_a_killed_process_and_torchrun_starts_all_again(undisturbed, tmp_path):
    code, text = job(2, "killed", tmp_path / "run", options=("--max-restarts=1",))
    assert code == 0, text
    assert "Signal 9 (SIGKILL)" in text or "exitcode: -9" in text
    assert equal(tmp_path / "run", undisturbed)
    assert rows(tmp_path / "run") == rows(undisturbed)


def test_without_restarts_a_killed_process_ends_the_job(tmp_path):
    began = time.monotonic()
    code, text = job(2, "killed", tmp_path / "run")
    assert code == 1 and time.monotonic() - began < 60
    assert re.search(r"Root Cause.*rank +: 1 .*exitcode +: -9", text, re.S), text


def test_a_loader_that_raises_ends_the_job_with_its_own_traceback(tmp_path):
    began = time.monotonic()
    code, text = job(2, "raises", tmp_path / "run")
    assert code == 1 and time.monotonic() - began < 60
    cause = text.partition("Root Cause")[2]
    assert re.search(r"rank +: 1 ", cause) and "VideoError: clip 7 of rank 1 is made of cheese" in cause, text
    assert "job.py" in cause  # the traceback leads to the line


def test_a_hung_process_is_named_within_the_time_limit(tmp_path):
    began = time.monotonic()
    code, text = job(2, "hangs", tmp_path / "run")
    assert code == 1 and time.monotonic() - began < 90  # 5 s, the roll call, and half a minute of torchrun's patience
    assert "LostProcess: Rank 1 did not answer within 4.8 s" in text.partition("Root Cause")[2], text


def test_a_process_without_data_ends_the_job(tmp_path):
    code, text = job(2, "empty", tmp_path / "run")
    assert code == 1 and "ValueError: There are no clips." in text.partition("Root Cause")[2], text


def test_processes_with_other_data_are_told(tmp_path):
    code, text = job(2, "unequal", tmp_path / "run")
    assert code == 1 and "rank 0 has videos=20, rank 1 has videos=19" in text, text


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_one_process_is_told_to_stop_and_all_save_and_go_on_alone(undisturbed, tmp_path, parallel):
    """Stopped on two processes, gone on with one, which computes the same batches one after the other."""
    code, text = job(2, "stopped", tmp_path / "run", parallel)
    assert code != 0 and "exitcode  : 143" in text, text
    assert max((tmp_path / "run" / "checkpoints").glob("step_*.pt")).name in ("step_00000004.pt", "step_00000005.pt")
    program.training(tmp_path / "run", batch=2, accumulate=1)
    one, two = weights(tmp_path / "run"), weights(undisturbed)
    assert max((one[name] - two[name]).abs().max().item() for name in one) <= 2e-5
    assert [row["step"] for row in rows(tmp_path / "run")] == [row["step"] for row in rows(undisturbed)]
