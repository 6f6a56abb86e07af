"""`mvit-edu data check`: read every video of a list before a training does."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from tqdm import tqdm

from mvit_edu.cli.parser import positive
from mvit_edu.data.check_list import DECODE, check_videos, summarize, write_report
from mvit_edu.data.video_list import VideoList, find_videos

SHOWN_FAILURES = 20


def add(commands: argparse._SubParsersAction) -> None:
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
