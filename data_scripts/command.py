"""The command line that the scripts of all datasets share: plan, prepare, write the lists, report.

Exit codes: 0 done, 1 something failed or the run ended early, 2 called wrongly, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from data_scripts.prepare import Job, Report, cores, run
from data_scripts.transcode import Settings


@dataclass(frozen=True)
class Plan:
    """What a script found: the files to make, what to say about them, and how to write the lists afterwards."""

    jobs: list[Job]
    notes: list[str]
    write_lists: Callable[[], list[str]]  # called when the files are there; returns what to say


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def make_parser(doc: str, name: str, timeout: float = 600) -> Parser:
    """A parser with the options that every script has; `doc` becomes the text of --help."""
    parser = Parser(
        prog=f"python -m data_scripts.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the folder with the download")
    parser.add_argument("target", type=Path, help="the folder to write to; made if it is not there")
    common = parser.add_argument_group("how to prepare")
    common.add_argument("--limit", type=positive, metavar="N", help="only the first N files of each list, to try it")
    common.add_argument("--dry-run", action="store_true", help="say what would be done, write nothing")
    common.add_argument("--lists-only", action="store_true", help="write the lists for the files that are there")
    common.add_argument("--verify", action="store_true", help="open what is done already; make what is wrong again")
    common.add_argument("--workers", type=positive, default=cores(), metavar="N", help="processes (one a core)")
    seconds = f"give up on a file after so long ({timeout:g})"
    common.add_argument("--timeout", type=float, default=timeout, metavar="SECONDS", help=seconds)
    common.add_argument("--short-side", type=int, default=256, metavar="PIXELS", help="of what is written (256)")
    return parser


def add_video_options(parser: Parser) -> None:
    video = parser.add_argument_group("how to encode")
    video.add_argument("--key-frames", type=positive, default=12, metavar="N", help="one at least every N frames (12)")
    video.add_argument("--crf", type=int, default=23, help="quality of x264, lower is better and larger (23)")
    video.add_argument("--preset", default="medium", help="speed of x264, ultrafast to veryslow (medium)")
    video.add_argument("--upscale", action="store_true", help="enlarge what is smaller than --short-side")


def execute(parser: Parser, argv: Sequence[str] | None, make_plan: Callable[[argparse.Namespace], Plan]) -> int:
    """Run a script: plan, prepare, write the lists, report. Returns the exit code: 0 good, 1 something failed."""
    args = parser.parse_args(argv)
    try:
        if not args.source.is_dir():
            raise ValueError(f"{args.source} is not a folder; give the one that holds the download.")
        names = {item.name for item in dataclasses.fields(Settings)}
        settings = Settings(**{name: value for name, value in vars(args).items() if name in names})
        plan = make_plan(args)
        print(*plan.notes, sep="\n")
        if args.dry_run:
            return preview(plan.jobs)
        report = Report()
        if not args.lists_only:
            report = run(plan.jobs, args.target, settings, args.workers, args.timeout, args.verify)
            print(f"Files: {report}.")
        if report.failed:
            print(f"What failed, and why: {args.target / 'failed.csv'}. The same command tries it again.")
        if report.stopped:
            print(f"{report.stopped} The same command goes on from here.", file=sys.stderr)
            return 130 if report.interrupted else 1
        args.target.mkdir(parents=True, exist_ok=True)
        print(*plan.write_lists(), sep="\n")
        return 1 if report.failed else 0
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1


def preview(jobs: Sequence[Job]) -> int:
    done = sum(job.target.exists() for job in jobs)
    print(f"Would make {len(jobs) - done} files ({done} are there already), for example:")
    for job in jobs[:3]:
        cut = "" if job.start is None else f" (from {job.start:g} s to {job.end:g} s)"
        print(f"  {job.source}{cut} -> {job.target}")
    return 0


def positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 up")
    return number
