"""The training loop: steps that equal steps written out, and runs that go on as if they had never stopped."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.video import mvit_v1_b

from mvit_edu import create_model, load_weights, to_native
from mvit_edu.data import Batch, ClipDataset, MotionShapes, VideoDataset, VideoList
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.evaluation import evaluate, get_protocol
from mvit_edu.training import (
    NonFiniteLoss,
    Objective,
    TrainConfig,
    TrainingStopped,
    TrainSampler,
    fit,
    get_recipe,
    make_optimizer,
    parameter_groups,
    read_state,
    train_step,
)
from mvit_edu.training.loop import compile_blocks
from mvit_edu.training.recipe import set_learning_rate
from tests.training.small import PER_EPOCH, RECIPE, STEPS, clips, rows, run, same_weights, small_config, small_model


class Stopping(ClipDataset):
    """Sends this process a signal when a clip has been asked for so often."""

    def __init__(self, pairs, after: int, number: int = signal.SIGTERM) -> None:
        super().__init__(pairs)
        self.left, self.number = after, number

    def __getitem__(self, key):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(key)


def batch_of(clip: torch.Tensor, labels: torch.Tensor) -> Batch:
    return Batch(clip, labels, torch.arange(len(clip)), 1, ())


def test_a_step_is_torchvision_s_step():
    """One step of AdamW on MViT-B, weights shared, equals the same step written out with torchvision's model."""
    torch.manual_seed(0)
    ours = create_model("mvit_b_16x4", drop_path=0.0, dropout=0.0)
    theirs = mvit_v1_b(dropout=0.0, stochastic_depth_prob=0.0)
    load_weights(ours, theirs.state_dict())
    clip, labels = torch.randn(1, 3, 16, 224, 224), torch.tensor([7])

    recipe = get_recipe("kinetics").changed(mixup=0.0, cutmix=0.0, repeats=1)
    decayed = {name for group in parameter_groups(ours, recipe) if group["weight_decay"] for name in group["names"]}
    native = dict(zip(theirs.state_dict(), to_native(theirs.state_dict()), strict=True))  # their names -> ours
    groups = [
        {"params": [p for n, p in theirs.named_parameters() if (native[n] in decayed) == wanted], "weight_decay": wd}
        for wanted, wd in ((True, 0.05), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999))
    theirs.train()
    loss = F.cross_entropy(theirs(clip), labels, label_smoothing=0.1)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    gradients = to_native({name: p.grad for name, p in theirs.named_parameters()})
    before = {name: value.clone() for name, value in to_native(theirs.state_dict()).items()}
    optimizer.step()

    ours.train()
    own = make_optimizer(ours, recipe)
    set_learning_rate(own, 1e-4)
    got_loss, got_norm = train_step(ours, own, Objective(recipe, 400), [batch_of(clip, labels)], clip_norm=1.0)
    assert got_loss == pytest.approx(loss.item(), abs=1e-5)
    assert got_norm == pytest.approx(norm.item(), rel=1e-5)
    after = to_native(theirs.state_dict())
    for name, parameter in ours.named_parameters():
        assert (parameter.grad - gradients[name]).abs().max() < 1e-5, name
        assert (parameter - after[name]).abs().max() < 3e-5, name  # AdamW enlarges the rounding of small gradients
    assert max((after[name] - before[name]).abs().max() for name in after) > 9e-5  # the step was taken


def test_accumulated_batches_are_one_batch():
    clip, labels = torch.randn(8, 3, 8, 16, 16), torch.arange(8)
    recipe = replace(RECIPE, mixup=0.0, cutmix=0.0, clip_norm=0.5)
    made = []
    for size in (8, 4, 2):
        model = small_model(drop_path=0.0, dropout=0.0)
        optimizer = make_optimizer(model, recipe)
        parts = [batch_of(*part) for part in zip(clip.split(size), labels.split(size), strict=True)]
        loss, norm = train_step(model, optimizer, Objective(recipe, 12), parts, recipe.clip_norm)
        made.append((loss, norm, {name: p.grad.clone() for name, p in model.named_parameters()}))
    for loss, norm, gradients in made[1:]:
        assert loss == pytest.approx(made[0][0], rel=1e-5) and norm == pytest.approx(made[0][1], rel=1e-4)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, made[0][2][name], rtol=1e-4, atol=1e-6)
    total = math.sqrt(sum(g.pow(2).sum().item() for g in made[0][2].values()))
    assert total == pytest.approx(0.5, rel=1e-4)  # clipped


