"""Files that appear whole or not at all, however a process ends."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".part"


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A hidden temporary file beside the target, put in its place when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{socket.gethostname()}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_stale(folder: Path) -> int:
    """Remove the temporary files that processes of this machine left behind when they were killed; returns how many."""
    removed = 0
    for temporary in folder.rglob(f".*{TEMPORARY}"):
        host, _, pid = temporary.name.removesuffix(TEMPORARY).rpartition(".")
        if host.endswith(f".{socket.gethostname()}") and pid.isdigit() and not alive(int(pid)):
            temporary.unlink(missing_ok=True)
            removed += 1
    return removed


def alive(pid: int) -> bool:
    """Whether a process runs. One that was killed, but whose end nobody has taken note of yet, does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's process, or no Linux
        return True
    return state != "Z"
