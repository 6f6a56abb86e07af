"""Many files through worker processes: one that crashes or hangs a decoder costs that file and no other.

A run can be stopped at any moment and started again with the same command: a target that exists is complete
(it is renamed into place as the last act, see `transcode.replacing`), and is skipped. What failed stands in
`failed.csv` in the target folder, with the cause, and is tried again by the next run.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from data_scripts.atomic import remove_stale, replacing
from data_scripts.transcode import Settings

ROOT = Path(__file__).resolve().parents[1]
WORKER = (sys.executable, "-m", "data_scripts.worker")


@dataclass(frozen=True)
class Job:
    """One file to make. `start` and `end`, in seconds, cut a piece out of the source."""

    source: Path
    target: Path
    start: float | None = None
    end: float | None = None
    kind: str = "video"  # or "image"


@dataclass
class Report:
    """How a run went: files by status, and what failed with its cause. `stopped` says why it ended early."""

    counts: Counter = field(default_factory=Counter)  # "encoded", "copied", "kept", "skipped", "failed"
    failed: list[tuple[Path, str]] = field(default_factory=list)
    stopped: str = ""
    interrupted: bool = False

    def __str__(self) -> str:
        return ", ".join(f"{self.counts[name]} {name}" for name in sorted(self.counts)) or "nothing to do"


def run(
    jobs: Sequence[Job],
    folder: Path,
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    workers: int = 0,
    timeout: float = 600,
    verify: bool = False,
    command: Sequence[str] = WORKER,
) -> Report:
    """Make the targets of all jobs, several at a time, and write `folder/failed.csv`.

    Args:
        folder: everything is written below it.
        workers: processes, each with one decoder and one encoder thread; 0 means one a core.
        timeout: seconds after which a file counts as hanging: its worker is ended, the file has failed.
        verify: open the targets that exist, and make those again that are not as `settings` says.
        command: how to start a worker process.

    Raises:
        ValueError: two jobs have the same target, or a target is one of the sources.
    """
    check_targets(jobs, folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    report = Report()
    todo: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        if not verify and job.target.exists():
            report.counts["skipped"] += 1
        else:
            todo.put(job)
    count = todo.qsize()
    replies: queue.SimpleQueue[tuple[Job, dict[str, str]]] = queue.SimpleQueue()
    crew = [Worker(command, settings, verify, timeout) for _ in range(min(workers or cores(), count))]
    threads = [threading.Thread(target=worker.serve, args=(todo, replies), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        with tqdm(total=count, unit="file", smoothing=0.05, disable=not count) as bar:
            while bar.n < count and not report.stopped:
                job, reply = replies.get()
                record(report, job, reply, folder)
                bar.set_postfix(failed=report.counts["failed"], refresh=False)
                bar.update()
    except KeyboardInterrupt:
        report.stopped, report.interrupted = "Stopped by Ctrl-C.", True
    finally:
        for worker in crew:
            worker.end()
        for thread in threads:
            thread.join()
        remove_stale(folder)
    write_failed(report, folder)
    return report


def record(report: Report, job: Job, reply: dict[str, str], folder: Path) -> None:
    status = reply["status"]
    if status == "full":
        report.stopped = f"Nothing more can be written to {folder}: {reply['cause']}"
        return
    report.counts[status] += 1
    if status == "failed":
        report.failed.append((job.source, reply["cause"]))


class Worker:
    """One worker process and the thread that feeds it; a process that died or was ended is started again."""

    def __init__(self, command: Sequence[str], settings: Settings, verify: bool, timeout: float):
        self.command, self.timeout = list(command), timeout
        self.common = {"settings": dataclasses.asdict(settings), "verify": verify}
        self.process: subprocess.Popen[str] | None = None
        self.ended = False
        self.lock = threading.Lock()

    def serve(self, todo: queue.SimpleQueue, replies: queue.SimpleQueue) -> None:
        while not self.ended:
            try:
                job = todo.get_nowait()
            except queue.Empty:
                break
            reply = self.do(job)
            if not self.ended:
                replies.put((job, reply))
        self.end()

    def do(self, job: Job) -> dict[str, str]:
        words = {"source": str(job.source.absolute()), "target": str(job.target.absolute()), "kind": job.kind}
        line = json.dumps(words | {"start": job.start, "end": job.end} | self.common)
        with self.lock:
            if self.ended:
                return {}
            if self.process is None:
                self.start()
            process = self.process
        late = threading.Event()
        timer = threading.Timer(self.timeout, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        timer.cancel()
        timer.join()
        finished = answer.endswith("\n")
        if finished and not late.is_set():
            return json.loads(answer)
        process.kill()
        code = process.wait()
        with self.lock:
            self.process = None
        if finished:
            return json.loads(answer)
        if late.is_set():
            return {"status": "failed", "cause": f"it took longer than {self.timeout:g} s (see --timeout)."}
        return {"status": "failed", "cause": f"it ended the worker process ({how(code)}). {self.last_words()}".strip()}

    def start(self) -> None:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            encoding="utf-8",
        )

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def end(self) -> None:
        with self.lock:
            self.ended = True
            if self.process is not None:
                self.process.kill()
                self.process.wait()


def how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_targets(jobs: Sequence[Job], folder: Path) -> None:
    sources: dict[Path, Path] = {}
    for job in jobs:
        if job.target in sources:
            raise ValueError(f"{sources[job.target]} and {job.source} would both become {job.target}.")
        sources[job.target] = job.source
    taken = {job.source.absolute() for job in jobs} & {job.target.absolute() for job in jobs}
    if taken:
        raise ValueError(f"{min(taken)} would be written over itself: choose another target folder than the source's.")


def write_failed(report: Report, folder: Path) -> None:
    """Write what failed in this run as `failed.csv`; a run without failures removes the file of the one before."""
    path = folder / "failed.csv"
    if not report.failed:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "cause"])
        table.writerows(sorted((str(source), cause) for source, cause in report.failed))