def test_eight_clips_are_learned_by_heart(tmp_path):
    data = ClipDataset(MotionShapes(8))
    recipe = get_recipe("motion_shapes").changed(lr=3e-3, lr_clips=8, epochs=100, warmup_epochs=5, weight_decay=0.0)
    torch.manual_seed(0)
    model = create_model("mvit_tiny", dim=16, depths=(1, 1, 1, 1))
    fit(model, data, recipe, small_config(tmp_path, batch=8, validate_every=100), data)
    assert rows(tmp_path)[-2]["loss"] < 0.01
    assert evaluate(model, data).correct() == 8


def test_the_log_and_the_files_of_a_run(tmp_path):
    _, result = run(tmp_path)
    assert (result.step, result.steps) == (STEPS, STEPS)
    found = rows(tmp_path)
    assert [row["step"] for row in found if row["kind"] == "train"] == [2, 4, 6, 8, 10, 12, 14, 15]
    assert [row["step"] for row in found if row["kind"] == "validation"] == [5, 10, 15]
    assert all(row["videos"] == 12 and row["failed"] == 0 for row in found if row["kind"] == "validation")
    assert max(row["top1"] for row in found if "top1" in row) == result.best
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["best.pt", "step_00000010.pt", "step_00000015.pt"]
    best = read_state(tmp_path / "checkpoints" / "best.pt")
    first_best = next(row["step"] for row in found if row.get("top1") == result.best)
    assert best["progress"]["step"] == first_best and best["progress"]["best"] == result.best


def test_what_a_checkpoint_holds(tmp_path):
    model, result = run(tmp_path)
    state = read_state(result.checkpoint)  # weights_only
    assert set(state) == {
        "format", "model_state", "optimizer_state", "progress", "schedule", "sampler", "random", "settings", "versions"
    }  # fmt: skip
    assert state["sampler"] == {"seed": 0, "epoch": 3, "position": 0}
    assert state["schedule"]["steps"] == STEPS and state["schedule"]["steps_per_epoch"] == PER_EPOCH
    assert state["settings"]["recipe"]["mixup"] == 0.8 and state["settings"]["train"]["batch"] == 4
    assert state["settings"]["model"]["dim"] == 8 and state["settings"]["classes"][0] == "left"
    assert state["versions"]["torch"] == torch.__version__
    fresh = small_model(seed=5)
    load_weights(fresh, result.checkpoint)
    assert same_weights(fresh, model)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stops", [[7], [1, 10, 14]])
def test_going_on_changes_no_bit(tmp_path, workers, stops):
    whole, _ = run(tmp_path / "whole")
    for done, step in zip([0, *stops], stops, strict=False):
        model = small_model(seed=done)  # whatever a later part starts with is replaced
        data = Stopping(MotionShapes(20, size=16), 4 * (step - done))  # while the last batch is read
        with pytest.raises(TrainingStopped) as stop:
            run(tmp_path / "parts", model, data)
        assert (stop.value.code, stop.value.result.step) == (143, step)
    model, result = run(tmp_path / "parts", small_model(seed=9), workers=workers)
    assert result.step == STEPS and same_weights(model, whole)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    states = [read_state(tmp_path / name / "checkpoints" / f"step_{STEPS:08d}.pt") for name in ("whole", "parts")]
    flat = [torch.cat([t.flatten() for s in state["optimizer_state"]["state"].values() for t in s.values()])
            for state in states]  # fmt: skip
    assert torch.equal(*flat)


def test_the_folder_of_a_run_may_be_a_path(tmp_path):
    """A checkpoint holds it as text: `weights_only` loads no paths, and the run could never go on."""
    assert small_config(tmp_path).out == TrainConfig(tmp_path).out == str(tmp_path)


def test_another_seed_is_another_run(tmp_path):
    assert not same_weights(run(tmp_path / "a")[0], run(tmp_path / "b", seed=1)[0])


def test_repeated_copies_and_files(tmp_path):
    """From H.264 files with two augmented copies of each clip, with and without a stop and workers."""
    MotionShapes(10, size=16).write(tmp_path / "data")
    videos = VideoList.read(tmp_path / "data" / "train.csv")
    recipe = RECIPE.changed(repeats=2)
    transform = torch.nn.Sequential(get_protocol("whole").transform(16), Noise())
    data = VideoDataset(videos, ClipSpec(8, 1, fps=None), transform, repeats=2)
    held = get_protocol("whole").dataset(videos, ClipSpec(8, 1, fps=None), 16)
    finals = []
    for name, workers in (("a", 0), ("b", 2)):
        model = small_model()
        fit(model, data, recipe, small_config(tmp_path / name, batch=2, workers=workers), held, get_protocol("whole"))
        finals.append(model)
    assert same_weights(*finals)
    state = read_state(tmp_path / "a" / "checkpoints" / "best.pt")
    assert state["settings"]["spec"]["frames"] == 8
    with pytest.raises(ValueError, match="gives 2 copies of a clip, the recipe wants 1"):
        fit(small_model(), data, RECIPE, small_config(tmp_path / "c"))


