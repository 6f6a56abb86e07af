"""Prepare AVA v2.2: cut the annotated part out of every movie, 256 pixels high, and copy the annotations.

What to download (see data_scripts/README.md): the 299 movies of train and val from the addresses that the
dataset's page lists, 157 GB, any of .mp4, .mkv and .webm; and ava_v2.2.zip, unpacked. Both go below SOURCE.

What you get in TARGET:
  videos/ID.mp4    seconds 895 to 1805 of each movie, frame rate as in the movie
  videos.csv       id, path and the second of the movie at which the file begins
  annotations/     the official files, unchanged

The annotations count seconds of the movie: second s is at s - 895 in the prepared file. `read_ava` takes that
as begin=895.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `python data_scripts/ava.py`

from data_scripts.atomic import replacing  # noqa: E402
from data_scripts.command import Plan, add_video_options, execute, make_parser  # noqa: E402
from data_scripts.prepare import Job  # noqa: E402
from mvit_edu.data.annotations import VideoFolder  # noqa: E402

BEGIN, END = 895.0, 1805.0  # key seconds 902 to 1798, and room for a clip of 64x3 frames around them
MOVIES = 299


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "ava", timeout=3600)
    parser.add_argument("--from", dest="begin", type=float, default=BEGIN, metavar="SECOND", help="cut begins (895)")
    parser.add_argument("--to", dest="end", type=float, default=END, metavar="SECOND", help="cut ends (1805)")
    add_video_options(parser)
    return execute(parser, argv, plan)


def plan(args: argparse.Namespace) -> Plan:
    movies = VideoFolder(args.source).paths
    if not movies:
        raise ValueError(f"{args.source} holds no movies (.mp4, .mkv, .webm, ...).")
    annotations = sorted(path for pattern in ("ava_*.csv", "ava_*.pbtxt") for path in args.source.rglob(pattern))
    folder = args.target / "videos"
    jobs = [Job(Path(path), folder / f"{name}.mp4", args.begin, args.end) for name, path in sorted(movies.items())]
    notes = [f"{len(jobs)} movies (train and val have {MOVIES} together), {len(annotations)} annotation files."]

    def write_lists() -> list[str]:
        made = [job.target.stem for job in jobs if job.target.exists()]
        with replacing(args.target / "videos.csv") as temporary, open(temporary, "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["id", "path", "begin"])
            table.writerows((name, f"videos/{name}.mp4", f"{args.begin:g}") for name in made)
        for path in annotations:
            with replacing(args.target / "annotations" / path.name) as temporary:
                shutil.copyfile(path, temporary)
        return [f"videos.csv: {len(made)} movies. annotations: {len(annotations)} files."]

    return Plan(jobs[: args.limit], notes, write_lists)


if __name__ == "__main__":
    raise SystemExit(main())
