"""`mvit-edu evaluate`: the accuracy of weights on a list of videos, with the protocol beside it."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch

from mvit_edu.cli.parser import add_model, add_workers, positive, share_cores
from mvit_edu.cli.weights import load_model
from mvit_edu.data.find_lists import SPLITS, read_any
from mvit_edu.distributed import current, process_group
from mvit_edu.evaluation import ORDERS, PROTOCOLS, Protocol, evaluate, get_protocol
from mvit_edu.training.device import pick_device, pick_precision


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("evaluate", help="test weights on a list or a folder of videos")
    about = "a checkpoint of any public library, its name, or the folder of a run"
    command.add_argument("--weights", required=True, metavar="FILE", help=about)
    command.add_argument("--data", required=True, metavar="DIR|LIST", help="the videos, with their classes")
    command.add_argument("--split", choices=SPLITS, default="val", help="which split of the folder (val)")
    add_model(command, default=None, about="the preset (a run knows its own; otherwise mvit_b_16x4)")
    add_protocol(command, "that of the run's recipe; otherwise paper")
    command.add_argument("--order", choices=ORDERS, default=ORDERS[0], help=f"of the frames ({ORDERS[0]})")
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of the shuffled order (0)")
    command.add_argument("--batch", type=positive, default=8, metavar="N", help="clips in a forward pass (8)")
    add_workers(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (auto)")
    command.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="(auto)")
    about = "share of videos that may be unreadable (0.05)"
    command.add_argument("--max-failures", type=float, default=0.05, metavar="X", help=about)
    about = "how long to wait for another process before all end (10)"
    command.add_argument("--timeout-minutes", type=positive, default=10, metavar="MIN", help=about)
    command.add_argument("--report", type=Path, metavar="FILE", help="write all counts, per class too, as JSON")
    command.set_defaults(run=run_evaluate, parser=command)


def add_protocol(command: argparse.ArgumentParser, default: str) -> None:
    about = f"how a video becomes clips: {', '.join(PROTOCOLS)} ({default})"
    command.add_argument("--protocol", choices=PROTOCOLS, metavar="NAME", help=about)
    command.add_argument("--views", type=positive, metavar="K", help="clips spread over a video (by the protocol)")
    command.add_argument("--crops", type=int, choices=(1, 3), help="of each clip (by the protocol)")
    about = "step between the frames of a clip (by the weights, or the preset)"
    command.add_argument("--stride", type=positive, metavar="N", help=about)


def chosen_protocol(args: argparse.Namespace, default: str) -> Protocol:
    """The protocol by name, with another number of views or crops where the user gives one."""
    protocol = get_protocol(args.protocol or default)
    changes = {name: value for name in ("views", "crops") if (value := getattr(args, name)) is not None}
    if any(getattr(protocol, name) != value for name, value in changes.items()):
        return dataclasses.replace(protocol, **changes, name=f"{protocol.name}, changed", source="")
    return protocol


def run_evaluate(args: argparse.Namespace) -> None:
    device = pick_device(args.device)
    with process_group(device, args.timeout_minutes):
        evaluate_here(args, device)


def evaluate_here(args: argparse.Namespace, device: torch.device) -> None:
    """The command in this process; several share the videos if `torchrun` started them."""
    loaded = load_model(args.parser, args.preset, args.set, args.weights, args.stride)
    videos = read_any(args.data, loaded.classes or None, args.split)
    protocol = chosen_protocol(args, loaded.protocol)
    dataset = protocol.dataset(videos, loaded.spec, loaded.model.config.size[1:])
    workers = share_cores(args.workers, device)
    print(f"weights: {loaded.about}")
    report = evaluate(
        loaded.model,
        dataset,
        protocol=protocol,
        order=args.order,
        batch=args.batch,
        workers=workers,
        device=device,
        precision=pick_precision(args.precision, device),
        multi_label=loaded.multi_label or None,
        seed=args.seed,
        max_failures=args.max_failures,
        progress=True,
    )
    print(report)
    for failure in report.failures:
        print(f"  {failure}")
    if args.report and current().first:
        report.write(args.report)
        print(f"The report is in {args.report}.")