class Noise(torch.nn.Module):
    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return clip + torch.randn(clip.shape)


@pytest.mark.parametrize(
    ("recipe", "config", "sentence"),
    [
        ({"lr": 0.5}, {}, "a run with lr=0.001, and this one has lr=0.5"),
        ({}, {"batch": 2}, "x processes\\)=4, and this one has .* x processes\\)=2"),
        ({}, {"seed": 3}, "a run with seed=0, and this one has seed=3"),
    ],
)
def test_other_settings_do_not_go_on(tmp_path, recipe, config, sentence):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match=sentence):
        run(tmp_path, recipe=RECIPE.changed(**recipe), **config)
    with pytest.raises(ValueError, match=r"a run with depths=\(1, 1\)"):
        run(tmp_path, small_model(depths=(1, 2)))
    with pytest.raises(ValueError, match="videos=20, and this one has videos=24"):
        run(tmp_path, train=clips(24))
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_what_may_change_when_going_on(tmp_path):
    with pytest.raises(TrainingStopped):
        run(tmp_path, train=Stopping(MotionShapes(20, size=16), 4 * 6, signal.SIGINT))
    _, result = run(tmp_path, keep=1, workers=1, log_every=5, save_minutes=0)
    assert result.step == STEPS
    assert sorted(p.name for p in (tmp_path / "checkpoints").glob("step*")) == ["step_00000015.pt"]


