"""Prepare Charades: short side 256, a key frame every 12 frames, multi-label lists to train from.

What to download (see data_scripts/README.md): Charades_v1_480.zip (or Charades_v1.zip, the originals) and
Charades.zip with the annotations, from the page of the dataset. Unpack both anywhere below SOURCE:
  Charades_v1_480/46GP8.mp4 ...
  Charades_v1_train.csv, Charades_v1_test.csv, Charades_v1_classes.txt

What you get in TARGET:
  videos/46GP8.mp4 ...    frame rate as in the download
  train.csv, val.csv      a line a video: path, its classes ("3;17"), and when each action happens
  classes.txt             the 157 classes, in the order of their labels

The official test split is what papers call val.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `python data_scripts/charades.py`

from data_scripts.command import Plan, add_video_options, execute, make_parser  # noqa: E402
from data_scripts.lists import find_one, plan_lists  # noqa: E402
from mvit_edu.data.annotations import VideoFolder, read_charades  # noqa: E402

NAMES = {"train": "Charades_v1_train.csv", "val": "Charades_v1_test.csv"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "charades")
    parser.add_argument("--annotations", type=Path, metavar="FOLDER", help="where the .csv files are (below SOURCE)")
    add_video_options(parser)
    return execute(parser, argv, plan)


def plan(args: argparse.Namespace) -> Plan:
    folder = args.annotations or args.source
    classes = find_one(folder, "Charades_v1_classes.txt")
    splits = {split: read_charades(find_one(folder, name), classes) for split, name in NAMES.items()}
    return plan_lists(splits, VideoFolder(args.source).paths, args.target, args.limit)


if __name__ == "__main__":
    raise SystemExit(main())
