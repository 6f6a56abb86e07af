"""What a study is: a question, variants of one base, seeds, and what is measured (Chapters 11 to 14)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from mvit_edu.data import MotionShapes
from mvit_edu.evaluation import ORDERS
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.presets import get_config, list_models
from mvit_edu.training import Recipe, get_recipe

BASES = ("mvit", "fine", "vit")


@dataclass(frozen=True)
class Variant:
    """One point of a study, as what it changes.

    Args:
        name: for the log and the plot; no two variants of a study share it.
        base: the model that it starts from: one of the scale's own in `BASES`, or a preset's name.
        model, recipe, data: changed fields of `MViTConfig`, `Recipe` and `MotionShapes`.
        x: where it stands on the axis of the study's plot, None for one without an axis.
        trained: False for a model that is only looked at, as it is drawn.
    """

    name: str
    base: str = "mvit"
    model: Mapping[str, object] = field(default_factory=dict)
    recipe: Mapping[str, object] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    x: float | None = None
    trained: bool = True

    def __post_init__(self) -> None:
        if self.base not in (*BASES, *list_models()):
            raise ValueError(f"base={self.base!r} is none of {', '.join(BASES)}, and no preset.")


@dataclass(frozen=True)
class Scale:
    """How large a study is run: the models, the data and the length of a training.

    Args:
        bases: by the names in `BASES`.
        data: settings of `MotionShapes` besides length, split and seed.
        train, test: number of clips.
        batch: clips of a step. epochs: passes over the training clips.
        presets: changed fields of a preset that a variant names as its base.
    """

    name: str
    bases: Mapping[str, MViTConfig]
    data: Mapping[str, object]
    train: int
    test: int
    batch: int
    epochs: float
    presets: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """An ablation as one command: `mvit-edu study run NAME`.

    Args:
        question: what it asks, in one sentence.
        tables: of the paper, whose direction it repeats at small scale; figures and sections by their full name.
        variants: the first one is what the others are compared with, unless the study compares pairs.
        orders: of the frames in which the trained models are tested.
        axis: what `x` of the variants is.
        recipe: fields of the recipe "motion_shapes" that all variants change.
        at: for some scales, what they have else in this study: changed fields of `Scale`.
        measures: names from `mvit_edu.studies.measures.MEASURES`, measured on every model besides accuracy.
    """

    name: str
    question: str
    tables: tuple[str, ...]
    variants: tuple[Variant, ...]
    orders: tuple[str, ...] = ("in order",)
    axis: str = ""
    recipe: Mapping[str, object] = field(default_factory=dict)
    at: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    measures: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"The study {self.name!r} has two variants named {', '.join(sorted(twice))}.")
        if unknown := set(self.orders) - set(ORDERS):
            raise ValueError(f"The study {self.name!r} wants unknown orders of the frames: {', '.join(unknown)}.")
        if unknown := set(self.at) - set(SCALES):
            raise ValueError(f"The study {self.name!r} has settings for unknown scales: {', '.join(unknown)}.")

    def variant(self, name: str) -> Variant:
        for one in self.variants:
            if one.name == name:
                return one
        names = ", ".join(one.name for one in self.variants)
        raise ValueError(f"The study {self.name!r} has no variant {name!r}; it has {names}.")


@dataclass(frozen=True)
class Plan:
    """All settings of one run: what a variant is at a scale, with a seed. `fingerprint` is the same if all are."""

    study: str
    variant: str
    scale: str
    seed: int
    model: MViTConfig
    recipe: Recipe
    data: Mapping[str, object]
    train: int
    test: int
    batch: int
    orders: tuple[str, ...]
    measures: tuple[str, ...]
    trained: bool

    def shapes(self, split: str) -> MotionShapes:
        """The clips of a split; variants with the same seed see the same ones, in the same order."""
        return MotionShapes(self.train if split == "train" else self.test, split, seed=self.seed, **self.data)

    @property
    def fingerprint(self) -> str:
        settings = dataclasses.asdict(self)
        settings["recipe"].pop("sources")
        return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()


def plan(study: Study, variant: Variant, scale: Scale, seed: int) -> Plan:
    """What one run of a study is, every setting written out."""
    scale = dataclasses.replace(scale, **study.at.get(scale.name, {}))
    data = {**scale.data, **variant.data}
    recipe = get_recipe("motion_shapes").changed(
        **{"epochs": scale.epochs, "lr_clips": scale.batch, **study.recipe, **variant.recipe}
    )
    changes = {"drop_path": recipe.drop_path, "dropout": recipe.dropout, **variant.model}
    if variant.trained:
        changes["num_classes"] = len(MotionShapes(1, **data).classes)
    known = variant.base in scale.bases
    base = scale.bases[variant.base] if known else dataclasses.replace(get_config(variant.base), **scale.presets)
    return Plan(
        study=study.name,
        variant=variant.name,
        scale=scale.name,
        seed=seed,
        model=dataclasses.replace(base, **changes),
        recipe=recipe,
        data=data,
        train=scale.train,
        test=scale.test,
        batch=scale.batch,
        orders=study.orders,
        measures=study.measures,
        trained=variant.trained,
    )


def smaller(preset: str, **changes: object) -> MViTConfig:
    return dataclasses.replace(get_config(preset), **changes)


# Cubes of 4 x 4 pixels, or of 2 x 2 where a study moves stages and strides and so needs a finer grid.
CUBES = {"cube_kernel": (1, 4, 4), "cube_stride": (1, 4, 4)}
FINE = {"cube_kernel": (3, 3, 3), "cube_stride": (1, 2, 2), "cube_padding": (1, 1, 1), "kv_stride": (1, 4, 4)}
CLIPS = {"size": 16, "frames": 8, "motions": ("horizontal", "vertical", "turn"), "speed": 0.8, "noise": 0.05}
SCALES = {
    "smoke": Scale(
        "smoke",
        {
            "mvit": smaller("mvit_tiny", crop=16, dim=8, depths=(1, 1), kv_stride=(1, 2, 2)),
            "fine": smaller("mvit_tiny", crop=16, dim=8, depths=(1, 1, 1), **FINE),
            "vit": smaller("vit_tiny", crop=16, dim=12, heads=1, depths=(2,), **CUBES),
        },
        CLIPS,
        train=16,
        test=12,
        batch=8,
        epochs=1,
        presets={"frames": 4, "crop": 64},
    ),
    "cpu": Scale(
        "cpu",
        {
            "mvit": smaller("mvit_tiny", crop=16, dim=24, depths=(1, 2), kv_stride=(1, 2, 2)),
            "fine": smaller("mvit_tiny", crop=16, dim=16, depths=(1, 2, 1), **FINE),
            "vit": smaller("vit_tiny", crop=16, dim=48, heads=2, depths=(3,), **CUBES),
        },
        CLIPS,
        train=640,
        test=600,
        batch=32,
        epochs=8,
    ),
    "gpu": Scale(
        "gpu",
        {"mvit": get_config("mvit_tiny"), "fine": get_config("mvit_tiny"), "vit": get_config("vit_tiny")},
        {"size": 32, "frames": 8, "noise": 0.05},
        train=24_000,
        test=2_400,
        batch=128,
        epochs=8,
    ),
}
