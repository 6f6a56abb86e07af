"""Try to read every video of a list, in parallel, and say which cannot be read (Chapter 7).

Each worker is a process of its own. A file on which the decoder crashes or hangs costs that process and is reported;
the others go on.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing as mp
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from multiprocessing.connection import Connection, wait
from pathlib import Path

from mvit_edu.data.clips import open_video
from mvit_edu.data.failures import Failure
from mvit_edu.data.list_file import write_whole

DECODE = ("ends", "all", "none")
CHUNK = 64  # frames in memory at once while all are decoded
KEY_DISTANCE = 12  # the largest one in the files that the scripts in data_scripts/ write


@dataclass(frozen=True)
class CheckResult:
    """One file: whether it can be read, and if so what is in it. `key_distance` is the largest number of frames from
    one key frame to the next, which is what a reader decodes for nothing in the worst case."""

    path: str
    ok: bool
    cause: str = ""
    frames: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    key_distance: int | None = None


def check_file(path: str, decode: str = "ends") -> CheckResult:
    """Open one file and decode its first frame; the last one, too ("ends"), every one ("all") or no other ("none")."""
    try:
        with open_video(path, threads=1) as video:
            info = video.info
            if decode == "ends":
                video.read(indices=[0, info.frames - 1])
            elif decode == "all":
                for first in range(0, info.frames, CHUNK):
                    video.read(indices=range(first, min(first + CHUNK, info.frames)))
    except Exception as error:  # whatever it is, the file cannot be used
        return CheckResult(path, False, Failure.of(path, error).cause)
    return CheckResult(
        path,
        ok=True,
        frames=info.frames,
        fps=round(info.fps, 3),
        width=info.width,
        height=info.height,
        seconds=round(info.seconds, 3),
        key_distance=info.key_frame_distance,
    )


def check_videos(
    paths: Iterable[str],
    *,
    decode: str = "ends",
    workers: int | None = None,
    timeout: float = 60.0,
    check: Callable[[str, str], CheckResult] = check_file,
) -> Iterator[CheckResult]:
    """Check files in parallel processes; gives each result as it comes, each file once.

    The processes end when the iterator is used up or closed. In a script, call this under
    `if __name__ == "__main__":`, as for any process that is started anew.

    Args:
        decode: what to decode, see `check_file`.
        workers: processes; as many as there are CPU cores unless told.
        timeout: seconds for a file, then its process is ended and the file counts as bad.
        check: what is done with a path in the worker; it must be importable there.
    """
    if decode not in DECODE:
        raise ValueError(f"decode={decode!r}; use one of {', '.join(DECODE)}.")
    if timeout <= 0:
        raise ValueError(f"timeout={timeout} must be more than 0 seconds.")
    todo = deque(dict.fromkeys(paths))
    count = min(workers or os.cpu_count() or 1, len(todo))
    pool: list[_Worker] = []
    try:
        pool = [_Worker(check, decode) for _ in range(count)]
        while pool:
            yield from _round(pool, todo, timeout, lambda: _Worker(check, decode))
    finally:
        for worker in pool:
            worker.kill()


def _round(
    pool: list[_Worker], todo: deque[str], timeout: float, start: Callable[[], _Worker]
) -> Iterator[CheckResult]:
    """Wait until something happens in some worker, and answer it."""
    soonest = min((worker.deadline for worker in pool), default=float("inf"))
    patience = None if soonest == float("inf") else max(0.0, soonest - time.monotonic())
    ready = wait([worker.link for worker in pool], patience)
    for worker in list(pool):
        if worker.link in ready:
            path, worker.path = worker.path, None
            try:
                result = worker.link.recv()
            except (EOFError, OSError):  # the process is gone
                pool.remove(worker)
                if path is None:
                    raise RuntimeError(f"A checking process could not start ({worker.ending()}).") from None
                result = CheckResult(path, False, f"the decoder crashed ({worker.ending()}).")
                worker.kill()
                if todo:
                    pool.append(start())
            else:
                if todo:
                    worker.give(todo.popleft(), timeout)
                else:
                    pool.remove(worker)
                    worker.kill()
            if result is not None:  # None: the process has started
                yield result
        elif worker.deadline <= time.monotonic():
            pool.remove(worker)
            worker.kill()
            if todo:
                pool.append(start())
            yield CheckResult(worker.path, False, f"not done after {timeout:g} s; the decoder hangs, or needs longer.")


class _Worker:
    """A process that checks one path after the other, and the file that it has now."""

    def __init__(self, check: Callable[[str, str], CheckResult], decode: str) -> None:
        method = "forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn"
        context = mp.get_context(method)
        if method == "forkserver":
            context.set_forkserver_preload([__name__])  # torch is imported once for all workers
        self.link, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, check, decode), daemon=True)
        self.process.start()
        theirs.close()
        self.path: str | None = None
        self.deadline = float("inf")

    def give(self, path: str, timeout: float) -> None:
        self.path = path
        self.deadline = time.monotonic() + timeout
        self.link.send(path)

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.link.close()

    def ending(self) -> str:
        """How a process ended that is gone."""
        self.process.join(60)
        code = self.process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _work(link: Connection, check: Callable[[str, str], CheckResult], decode: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
    link.send(None)
    while True:
        try:
            path = link.recv()
        except EOFError:
            return
        link.send(check(path, decode))


def write_report(path: str | Path, results: Iterable[CheckResult]) -> None:
    """One file a row, as CSV, or as JSON lines if the name ends in .jsonl. The report is complete or not there."""
    path = Path(path)
    rows = [asdict(result) for result in results]
    if path.suffix.lower() == ".jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        file = io.StringIO(newline="")
        table = csv.DictWriter(file, [field.name for field in fields(CheckResult)], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        text = file.getvalue()
    write_whole(path, text)


def summarize(results: Iterable[CheckResult], total: int) -> str:
    """Good and bad, how long the videos are together, and how many are slow to read for want of key frames."""
    results = list(results)
    good = [result for result in results if result.ok]
    hours = sum(result.seconds for result in good) / 3600
    lines = [f"{len(good)} good, {len(results) - len(good)} bad; {hours:.2f} hours of video."]
    if len(results) < total:
        lines[0] = f"Stopped after {len(results)} of {total}: {lines[0]}"
    slow = sum(result.key_distance > KEY_DISTANCE for result in good)
    if slow:
        lines.append(
            f"{slow / len(good):.0%} of the good ones have more than {KEY_DISTANCE} frames between key frames, which "
            "makes random clips slow to read; the scripts in data_scripts/ write such files anew."
        )
    return "\n".join(lines)
