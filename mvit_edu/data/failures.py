"""Counting the videos that could not be read, and stopping a run that loses too many (Chapter 7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHOWN = 20


@dataclass(frozen=True)
class Failure:
    """A video that could not be read, and why."""

    path: str
    cause: str

    @classmethod
    def of(cls, path: str, error: Exception) -> Failure:
        text = " ".join(str(error).split())
        return cls(path, text.removeprefix(f"{path}:").strip() or type(error).__name__)

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


class FailureLog:
    """The videos of an epoch that could not be read. It lives in the main process; failures come with the batches.

        log = FailureLog()
        for batch in loader:
            log.add(batch.failures, batch.seen)
        print(log.finish())

    Args:
        max_share: the largest share of drawn videos that may fail. Above it `add` raises.
        minimum: `add` judges from this number of drawn videos on; `finish` judges any number.
    """

    def __init__(self, max_share: float = 0.05, minimum: int = 50) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f"max_share={max_share} must lie between 0 and 1.")
        self.max_share = max_share
        self.minimum = minimum
        self.seen = 0
        self.draws = 0
        self.causes: dict[str, str] = {}

    def add(self, failures: Iterable[Failure], seen: int) -> None:
        """Count the failures among `seen` drawn videos.

        Raises:
            RuntimeError: if more than `max_share` of all videos drawn so far failed.
        """
        failures = list(failures)
        if seen < len(failures):
            raise ValueError(f"{len(failures)} failures among {seen} videos; count the failed ones as seen.")
        self.seen += seen
        self.draws += len(failures)
        for failure in failures:
            self.causes.setdefault(failure.path, failure.cause)
        if self.seen >= self.minimum:
            self._judge()

    def finish(self) -> str:
        """The summary, at the end of an epoch. Raises as `add` does, however few videos were seen."""
        self._judge()
        return self.summary()

    @classmethod
    def merged(cls, logs: Iterable[FailureLog]) -> FailureLog:
        """The counts of several processes together, with the `max_share` of the first."""
        logs = list(logs)
        whole = cls(logs[0].max_share)
        for log in logs:
            whole.seen += log.seen
            whole.draws += log.draws
            whole.causes = log.causes | whole.causes
        return whole

    def summary(self) -> str:
        """How many failed, and each failed file once with its cause (the first 20)."""
        if not self.draws:
            return f"All {self.seen} videos could be read."
        lines = [f"{self._counts()} could not be read:", *(f"  {p}: {c}" for p, c in self._first(SHOWN))]
        if len(self.causes) > SHOWN:
            lines.append(f"  and {len(self.causes) - SHOWN} more.")
        return "\n".join(lines)

    def write(self, path: str | Path) -> None:
        """All failed files with their causes, one a line."""
        text = "".join(f"{name}: {cause}\n" for name, cause in self._first(len(self.causes)))
        Path(path).write_text(text, encoding="utf-8")

    def _judge(self) -> None:
        if self.draws > self.max_share * self.seen:
            path, cause = self._first(1)[0]
            raise RuntimeError(
                f"{self._counts()} could not be read, and at most {self.max_share:.1%} may fail; for example {path}: "
                f"{cause} Check the list with `mvit-edu data check`, or raise max_share."
            )

    def _counts(self) -> str:
        files = f"{len(self.causes)} file{'s' * (len(self.causes) != 1)}"
        return f"{self.draws} of {self.seen} videos drawn ({self.draws / self.seen:.1%}; {files})"

    def _first(self, count: int) -> list[tuple[str, str]]:
        return list(self.causes.items())[:count]
