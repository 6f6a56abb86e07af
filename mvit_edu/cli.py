"""The command `mvit-edu`: look at stage tables, predict on a video, convert weights, check a list of videos.

Errors are one line on stderr. Exit codes: 0 done, 1 failed, 2 called wrongly, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from mvit_edu.data import VideoError, clip_indices, load_clip, video_info
from mvit_edu.data.check_list import DECODE, check_videos, summarize, write_report
from mvit_edu.data.video_list import VideoList, find_videos
from mvit_edu.model.checkpoints import load_weights, read_checkpoint
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.dialects import from_native, to_native, unwrap
from mvit_edu.model.mvit import MViT
from mvit_edu.model.presets import get_config, list_models
from mvit_edu.model.stages import stage_table

DIALECTS = ("slowfast", "pytorchvideo", "torchvision", "native")
WRAPPED = ("slowfast", "pytorchvideo")  # these projects read their weights from the entry "model_state"
DEFAULT_STRIDE = 4
SHOWN_FAILURES = 20


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        if "set" in args:
            args.config = configure(parser, args.preset, args.set)
        return args.run(args) or 0
    except (ValueError, TypeError, VideoError, OSError) as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def build_parser() -> Parser:
    parser = Parser(prog="mvit-edu", description="Multiscale Vision Transformers to learn from.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    preset = {"choices": list_models(), "metavar": "PRESET"}

    models = commands.add_parser("models", help="list the presets with their sizes")
    models.set_defaults(run=run_models)

    table = commands.add_parser("table", help="print the stage table of a preset")
    table.add_argument("preset", help="a name from `mvit-edu models`", **preset)
    table.set_defaults(run=run_table)

    predict = commands.add_parser("predict", help="name what happens in a video, from one clip of it")
    predict.add_argument("video", help="a video file")
    predict.add_argument("--model", dest="preset", default="mvit_b_16x4", help="mvit_b_16x4 unless told", **preset)
    predict.add_argument("--weights", metavar="FILE", help="a checkpoint of any public library, or its name")
    predict.add_argument("--top", type=positive, default=5, metavar="K", help="how many classes to print (5)")
    predict.add_argument("--stride", type=positive, metavar="N", help="step between frames (by the preset)")
    predict.set_defaults(run=run_predict)

    for command in (table, predict):
        about = "change a field of the config; may be repeated"
        command.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=about)

    convert = commands.add_parser("convert", help="rename the tensors of a checkpoint for another library")
    convert.add_argument("input", help="a checkpoint of any public library, or its name")
    convert.add_argument("output", type=Path, help="the file to write")
    convert.add_argument("--to", choices=DIALECTS, required=True, help="whose names to use")
    convert.add_argument("--force", action="store_true", help="write over a file that exists")
    convert.set_defaults(run=run_convert)

    data = commands.add_parser("data", help="check videos before you train on them")
    data_commands = data.add_subparsers(required=True, metavar="COMMAND")
    check = data_commands.add_parser("check", help="try to read every video of a list, in parallel")
    check.add_argument("list", type=Path, metavar="LIST", help="a list with a video a line, or a folder of videos")
    check.add_argument("--root", metavar="DIR", help="where relative paths start (the folder of the list)")
    check.add_argument("--workers", type=positive, metavar="N", help="processes (one for each CPU core)")
    what = "what to decode: first and last frame, every frame, or the first only (ends)"
    check.add_argument("--decode", choices=DECODE, default="ends", help=what)
    check.add_argument("--timeout", type=positive, metavar="SECONDS", help="for a file (60; 600 with --decode all)")
    check.add_argument("--report", type=Path, metavar="FILE", help="write a row for every file: .csv or .jsonl")
    check.set_defaults(run=run_check)
    return parser


def configure(parser: argparse.ArgumentParser, preset: str, changes: list[str]) -> MViTConfig:
    """The preset with `field=value` changes; a wrong one ends the program with exit code 2."""
    config = get_config(preset)
    fields = [field.name for field in dataclasses.fields(MViTConfig)]
    values = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            parser.error(f"--set wants FIELD=VALUE, for example --set pool=max, got {change!r}")
        if name not in fields:
            parser.error(f"there is no field {name!r}; use one of {', '.join(fields)}")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text  # a word, such as conv
    try:
        return dataclasses.replace(config, **values)
    except (ValueError, TypeError) as error:
        parser.error(f"--set {' '.join(changes)}: {error}")


def positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run_models(args: argparse.Namespace) -> None:
    names = list_models()
    width = max(map(len, names))
    for name in names:
        table = stage_table(get_config(name))
        size = "x".join(map(str, table.config.size))
        cost = f"{table.params / 1e6:6.2f} M parameters  {table.macs / 1e9:7.2f} G multiply-adds"
        print(f"{name:<{width}}  {size:>10}  {cost}")


def run_table(args: argparse.Namespace) -> None:
    print(stage_table(args.config))


def run_predict(args: argparse.Namespace) -> None:
    config: MViTConfig = args.config
    if config.frames < 2:
        raise ValueError(f"{args.preset} is a model for images; choose one for videos, such as mvit_b_16x4.")
    stride = args.stride or stride_of(args.preset)
    clip = load_clip(args.video, frames=config.frames, stride=stride, size=config.size[1:])

    torch.manual_seed(0)
    if args.weights:
        weights = read_checkpoint(args.weights)
        head = to_native(weights).get("head.weight")  # (num_classes, dim)
        model = MViT(config if head is None else dataclasses.replace(config, num_classes=len(head)))
        print(f"{args.preset}: {load_weights(model, weights)}")
    else:
        model = MViT(config)
        print(f"{args.preset} is untrained (no --weights): the scores below mean nothing.")
    with torch.inference_mode():
        scores = model.eval()(clip).softmax(dim=-1)[0]  # (num_classes,)

    info = video_info(args.video)
    indices = clip_indices(info.frames, config.frames, stride)
    which = f"frames {indices[0]} to {indices[-1]} of {info.frames} in steps of {stride}"
    print(f"{Path(args.video).name}: {which}, center crop of {'x'.join(map(str, config.size[1:]))}")
    names = class_names(len(scores))
    best = scores.topk(min(args.top, len(scores)))
    for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        print(f"{score:7.2%}  {names[index]}")


def stride_of(preset: str) -> int:
    """τ of a preset whose name carries T×τ, such as mvit_b_32x3; otherwise 4."""
    match = re.search(r"_\d+x(\d+)", preset)
    return int(match[1]) if match else DEFAULT_STRIDE


def class_names(num_classes: int) -> list[str]:
    """The names of Kinetics-400 in the order of all public checkpoints; for other data sets, numbers."""
    if num_classes != 400:
        return [f"class {index}" for index in range(num_classes)]
    from torchvision.models.video import MViT_V1_B_Weights  # a table of names; nothing is downloaded

    return MViT_V1_B_Weights.KINETICS400_V1.meta["categories"]


def run_convert(args: argparse.Namespace) -> None:
    if args.output.exists() and not args.force:
        raise ValueError(f"{args.output} exists; give another name, or --force to write over it.")
    raw: Mapping = unwrap(read_checkpoint(args.input))
    image = any(value.ndim == 4 for value in raw.values())  # an image model's stem has no axis of time
    native = to_native(raw)
    if "patch_embed.proj.weight" not in native or any("rel_pos" in name for name in native):
        raise ValueError(f"{args.input} holds no MViT of the first version, which is all that can be converted.")
    state = from_native(native, args.to, image=image)
    torch.save({"model_state": state} if args.to in WRAPPED else state, args.output)
    print(f"{args.output}: {len(state)} tensors under the names of {args.to}")


def run_check(args: argparse.Namespace) -> int:
    if args.list.is_dir():
        paths = sorted(find_videos(args.list))
    else:
        paths = [item.path for item in VideoList.read(args.list, root=args.root)]
    paths = list(dict.fromkeys(paths))
    if not paths:
        raise ValueError(f"{args.list} holds no videos.")
    if args.report and not args.report.parent.is_dir():  # better to fail now than at the end
        raise ValueError(f"{args.report.parent} is no folder; the report cannot be written there.")
    timeout = args.timeout or (600 if args.decode == "all" else 60)
    found = {}
    stopped = False
    try:
        checking = check_videos(paths, decode=args.decode, workers=args.workers, timeout=timeout)
        with contextlib.closing(checking), tqdm(checking, total=len(paths), unit="video", file=sys.stderr) as bar:
            for result in bar:
                found[result.path] = result
    except KeyboardInterrupt:
        stopped = True
    results = [found[path] for path in paths if path in found]
    bad = [result for result in results if not result.ok]
    for result in bad[:SHOWN_FAILURES]:
        print(f"{result.path}: {result.cause}")
    if len(bad) > SHOWN_FAILURES:
        print(f"... and {len(bad) - SHOWN_FAILURES} more" + ("" if args.report else "; --report FILE lists them all"))
    print(summarize(results, len(paths)))
    if args.report:
        write_report(args.report, results)
        print(f"The report is in {args.report}.")
    return 130 if stopped else int(bool(bad))
