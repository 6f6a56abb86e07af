"""Learning rates, parameter groups and the recipes of the paper, against values worked out by hand."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from mvit_edu import create_model
from mvit_edu.data import recipe_transforms
from mvit_edu.evaluation import get_protocol
from mvit_edu.training import RECIPES, Recipe, get_recipe, learning_rate, make_optimizer, parameter_groups
from mvit_edu.training.recipe import set_learning_rate

PLAIN = Recipe("plain", lr=1.0, start_lr=0.1, end_lr=0.2, lr_clips=8, epochs=10, warmup_epochs=2)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 0.1), (1, 0.55), (2, 1.0), (6, 0.6), (10, 0.2), (99, 0.2), (4, 0.2 + 0.8 * (1 + math.cos(math.pi / 4)) / 2)],
)
def test_rate_of_the_released_code(epoch, rate):
    assert learning_rate(PLAIN, epoch, 8) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (0, 0.1),
        (2, 0.2 + 0.8 * (1 + math.cos(0.2 * math.pi)) / 2),
        (1, (0.1 + 0.2 + 0.8 * (1 + math.cos(0.2 * math.pi)) / 2) / 2),
        (5, 0.6),
        (10, 0.2),
    ],
)
def test_rate_of_the_paper(epoch, rate):
    recipe = replace(PLAIN, cosine_after_warmup=False)
    assert learning_rate(recipe, epoch, 8) == pytest.approx(rate, rel=1e-12)


def test_rate_grows_with_the_clips_of_a_step():
    for epoch in (0, 1.3, 5, 10):
        assert learning_rate(PLAIN, epoch, 24) == pytest.approx(3 * learning_rate(PLAIN, epoch, 8))


def test_rate_is_torch_s_cosine():
    recipe = replace(PLAIN, warmup_epochs=0)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    schedule = CosineAnnealingLR(optimizer, T_max=50, eta_min=recipe.end_lr)
    for step in range(50):
        assert learning_rate(recipe, step * recipe.epochs / 50, 8) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_warm_up_as_long_as_the_training():
    recipe = replace(PLAIN, warmup_epochs=10)
    assert learning_rate(recipe, 5, 8) == pytest.approx(0.55)
    assert learning_rate(recipe, 10, 8) == pytest.approx(1.0)


def test_kinetics_at_the_paper_s_512_clips():
    kinetics = get_recipe("kinetics")
    assert learning_rate(kinetics, 0, 512) == pytest.approx(1.6e-5)
    assert learning_rate(kinetics, 30, 512) == pytest.approx(1.6e-3)
    assert learning_rate(kinetics, 200, 512) == pytest.approx(1.6e-5)
    assert learning_rate(kinetics, 30, 16) == pytest.approx(5e-5)  # 8 videos, two copies of each
    assert learning_rate(kinetics, 115, 512) == pytest.approx((1.6e-3 + 1.6e-5) / 2)  # half of the cosine


def test_no_clips_is_refused():
    with pytest.raises(ValueError, match="clips_per_step=0"):
        learning_rate(PLAIN, 0, 0)


@pytest.fixture(scope="module")
def model():
    return create_model("mvit_tiny")


def groups_by_name(groups):
    return {name: group for group in groups for name in group["names"]}


def test_every_parameter_is_in_one_group(model):
    for layer_decay in (1.0, 0.75):
        groups = parameter_groups(model, get_recipe("kinetics").changed(layer_decay=layer_decay))
        names = [name for group in groups for name in group["names"]]
        assert sorted(names) == sorted(name for name, _ in model.named_parameters())
        assert sum(p.numel() for group in groups for p in group["params"]) == 1_610_988


def test_what_is_decayed(model):
    group = groups_by_name(parameter_groups(model, get_recipe("kinetics")))
    decayed = {name for name in group if group[name]["weight_decay"] == 0.05}
    assert {"cls_token", "pos_embed.spatial", "pos_embed.temporal", "pos_embed.cls"} <= decayed
    assert {"blocks.1.attn.pool_q.conv.weight", "patch_embed.proj.weight", "head.weight"} <= decayed
    rest = set(group) - decayed
    assert all(group[name]["weight_decay"] == 0 for name in rest)
    assert rest == {name for name, p in model.named_parameters() if p.ndim == 1}
    assert {"norm.weight", "head.bias", "blocks.0.attn.pool_k.norm.weight"} <= rest


def test_frozen_parameters_are_left_out():
    model = create_model("mvit_tiny")
    model.patch_embed.requires_grad_(False)
    names = groups_by_name(parameter_groups(model, PLAIN))
    assert not any(name.startswith("patch_embed") for name in names)


def test_layer_decay_by_hand(model):
    group = groups_by_name(parameter_groups(model, PLAIN.changed(layer_decay=0.5)))  # six blocks
    scales = {"head.weight": 1, "norm.bias": 1, "blocks.5.norm1.weight": 0.5, "blocks.0.norm1.weight": 0.5**6}
    scales |= {"patch_embed.proj.weight": 0.5**7, "pos_embed.temporal": 0.5**7, "cls_token": 0.5**7}
    for name, scale in scales.items():
        assert group[name]["lr_scale"] == scale, name
    optimizer = make_optimizer(model, PLAIN.changed(layer_decay=0.5))
    set_learning_rate(optimizer, 8.0)
    for one in optimizer.param_groups:
        assert one["lr"] == 8.0 * one["lr_scale"]


def test_optimizers(model):
    adamw = make_optimizer(model, get_recipe("kinetics"))
    assert isinstance(adamw, torch.optim.AdamW) and adamw.defaults["betas"] == (0.9, 0.999)
    assert adamw.defaults["eps"] == 1e-8
    sgd = make_optimizer(model, get_recipe("ssv2"))
    assert isinstance(sgd, torch.optim.SGD) and sgd.defaults["momentum"] == 0.9 and sgd.defaults["nesterov"]
    assert {group["weight_decay"] for group in sgd.param_groups} == {1e-4, 0.0}


# The numbers of Appendix D and of the released configurations, typed a second time.
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("kinetics", dict(optimizer="adamw", lr=1.6e-3, lr_clips=512, epochs=200, warmup_epochs=30, repeats=2)),
        ("kinetics", dict(weight_decay=0.05, drop_path=0.2, dropout=0.5, smoothing=0.1, mixup=0.8, cutmix=1.0)),
        ("kinetics", dict(start_lr=1.6e-5, end_lr=1.6e-5, switch=0.5, clip_norm=1.0, cosine_after_warmup=True)),
        ("kinetics_24", dict(lr=1.6e-3, epochs=200, drop_path=0.3)),
        ("ssv2", dict(optimizer="sgd", lr=0.02, lr_clips=512, epochs=100, weight_decay=1e-4, drop_path=0.4)),
        ("ssv2", dict(warmup_epochs=3, start_lr=1e-4, repeats=1, mixup=0.8, sampling="segments")),
        ("charades", dict(optimizer="sgd", lr=0.6, lr_clips=256, epochs=200, weight_decay=1e-7, drop_path=0.45)),
        ("charades", dict(loss="bce", mixup=0.0, protocol="charades")),
        ("ava", dict(optimizer="sgd", lr=0.6, lr_clips=512, epochs=30, warmup_epochs=5, weight_decay=1e-8)),
        ("ava", dict(loss="bce", drop_path=0.4, start_lr=1e-6, end_lr=1e-6)),
        ("imagenet", dict(optimizer="adamw", lr=5e-4, lr_clips=512, epochs=100, repeats=3, weight_decay=0.05)),
        ("imagenet", dict(drop_path=0.1, dropout=0.0, mixup=0.8)),
    ],
)
def test_values_of_the_paper(name, values):
    recipe = get_recipe(name)
    for key, value in values.items():
        assert getattr(recipe, key) == value, key


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_value_has_a_source(recipe):
    names = {one.name for one in fields(recipe)} - {"name", "sources"}
    assert set(recipe.sources) == names
    assert set(recipe.sources.values()) <= {"paper", "code", "ours", "unused"}
    unused = {name for name in names if recipe.sources[name] == "unused"}
    allowed = {"betas"} if recipe.optimizer == "sgd" else {"momentum"}
    if not (recipe.mixup and recipe.cutmix):
        allowed.add("switch")
    if not recipe.warmup_epochs:
        allowed |= {"start_lr", "cosine_after_warmup"}
    if recipe.name == "imagenet":
        allowed |= {"sampling", "stride", "fps"}
    if recipe.name == "ssv2":
        allowed.add("stride")
    assert unused == allowed
    text = str(recipe)
    assert all(f"  {name} " in text for name in names)
    if recipe.augmentation != "none":
        recipe_transforms(recipe.augmentation, 32)
    protocol = get_protocol(recipe.protocol)
    assert (protocol.aggregate == "max") == (recipe.name == "charades")
    assert protocol.sampling in ("", recipe.sampling)


def test_changed_values_are_yours():
    kinetics = get_recipe("kinetics")
    recipe = kinetics.changed(lr=1.0, epochs=200)
    assert recipe.sources["lr"] == "yours" and recipe.sources["epochs"] == "paper" and recipe.lr == 1.0
    assert kinetics.sources["lr"] == "paper"
    assert "yours" in next(line for line in str(recipe).splitlines() if line.startswith("  lr "))
    with pytest.raises(ValueError, match="no field rate"):
        kinetics.changed(rate=1)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"optimizer": "adam"}, "optimizer='adam'"),
        ({"loss": "mse"}, "loss='mse'"),
        ({"loss": "bce"}, "not mixed or smoothed"),
        ({"warmup_epochs": 11}, "warmup_epochs=11 must lie between 0 and epochs=10"),
        ({"epochs": 0, "warmup_epochs": 0}, "epochs=0"),
        ({"lr": 0.0}, "lr=0.0 must be above 0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"end_lr": -1.0}, "must not be below"),
        ({"layer_decay": 1.5}, "layer_decay=1.5"),
        ({"repeats": 0}, "repeats=0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"),
        ({"betas": 0.9}, "betas=0.9"),
        ({"betas": (0.9, 1.0)}, "betas="),
        ({"drop_path": 1.0}, "drop_path=1.0"),
    ],
)
def test_impossible_values(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(PLAIN, **changes)


def test_unknown_recipe_lists_the_known():
    with pytest.raises(ValueError, match=r"no recipe 'k400'.*kinetics, kinetics_24, ssv2"):
        get_recipe("k400")
