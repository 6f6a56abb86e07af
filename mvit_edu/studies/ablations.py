"""The paper's ablations as studies: each a few variants of one base, `mvit-edu study run NAME` (Chapters 11 to 14)."""

from __future__ import annotations

from mvit_edu.evaluation import ORDERS
from mvit_edu.studies.study import CLIPS, SCALES, Study, Variant

BIASES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
MAX = {"pool": "max", "pool_kernel": "s+1"}  # as in the paper's ablations


def of_model(**variants: dict) -> tuple[Variant, ...]:
    """Variants that change fields of the model only."""
    return tuple(Variant(name.replace("_", " "), model=changes) for name, changes in variants.items())


# After 8 passes over 640 clips most models tell every motion but the way a shape turns, and stand at the same 83 %.
LONGER = {"train": 1280, "epochs": 24}
TWO_PAIRS = {**CLIPS, "motions": ("horizontal", "vertical"), "noise": 0.02}
NOISY = {"size": 16, "motions": ("horizontal", "vertical"), "noise": 0.1}
FRAME_ORDER = Study(
    "frame_order",
    "Does a model use the order of the frames, and when would a test on whole videos show it?",
    tables=("9",),
    variants=tuple(
        Variant(f"{base}, bias {bias:g}", base, data={"appearance_bias": bias}, x=bias)
        for bias in BIASES
        for base in ("mvit", "vit")
    ),
    orders=ORDERS,
    axis="appearance bias ρ",
    at={"smoke": {"data": TWO_PAIRS}, "cpu": {"data": TWO_PAIRS, "test": 400}},
)
ONE_FRAME_CUBES, ONE_FRAME_POOLS = {"cube_kernel": (1, 7, 7)}, {"pool_kernel": (1, 3, 3)}
TIME_MIXING = Study(
    "time_mixing",
    "Where do frames have to meet for a model to use their order?",
    tables=("9",),
    variants=(
        Variant("mvit"),
        Variant("mvit, cubes of one frame", model=ONE_FRAME_CUBES),
        Variant("mvit, pooling of one frame", model=ONE_FRAME_POOLS),
        Variant("mvit, both of one frame", model={**ONE_FRAME_CUBES, **ONE_FRAME_POOLS}),
        Variant("vit", "vit"),
        Variant("vit, positions in space only", "vit", model={"position": "space"}),
        Variant("vit, cubes of three frames", "vit", model={"cube_kernel": (3, 4, 4), "cube_padding": (1, 0, 0)}),
    ),
    orders=ORDERS,
    at={"smoke": {"data": TWO_PAIRS}, "cpu": {"data": TWO_PAIRS, "test": 400}},
)
POOLING = Study(
    "pooling",
    "Which pooling function, and how large a window?",
    tables=("15",),
    variants=tuple(
        Variant(f"{pool}, {'3x3x3' if kernel == (3, 3, 3) else kernel}", model={"pool": pool, "pool_kernel": kernel})
        for pool, kernel in (
            ("max", "s+1"),
            ("max", "s"),
            ("max", "2s+1"),
            ("avg", "s+1"),
            ("conv", "s+1"),
            ("conv", (3, 3, 3)),
        )
    ),
    at={"cpu": LONGER},
)
KV_STRIDE = Study(
    "kv_stride",
    "How far may keys and values be pooled before accuracy suffers?",
    tables=("14", "A.3"),
    variants=tuple(
        Variant(
            name,
            "fine",
            model={"kv_stride": stride, "kv_adaptive": name.endswith("adaptive")},
        )
        for name, stride in (
            ("none", None),
            ("1x1x1 adaptive", (1, 1, 1)),  # pooling by convolution, but every key is kept
            ("1x2x2 adaptive", (1, 2, 2)),
            ("2x2x2 adaptive", (2, 2, 2)),
            ("1x4x4 adaptive", (1, 4, 4)),
            ("2x4x4 adaptive", (2, 4, 4)),
            ("1x8x8 adaptive", (1, 8, 8)),
            ("2x8x8 adaptive", (2, 8, 8)),
            ("1x2x2 fixed", (1, 2, 2)),
            ("2x2x2 fixed", (2, 2, 2)),
        )
    ),
)
LOOKS = {"motions": ("horizontal", "vertical"), "noise": 0.02, "appearance_bias": 0.75}
# A ViT hardly learns an order, so here the look gives the class away, under so much noise that all models make errors.
FAINT = {"motions": ("horizontal", "vertical"), "noise": 0.7, "appearance_bias": 1.0}
QUERY_POOLING = Study(
    "query_pooling",
    "What do a change of resolution and pooled keys bring to a ViT that keeps its width?",
    tables=("10",),
    variants=(
        Variant("ViT", "vit", model={"depths": (3,)}),
        Variant("ViT, two scales", "vit", model={"depths": (1, 2), "dim_mul": 1, **MAX}),
        Variant(
            "ViT, pooled keys",
            "vit",
            # All blocks but one pool keys and values: a last stage of one block, as wide and as fine.
            model={
                "depths": (2, 1),
                "dim_mul": 1,
                "q_stride": (1, 1, 1),
                "kv_stride": (1, 2, 2),
                "kv_pool_last_stage": False,
                **MAX,
            },
        ),
    ),
    at={
        "smoke": {"data": {**CLIPS, **FAINT}},
        "cpu": {"data": {**CLIPS, **FAINT}, "epochs": 24, "test": 2400},
        "gpu": {"data": {**SCALES["gpu"].data, **FAINT}},
    },
)
POSITIONS = Study(
    "positions",
    "Which positions does a model need to be told?",
    tables=("11",),
    variants=of_model(**{kind: {"position": kind} for kind in ("separate", "none", "space", "joint")}),
    at={"cpu": LONGER},
)


