"""What all commands share: a parser with one-line errors, and values of options."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import re
from typing import NoReturn

import torch

from mvit_edu.distributed import launched_ranks
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.presets import get_config, list_models


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def add_model(parser: argparse.ArgumentParser, default: str | None = "mvit_b_16x4", about: str = "") -> None:
    """The options `--model` and `--set`."""
    shown = about or f"the preset ({default})"
    parser.add_argument("--model", dest="preset", default=default, choices=list_models(), metavar="PRESET", help=shown)
    add_set(parser)


def add_set(parser: argparse.ArgumentParser) -> None:
    about = "change a field of the preset's config; may be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=about)


def cores() -> int:
    """CPU cores that this process may use: its share of them where `torchrun` started several."""
    all_of_them = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, all_of_them // launched_ranks().local_size)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The option `--workers`."""
    about = "processes that read videos; 0 reads in the main one (a core less than there are, at most 8; 0 where a "
    about += "model computes on a CPU of one or two cores)"
    parser.add_argument("--workers", type=int, metavar="N", help=about)


def share_cores(workers: int | None, device: torch.device) -> int:
    """How many workers to use, and for the model the cores that they leave.

    Threads of PyTorch wait for one another without rest, so a worker on the same core makes them ten times slower.
    """
    if workers is None:
        workers = 0 if device.type == "cpu" and cores() <= 2 else max(1, min(8, cores() - 1))
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() - workers))
    return workers


def changes_of(parser: argparse.ArgumentParser, changes: list[str]) -> dict[str, object]:
    """`field=value` texts as a dictionary; a wrong one ends the program with exit code 2."""
    fields = [field.name for field in dataclasses.fields(MViTConfig)]
    values: dict[str, object] = {}
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
    return values


def configure(parser: argparse.ArgumentParser, preset: str, changes: list[str]) -> MViTConfig:
    """The preset with `field=value` changes; a wrong one ends the program with exit code 2."""
    try:
        return dataclasses.replace(get_config(preset), **changes_of(parser, changes))
    except (ValueError, TypeError) as error:
        parser.error(f"--set {' '.join(changes)}: {error}")
