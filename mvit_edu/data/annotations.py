"""The official annotation files of the paper's data sets, read as they are handed out (Chapter 7).

Every reader but `read_ava` gives a `VideoList` with one item per annotated video. With a folder of videos, each item
gets the path of its file in there, wherever it lies; a video that is not there keeps its official name, so that
`videos.missing()` tells how much of the data set you have and `videos.existing()` leaves the rest out. Without a folder
the paths are the official file names.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mvit_edu.data.list_file import read_json, read_text
from mvit_edu.data.video_list import Classes, VideoItem, VideoList, class_tuple, find_videos

IMAGE_SUFFIXES = (".jpeg", ".jpg", ".png")


def read_kinetics(csv_file: str | Path, videos: str | Path | None = None, classes: Classes = None) -> VideoList:
    """Kinetics-400, -600 or -700: columns label, youtube_id, time_start, time_end (others are ignored).

    A file is found as `ID_000012_000022.mp4` (start and end in seconds, six digits), `ID_12_22.mp4` or `ID.mp4`,
    with any video suffix, in any subfolder.

    Args:
        classes: names in the order of their numbers, or a file with them; the labels in the file, sorted, unless
            told. That is the public order for Kinetics-400. Checkpoints for Kinetics-600 come with their own order.
    """
    rows = list(_table(csv_file, "youtube_id", "time_start", "time_end"))
    names = class_tuple(classes) or tuple(sorted({row["label"] for _, row in rows if row.get("label")}))
    numbers = {name: number for number, name in enumerate(names)}
    folder = VideoFolder(videos)
    items = []
    for where, row in rows:
        label = row.get("label") or None  # the test list has none
        if label is not None and label not in numbers:
            raise ValueError(f"{where}: {label!r} is none of the {len(names)} classes given, such as {names[0]!r}.")
        name = row["youtube_id"]
        try:
            start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
        except ValueError as error:
            raise ValueError(f"{where}: time_start and time_end must be seconds, got {row}.") from error
        path = folder.find(f"{name}_{start:06d}_{end:06d}", f"{name}_{start}_{end}", name)
        items.append(VideoItem(path, None if label is None else numbers[label]))
    return VideoList(tuple(items), names)


def read_ssv2(entries: str | Path, labels: str | Path, videos: str | Path | None = None) -> VideoList:
    """Something-Something V2: `train.json`, `validation.json` or `test.json`, and `labels.json`.

    A label is the template of the caption, such as "Putting [something] on a surface"; `labels.json` gives its
    number, without the brackets. The test list has ids only. A file is `ID.webm`, or with another suffix.
    """
    templates = {_plain(name): int(number) for name, number in dict(read_json(labels)).items()}
    if sorted(templates.values()) != list(range(len(templates))):
        raise ValueError(f"{labels}: the numbers of the labels must be 0 to {len(templates) - 1}, each once.")
    folder = VideoFolder(videos, suffix=".webm")
    items = []
    for entry in read_json(entries):
        template = entry.get("template")
        if template is not None and _plain(template) not in templates:
            raise ValueError(f"{entries}: the template {template!r} of video {entry['id']} is not in {labels}.")
        items.append(
            VideoItem(folder.find(str(entry["id"])), None if template is None else templates[_plain(template)])
        )
    return VideoList(tuple(items), tuple(sorted(templates, key=templates.__getitem__)))


def read_charades(csv_file: str | Path, classes: str | Path, videos: str | Path | None = None) -> VideoList:
    """Charades: `Charades_v1_train.csv` or `..._test.csv`, and `Charades_v1_classes.txt`.

    A video has several labels. `label` holds all of them, which is what a test on the whole video asks for; `actions`
    holds (class, first second, last second) of each moment, from which a training clip takes those that it touches.
    """
    codes = [line.split(maxsplit=1) for line in read_text(classes).splitlines() if line.strip()]
    if not codes or not all(len(pair) == 2 and re.fullmatch(r"c\d+", pair[0]) for pair in codes):
        raise ValueError(f"{classes}: want a class on every line, such as: c000 Holding some clothes")
    numbers = {code: number for number, (code, _) in enumerate(codes)}
    folder = VideoFolder(videos)
    items = []
    for where, row in _table(csv_file, "id", "actions"):
        actions = []
        for part in filter(str.strip, row["actions"].split(";")):
            try:
                code, first, last = part.split()
                actions.append((numbers[code], float(first), float(last)))
            except (ValueError, KeyError) as error:
                raise ValueError(f"{where}: want actions such as c092 11.90 21.20, got {part!r}.") from error
        labels = tuple(sorted({number for number, _, _ in actions}))
        items.append(VideoItem(folder.find(row["id"]), labels, actions=tuple(actions)))
    return VideoList(tuple(items), tuple(name for _, name in codes))


def read_imagenet(
    folder: str | Path, solution: str | Path | None = None, synsets: str | Path | None = None
) -> VideoList:
    """ImageNet-1k: every item is an image file; the classes are numbered by their sorted WordNet numbers.

    Args:
        folder: a folder per WordNet number (`train/n01440764/*.JPEG`), or, with `solution`, the validation
            images side by side.
        solution: `LOC_val_solution.csv`, or a text with one WordNet number for each image in the order of the
            file names. The development kit's `ILSVRC2012_validation_ground_truth.txt` has numbers of another
            order than the sorted one, and cannot be read without the kit's `meta.mat`.
        synsets: `LOC_synset_mapping.txt`, for the names of the classes; without it the names are WordNet numbers.
    """
    folder = Path(folder)
    lines = [] if synsets is None else [line.split(maxsplit=1) for line in read_text(synsets).splitlines() if line]
    images = sorted(_images(folder))
    if solution is None:
        wnids = [os.path.relpath(image, folder).split(os.sep)[0] for image in images]
    else:
        wnids = _solution(solution, images)
    if not images or not all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids):
        raise ValueError(f"{folder}: want images in folders such as n01440764, or beside each other and a solution.")
    order = sorted(pair[0] for pair in lines) or sorted(set(wnids))
    numbers = {wnid: number for number, wnid in enumerate(order)}
    if unknown := set(wnids) - set(numbers):
        raise ValueError(f"{folder}: {min(unknown)} is not among the {len(order)} classes of {synsets}.")
    names = {pair[0]: pair[-1].strip() for pair in lines}
    items = tuple(VideoItem(image, numbers[wnid]) for image, wnid in zip(images, wnids, strict=True))
    return VideoList(items, tuple(names.get(wnid, wnid) for wnid in order))


class VideoFolder:
    """Finds videos by name without suffix anywhere below a folder, looking through it once."""

    def __init__(self, folder: str | Path | None, suffix: str = ".mp4") -> None:
        self.folder, self.suffix = folder, suffix
        self.paths: dict[str, str] = {}
        if folder is None:
            return
        if not os.path.isdir(folder):
            raise ValueError(f"{folder}: there is no such folder of videos.")
        for path in find_videos(folder):
            name, _ = os.path.splitext(os.path.basename(path))
            replaced = "replacement" in os.path.dirname(path)  # Kinetics-400 is shipped with better copies of some
            if name not in self.paths or replaced:
                self.paths[name] = path

    def find(self, *names: str) -> str:
        official = f"{names[0]}{self.suffix}"
        missing = official if self.folder is None else os.path.join(self.folder, official)
        return next((self.paths[name] for name in names if name in self.paths), missing)


def _table(path: str | Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if lacking := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ValueError(f"{path}: no column {lacking[0]!r}; the first line must name {', '.join(columns)}.")
    for row in reader:
        where = f"{path}, line {reader.line_num}"
        if any(row[name] is None for name in columns):
            raise ValueError(f"{where}: fewer columns than the first line names.")
        yield where, row


def _plain(template: str) -> str:
    return template.replace("[", "").replace("]", "")


def _images(folder: Path) -> Iterator[str]:
    for parent, _, files in os.walk(folder):
        yield from (os.path.join(parent, name) for name in files if name.lower().endswith(IMAGE_SUFFIXES))


def _solution(path: str | Path, images: list[str]) -> list[str]:
    """The WordNet number of every image."""
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if lines and lines[0].replace(" ", "").lower().startswith("imageid,"):
        answers = {name.strip(): text.split()[0] for name, text in (line.split(",", 1) for line in lines[1:])}
        names = [os.path.splitext(os.path.basename(image))[0] for image in images]
        if lacking := [name for name in names if name not in answers]:
            raise ValueError(f"{path} has no line for the image {lacking[0]}.")
        return [answers[name] for name in names]
    if all(line.isdigit() for line in lines):
        raise ValueError(
            f"{path} numbers the classes in the development kit's own order; want LOC_val_solution.csv, or one "
            "WordNet number such as n01440764 a line."
        )
    if len(lines) != len(images):
        raise ValueError(f"{path} has {len(lines)} lines, but there are {len(images)} images.")
    return lines
