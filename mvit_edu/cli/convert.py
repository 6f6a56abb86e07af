"""`mvit-edu convert`: the same weights under the names of another library."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from mvit_edu.cli.weights import find_weights
from mvit_edu.model.checkpoints import read_checkpoint
from mvit_edu.model.dialects import from_native, to_native, unwrap

DIALECTS = ("slowfast", "pytorchvideo", "torchvision", "native")
WRAPPED = ("slowfast", "pytorchvideo")  # these projects read their weights from the entry "model_state"


def add(commands: argparse._SubParsersAction) -> None:
    convert = commands.add_parser("convert", help="rename the tensors of a checkpoint for another library")
    convert.add_argument("input", help="a checkpoint of any public library, its name, or the folder of a run")
    convert.add_argument("output", type=Path, help="the file to write")
    convert.add_argument("--to", choices=DIALECTS, required=True, help="whose names to use")
    convert.add_argument("--force", action="store_true", help="write over a file that exists")
    convert.set_defaults(run=run_convert)


def run_convert(args: argparse.Namespace) -> None:
    if args.output.exists() and not args.force:
        raise ValueError(f"{args.output} exists; give another name, or --force to write over it.")
    raw: Mapping = unwrap(read_checkpoint(find_weights(args.input)))
    image = any(value.ndim == 4 for value in raw.values())  # an image model's stem has no axis of time
    native = to_native(raw)
    if "patch_embed.proj.weight" not in native or any("rel_pos" in name for name in native):
        raise ValueError(f"{args.input} holds no MViT of the first version, which is all that can be converted.")
    state = from_native(native, args.to, image=image)
    torch.save({"model_state": state} if args.to in WRAPPED else state, args.output)
    print(f"{args.output}: {len(state)} tensors under the names of {args.to}")
