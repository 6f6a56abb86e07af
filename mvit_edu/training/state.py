"""Checkpoints of a run that survive a kill, a full disk and a damaged file (Chapter 8)."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import platform
import random
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

FORMAT = 2  # of the dictionary in a checkpoint
TORN = (RuntimeError, EOFError, ValueError, KeyError, NotImplementedError)  # what else damaged bytes raise


class Checkpoints:
    """The checkpoints of one run: the last `keep` ones and the best, in a folder. Chapter 8.

    `step_00000600.pt` was written after 600 optimizer steps; `best.pt` is the one with the best validation result. A
    file gets its name only when all of it is on the disk, so one that has its name is whole unless the disk damaged it
    later; `latest` checks that, too.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep} must be at least 1: the newest checkpoint is needed to go on.")
        self.folder = Path(folder)
        self.keep = keep

    @property
    def best(self) -> Path:
        return self.folder / "best.pt"

    def path(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}.pt"

    def files(self) -> list[Path]:
        """The checkpoints by step, the newest first."""
        found = (path for path in self.folder.glob("step_*.pt") if re.fullmatch(r"step_\d+\.pt", path.name))
        return sorted(found, key=lambda path: int(path.stem[5:]), reverse=True)

    def save(self, step: int, state: Mapping, best: bool = False) -> Path:
        """Write a checkpoint, then remove those that are too old.

        Raises:
            OSError: it could not be written, for example because the disk is full; the older ones are still there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob("*.pt.tmp"):  # of a run that was killed while it wrote
            stale.unlink(missing_ok=True)
        path = self.path(step)
        data = to_bytes(state)
        try:
            write_file(path, data)
            if best:
                write_file(self.best, data)
        except OSError as error:
            newest = next(iter(self.files()), None)
            kept = f"the last good checkpoint is {newest}" if newest else "there is no older checkpoint"
            raise OSError(
                error.errno,
                f"The checkpoint of step {step} could not be written to {self.folder} ({error.strerror}); {kept}. "
                "Make room and start the same command again, it goes on from there.",
            ) from error
        for old in self.files()[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[Path, dict, list[str]] | None:
        """The newest whole checkpoint, what it holds, and a sentence for each damaged one that was passed over.

        Raises:
            ValueError: there are checkpoints, and every one of them is damaged.
        """
        passed = []
        for path in [*self.files(), *([self.best] if self.best.exists() else [])]:
            try:
                return path, read_state(path), passed
            except ValueError as error:
                passed.append(str(error))
        if passed:
            raise ValueError(f"No checkpoint of this run can be read: {' '.join(passed)} Start again in a new folder.")
        return None


def to_bytes(state: Mapping) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, also if the power fails. Chapter 8."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a new name in a folder on the disk; not every system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_state(path: str | Path) -> dict:
    """What a checkpoint of `fit` holds, every byte of it checked; it can hold no code (`weights_only=True`).

    Raises:
        ValueError: it is damaged, or no checkpoint of `fit`.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch's files are zip archives, and it does not check their sums
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"the sum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, *TORN) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:100]}).") from error
    if not is_state(state):
        raise ValueError(f"{path} is no checkpoint of a training run of this package.")
    return state


def is_state(state: object) -> bool:
    """Whether a loaded file is a checkpoint of `fit`."""
    return isinstance(state, Mapping) and state.get("format") == FORMAT and "settings" in state


def random_states() -> dict:
    """The states of the global generators of Python, NumPy and PyTorch, in a form that `weights_only` can load."""
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: Mapping) -> None:
    """Put the generators back into `random_states`; those of GPUs only where there are as many."""
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def versions() -> dict[str, str]:
    """Of the libraries that a run depends on."""
    import av
    import torchvision

    from mvit_edu import __version__

    return {
        "mvit_edu": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torchvision": torchvision.__version__,
        "av": av.__version__,
        "numpy": np.__version__,
    }
