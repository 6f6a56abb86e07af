"""Which videos, with which labels: `VideoList`, read from a list file or from a folder per class (Chapter 7)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvit_edu.data.list_file import SUFFIXES, numbered, quoted, read_class_names, read_rows, write_whole

CLASSES_FILE = "classes.txt"
SPLIT_NAMES = {"train", "training", "val", "valid", "validation", "test", "testing"}
Label = int | tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class VideoItem:
    """One video and what is known about it.

    Args:
        label: the number of its class; several numbers if it has several labels; None if unknown.
        start, end: the part of the file that counts, in seconds from its first frame; None: to the file's end.
        actions: (class, first second, last second) of every labeled moment, where the data set has them
            (Charades). Then a training clip carries only the labels of the moments that it touches.
    """

    path: str
    label: Label = None
    start: float | None = None
    end: float | None = None
    actions: tuple[tuple[int, float, float], ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """The label as a tuple: empty, of one number or of several."""
        return self.label if isinstance(self.label, tuple) else () if self.label is None else (self.label,)


@dataclass(frozen=True)
class VideoList:
    """Videos with their labels, and the names of the classes in the order of their numbers (may be empty)."""

    items: tuple[VideoItem, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[VideoItem]:
        return iter(self.items)

    @property
    def multi_label(self) -> bool:
        """Whether a video may belong to several classes at once."""
        return any(isinstance(item.label, tuple) for item in self.items)

    @property
    def num_classes(self) -> int:
        """The number of class names; without names, the largest label plus one."""
        return len(self.classes) or 1 + max((n for item in self.items for n in item.labels), default=-1)

    @classmethod
    def read(cls, path: str | Path, root: str | Path | None = None, classes: Classes = None) -> VideoList:
        """A list file: one video a line, its path and then its label.

        The separator is a space, a tab or a comma, so that the lists of SlowFast, PyTorchVideo and Kinetics
        tools can be read; paths may hold spaces, quoted or not. Labels are numbers from 0, several of them as
        `3;5;9`, or class names; a line without a label is a video to predict. Empty lines and lines that start
        with `#` are skipped. A first line `path,label` names the columns, which may then stand in any order
        and include `start` and `end` in seconds.

        Args:
            root: the folder that relative paths start from; the folder of the list unless told.
            classes: names in the order of their numbers, or a file with them (see `read_class_names`). Unless
                told: `classes.txt` beside the list, as `write` makes it; else the class names in the
                list, sorted. Give a validation list the classes of the training list.

        Raises:
            ValueError: for a line that cannot be understood, with the file and the number of the line.
        """
        path = Path(path)
        rows = list(read_rows(path))
        if not rows:
            raise ValueError(f"{path}: the list is empty; write one video a line, such as: videos/a.mp4 0")
        beside = path.with_name(CLASSES_FILE)
        names = class_tuple(beside if classes is None and beside.is_file() else classes)
        labels, names = numbered([(row.where, row.label) for row in rows], names)
        folder = str(path.parent if root is None else root)
        items = [
            VideoItem(os.path.join(folder, row.path), label, row.start, row.end, row.actions)
            for row, label in zip(rows, labels, strict=True)
        ]
        return cls(tuple(items), names)

    @classmethod
    def from_folder(cls, root: str | Path, classes: Classes = None) -> VideoList:
        """A folder per class: `root/<class name>/.../<video>`.

        The classes are the folder names, sorted. Hidden files and files that are no videos by their names
        are skipped.

        Args:
            classes: names in the order of their numbers. Give the validation folder the classes of the training
                folder: it may lack some of them.
        """
        root = Path(root)
        if not root.is_dir():
            raise ValueError(f"{root}: there is no such folder; want a folder with one folder of videos per class.")
        folders = sorted(f.name for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
        loose = sorted(f.name for f in root.iterdir() if f.is_file() and is_video_name(f.name))
        if loose or not folders:
            what = f"the video {loose[0]} in no class folder" if loose else "no folder"
            raise ValueError(f"{root} holds {what}; put each video into a folder with the name of its class.")
        if {name.lower() for name in folders} <= SPLIT_NAMES:
            raise ValueError(f"{root} holds splits, not classes: read {root / folders[0]} and the others one by one.")
        names = class_tuple(classes) or tuple(folders)
        if unknown := [name for name in folders if name not in names]:
            raise ValueError(f"{root / unknown[0]}: {unknown[0]!r} is none of the {len(names)} classes given.")
        items = []
        for name in folders:
            files = sorted(find_videos(root / name))
            if not files:
                raise ValueError(f"{root / name} holds no video; remove the folder, or it would count as a class.")
            items += [VideoItem(file, names.index(name)) for file in files]
        return cls(tuple(items), names)

    def write(self, path: str | Path) -> Path:
        """Write the list as `path,label` with labels as numbers, and the class names to `classes.txt` beside it.

        Several labels are written as `3;5;`, which the reader takes as several even if there is one. Paths inside the
        folder of the list are written relative to it. Only where a video has a start, an end or timed actions does the
        file get a header and these columns. The file is complete or not there at all.

        Raises:
            ValueError: if `classes.txt` holds other classes already, those of another list in the folder; if only some
                videos have a label.
        """
        path = Path(path)
        names = path.with_name(CLASSES_FILE)
        if self.classes and names.exists() and read_class_names(names) != self.classes:
            raise ValueError(f"{names} holds the classes of another list; write this list to a folder of its own.")
        extra = [name for name in ("start", "end") if any(getattr(item, name) is not None for item in self.items)]
        extra += ["actions"] if any(item.actions for item in self.items) else []
        labeled = ["label"] if any(item.label is not None for item in self.items) else []
        if labeled and (without := next((item for item in self.items if item.label is None), None)):
            raise ValueError(
                f"{without.path} has no label, others have one; a list is written with all labels or none."
            )
        several = self.multi_label
        lines = [",".join(["path", *labeled, *extra])] if extra else []
        for item in self.items:
            values = {
                "label": "".join(f"{n};" for n in item.labels) or ";" if several else str(item.label),
                "start": "" if item.start is None else repr(item.start),
                "end": "" if item.end is None else repr(item.end),
                "actions": ";".join(f"{n} {first!r} {last!r}" for n, first, last in item.actions),
            }
            shown = quoted(_relative(item.path, path.parent))
            lines.append(",".join([shown, *(values[name] for name in labeled + extra)]))
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.classes:
            write_whole(names, "".join(f"{name}\n" for name in self.classes))
        write_whole(path, "".join(f"{line}\n" for line in lines))
        return path

    def split(self, share: float, seed: int = 0) -> tuple[VideoList, VideoList]:
        """Two lists, the second with `share` of the videos of every class, drawn by `seed`.

        A class of two or more videos gets at least one into each list. Videos with several labels or none are
        drawn as one group.
        """
        if not 0 < share < 1:
            raise ValueError(f"share={share} must lie between 0 and 1; 0.2 puts a fifth into the second list.")
        groups: dict[int | None, list[int]] = {}
        for index, item in enumerate(self.items):
            groups.setdefault(item.label if isinstance(item.label, int) else None, []).append(index)
        second: set[int] = set()
        for label, members in groups.items():
            count = round(share * len(members))
            count = min(max(count, 1), len(members) - 1)  # 0 for a class of one video
            second.update(random.Random(f"{seed} {label}").sample(members, count))
        parts = ([i for i in range(len(self)) if (i in second) == taken] for taken in (False, True))
        first_list, second_list = (replace(self, items=tuple(self.items[i] for i in part)) for part in parts)
        return first_list, second_list

    def select(self, classes: Iterable[int | str] | None = None, per_class: int | None = None) -> VideoList:
        """The videos of some classes, and of each at most the first `per_class`. Numbers and names stay as they are.

        Args:
            classes: class names or numbers; None for all. A video with several labels is kept if one is chosen.
        """
        wanted = None if classes is None else {self._number(name) for name in classes}
        taken: dict[Label, int] = {}
        items = []
        for item in self.items:
            if wanted is not None and not wanted.intersection(item.labels):
                continue
            taken[item.label] = taken.get(item.label, 0) + 1
            if per_class is None or taken[item.label] <= per_class:
                items.append(item)
        return replace(self, items=tuple(items))

    def missing(self) -> tuple[str, ...]:
        """The paths where there is no file."""
        return tuple(item.path for item in self.items if not os.path.isfile(item.path))

    def existing(self) -> VideoList:
        """The list without the videos that are missing."""
        missing = set(self.missing())
        return replace(self, items=tuple(item for item in self.items if item.path not in missing))

    def _number(self, name: int | str) -> int:
        if isinstance(name, str) and name in self.classes:
            return self.classes.index(name)
        if isinstance(name, int) and 0 <= name < self.num_classes:
            return name
        raise ValueError(f"There is no class {name!r} in this list of {self.num_classes} classes.")


Classes = Sequence[str] | str | Path | None


def class_names(dataset: str) -> tuple[str, ...]:
    """Class names in the order of all public checkpoints: "kinetics400" (400) or "imagenet" (1000).

    They come from torchvision's tables; nothing is downloaded. Kinetics-400 is in alphabetical order, ImageNet in the
    order of the WordNet numbers (and two pairs of its classes share a name). The public order of
    Kinetics-600 checkpoints is not alphabetical and is in no library: read the class file that comes with the
    checkpoint with `read_class_names`. Something-Something V2 has its order in its own `labels.json`.
    """
    if dataset == "kinetics400":
        from torchvision.models.video import MViT_V1_B_Weights

        return tuple(MViT_V1_B_Weights.KINETICS400_V1.meta["categories"])
    if dataset == "imagenet":
        from torchvision.models import ResNet50_Weights

        return tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"])
    raise ValueError(f"There are no class names for {dataset!r}; use 'kinetics400' or 'imagenet', or a class file.")


def is_video_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not os.path.basename(name).startswith(".")


def find_videos(folder: str | Path) -> Iterator[str]:
    """Every video file under a folder, by its name; hidden files and folders are skipped."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if is_video_name(name))


def class_tuple(classes: Classes) -> tuple[str, ...]:
    if classes is None:
        return ()
    return read_class_names(classes) if isinstance(classes, (str, Path)) else tuple(classes)


def _relative(path: str, folder: Path) -> str:
    full = Path(os.path.abspath(path))
    try:
        return full.relative_to(os.path.abspath(folder)).as_posix()
    except ValueError:
        return full.as_posix()
