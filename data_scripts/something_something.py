"""Prepare Something-Something-v2: short side 256 at most, a key frame every 12 frames, lists to train from.

What to download (see data_scripts/README.md): the 20 parts of the videos and the labels, from the page of the
dataset (an account is needed). Unpack both anywhere below SOURCE:
  20bn-something-something-v2/1.webm ... 220847.webm
  labels.json, train.json, validation.json    (or something-something-v2-labels.json, ...)

What you get in TARGET:
  videos/00/1.mp4 ...     in 100 folders, by the last two digits of the number
  train.csv, val.csv      a line a video, "path,label", the path from the list's folder
  classes.txt             the 174 templates, in the order of their labels
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `python data_scripts/something_something.py`

from data_scripts.command import Plan, add_video_options, execute, make_parser  # noqa: E402
from data_scripts.lists import find_one, plan_lists  # noqa: E402
from mvit_edu.data.annotations import VideoFolder, read_ssv2  # noqa: E402
from mvit_edu.data.video_list import VideoItem  # noqa: E402

NAMES = {"train": "train", "val": "validation"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "something_something")
    parser.add_argument("--labels", type=Path, metavar="FOLDER", help="where the .json files are (below SOURCE)")
    add_video_options(parser)
    return execute(parser, argv, plan)


def plan(args: argparse.Namespace) -> Plan:
    folder = args.labels or args.source
    labels = find_one(folder, "*labels.json")
    splits = {split: read_ssv2(find_one(folder, f"*{name}.json"), labels) for split, name in NAMES.items()}
    return plan_lists(splits, VideoFolder(args.source).paths, args.target, args.limit, number_folder)


def number_folder(item: VideoItem) -> str:
    return Path(item.path).stem[-2:].zfill(2)


if __name__ == "__main__":
    raise SystemExit(main())
