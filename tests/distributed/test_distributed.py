"""What the functions of `mvit_edu.distributed` do in one process, and what they make of the variables of `torchrun`."""

from __future__ import annotations

import pytest
import torch

from mvit_edu import distributed
from mvit_edu.distributed import (
    ALONE,
    Ranks,
    check_same,
    current,
    from_first,
    gather,
    largest,
    launched,
    launched_ranks,
    mean_over_ranks,
    process_group,
    shard,
)
from mvit_edu.training import Checkpoints, TrainConfig, session
from mvit_edu.training.device import pick_device
from tests.training.small import RECIPE, run, same_weights

VARIABLES = {"RANK": 5, "WORLD_SIZE": 8, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 4, "MASTER_ADDR": "a", "MASTER_PORT": 1}


@pytest.fixture
def torchrun(monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, str(value))


def test_alone_nothing_is_shared():
    with process_group("cpu") as ranks:
        assert ranks == current() == launched_ranks() == ALONE == Ranks(0, 1, 0, 1)
    assert ranks.first and not launched()
    value = torch.tensor([1.0, 2.0])
    assert mean_over_ranks(value) is value
    assert gather("a") == ["a"] and from_first("a") == "a" and largest(3, 1) == [3, 1]
    assert list(shard(3)) == [0, 1, 2]
    check_same({"a": 1}, "settings")


def test_the_variables_of_torchrun(torchrun):
    assert launched() and launched_ranks() == Ranks(5, 8, 1, 4) and not launched_ranks().first
    assert current() == ALONE  # they have not met yet


def test_each_process_has_its_own_gpu(torchrun, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"has 1 GPUs and 4 processes; start one for each GPU \(--nproc-per-node\)"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ValueError, match="'cuda:1' cannot be used"):  # there is none here, but this one was asked for
        pick_device("cuda")
    with pytest.raises(ValueError, match="4 processes of this host cannot share the device 'cuda:2'; give cuda"):
        pick_device("cuda:2")


def test_a_single_process_of_torchrun_has_a_gpu_with_a_number(torchrun, monkeypatch):
    """`torch.cuda.set_device` and NCCL take no "cuda" without one."""
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch, "empty", lambda *size, device: None)
    assert pick_device("cuda") == torch.device("cuda:0")
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(distributed, "_store_of_this_start", lambda timeout: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, device_id, **__: taken.append(device_id))
    monkeypatch.setattr(torch.distributed, "new_group", lambda **_: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: None)
    with process_group("cuda"):
        assert taken == [torch.device("cuda:0")] * 2


def test_a_group_of_the_program_itself_must_reach_the_cpu(monkeypatch):
    monkeypatch.setattr(distributed, "current", lambda: Ranks(1, 2))
    monkeypatch.setattr(torch.distributed, "get_backend_config", lambda: "cuda:nccl")
    with (
        pytest.raises(ValueError, match=r"for GPUs only \(cuda:nccl\); make it by init_process_group"),
        process_group(),
    ):
        pass
    monkeypatch.setattr(torch.distributed, "get_backend_config", lambda: "cpu:gloo,cuda:nccl")
    with process_group() as ranks:
        assert ranks == Ranks(1, 2)


def test_other_settings_are_told_on_every_process(monkeypatch):
    monkeypatch.setattr(distributed, "gather", lambda value: [{"lr": 1, "videos": 4}, {"lr": 1, "videos": 5}])
    with pytest.raises(ValueError, match="same settings: rank 0 has videos=4, rank 1 has videos=5; give all hosts"):
        check_same({"lr": 1, "videos": 4}, "settings")


def test_a_folder_that_the_hosts_do_not_share(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "gather", lambda value: [value, 600])
    with pytest.raises(ValueError, match="Rank 1 has a checkpoint of step 600 .* and rank 0 has not; give --out"):
        session.newest(Checkpoints(tmp_path))


@pytest.mark.parametrize(("size", "accumulate"), [(1, 8), (2, 4), (4, 2), (8, 1), (3, 1), (16, 1)])
def test_a_step_keeps_its_videos_when_processes_come_or_go(monkeypatch, size, accumulate):
    """16 videos a step so far; where the batches cannot make 16, nothing changes, and `resume` refuses."""
    monkeypatch.setattr(session, "current", lambda: Ranks(0, size))
    settings = {"train": {"batch": 2, "accumulate": 2}, "processes": 4}
    config = session.same_step(TrainConfig("run", batch=2), settings)
    assert config.accumulate == (accumulate if size != 4 else 1)  # the same number: as the user says


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[Rank 0]: Ranks 1, 3 failed to pass monitoredBarrier in 10000 ms", "Rank 1, 3 did not answer within 30 s"),
        ("Rank 2 successfully reached monitoredBarrier, but ... rank 0", "rank 0 says to which"),
        ("[gloo/pair.cc:561] Connection closed by peer [127.0.0.1]:1", "the message of that one says why"),
        ("", "All 4 processes answer, but one was slower than 30 s"),
    ],
)
def test_who_is_lost(monkeypatch, text, told):
    def barrier(*args, **kwargs):
        if text:
            raise RuntimeError(text)

    monkeypatch.setattr(torch.distributed, "monitored_barrier", barrier)
    rank = 2 if "Rank 2" in text else 0
    assert told in distributed._who_is_lost(Ranks(rank, 4), None, 0.5)


def test_only_errors_of_the_network_are_lost_processes():
    told = distributed._of_the_network
    assert told(RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"))
    assert told(torch.distributed.DistBackendError("NCCL error in: ...")) and told(torch.distributed.DistError("x"))
    assert told(RuntimeError("[1] is setting up NCCL communicator")) and told(RuntimeError("ncclInternalError: x"))
    assert not told(RuntimeError("3 of 60 videos drawn could not be read; for example igloo.mp4"))
    assert not told(RuntimeError("the disk timed out")) and not told(RuntimeError("Connection refused by video.mp4"))


def test_an_optimizer_that_keeps_nothing_goes_on(tmp_path):
    plain = RECIPE.changed(optimizer="sgd", momentum=0.0, epochs=1)
    whole, _ = run(tmp_path, recipe=plain, save_minutes=0.0)
    for path in (tmp_path / "checkpoints" / "step_00000005.pt", tmp_path / "checkpoints" / "best.pt"):
        path.unlink()
    again, result = run(tmp_path, recipe=plain, save_minutes=0.0)
    assert result.step == 5 and same_weights(whole, again)
