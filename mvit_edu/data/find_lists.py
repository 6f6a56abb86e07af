"""The lists of a data set from what a user has: list files, a folder with splits, or a folder per class (Chapter 8)."""

from __future__ import annotations

from pathlib import Path

from mvit_edu.data.video_list import Classes, VideoList

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def find_list(data: str | Path, split: str, classes: Classes = None) -> VideoList | None:
    """The list of a split: a file `val.csv` in the folder `data`, or a folder `val` of class folders; None if neither.

    Args:
        data: a folder.
        split: "train", "val" or "test"; "validation" and the like are found, too.
        classes: names in the order of their numbers, as in `VideoList.read`.
    """
    for name in SPLITS[split]:
        file, folder = Path(data) / f"{name}.csv", Path(data) / name
        if file.is_file():
            return VideoList.read(file, classes=classes)
        if folder.is_dir():
            return VideoList.from_folder(folder, classes)
    return None


def training_lists(
    data: str | Path, validation: str | Path | None = None, share: float = 0.2, seed: int = 0
) -> tuple[VideoList, VideoList, str]:
    """The list to train on, the list to validate on, and a sentence that says where they come from.

    Args:
        data: a list file; a folder with `train.csv`, or with `train/` and class folders in it; or a folder with one
            folder of videos per class.
        validation: a list file or a folder; unless told, the `val` split in `data`; else `share` of the videos of
            every class, drawn by `seed`.

    Raises:
        ValueError: there is no such file or folder, or no video in it.
    """
    data = Path(data)
    if not data.exists():
        raise ValueError(f"{data}: there is no such file or folder; give a list of videos, or a folder of them.")
    if data.is_file():
        train, where = VideoList.read(data), f"{data}"
    else:
        train = find_list(data, "train")
        where = f"the train split in {data}"
        if train is None:
            train, where = VideoList.from_folder(data), f"the class folders in {data}"
    if validation is not None:
        held = read_any(validation, train.classes or None)
        return train, held, f"{where}; validation: {validation}"
    held = find_list(data, "val", train.classes or None) if data.is_dir() else None
    if held is not None:
        return train, held, f"{where}; validation: the val split"
    train, held = train.split(share, seed)
    if not len(held):
        raise ValueError(f"{where} has too few videos to hold some back; give a validation list.")
    return train, held, f"{where}; validation: {share:.0%} of every class, held back"


def read_any(source: str | Path, classes: Classes = None, split: str = "val") -> VideoList:
    """A list file, a folder with this split, or a folder per class."""
    source = Path(source)
    if not source.exists():
        raise ValueError(f"{source}: there is no such file or folder; give a list of videos, or a folder of them.")
    if source.is_file():
        return VideoList.read(source, classes=classes)
    found = find_list(source, split, classes)
    return VideoList.from_folder(source, classes) if found is None else found
