"""`mvit-edu train`: from a folder of videos to checkpoints, curves, and the command that tests the result."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import torch

from mvit_edu.cli.options import BY_RECIPE, add_options, given
from mvit_edu.cli.parser import Parser, add_model, add_workers, configure, share_cores
from mvit_edu.cli.weights import find_weights, stride_of
from mvit_edu.data import ClipSpec, VideoDataset, VideoList, recipe_transforms
from mvit_edu.data.find_lists import training_lists
from mvit_edu.distributed import current, process_group
from mvit_edu.evaluation import Protocol, get_protocol
from mvit_edu.model.checkpoints import load_weights
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.mvit import MViT
from mvit_edu.model.stages import stage_table
from mvit_edu.training import (
    RECIPES,
    Checkpoints,
    FitResult,
    Recipe,
    TrainConfig,
    TrainingStopped,
    fit,
    get_recipe,
    learning_rate,
)
from mvit_edu.training.device import pick_device
from mvit_edu.training.run_log import LOG_NAME
from mvit_edu.training.session import newest, same_step

ABOUT = """Train a model on a folder of videos, or go on with a run that was stopped: the same command again.

The folder holds one folder of videos per class, or the splits train/ and val/ with such folders, or the lists
train.csv and val.csv; a list file will do, too. Ctrl-C saves and leaves; a second Ctrl-C leaves at once.

On several GPUs: torchrun --nproc-per-node=N -m mvit_edu train ..., with the same options."""


def add(commands: argparse._SubParsersAction) -> None:
    train: Parser = commands.add_parser(
        "train",
        help="train a model on a folder or a list of videos",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    train.add_argument("--data", required=True, metavar="DIR|LIST", help="the videos to train on")
    train.add_argument("--validation", metavar="DIR|LIST", help="the videos to validate on (the val split in --data)")
    about = "share of the videos that is held back where there is no val split (0.2)"
    train.add_argument("--hold-back", type=float, default=0.2, metavar="SHARE", help=about)
    add_model(train)
    about = "start from these: a checkpoint of any public library, its name, or the folder of a run (random weights)"
    train.add_argument("--weights", metavar="FILE", help=about)
    names = ", ".join(RECIPES)
    train.add_argument("--recipe", choices=RECIPES, default="own_videos", metavar="NAME", help=f"{names} (own_videos)")
    train.add_argument("--dry-run", action="store_true", help="print recipe, schedule and cost, and train nothing")
    train.add_argument("--out", metavar="DIR", help="folder of the run (runs/<data>-<model>)")
    add_workers(train)
    add_options(train, TrainConfig, skip=("out", "workers"), title="how this machine trains")
    add_options(train, Recipe, skip=("name", "sources"), default=BY_RECIPE, title="changes to the recipe")
    train.set_defaults(run=run_train, parser=train)


def run_train(args: argparse.Namespace) -> int:
    parser: Parser = args.parser
    out = args.out or str(Path("runs") / f"{Path(args.data).resolve().stem}-{args.preset}")
    args.workers = share_cores(args.workers, pick_device(getattr(args, "device", "auto")))
    try:
        recipe = get_recipe(args.recipe).changed(**given(args, Recipe))
        settings = TrainConfig(**{**given(args, TrainConfig), "out": out})
    except ValueError as error:
        parser.error(str(error))
    with process_group(pick_device(settings.device), settings.timeout_minutes):
        return train_here(args, recipe, settings)


def train_here(args: argparse.Namespace, recipe: Recipe, settings: TrainConfig) -> int:
    """The command in this process; several train together if `torchrun` started them."""
    parser, out = args.parser, settings.out
    train, held, where = training_lists(args.data, args.validation, args.hold_back, settings.seed)
    config = model_config(parser, args, recipe, train.num_classes)
    protocol = validation_protocol(recipe)
    spec = ClipSpec(config.frames, recipe.stride or stride_of(args.preset), recipe.sampling, recipe.fps)
    crop = config.size[1:]
    clips = VideoDataset(train, spec, training_transform(recipe, crop), repeats=recipe.repeats, seed=settings.seed)
    print(f"data: {len(train)} videos to train on, {len(held)} to validate on, {train.num_classes} classes ({where})")
    found = newest(Checkpoints(Path(out) / "checkpoints"))
    shown = same_step(settings, found[1]["settings"]) if found else settings  # what `fit` will do
    print_plan(recipe, shown, config, args.preset, spec, len(train))
    if args.dry_run:
        print(recipe)
        return 0

    torch.manual_seed(settings.seed)
    model = MViT(config)
    if args.weights and not Checkpoints(Path(out) / "checkpoints").files():
        print(f"weights: {load_weights(model, find_weights(args.weights), new_head=True)}")
    elif not args.weights and recipe.name == "own_videos":
        print(
            "weights: random. The recipe own_videos is for fine-tuning; a few videos are not enough without --weights."
        )
    if current().first:
        write_lists(Path(out), train, held)
        draw(Path(out) / "schedule.png", recipe, shown, len(train))
    print(f"run: {out}")
    try:
        result = fit(model, clips, recipe, settings, protocol.dataset(held, spec, crop), protocol)
    except TrainingStopped as stop:
        print(f"Stopped after step {stop.result.step} of {stop.result.steps}; {stop.result.checkpoint} is saved.")
        print("The same command goes on from there.")
        return stop.code
    if current().first:
        finish(result, Path(out), train.num_classes)
    return 0


def model_config(parser: Parser, args: argparse.Namespace, recipe: Recipe, num_classes: int) -> MViTConfig:
    """The preset with the classes of the data, the rates of the recipe, and then what the user set."""
    values = {"num_classes": num_classes, "drop_path": recipe.drop_path, "dropout": recipe.dropout}
    config = configure(parser, args.preset, [*(f"{name}={value}" for name, value in values.items()), *args.set])
    if config.frames < 2:
        raise ValueError(f"{args.preset} is a model for images; choose one for videos, such as mvit_b_16x4.")
    if config.num_classes != num_classes:
        raise ValueError(f"The data has {num_classes} classes; leave num_classes={config.num_classes} out of --set.")
    return config


def validation_protocol(recipe: Recipe) -> Protocol:
    """One clip a video: the recipe's own protocol if it is like that, otherwise the center."""
    protocol = get_protocol(recipe.protocol)
    return protocol if protocol.clips == 1 else get_protocol("center")


