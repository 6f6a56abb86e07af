"""Checkpoints: whole or not there, damaged ones passed over, random states put back."""

from __future__ import annotations

import errno
import os
import random
import resource

import numpy as np
import pytest
import torch

from mvit_edu.training import Checkpoints, read_state
from mvit_edu.training.state import FORMAT, random_states, restore_random_states, versions


def state_of(step: int) -> dict:
    return {"format": FORMAT, "settings": {}, "step": step, "weights": torch.full((5000,), float(step))}


def steps(checkpoints: Checkpoints) -> list[int]:
    return [int(path.stem[5:]) for path in checkpoints.files()]


def test_the_last_ones_and_the_best_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "b", keep=2)
    assert checkpoints.latest() is None
    for step in (2, 10, 100, 7):
        checkpoints.save(step, state_of(step), best=step == 2)
    assert steps(checkpoints) == [100, 10]
    assert read_state(checkpoints.best)["step"] == 2
    path, state, passed = checkpoints.latest()
    assert (path.name, state["step"], passed) == ("step_00000100.pt", 100, [])
    assert state["weights"].unique().tolist() == [100.0]


def test_leftovers_of_a_kill_are_removed_and_never_read(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(1))
    (tmp_path / "step_00000002.pt.tmp").write_bytes(b"half")
    (tmp_path / "step_3.pt.old").write_bytes(b"other")
    assert checkpoints.latest()[1]["step"] == 1
    checkpoints.save(3, state_of(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step_00000001.pt", "step_00000003.pt", "step_3.pt.old"]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "other"])
def test_a_damaged_newest_is_passed_over_with_a_sentence(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, state_of(step))
    newest = checkpoints.files()[0]
    data = bytearray(newest.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1  # in the weights: PyTorch alone would load it
    if damage == "other":
        torch.save({"weights": torch.zeros(2)}, newest)
    else:
        newest.write_bytes({"empty": b"", "cut": data[: len(data) // 3], "text": b"<html>"}.get(damage, data))
    path, state, passed = checkpoints.latest()
    assert state["step"] == 1 and path.name == "step_00000001.pt"
    assert len(passed) == 1 and str(newest) in passed[0] and "\n" not in passed[0]
    assert ("is no checkpoint" if damage == "other" else "is damaged") in passed[0]


def test_every_single_damage_is_noticed_or_harmless(tmp_path):
    path = Checkpoints(tmp_path).save(1, state_of(1))
    data, rng = path.read_bytes(), random.Random(0)
    for trial in range(400):
        if trial % 2:
            broken = bytearray(data)
            broken[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        else:
            broken = data[: rng.randrange(len(data))]
        path.write_bytes(broken)
        try:
            state = read_state(path)
        except ValueError:
            continue
        assert torch.equal(state["weights"], torch.ones(5000)) and state["step"] == 1


def test_the_best_is_the_last_resort(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, state_of(1), best=True)
    checkpoints.save(2, state_of(2))
    for path in checkpoints.files():
        path.write_bytes(b"")
    path, state, passed = checkpoints.latest()
    assert path == checkpoints.best and state["step"] == 1 and len(passed) == 2
    checkpoints.best.write_bytes(b"")
    with pytest.raises(ValueError, match="No checkpoint of this run can be read: .*damaged.*Start again"):
        checkpoints.latest()


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "owned"),)

    path = Checkpoints(tmp_path).save(1, state_of(1) | {"evil": Evil()})
    with pytest.raises(ValueError, match="damaged"):
        read_state(path)
    assert not (tmp_path / "owned").exists()


def test_a_full_disk_loses_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state_of(1), best=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the disk takes 4 kB of a file, and no more
    try:
        with pytest.raises(OSError) as caught:
            checkpoints.save(2, state_of(2), best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert "step 2 could not be written" in str(caught.value) and "step_00000001.pt" in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.pt", "step_00000001.pt"]
    assert checkpoints.latest()[1]["step"] == read_state(checkpoints.best)["step"] == 1


def test_a_file_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append("sync"), real_sync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("name"), real_replace(a, b)))
    Checkpoints(tmp_path).save(1, state_of(1))
    assert done == ["sync", "name", "sync"]  # the file, its name, the folder that holds the name


def test_random_states_come_back(tmp_path):
    def draw() -> tuple:
        return random.random(), np.random.rand(), torch.rand(()).item(), random.gauss(0, 1), np.random.randn()

    draw()
    path = Checkpoints(tmp_path).save(1, state_of(1) | {"random": random_states()})
    expected = [draw(), draw()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    restore_random_states(read_state(path)["random"])
    assert [draw(), draw()] == expected


def test_versions_and_settings():
    assert versions()["torch"] == torch.__version__ and {"av", "numpy", "python", "mvit_edu"} <= set(versions())
    with pytest.raises(ValueError, match="keep=0"):
        Checkpoints("x", keep=0)
