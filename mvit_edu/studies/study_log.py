"""The log of a study: one line a run, with where and when it was made; several processes may write it (Chapter 11)."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from mvit_edu.training.state import versions


class StudyLog:
    """`<folder>/<study>.json`: {"runs": [...], "costs": [...]}, one run a line.

    A run is named by scale, variant and seed, costs by scale, batch and device; writing one again replaces the old
    one. The file is locked while it is read and written anew, so that several shards of a study may share it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def runs(self, scale: str | None = None) -> list[dict]:
        """All runs, or those of a scale."""
        return [run for run in self._read()["runs"] if scale in (None, run["scale"])]

    def costs(self, scale: str | None = None) -> list[dict]:
        """What `side_by_side` measured, everywhere or at a scale."""
        return [one for one in self._read()["costs"] if scale in (None, one["scale"])]

    def has(self, fingerprint: str) -> bool:
        """Whether a run with exactly these settings is there."""
        return any(run["fingerprint"] == fingerprint for run in self.runs())

    def add(self, run: dict) -> None:
        self._add("runs", run, run_name)

    def add_costs(self, costs: dict) -> None:
        self._add("costs", costs, costs_name)

    def _read(self) -> dict[str, list[dict]]:
        if not self.path.exists():
            return {"runs": [], "costs": []}
        try:
            text = json.loads(self.path.read_text(encoding="utf-8"))
            found = {"runs": text["runs"], "costs": text.get("costs", [])}
            for run in found["runs"]:
                _ = run_name(run), run["fingerprint"]
            for costs in found["costs"]:
                costs_name(costs)
            return found
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.path} is no log of a study ({error}); move it away, or mend it.") from error

    def _add(self, kind: str, new: dict, name: Callable[[dict], tuple]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            found = self._read()
            kept = [one for one in found[kind] if name(one) != name(new)]
            found[kind] = sorted([*kept, new], key=name)
            text = ",\n".join(
                f'"{key}": [\n' + ",\n".join(map(json.dumps, lines)) + "\n]" for key, lines in found.items()
            )
            temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
            temporary.write_text(f"{{{text}}}\n", encoding="utf-8")
            os.replace(temporary, self.path)


@contextlib.contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a file that other processes hold as well; whether it could be had, which without waiting it may not."""
    try:
        import fcntl
    except ImportError:  # Windows: one process at a time
        yield True
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def run_name(run: dict) -> tuple[str, str, int]:
    return run["scale"], run["variant"], run["seed"]


def costs_name(costs: dict) -> tuple[str, int, str]:
    return costs["scale"], costs["batch"], costs["measured"]["device"]


def provenance(command: str, device: torch.device) -> dict:
    """Where, when and by what a run was made."""
    made = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "command": command,
        "device": made,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "when": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }
