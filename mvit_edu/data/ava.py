"""AVA v2.2: boxes around people at key seconds of movies, each with the actions of that person (Chapter 7).

The official files count seconds of the whole movie, from 902 to 1798, one key second a second. Of the 80 actions 60
are scored.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from mvit_edu.data.annotations import VideoFolder
from mvit_edu.data.list_file import read_text

ACTIONS = 80


@dataclass(frozen=True)
class PersonBox:
    """A person at a key second.

    Args:
        box: left, top, right, bottom as shares of the width and the height, from 0 to 1.
        labels: numbers of the actions, from 0 (the official numbers less one); empty for a detected box.
        person: the official number that follows a person through a movie; None for a detected box.
        score: the confidence of the detector; 1 for an annotated box.
    """

    box: tuple[float, float, float, float]
    labels: tuple[int, ...]
    person: int | None = None
    score: float = 1.0


@dataclass(frozen=True)
class KeySecond:
    """One annotated second: `timestamp` in the movie, `second` in the file, and the people in it."""

    path: str
    video: str
    timestamp: int
    second: float
    people: tuple[PersonBox, ...]


@dataclass(frozen=True)
class AvaList:
    """Key seconds, the names of the 80 actions, and the numbers of those that are scored."""

    items: tuple[KeySecond, ...]
    classes: tuple[str, ...]
    scored: tuple[int, ...]
    excluded: tuple[tuple[str, int], ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.items)


def read_ava(
    csv_file: str | Path,
    actions: str | Path,
    videos: str | Path | None = None,
    excluded: str | Path | None = None,
    scored: str | Path | None = None,
    begin: float = 0.0,
) -> AvaList:
    """Read `ava_train_v2.2.csv` or `ava_val_v2.2.csv`, one line for each action of each person at each second.

    Args:
        csv_file: columns video, second, left, top, right, bottom, action, person; no header. A file of detected boxes
            has a score with a decimal point as its last column, and no action or -1 where nothing is known.
        actions: `ava_action_list_v2.2.pbtxt` (all 80), or the list of 60 for the challenge.
        videos: the folder of the movies; without it a path is the movie's name.
        excluded: `ava_val_excluded_timestamps_v2.2.csv`; these seconds are left out.
        scored: `ava_action_list_v2.2_for_activitynet_2019.pbtxt` (60); the actions of `actions` unless told.
        begin: the second of the movie at which the files begin, if they are cut: `data_scripts/ava.py` says 895.
    """
    names = _read_actions(actions)
    chosen = names if scored is None else _read_actions(scored)
    skipped = set() if excluded is None else {_key_second(where, row) for where, row in _lines(excluded, 2)}
    folder = VideoFolder(videos)
    found: dict[tuple[str, int], dict[tuple, tuple[set[int], int | None, float]]] = {}
    for where, row in _lines(csv_file, 7):
        key = _key_second(where, row)
        if key in skipped:
            continue
        try:
            left, top, right, bottom = (float(text) for text in row[2:6])
            action = int(row[6] or -1)
            last = row[7] if len(row) > 7 else ""
            person = int(last) if last.isdigit() else None
            score = 1.0 if person is not None or not last else float(last)
        except ValueError as error:
            raise ValueError(f"{where}: want video,second,x1,y1,x2,y2,action,person, got {','.join(row)!r}.") from error
        if not (-0.1 <= left <= right <= 1.1 and -0.1 <= top <= bottom <= 1.1):  # a detector may reach a little over
            raise ValueError(f"{where}: want left,top,right,bottom from 0 to 1, got {','.join(row[2:6])}.")
        if action != -1 and not 1 <= action <= ACTIONS:
            raise ValueError(f"{where}: action {action} is not between 1 and {ACTIONS}.")
        people = found.setdefault(key, {})
        labels = people.setdefault(((left, top, right, bottom), person), (set(), person, score))[0]
        if action != -1:
            labels.add(action - 1)
    items = []
    for (video, timestamp), people in sorted(found.items()):
        boxes = tuple(PersonBox(key[0], tuple(sorted(v[0])), v[1], v[2]) for key, v in people.items())
        items.append(KeySecond(folder.find(video), video, timestamp, timestamp - begin, boxes))
    classes = tuple(names.get(number, f"action {number + 1}") for number in range(ACTIONS))
    return AvaList(tuple(items), classes, tuple(sorted(chosen)), tuple(sorted(skipped)))


def _read_actions(path: str | Path) -> dict[int, str]:
    """Names by number from 0, of `label { name: "..." label_id: 1 ... }` or `item { name: "..." id: 1 }`."""
    names = {}
    for block in re.findall(r"(?:label|item)\s*\{(.*?)\}", read_text(path), re.DOTALL):
        name = re.search(r"""name:\s*(["'])(.*?)\1""", block)
        number = re.search(r"\b(?:label_id|id):\s*(\d+)", block)
        if not name or not number or not 1 <= int(number[1]) <= ACTIONS:
            raise ValueError(f"{path}: want a name and an id from 1 to {ACTIONS} in each block, got {block.strip()!r}.")
        names[int(number[1]) - 1] = name[2]
    if not names:
        raise ValueError(f'{path} lists no action; want blocks such as: label {{ name: "sit" label_id: 11 }}')
    return names


def _key_second(where: str, row: list[str]) -> tuple[str, int]:
    try:
        return row[0], int(float(row[1]))
    except ValueError as error:
        raise ValueError(f"{where}: {row[1]!r} is not a second of the movie.") from error


def _lines(path: str | Path, columns: int) -> list[tuple[str, list[str]]]:
    rows = []
    reader = csv.reader(io.StringIO(read_text(path), newline=""), skipinitialspace=True)
    for row in reader:
        if not any(row):
            continue
        if len(row) < columns:
            raise ValueError(f"{path}, line {reader.line_num}: {len(row)} columns, want at least {columns}.")
        if not rows and not row[1].replace(".", "").isdigit():
            continue  # a header, which the official files do not have
        rows.append((f"{path}, line {reader.line_num}", row))
    return rows