def cube(frames: int, kernel: tuple[int, int, int], stride: int) -> dict[str, object]:
    """Cubes of a clip of so many frames that they leave the same 4 time steps, 4 pixels apart in space."""
    padding = tuple((size - 1) // 2 if size > 4 or size == 3 else 0 for size in kernel)
    return {"frames": frames, "cube_kernel": kernel, "cube_stride": (stride, 4, 4), "cube_padding": padding}


# A second of video each: 4, 8 or 16 frames of it. At speed 0.4 a turning shape can be told at 4 frames a second, too.
SLOW = {**CLIPS, "speed": 0.4}
CUBES = Study(
    "cubes",
    "How many frames of a second of video, and how large a cube, where the sequence keeps its length?",
    tables=("12",),
    variants=tuple(
        Variant(
            f"{frames} frames, {'x'.join(map(str, kernel))}",
            model=cube(frames, kernel, frames // 4),
            data={"frames": frames, "fps": frames},
        )
        for frames, kernel in (
            (8, (3, 7, 7)),
            (4, (1, 4, 4)),
            (4, (1, 7, 7)),
            (4, (3, 7, 7)),
            (16, (3, 7, 7)),
            (16, (7, 7, 7)),
        )
    ),
    at={
        "smoke": {"data": SLOW},
        "cpu": {"data": SLOW, **LONGER},
        "gpu": {"data": {**SCALES["gpu"].data, "speed": 0.4}},
    },
)
# Half of the paper's blocks: V1 is [2, 6, 6, 2] there. Halved, V5 and V6 would be the same, so V6 keeps what sets it
# apart from V5: one block more at the finest scale, one less at the third.
DEPTHS = {
    "V5 [1, 1, 5, 1]": (1, 1, 5, 1),
    "V1 [1, 3, 3, 1]": (1, 3, 3, 1),
    "V2 [1, 2, 3, 2]": (1, 2, 3, 2),
    "V3 [1, 2, 4, 1]": (1, 2, 4, 1),
    "V4 [1, 1, 4, 2]": (1, 1, 4, 2),
    "V6 [2, 1, 4, 1]": (2, 1, 4, 1),
}
STAGES = Study(
    "stages",
    "Where should the blocks stand?",
    tables=("13",),
    variants=tuple(Variant(name, "fine", model={"depths": depths}) for name, depths in DEPTHS.items()),
    at={"smoke": {"data": NOISY}, "cpu": {"data": NOISY, "epochs": 24}},
)
SKIPS = Study(
    "skips",
    "What should the skip around a block carry where channels grow, and should pooled queries be added?",
    tables=("A.1",),
    variants=of_model(
        normalized={"skip": "normalized"},
        linear={"skip": "linear"},
        none={"skip": "none"},
        residual_pooling_of_patches={"residual_pooling": "patches"},
        residual_pooling_of_all={"residual_pooling": "all"},
    ),
    at={"cpu": LONGER},
)
VIEWS = Study(
    "views",
    "How many clips and crops of a video, for how many multiply-adds?",
    tables=("Figure A.4",),
    variants=(Variant("mvit"),),
    at={"smoke": {"data": NOISY}, "cpu": {"data": NOISY, "train": 1280, "test": 240}},
    measures=("views",),
)
ATTENTION_DISTANCE = Study(
    "attention_distance",
    "How far do heads look, before and after training?",
    tables=("Figure A.6",),
    variants=(
        Variant("mvit", data=LOOKS),
        Variant("vit", "vit", data=LOOKS),
        Variant("mvit_b_16x4", "mvit_b_16x4", trained=False),
        Variant("vit_b_8x8", "vit_b_8x8", trained=False),
    ),
    measures=("attention",),
)
# The paper's recipe for Kinetics with a rate and a length that suit small generated clips. These are not augmented, so
# there is nothing to repeat.
RECIPE = Study(
    "recipe",
    "Which ingredients of the recipe does a training need?",
    tables=("A.2", "Appendix D"),
    variants=tuple(
        Variant(name, recipe=changes)
        for name, changes in {
            "whole recipe": {},
            "no warm-up": {"warmup_epochs": 0.0},
            "constant rate": {"end_lr": 1e-3},
            "SGD": {"optimizer": "sgd", "lr": 0.05, "start_lr": 5e-4, "end_lr": 5e-4},
            "SGD, ten times the rate": {"optimizer": "sgd", "lr": 0.5, "start_lr": 5e-3, "end_lr": 5e-3},
            "no clipping": {"clip_norm": None},
            "no weight decay": {"weight_decay": 0.0},
            "no MixUp, CutMix": {"mixup": 0.0, "cutmix": 0.0},
            "no label smoothing": {"smoothing": 0.0},
            "no stochastic depth": {"drop_path": 0.0},
            "no dropout": {"dropout": 0.0},
        }.items()
    ),
    recipe={
        "end_lr": 1e-5,
        "warmup_epochs": 24 * 30 / 200,  # the paper's share of the training
        "mixup": 0.8,
        "cutmix": 1.0,
        "smoothing": 0.1,
        "drop_path": 0.1,
        "dropout": 0.5,
    },
    at={
        "smoke": {"epochs": 4},
        "cpu": {"epochs": 24},
        "gpu": {"epochs": 24},
    },
)
ALL = (
    FRAME_ORDER,
    TIME_MIXING,
    POOLING,
    KV_STRIDE,
    QUERY_POOLING,
    POSITIONS,
    CUBES,
    STAGES,
    SKIPS,
    VIEWS,
    ATTENTION_DISTANCE,
    RECIPE,
)
STUDIES = {study.name: study for study in ALL}


def get_study(name: str) -> Study:
    """A study by name.

    Raises:
        ValueError: there is no such study.
    """
    if name not in STUDIES:
        raise ValueError(f"There is no study {name!r}; choose one of {', '.join(STUDIES)}.")
    return STUDIES[name]
