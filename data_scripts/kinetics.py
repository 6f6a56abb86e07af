"""Prepare Kinetics-400 or Kinetics-600: short side 256, a key frame every 12 frames, lists to train from.

What to download (see data_scripts/README.md): the videos and the official lists train.csv and val.csv
(label,youtube_id,time_start,time_end,split). Videos anywhere below SOURCE are found by their name:
  ID_000012_000022.mp4    cut already, as the public copies ship them, in class folders or not
  ID.mp4                  the whole video; seconds time_start to time_end are cut out of it

What you get in TARGET:
  videos/CLASS/ID_000012_000022.mp4    CLASS with _ for spaces, so that any library can read the lists
  train.csv, val.csv                   a line a video, "path,label", the path from the list's folder
  classes.txt                          the class of each label, in order

Kinetics-400 numbers its classes in alphabetical order, as the released models do. The released Kinetics-600
models have an order of their own: give the class file that comes with them as --classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `python data_scripts/kinetics.py`

from data_scripts.command import Plan, add_video_options, execute, make_parser  # noqa: E402
from data_scripts.lists import Piece, plan_lists  # noqa: E402
from mvit_edu.data.annotations import VideoFolder, read_kinetics  # noqa: E402
from mvit_edu.data.video_list import VideoItem  # noqa: E402

SPLITS = ("train", "val", "test")


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "kinetics")
    official = parser.add_argument_group("official lists")
    for split in SPLITS:
        official.add_argument(f"--{split}", type=Path, metavar="CSV", help=f"the official {split} list")
    order = "a file with the class names, one a line, in the order of the labels (alphabetical)"
    official.add_argument("--classes", type=Path, metavar="FILE", help=order)
    add_video_options(parser)
    return execute(parser, argv, plan)


def plan(args: argparse.Namespace) -> Plan:
    lists = {split: getattr(args, split) for split in SPLITS if getattr(args, split)}
    if not lists:
        raise ValueError("Give the official lists, for example --train train.csv --val val.csv.")
    splits = {}
    classes = args.classes
    for split, path in lists.items():
        splits[split] = read_kinetics(path, classes=classes)
        classes = classes or splits[split].classes  # all lists number the classes as the first one does

    def class_folder(item: VideoItem) -> str:
        return "" if item.label is None else splits[next(iter(splits))].classes[item.label].replace(" ", "_")

    return plan_lists(splits, VideoFolder(args.source).paths, args.target, args.limit, class_folder, pieces)


def pieces(name: str) -> Iterator[Piece]:
    """ "ID_000012_000022" is that file, or "ID_12_22", or seconds 12 to 22 of the whole video "ID"."""
    video, start, end = name.rsplit("_", 2)
    yield name, None, None
    yield f"{video}_{int(start)}_{int(end)}", None, None
    yield video, float(start), float(end)


if __name__ == "__main__":
    raise SystemExit(main())
