"""The log of a run as rows: JSON lines read back, and a column of them against steps or epochs (Chapter 8)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

Row = Mapping[str, object]


def read_rows(path: str | Path) -> list[dict]:
    """Rows of a run log, a JSON object a line.

    A last line without its line break that is no JSON was torn when the run was killed, and is left out.

    Raises:
        ValueError: there is no such file, or another line is no JSON object; names the file and the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: there is no such run log.")
    lines, rows = path.read_bytes().split(b"\n"), []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except ValueError as error:  # also of the decoding
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: this is not a row of a run log ({error}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: a row is a JSON object; got {type(row).__name__}.")
        rows.append(row)
    return rows


def rows_of(rows: Iterable[Row], kind: str) -> list[Row]:
    """Rows of one kind in the order of their steps. A resumed run logs some steps twice: the later row counts."""
    found: dict[int, Row] = {}
    for row in rows:
        if row.get("kind") == kind:
            if not isinstance(row.get("step"), int):
                raise ValueError(f"A {kind} row needs a whole number as its step; got {dict(row)}.")
            found[row["step"]] = row
    return [found[step] for step in sorted(found)]


def common_axis(runs: Iterable[Sequence[Row]]) -> str:
    """The axis "epoch" where it grows from training row to training row in every run, else "step"."""
    for rows in runs:
        training = rows_of(rows, "train")
        epochs = [row.get("epoch") for row in training + rows_of(rows, "validation")]
        if not all(isinstance(epoch, (int, float)) for epoch in epochs) or not training:
            return "step"
        if np.any(np.diff(epochs[: len(training)]) <= 0):
            return "step"
    return "epoch"


def column(rows: Iterable[Row], axis: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays (n,): steps or epochs, and the finite values of a column there. Rows without one are left out."""
    pairs = [(row[axis], row[name]) for row in rows if isinstance(row.get(name), (int, float))]
    table = np.array(pairs, dtype=float).reshape(-1, 2)
    table = table[np.isfinite(table[:, 1])]
    return table[:, 0], table[:, 1]


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over `window` (odd) values around each.

    At the start it takes fewer on both sides, so that the first value stays; at the end those that are there.
    """
    number = np.arange(len(values))
    half = np.minimum(window // 2, number)
    first, behind = number - half, np.minimum(number + half + 1, len(values))
    total = np.concatenate([[0.0], np.cumsum(values)])
    return (total[behind] - total[first]) / (behind - first)
