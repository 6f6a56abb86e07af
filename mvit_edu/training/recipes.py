"""The recipes of the paper's datasets, one for a few videos of one's own, and one for MotionShapes (Chapter 8).

Each value says where it comes from: "paper" is Appendix D of the paper; "code" is the released code or its
configuration files, where the paper says nothing or something else; "ours" is a choice made here.
"""

from __future__ import annotations

from dataclasses import fields, replace

from mvit_edu.training.recipe import Recipe


def sources(**named: str) -> dict[str, str]:
    """Field -> source, from the fields of each source; what is not named does not matter for this recipe."""
    given = {name: source for source, names in named.items() for name in names.split()}
    unknown = set(given) - {one.name for one in fields(Recipe)}
    if unknown:
        raise ValueError(f"A recipe has no field {', '.join(sorted(unknown))}.")
    return {one.name: given.get(one.name, "unused") for one in fields(Recipe) if one.name not in ("name", "sources")}


KINETICS = Recipe(
    "kinetics",
    sources=sources(
        paper="optimizer lr end_lr lr_clips epochs warmup_epochs weight_decay repeats mixup smoothing drop_path "
        "dropout loss augmentation stride protocol",
        code="start_lr cosine_after_warmup betas layer_decay clip_norm cutmix switch sampling fps spread_classes",
    ),
)
KINETICS_24 = replace(
    KINETICS, name="kinetics_24", drop_path=0.3, sources={**KINETICS.sources, "drop_path": "code"}
)  # for the models of 24 blocks
SSV2 = Recipe(
    "ssv2",
    optimizer="sgd",
    lr=0.02,
    start_lr=1e-4,
    end_lr=0.0,
    epochs=100,
    warmup_epochs=3,
    weight_decay=1e-4,
    repeats=1,
    drop_path=0.4,
    augmentation="ssv2",
    sampling="segments",
    protocol="ssv2",
    sources=sources(
        paper="lr lr_clips epochs weight_decay mixup smoothing drop_path loss augmentation sampling protocol",
        code="optimizer start_lr warmup_epochs cosine_after_warmup momentum repeats cutmix switch dropout layer_decay "
        "fps spread_classes",
        ours="end_lr clip_norm",
    ),
)
CHARADES = Recipe(
    "charades",
    optimizer="sgd",
    lr=0.6,
    start_lr=0.0,
    end_lr=0.0,
    lr_clips=256,
    epochs=200,
    warmup_epochs=0,
    weight_decay=1e-7,
    repeats=1,
    mixup=0.0,
    cutmix=0.0,
    smoothing=0.0,
    drop_path=0.45,
    loss="bce",
    augmentation="charades",
    sampling="stride",
    protocol="charades",
    sources=sources(
        paper="optimizer lr lr_clips epochs weight_decay mixup drop_path loss augmentation stride protocol",
        code="momentum layer_decay dropout sampling fps spread_classes",
        ours="end_lr warmup_epochs repeats cutmix smoothing clip_norm",
    ),
)
AVA = Recipe(
    "ava",
    optimizer="sgd",
    lr=0.6,
    start_lr=1e-6,
    end_lr=1e-6,
    epochs=30,
    warmup_epochs=5,
    weight_decay=1e-8,
    repeats=1,
    mixup=0.0,
    cutmix=0.0,
    smoothing=0.0,
    drop_path=0.4,
    loss="bce",
    augmentation="ava",
    sampling="stride",
    protocol="whole",
    sources=sources(
        paper="optimizer lr lr_clips epochs warmup_epochs weight_decay drop_path loss stride",
        code="protocol start_lr end_lr cosine_after_warmup momentum layer_decay repeats mixup cutmix smoothing dropout "
        "augmentation sampling fps spread_classes",
        ours="clip_norm",
    ),
)
IMAGENET = Recipe(
    "imagenet",
    lr=5e-4,
    start_lr=1e-8,
    end_lr=1e-6,
    epochs=100,
    warmup_epochs=70 / 3,
    repeats=3,
    drop_path=0.1,
    dropout=0.0,
    augmentation="imagenet",
    protocol="center",
    sources=sources(
        paper="optimizer lr lr_clips epochs weight_decay repeats mixup smoothing drop_path loss augmentation protocol",
        code="start_lr end_lr warmup_epochs cosine_after_warmup betas layer_decay clip_norm cutmix switch dropout "
        "spread_classes",
    ),
)
OWN_VIDEOS = Recipe(
    "own_videos",
    lr=1e-3,
    start_lr=1e-6,
    end_lr=1e-6,
    epochs=20,
    warmup_epochs=2,
    layer_decay=0.75,
    sources=sources(
        paper="optimizer weight_decay repeats mixup smoothing drop_path dropout loss augmentation stride protocol",
        code="cosine_after_warmup betas clip_norm cutmix switch sampling fps spread_classes",
        ours="lr start_lr end_lr lr_clips epochs warmup_epochs layer_decay",
    ),
)
MOTION_SHAPES = Recipe(
    "motion_shapes",
    lr=1e-3,
    start_lr=1e-5,
    end_lr=0.0,
    lr_clips=32,
    epochs=4,
    warmup_epochs=0.25,
    repeats=1,
    spread_classes=True,
    mixup=0.0,
    cutmix=0.0,
    smoothing=0.0,
    drop_path=0.0,
    dropout=0.0,
    augmentation="none",
    stride=1,
    fps=None,
    protocol="whole",
    sources=sources(
        paper="optimizer weight_decay loss",
        code="cosine_after_warmup betas clip_norm layer_decay sampling",
        ours="lr start_lr end_lr lr_clips epochs warmup_epochs repeats mixup cutmix smoothing drop_path dropout "
        "augmentation stride fps protocol spread_classes",
    ),
)
RECIPES = {
    recipe.name: recipe for recipe in (KINETICS, KINETICS_24, SSV2, CHARADES, AVA, IMAGENET, OWN_VIDEOS, MOTION_SHAPES)
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: no such recipe; the sentence lists them.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