def test_a_finished_run_is_left_alone(tmp_path):
    run(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    _, result = run(tmp_path)
    assert (result.step, result.report) == (STEPS, None)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


class Broken(ClipDataset):
    """Clip 5 holds a value that is not a number."""

    def __getitem__(self, key):
        sample = super().__getitem__(key)
        return replace(sample, clip=sample.clip * math.nan) if sample.index == 5 else sample


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    order = TrainSampler(20, 4, STEPS, seed=0, labels=[index % 12 for index in range(20)])
    first = next(step for step in range(PER_EPOCH) if 5 in order.order(0)[4 * step : 4 * step + 4])
    model = small_model()
    with pytest.raises(NonFiniteLoss) as caught:
        run(tmp_path, model, Broken(MotionShapes(20, size=16)), save_minutes=0)
    text = str(caught.value)
    assert text.startswith(f"Step {first + 1} has loss nan") and "clip 5" in text
    assert all(f"clip {index}" in text for index in order.order(0)[4 * first : 4 * first + 4])
    assert text.count("clip ") >= 4 and "\n" not in text
    assert all(p.isfinite().all() for p in model.parameters())
    if first:
        assert f"step_{first:08d}.pt" in text
        state = read_state(tmp_path / "checkpoints" / f"step_{first:08d}.pt")
        assert all(torch.equal(state["model_state"][name], value) for name, value in model.state_dict().items())


def test_memory_savers_change_no_result(tmp_path):
    plain, _ = run(tmp_path / "plain")
    saved, _ = run(tmp_path / "saved", checkpoint_blocks=1)
    assert saved.checkpoint_blocks == 1
    for a, b in zip(plain.parameters(), saved.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_bf16_where_it_is_asked_for(tmp_path):
    seen = []
    model = small_model()
    model.blocks[0].mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    run(tmp_path, model, precision="bf16")
    assert set(seen) == {torch.bfloat16}
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(math.isfinite(row["loss"]) for row in rows(tmp_path) if row["kind"] == "train")


def test_blocks_are_compiled_on_request(tmp_path, monkeypatch):
    compiled = []
    model = small_model()
    monkeypatch.setattr(type(model.blocks[0]), "compile", lambda self, **options: compiled.append(self))
    run(tmp_path, model, compile=True)
    assert compiled == list(model.blocks)


class NoBlocks(torch.nn.Module):
    """What `fit` asks of a module, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 12)

    def forward(self, clips):
        return self.head(clips.mean(dim=(2, 3, 4)))


@pytest.mark.parametrize("change", [{"compile": True}, {"parallel": "fsdp"}, {"checkpoint_blocks": 1}])
def test_what_goes_block_by_block_needs_blocks(tmp_path, change):
    with pytest.raises(ValueError, match=r"this NoBlocks has no `(checkpoint_)?blocks`, so train it without"):
        run(tmp_path / "refused", NoBlocks(), **change)
    assert run(tmp_path / "plain", NoBlocks())[1].step == STEPS


def test_every_block_runs_compiled_whatever_its_rate(monkeypatch):
    """PyTorch keeps eight graphs of a function unless told otherwise, and runs the rest without one."""
    calls = []

    def backend(graph, inputs):
        return lambda *args: calls.append(graph) or graph(*args)

    model = small_model(depths=(2, 8))
    real = torch.nn.Module.compile
    monkeypatch.setattr(type(model.blocks[0]), "compile", lambda self, **more: real(self, backend=backend, **more))
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
    compile_blocks(model)
    clip = torch.randn(2, 3, 8, 16, 16)
    model(clip)
    assert len(calls) == len(model.blocks) == 10
    model.eval()(clip)
    model(clip[:1])
    assert len(calls) == 30


def test_several_labels(tmp_path):
    recipe = get_recipe("charades").changed(lr=0.1, epochs=1, clip_norm=None)
    pairs = [(torch.randn(3, 8, 16, 16), torch.tensor([float(i % 3 == c % 3) for c in range(12)])) for i in range(8)]
    _, result = run_pairs(tmp_path, pairs, recipe)
    assert 0 < result.best <= 1 and "map" in rows(tmp_path)[-1]
    with pytest.raises(ValueError, match="several labels a video, and the loss 'cross_entropy'"):
        run_pairs(tmp_path / "other", pairs, RECIPE.changed(spread_classes=False))
    with pytest.raises(ValueError, match="Not every video has one class"):
        run_pairs(tmp_path / "third", pairs, RECIPE)


def run_pairs(out, pairs, recipe):
    model = small_model()
    data = ClipDataset(pairs)
    return model, fit(model, data, recipe, small_config(out), data)


def test_classes_spread_over_an_epoch():
    labels = [0] * 60 + [1] * 30 + [2] * 10
    sampler = TrainSampler(100, 10, 20, seed=3, labels=labels)
    for epoch in range(2):
        order = sampler.order(epoch)
        assert sorted(order) == list(range(100))
        for begin in range(0, 100, 10):
            batch = [labels[index] for index in order[begin : begin + 10]]
            for label, share in ((0, 6), (1, 3), (2, 1)):
                assert abs(batch.count(label) - share) <= 2
    assert sampler.order(0) != sampler.order(1) == TrainSampler(100, 10, 20, seed=3, labels=labels).order(1)
    plain = TrainSampler(100, 10, 20, seed=3)
    counts = [sum(labels[i] == 0 for i in plain.order(0)[b : b + 10]) for b in range(0, 100, 10)]
    assert max(counts) - min(counts) > 4


def test_fit_spreads_the_classes_if_the_recipe_says_so(tmp_path):
    seen = []

    class Watching(ClipDataset):
        def __getitem__(self, key):
            seen.append(key[1] % 4)
            return super().__getitem__(key)

    data = MotionShapes(20, size=16, motions=("horizontal", "vertical"))
    model = small_model(num_classes=4)
    fit(model, Watching(data), RECIPE.changed(epochs=1), small_config(tmp_path))
    assert RECIPE.spread_classes and len(seen) == 20
    assert all(len(set(seen[begin : begin + 4])) >= 3 for begin in range(0, 20, 4))


def test_impossible_settings(tmp_path):
    for changes, sentence in (
        ({"batch": 0}, "batch=0 must be at least 1"),
        ({"workers": -1}, "workers=-1"),
        ({"precision": "fp8"}, "precision='fp8'"),
        ({"validate_every": 0}, "validate_every=0"),
        ({"max_failures": 2}, "max_failures=2"),
    ):
        with pytest.raises(ValueError, match=sentence):
            TrainConfig(str(tmp_path), **changes)
    with pytest.raises(ValueError, match="'tpu' cannot be used"):
        run(tmp_path, device="tpu")
    with pytest.raises(ValueError, match=r"20 videos, fewer than the 24 of one step"):
        run(tmp_path, batch=24)


def test_the_sampler():
    sampler = TrainSampler(11, 2, 7, accumulate=2, seed=4)
    keys = list(sampler)
    assert len(keys) == len(sampler) == 14 and sampler.steps_per_epoch == 2
    assert all(len(batch) == 2 for batch in keys)
    flat = [key for batch in keys for key in batch]
    for epoch in range(3):
        seen = [index for e, index in flat if e == epoch]
        assert len(set(seen)) == 8 and seen == sampler.order(epoch)[:8]
    assert sampler.order(0) != sampler.order(1) and sorted(sampler.order(1)) == list(range(11))
    assert TrainSampler(11, 2, 7, seed=5).order(0) != sampler.order(0)
    for first in range(8):
        assert list(TrainSampler(11, 2, 7, accumulate=2, first_step=first, seed=4)) == keys[2 * first :]
    assert sampler.position(5) == (2, 4)
    with pytest.raises(ValueError, match="3 labels for 11 videos"):
        TrainSampler(11, 2, 7, labels=[0, 1, 2])
    for arguments in ((11, 0, 7), (11, 2, -1), (3, 4, 7)):
        with pytest.raises(ValueError):
            TrainSampler(*arguments)
