"""Prepare ImageNet-1k: lists of the images, and smaller copies of them if you like (--resize).

What to download (see data_scripts/README.md): ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and the development
kit, from the page of the dataset (an account is needed); unpacked below SOURCE:
  train/n01440764/*.JPEG                  a folder for each of the 1000 classes
  val/ILSVRC2012_val_00000001.JPEG ...    all in one folder, or in class folders as in train
  ILSVRC2012_devkit_t12/data/             meta.mat and ILSVRC2012_validation_ground_truth.txt
Instead of the kit, LOC_val_solution.csv says which class a validation image has.

What you get in TARGET:
  train.csv, val.csv        a line an image, "path,label", labels by the sorted WordNet numbers (n01440764 is 0)
  classes.txt               the class of each label
  train/, val/              with --resize, JPEG copies with a short side of 256
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `python data_scripts/imagenet.py`

from data_scripts.command import Plan, execute, make_parser  # noqa: E402
from data_scripts.lists import find_one  # noqa: E402
from data_scripts.prepare import Job  # noqa: E402
from mvit_edu.data.annotations import read_imagenet  # noqa: E402
from mvit_edu.data.video_list import VideoList  # noqa: E402

IMAGES = {"train": 1_281_167, "val": 50_000}
GROUND_TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "imagenet")
    parser.add_argument("--resize", action="store_true", help="write copies with a short side of --short-side")
    parser.add_argument("--solution", type=Path, metavar="FILE", help="LOC_val_solution.csv, instead of the kit")
    parser.add_argument("--synsets", type=Path, metavar="FILE", help="LOC_synset_mapping.txt, to name the classes")
    return execute(parser, argv, plan)


def plan(args: argparse.Namespace) -> Plan:
    folders = {split: args.source / split for split in IMAGES}
    for folder in folders.values():
        if not folder.is_dir() or any(folder.glob("n*.tar")):
            raise ValueError(f"{folder} must hold the unpacked images; data_scripts/README.md says how to unpack.")
    lists = {"train": read_imagenet(folders["train"], synsets=args.synsets)}
    flat = not any(path.is_dir() for path in folders["val"].iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        solution = args.solution if flat else None
        if flat and solution is None:
            solution = Path(scratch, "wnids.txt")
            solution.write_text(solution_of_kit(args.source), encoding="utf-8")
        lists["val"] = read_imagenet(folders["val"], solution, args.synsets)
    if lists["val"].classes != lists["train"].classes:
        counts = " and ".join(str(len(images.classes)) for images in lists.values())
        raise ValueError(f"train and val hold different classes ({counts}); --synsets names all 1000.")
    lists = {split: replace(images, items=images.items[: args.limit]) for split, images in lists.items()}
    notes = [f"{split}: {len(lists[split]):,} images; the full set has {IMAGES[split]:,}." for split in lists]
    jobs = []
    if args.resize:
        for split, images in lists.items():
            targets = [copy_of(path, folders[split], args.target / split) for path in (item.path for item in images)]
            pairs = list(zip(images, targets, strict=True))
            jobs += [Job(Path(item.path), target, kind="image") for item, target in pairs]
            lists[split] = replace(images, items=tuple(replace(item, path=str(path)) for item, path in pairs))
    return Plan(jobs, notes, lambda: [write(images, args.target / f"{split}.csv") for split, images in lists.items()])


def copy_of(path: str, folder: Path, target: Path) -> Path:
    return (target / Path(path).relative_to(folder)).with_suffix(".JPEG")


def write(images: VideoList, path: Path) -> str:
    there = replace(images, items=tuple(item for item in images if Path(item.path).exists()))
    return f"{there.write(path)}: {len(there):,} images."


def solution_of_kit(source: Path) -> str:
    """A WordNet number a line for the validation images: the kit numbers the classes in an order of its own."""
    truth, meta = find_one(source, GROUND_TRUTH), find_one(source, META)
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ValueError(f"Reading {meta} needs SciPy; install it, or give --solution LOC_val_solution.csv.") from error
    synsets = loadmat(str(meta), squeeze_me=True, struct_as_record=False)["synsets"]
    wnids = {int(synset.ILSVRC2012_ID): str(synset.WNID) for synset in synsets}
    return "".join(f"{wnids[int(number)]}\n" for number in truth.read_text(encoding="utf-8").split())


if __name__ == "__main__":
    raise SystemExit(main())
