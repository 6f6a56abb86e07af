"""`mvit-edu study list | run NAME | plot NAME`: the paper's ablations in small."""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from mvit_edu.cli.parser import cores, positive
from mvit_edu.studies.ablations import STUDIES, get_study
from mvit_edu.studies.costs import COSTED, side_by_side
from mvit_edu.studies.findings import (
    accuracies,
    bounds,
    cost_lines,
    current,
    head_rows,
    in_two_orders,
    sentences,
    sweep,
    view_curves,
)
from mvit_edu.studies.runner import run_study
from mvit_edu.studies.study import SCALES, Study
from mvit_edu.studies.study_log import StudyLog
from mvit_edu.training.device import pick_device
from mvit_edu.visualize import draw_attention_distance, save_figure, set_style
from mvit_edu.visualize.studies import draw_sweep, draw_variants

RESULTS = Path("book") / "results"


def add(commands: argparse._SubParsersAction) -> None:
    study = commands.add_parser("study", help="the paper's ablations in small: list, run, plot")
    parts = study.add_subparsers(required=True, metavar="WHAT")
    listing = parts.add_parser("list", help="names and questions")
    listing.set_defaults(run=run_list)
    run = parts.add_parser("run", help="make the runs that the log does not have")
    add_study(run)
    run.add_argument("--seeds", type=positive, default=3, metavar="N", help="seeds 0 to N-1 (3)")
    run.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N", help="every N-th run, from the I-th (1/1)")
    run.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    about = "where runs keep their checkpoints until they are done (runs/studies)"
    run.add_argument("--work", type=Path, default=Path("runs") / "studies", metavar="DIR", help=about)
    run.set_defaults(run=run_run)
    costs = parts.add_parser("costs", help="time the variants in turns, on a machine that does nothing else")
    add_study(costs, COSTED)
    costs.add_argument("--turns", type=positive, default=7, metavar="N", help="how often each is timed (7)")
    costs.add_argument("--batch", type=positive, metavar="N", help="clips of a step (as in the runs; at full size 1)")
    costs.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    costs.set_defaults(run=run_costs)
    plot = parts.add_parser("plot", help="draw the log")
    add_study(plot)
    plot.add_argument("--picture", type=Path, metavar="FILE", help="where to (NAME-SCALE.png)")
    plot.set_defaults(run=run_plot)


def add_study(parser: argparse.ArgumentParser, scales: Iterable[str] = SCALES) -> None:
    parser.add_argument("name", choices=STUDIES, metavar="NAME", help="see `mvit-edu study list`")
    parser.add_argument("--scale", choices=scales, default="cpu", help="one of: " + ", ".join(scales))
    parser.add_argument("--log", type=Path, metavar="FILE", help=f"the log ({RESULTS}/NAME.json)")


def shard(text: str) -> tuple[int, int]:
    if not (found := re.fullmatch(r"(\d+)/(\d+)", text)) or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard such as 1/2 or 2/2")
    return int(found[1]), int(found[2])


def log_of(args: argparse.Namespace) -> StudyLog:
    log = StudyLog(args.log or RESULTS / f"{args.name}.json")
    if others := {run["study"] for run in log.runs()} - {args.name}:
        raise ValueError(f"{log.path} is the log of the study {others.pop()!r}; give --log another file.")
    return log


def run_list(args: argparse.Namespace) -> None:
    for study in STUDIES.values():
        where = ", ".join(one if " " in one else f"Table {one}" for one in study.tables)
        print(f"{study.name:18} {len(study.variants):3} variants  {where:24} {time_of(study):>10}  {study.question}")
    print(f"Times: 3 seeds at scale cpu on one core, by the logs in {RESULTS}; halve them with --shard 1/2 and 2/2.")


def time_of(study: Study) -> str:
    """How long three seeds of all variants take at scale cpu, by the runs that are logged."""
    runs = current(study, StudyLog(RESULTS / f"{study.name}.json").runs("cpu"))
    found = [run["seconds"] for run in runs if "seconds" in run and not run.get("resumed")]
    trained = sum(variant.trained for variant in study.variants)
    return f"{3 * trained * statistics.median(found) / 60:.0f} min" if found else "no log"


def run_run(args: argparse.Namespace) -> None:
    if pick_device(args.device).type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1 if args.scale != "gpu" else max(1, cores() // args.shard[1]))  # small tensors
    if args.device == "auto" and not torch.cuda.is_available() and args.scale == "gpu":
        raise ValueError("The scale gpu takes days without a GPU; take --scale cpu, or --device cpu if you mean it.")
    run_study(
        get_study(args.name),
        args.scale,
        range(args.seeds),
        log_of(args),
        args.work,
        args.shard,
        args.device,
        progress=sys.stderr.isatty(),
    )


def run_costs(args: argparse.Namespace) -> None:
    study = get_study(args.name)
    found = side_by_side(study, args.scale, pick_device(args.device), args.turns, args.batch)
    log_of(args).add_costs(found)
    for line in cost_lines(found):
        print(line)


def run_plot(args: argparse.Namespace) -> None:
    log, study = log_of(args), get_study(args.name)
    logged = log.runs(args.scale)
    runs = current(study, logged)
    again = f"mvit-edu study run {args.name} --scale {args.scale}"
    if not runs:
        kind = f"of scale {args.scale}" + (" with the settings of today" if logged else "")
        raise ValueError(f"{log.path} has no run {kind}; make them: {again}")
    if len(runs) < len(logged):
        print(
            f"{len(logged) - len(runs)} of {len(logged)} runs have other settings than the study has today, and are "
            f"left out; make them anew: {again}"
        )
    picture = args.picture or Path(f"{args.name}-{args.scale}.png")
    set_style()
    if "attention" in study.measures:
        found = {f"{name}, {when}": rows for (name, when), rows in head_rows(runs).items()}
        figure = draw_attention_distance(found)
    elif "views" in study.measures:
        figure = draw_sweep(view_curves(runs), axis="views of a video")
    elif study.axis:
        figure = draw_sweep(sweep(study, runs), axis=study.axis, bounds=bounds(study))
    else:
        figure = draw_variants(in_two_orders(study, runs) if len(study.orders) > 1 else accuracies(study, runs))
    save_figure(figure, picture)
    for sentence in sentences(study, runs):
        print(sentence)
    print(f"The plot is in {picture}.")