def training_transform(recipe: Recipe, crop: tuple[int, int]) -> torch.nn.Module:
    if recipe.augmentation == "none":
        return get_protocol("whole").transform(crop)
    if crop[0] != crop[1]:
        raise ValueError(f"The augmentation {recipe.augmentation!r} makes square clips; {crop} needs none.")
    return recipe_transforms(recipe.augmentation, crop[0])[0]


def plan(recipe: Recipe, settings: TrainConfig, videos: int) -> tuple[int, int, int]:
    """Steps of an epoch, steps of the training, and clips of a step."""
    size = current().size
    per_step = settings.batch * settings.accumulate * size
    per_epoch = videos // per_step
    if not per_epoch:
        raise ValueError(
            f"{videos} videos are fewer than a step takes (batch={settings.batch} x accumulate={settings.accumulate} x "
            f"{size} processes); give a smaller --batch."
        )
    return per_epoch, max(1, round(recipe.epochs * per_epoch)), per_step * recipe.repeats


def print_plan(
    recipe: Recipe, settings: TrainConfig, config: MViTConfig, preset: str, spec: ClipSpec, videos: int
) -> None:
    table = stage_table(config)
    per_epoch, steps, clips = plan(recipe, settings, videos)
    print(f"model: {preset}, {table.params / 1e6:.2f} M parameters, {table.macs / 1e9:.3g} G multiply-adds a clip")
    rate = f"at {spec.fps:g} frames/s" if spec.fps else "of the file"
    size = by(config.size[1:])
    print(f"clips: {spec.frames} frames, one of every {spec.stride} {rate} ({spec.sampling}), {size} pixels")
    processes = f" x {current().size} processes" if current().size > 1 else ""
    print(
        f"steps: {steps} of {clips} clips ({settings.batch} videos x {settings.accumulate} batches x {recipe.repeats} "
        f"copies{processes}), {recipe.epochs:g} epochs of {per_epoch} steps"
    )
    rates = [learning_rate(recipe, epoch, clips) for epoch in (0, recipe.warmup_epochs, recipe.epochs)]
    print(
        f"learning rate: {rates[0]:.3g} at first, {rates[1]:.3g} after {recipe.warmup_epochs:g} epochs, {rates[2]:.3g} "
        f"at the end (recipe {recipe.name}: {recipe.lr:g} for {recipe.lr_clips} clips a step)"
    )
    work = steps * clips * 3 * 2 * table.macs  # the backward pass is twice the forward pass, a multiply-add two FLOP
    hours = work / 1e14 / 3600 / current().size
    print(f"cost: {work:.3g} FLOP, {hours:.3g} hours where each device does 100 TFLOP/s of it")


def by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def write_lists(out: Path, train: VideoList, held: VideoList) -> None:
    """The videos of this run, so that it can be repeated and tested on the same ones."""
    train.write(out / "train.csv")
    held.write(out / "val.csv")


def draw(path: Path, recipe: Recipe, settings: TrainConfig, videos: int) -> None:
    from mvit_edu.visualize import draw_schedule, save_figure

    _, _, clips = plan(recipe, settings, videos)
    epochs = [recipe.epochs * i / 400 for i in range(401)]
    rates = [learning_rate(recipe, epoch, clips) for epoch in epochs]
    save_figure(draw_schedule(epochs, rates, recipe.warmup_epochs or None), path)


def finish(result: FitResult, out: Path, num_classes: int) -> None:
    from mvit_edu.visualize import draw_run, read_rows, save_figure

    rows = read_rows(out / LOG_NAME)
    best = f"; best validation result {result.best:.2%}" if result.best is not None else ""
    print(f"Done after {result.step} steps{best}.")
    if result.report is not None:
        print(result.report)
        save_figure(draw_run(rows, accuracy=main_column(rows), chance=1 / num_classes), out / "curves.png")
        print(f"Curves: {out / 'curves.png'}")
    print(f"Test it:    mvit-edu evaluate --weights {shlex.quote(str(out))} --data {shlex.quote(str(out / 'val.csv'))}")
    print(f"Try it:     mvit-edu predict VIDEO --weights {shlex.quote(str(out))} --picture prediction.png")


def main_column(rows: list[dict]) -> str:
    return "top1" if any("top1" in row for row in rows) else "map"
