"""Several processes compute what one computes: gradients, a step, a training, a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mvit_edu.distributed import Ranks, shard
from mvit_edu.training import TrainSampler, read_state
from tests.distributed import job as program
from tests.distributed.launch import job
from tests.training.small import RECIPE, rows

SIZES = (2, 4)
PARALLEL = ("ddp", "fsdp")
# The same vector added to all keys changes no attention: this gradient is rounding, and AdamW makes whole steps of it.
RESTLESS = ("blocks.0.attn.pool_k.norm.bias", "blocks.1.attn.pool_k.norm.bias")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> dict[int, Path]:
    """What one process, two, three and four made of the same data."""
    folder = tmp_path_factory.mktemp("sizes")
    for size in (2, 3, 4):
        code, text = job(size, "correct", folder / str(size))
        assert code == 0, text
    alone = folder / "1"
    alone.mkdir()
    for parallel in PARALLEL:
        for optimizer in program.OPTIMIZERS:
            program.gradients(alone / f"{optimizer}_{parallel}.pt", parallel, optimizer)
        program.scores(alone / f"scores_{parallel}.json", parallel)
        program.training(alone / f"training_{parallel}", parallel=parallel)
    return {size: folder / str(size) for size in (1, 2, 3, 4)}


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys() and len(one) > 30
    return max((one[name] - other[name]).abs().max().item() for name in one)


def step(done: dict[int, Path], size: int, optimizer: str, parallel: str) -> dict:
    return torch.load(done[size] / f"{optimizer}_{parallel}.pt")


def differences(one: dict, other: dict) -> dict[str, float]:
    """Of the weights after a step, the largest of each parameter."""
    return {name: (one["weights"][name] - other["weights"][name]).abs().max().item() for name in one["weights"]}


@pytest.mark.parametrize("optimizer", program.OPTIMIZERS)
@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize("size", SIZES)
def test_gradients_and_a_step_are_those_of_one_process(done, size, parallel, optimizer):
    one, many = (step(done, n, optimizer, parallel) for n in (1, size))
    assert max(tensor.abs().max() for tensor in one["gradients"].values()) > 0.01
    assert farthest(one["gradients"], many["gradients"]) <= 1e-6
    found = differences(one, many)
    if optimizer == "adamw":
        for name in RESTLESS:
            assert many["gradients"][name].abs().max() < 1e-7 and found.pop(name) <= 2 * RECIPE.lr
    assert max(found.values()) <= 1e-6
    assert many["loss"] == pytest.approx(one["loss"], abs=1e-6)
    assert many["norm"] == pytest.approx(one["norm"], abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_shards_are_as_good_as_copies(done, size):
    copies, shards = (step(done, size, "sgd", parallel) for parallel in PARALLEL)
    assert farthest(copies["gradients"], shards["gradients"]) <= 1e-6
    assert farthest(copies["weights"], shards["weights"]) <= 1e-6


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_state(max((folder / "checkpoints").glob("step_*.pt")))["model_state"]


@pytest.mark.parametrize("parallel", PARALLEL)
def test_two_processes_train_as_one_that_accumulates(done, parallel):
    """Mixing, dropped paths and dropout included: the draws belong to a batch, not to the process that computes it."""
    one, two = (done[size] / f"training_{parallel}" for size in (1, 2))
    assert farthest(weights(one), weights(two)) <= 2e-5  # after six steps of AdamW
    for mine, theirs in zip(rows(one), rows(two), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("size", (1, *SIZES))
def test_copies_and_shards_end_the_same(done, size):
    copies, shards = (done[size] / f"training_{parallel}" for parallel in PARALLEL)
    assert farthest(weights(copies), weights(shards)) <= 2e-5


@pytest.fixture(scope="module")
def savings(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("savings")
    code, text = job(2, "savings", out)
    assert code == 0, text
    return out


@pytest.mark.parametrize("parallel", PARALLEL)
def test_what_saves_memory_or_time_changes_nothing_else(savings, parallel):
    """Blocks computed again, compiled blocks (their graphs, run by PyTorch), and bf16, on two processes."""
    plain = savings / f"plain_{parallel}"
    for name in ("checkpointed", "compiled"):
        assert farthest(weights(plain), weights(savings / f"{name}_{parallel}")) <= 2e-5
    losses = [
        [row["loss"] for row in rows(savings / f"{name}_{parallel}") if "loss" in row] for name in ("plain", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=0.02) and losses[0] != losses[1]


def seen(folder: Path) -> dict[str, list[list]]:
    """The clips that each process asked for, and how it mixed its batches."""
    return json.loads((folder / "seen.json").read_text())


@pytest.mark.parametrize("size", (1, *SIZES))
def test_each_video_is_seen_once_an_epoch(done, size):
    of_each = seen(done[size] / "training_ddp")["keys"]
    assert len(of_each) == size
    keys = [tuple(key) for keys in of_each for key in keys]
    assert len(set(keys)) == len(keys) == 48  # three epochs of two steps of eight videos
    alone = seen(done[1] / "training_ddp")["keys"][0]
    assert set(keys) == {tuple(key) for key in alone}


@pytest.mark.parametrize("size", SIZES)
def test_processes_draw_different_augmentations(done, size):
    of_each = seen(done[size] / "training_ddp")["draws"]
    draws = [json.dumps(draw) for of_one in of_each for draw in of_one]  # the share that is kept, and the box
    assert len(of_each) == size and len(draws) == 6 * 8 // program.STEP_BATCH[size]
    assert len(set(draws)) >= 0.95 * len(draws)  # two boxes in clips of 16 pixels may be the same by chance
    if program.STEP_BATCH[size] == program.STEP_BATCH[1]:  # the same batches: one process alone draws all of these
        alone = seen(done[1] / "training_ddp")["draws"][0]
        assert {json.dumps(draw) for draw in alone} == set(draws)


@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize("size", (2, 3, 4))
def test_reports_are_the_same_for_every_number_of_processes(done, size, parallel):
    alone = json.loads((done[1] / f"scores_{parallel}.json").read_text())[0]
    everyone = json.loads((done[size] / f"scores_{parallel}.json").read_text())
    assert len(everyone) == size
    counts = ("correct", "top5", "videos", "failed", "index")
    for report in everyone:
        assert {name: report[name] for name in counts} == {name: alone[name] for name in counts}
        assert torch.tensor(report["scores"]).allclose(torch.tensor(alone["scores"]), atol=1e-6)
    assert (alone["videos"], alone["failed"]) == (10, 1)


@pytest.mark.parametrize("length", (0, 1, 5, 8, 499))
@pytest.mark.parametrize("size", (1, 2, 3, 8))
def test_shards_hold_every_place_once(length, size):
    shards = [shard(length, Ranks(rank, size)) for rank in range(size)]
    assert sorted(place for one in shards for place in one) == list(range(length))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(("size", "batch", "accumulate"), [(1, 2, 4), (2, 2, 2), (4, 2, 1), (8, 1, 1), (2, 1, 4)])
def test_a_step_has_the_same_videos_however_it_is_shared(size, batch, accumulate):
    plain = list(TrainSampler(30, 8, 7, seed=3))
    samplers = [
        TrainSampler(30, batch, 7, accumulate=accumulate, seed=3, ranks=Ranks(rank, size)) for rank in range(size)
    ]
    shares = [list(sampler) for sampler in samplers]
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers] == [7 * accumulate] * size
    for step, wanted in enumerate(plain):
        turns = {turn: share[step * accumulate + i] for s, share in zip(samplers, shares, strict=True)
                 for i, turn in enumerate(s.turns())}  # fmt: skip
        assert [key for turn in sorted(turns) for key in turns[turn]] == wanted


def test_too_few_videos_are_told_with_the_processes():
    with pytest.raises(ValueError, match=r"7 videos, fewer than the 8 of one step \(batch=2 x accumulate=1 x 4 proc"):
        TrainSampler(7, 2, 1, ranks=Ranks(1, 4))
