"""What a training writes down: JSON lines, TensorBoard, and the bar on the screen (Chapter 8)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

LOG_NAME = "metrics.jsonl"


class RunLog:
    """Rows of numbers in `<folder>/metrics.jsonl` and, where it is installed, in TensorBoard. Chapter 8.

    A row is one JSON object with "kind" ("train" or "validation"), "step", and numbers. To go on with a run from step
    n, rows of later steps are removed first, so that no step stands in the log twice.

    Args:
        first_step: the step from which the run goes on; 0 begins a new log.
        tensorboard: False for none; True writes it where the package can be imported.
        write: False for a log that nobody keeps, in all processes but the first.
    """

    def __init__(self, folder: str | Path, first_step: int = 0, tensorboard: bool = True, write: bool = True) -> None:
        self.path = Path(folder) / LOG_NAME
        self._file, self._board = None, None
        if not write:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line, row in _rows(self.path) if row["step"] <= first_step] if first_step else []
        temporary = self.path.with_name(f"{LOG_NAME}.tmp")
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        os.replace(temporary, self.path)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(self.path.parent / "tensorboard", first_step) if tensorboard else None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, kind: str, step: int, **numbers: float | int | None) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in numbers.items():
                if isinstance(value, (int, float)):
                    self._board.add_scalar(f"{kind}/{name}", value, step)


def _rows(path: Path) -> list[tuple[str, dict]]:
    """The lines of a log with what they hold; a line that a kill cut short is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            found.append((line, row))
    return found


def _board(folder: Path, first_step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)


class Bar:
    """The progress of a training on the screen: steps, time left, and the newest numbers."""

    def __init__(self, steps: int, first_step: int, shown: bool) -> None:
        self._bar = tqdm(total=steps, initial=first_step, unit="step", disable=not shown, dynamic_ncols=True)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def step(self) -> None:
        self._bar.update()

    def show(self, row: Mapping[str, float]) -> None:
        self._bar.set_postfix_str(
            f"loss {row['loss']:.3f}, lr {row['lr']:.2e}, {row['clips_per_second']:.0f} clips/s, "
            f"waiting {row['wait']:.0%}",
            refresh=False,
        )

    def say(self, text: str) -> None:
        """A line above the bar."""
        if not self._bar.disable:
            self._bar.write(text)
