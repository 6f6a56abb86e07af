"""The text of a list of videos, line by line: paths, labels, and one clear sentence for a line that is neither."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
COLUMNS = {
    "path": ("path", "video", "video_path", "file", "filename", "file_name"),
    "label": ("label", "labels", "class", "category", "label_id", "class_id"),
    "start": ("start",),
    "end": ("end",),
    "actions": ("actions",),
}
# A path up to its last suffix, then a separator and a label; both the path and the label may hold spaces.
LINE = re.compile(rf"(?P<path>.*({'|'.join(map(re.escape, SUFFIXES))}))(\s*[,\t ]\s*(?P<label>.*))?", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    where: str  # "list.csv, line 3"
    path: str
    label: str
    start: float | None = None
    end: float | None = None
    actions: tuple[tuple[int, float, float], ...] = ()


def read_rows(path: Path) -> Iterator[Row]:
    header: list[str] | None = None
    first = True
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        if first:
            first = False
            header = _header(where, line)
            if header:
                continue
        plain = header is None or header == ["path", "label"]
        yield _row(where, line) if plain else _row_by_header(where, line, header)


def _header(where: str, line: str) -> list[str] | None:
    """The columns that the first line names, or None if it is a video already."""
    fields = [field.strip().lower() for field in (line.split(",") if "," in line else line.split())]
    if "youtube_id" in fields:
        raise ValueError(f"{where}: this is an official Kinetics annotation; read it with read_kinetics.")
    columns = [next((name for name, known in COLUMNS.items() if field in known), field) for field in fields]
    return columns if "path" in columns and not any(field.isdigit() for field in fields) else None


def _row_by_header(where: str, line: str, header: list[str]) -> Row:
    fields = _fields(line) if "," in line else line.split()
    if len(fields) != len(header):
        raise ValueError(f"{where}: {len(fields)} columns in {line!r}, but the first line names {len(header)}.")
    values = dict(zip(header, (field.strip() for field in fields), strict=True))
    start, end = (_seconds(where, values.get(name)) for name in ("start", "end"))
    if start is not None and end is not None and end <= start:
        raise ValueError(f"{where}: the end ({end:g} s) must come after the start ({start:g} s).")
    return Row(where, values["path"], values.get("label", ""), start, end, _actions(where, values.get("actions", "")))


def _row(where: str, line: str) -> Row:
    match = LINE.fullmatch(line)
    if line.startswith('"'):
        fields = _fields(line)
        if len(fields) == 1 and line.count('"') == 2:  # "a path" label
            fields = [part for part in line[1:].split('"', 1)]
        path, label = fields[0], ",".join(fields[1:])
    elif match:
        path, label = match["path"], match["label"] or ""
    else:  # a path without a known suffix: the label is what stands after the last separator
        separator = next((s for s in (",", "\t", " ") if s in line), None)
        path, _, label = line.rpartition(separator) if separator else (line, "", "")
    if not path.strip():
        raise ValueError(f"{where}: no path in {line!r}; want a path and a label, such as: videos/a.mp4 0")
    return Row(where, path.strip(), label.strip().strip('"'))


def numbered(found: list[tuple[str, str]], names: tuple[str, ...]) -> tuple[list, tuple[str, ...]]:
    """Texts to numbers: all are numbers, all are class names, or there is none."""
    odd = next((pair for pair in found if bool(pair[1]) != bool(found[0][1])), None)
    if odd:
        have, lack = (found[0], odd) if found[0][1] else (odd, found[0])
        raise ValueError(f"{lack[0]}: no label, while {have[0].rsplit(', ', 1)[1]} has {have[1]!r}; label all or none.")
    if not found[0][1]:
        return [None] * len(found), names
    numeric = [re.fullmatch(r"[-+.,;\d\s]+", label) is not None for _, label in found]
    if not all(numeric) and any(numeric):
        where, label = found[numeric.index(not numeric[0])]
        kinds = ("a class name", "a number") if numeric[0] else ("a number", "a class name")
        raise ValueError(f"{where}: the label {label!r} is {kinds[0]}, the labels before are each {kinds[1]}.")
    if all(numeric):
        several = any(";" in label for _, label in found)
        labels = [_number(where, label, several, names) for where, label in found]
        return labels, names
    if not names:
        names = tuple(sorted({label for _, label in found}))
    numbers = {name: number for number, name in enumerate(names)}
    twice = {name for number, name in enumerate(names) if numbers[name] != number}
    for where, label in found:
        if label in twice:
            raise ValueError(f"{where}: {label!r} is the name of several classes; write their numbers instead.")
        if label not in numbers:
            raise ValueError(f"{where}: {label!r} is none of the {len(names)} classes given, such as {names[0]!r}.")
    return [numbers[label] for _, label in found], names


def _number(where: str, text: str, several: bool, names: tuple[str, ...]) -> int | tuple[int, ...]:
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if not (parts or text == ";") or not all(re.fullmatch(r"\d+", part) for part in parts):
        raise ValueError(f"{where}: the label {text!r} is not a whole number from 0, nor several such as 3;5;9.")
    numbers = tuple(int(part) for part in parts)
    if names and max(numbers, default=0) >= len(names):
        raise ValueError(f"{where}: label {max(numbers)}, but the classes are numbered 0 to {len(names) - 1}.")
    return tuple(sorted(set(numbers))) if several else numbers[0]


def _actions(where: str, text: str) -> tuple[tuple[int, float, float], ...]:
    try:
        parts = [part.split() for part in text.split(";") if part.strip()]
        return tuple((int(number), float(first), float(last)) for number, first, last in parts)
    except ValueError as error:
        raise ValueError(f"{where}: actions are written as 92 11.9 21.2;147 0 12.6, got {text!r}.") from error


def _seconds(where: str, text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError as error:
        raise ValueError(f"{where}: {text!r} is not a number of seconds.") from error
    if value is not None and not 0 <= value < float("inf"):
        raise ValueError(f"{where}: {text!r} is not a number of seconds from 0.")
    return value


def _fields(line: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=True))


def quoted(path: str) -> str:
    if "\n" in path or "\r" in path:
        raise ValueError(f"{path!r}: a path with a line break cannot stand in a list.")
    needed = path != path.strip() or path.startswith("#") or any(sign in path for sign in ',"')
    return '"' + path.replace('"', '""') + '"' if needed else path


def read_text(path: str | Path) -> str:
    if not os.path.isfile(path):
        raise ValueError(f"{path}: there is no such file.")
    try:
        return Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: this is not a UTF-8 text ({error.reason} at byte {error.start}).") from error


def write_whole(path: Path, text: str) -> None:
    """Write a text so that the file is complete or not there at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Class names in the order of their numbers: a text file with a name a line, or JSON.

    JSON is a list of names or a mapping from a name to its number, as SlowFast and PyTorchVideo hand it out (their
    names come with quotes inside, which are removed).
    """
    text = read_text(path)
    if Path(path).suffix.lower() != ".json":
        names = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        data = read_json(path)
        if isinstance(data, dict):
            if sorted(int(number) for number in data.values()) != list(range(len(data))):
                raise ValueError(f"{path}: the numbers of the classes must be 0 to {len(data) - 1}, each once.")
            data = sorted(data, key=lambda name: int(data[name]))
        names = [str(name).strip("\"' ") for name in data]
    if not names:
        raise ValueError(f"{path} holds no class name; write one a line, in the order of their numbers.")
    return tuple(names)


def read_json(path: str | Path) -> list | dict:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: this is not JSON ({error.msg}).") from error
