"""What happens to the others when one process is killed, raises, hangs, has no data, or is asked to stop."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import torch

from mvit_edu.distributed import Ranks
from mvit_edu.training import TrainSampler, read_state
from tests.distributed import job as program
from tests.distributed.launch import job
from tests.training.small import RECIPE, clips, rows

# Seconds, on a busy machine. Without our words for it, the others would wait the ten minutes of their time limit.
PATIENCE = 200


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
    assert code == 1 and time.monotonic() - began < PATIENCE
    assert re.search(r"Root Cause.*rank +: 1 .*exitcode +: -9", text, re.S), text


def test_a_loader_that_raises_ends_the_job_with_its_own_traceback(tmp_path):
    began = time.monotonic()
    code, text = job(2, "raises", tmp_path / "run")
    assert code == 1 and time.monotonic() - began < PATIENCE
    cause = text.partition("Root Cause")[2]
    assert re.search(r"rank +: 1 ", cause) and "VideoError: clip 7 of rank 1 is made of cheese" in cause, text
    assert "job.py" in cause  # the traceback leads to the line


def test_a_hung_process_is_named_within_the_time_limit(tmp_path):
    began = time.monotonic()
    code, text = job(2, "hangs", tmp_path / "run")
    assert code == 1 and time.monotonic() - began < PATIENCE
    assert "LostProcess: Rank 1 did not answer within 15 s" in text.partition("Root Cause")[2], text


def test_too_many_unreadable_videos_of_one_process_are_told_by_it(tmp_path):
    """Also where the name of a video looks like that of a network library."""
    code, text = job(2, "unreadable", tmp_path / "run")
    cause = text.partition("Root Cause")[2]
    assert code == 1 and re.search(r"rank +: 1 ", cause) and "LostProcess" not in cause, text
    assert re.search(r"RuntimeError: \d+ of \d+ videos .*for example igloo.mp4: broken", cause), text


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_a_loss_that_is_not_finite_on_one_process_ends_all_with_its_clips(tmp_path, parallel):
    code, text = job(2, "infinite", tmp_path / "run", parallel)
    cause = text.partition("Root Cause")[2]
    assert code == 1 and "NonFiniteLoss: Step 3 has loss " in cause and "LostProcess" not in text, text
    data = clips(20)
    labels = data.labels if RECIPE.spread_classes else None
    share = list(TrainSampler(20, 2, 3, accumulate=2, labels=labels, ranks=Ranks(1, 2)))
    wanted = [data.name(index) for batch in share[-2:] for _, index in batch]
    names, left = re.search(r"Its clips on rank 1: (.*?)\. (The last good checkpoint is .*?)\. Look", cause).groups()
    assert names.split(", ") == wanted and left.endswith("step_00000002.pt")
    assert sorted(re.findall(r"rank (\d) stops: NonFiniteLoss, its clips are (.*)", text)) == [
        (str(rank), ", ".join(wanted)) for rank in range(2)
    ]


def test_a_process_without_data_ends_the_job(tmp_path):
    code, text = job(2, "empty", tmp_path / "run")
    assert code == 1 and "ValueError: There are no clips." in text.partition("Root Cause")[2], text


def test_an_evaluation_of_other_data_is_told(tmp_path):
    code, text = job(2, "unequal_videos", tmp_path / "run")
    assert code == 1 and "the same videos to evaluate: rank 0 has videos=11, rank 1 has videos=10" in text, text


def test_processes_with_other_data_are_told(tmp_path):
    code, text = job(2, "unequal", tmp_path / "run")
    assert code == 1 and "rank 0 has videos=20, rank 1 has videos=19" in text, text


@pytest.mark.parametrize(
    "job_name, name, one, other", [("other_steps", "batch", 1, 2), ("other_ends", "validation", True, False)]
)
def test_processes_with_other_settings_are_told(tmp_path, job_name, name, one, other):
    code, text = job(2, job_name, tmp_path / "x")
    assert code == 1 and f"rank 0 has {name}={one}, rank 1 has {name}={other}" in text, text


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
