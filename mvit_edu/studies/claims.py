"""Every number of the paper's tables as a claim, and how it stands against ours.

A status is computed from the claim each time, never stored: counts come from the stage table of the row's
config (`readings`), directions at small scale from the logs of the studies (`directions`), and what is left says
what it needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mvit_edu.model.config import MViTConfig
from mvit_edu.model.stages import StageTable, stage_table
from mvit_edu.studies.directions import ALONE, RESULTS, direction
from mvit_edu.studies.needs import needs, not_attempted
from mvit_edu.studies.paper import PaperTable, Row, paper_tables
from mvit_edu.studies.readings import READINGS, Reading, alternatives

KINDS = {
    "equal": "ours rounds to the printed value",
    "differs": "ours rounds to another value",
    "does not follow": "ours is more than 2 % off, and the described model gives no other reading",
    "same direction": "small models on small clips differ from the table's default row the way the paper's do",
    "opposite": "the small models differ the other way",
    "no difference": "small models show no difference: the interval over seeds holds 0, or they are fewer than three",
    "needs data": "has to be trained or evaluated on the data set that is named, with the command that is given",
    "needs GPU": "has to be measured on a GPU",
    "not attempted": "has to be trained, and a part for it is not built",
    "other work": "a model that the paper compares with: not ours to reproduce",
    "not read": "our source of the paper lacks the value, so it is not asserted",
}
FOLLOWS = 2  # percent: the largest difference that rounding and counting conventions may explain
PLAIN = ("model", "stage", "depths", "variant", "position", "skip", "what")  # labels that need no title
CLIPS = 5  # of the totals that the running text gives in TFLOPs


@dataclass(frozen=True)
class Claim:
    """One number that the paper prints.

    `table`, `row` and `column` are the keys of the data; `label` describes the row in words.
    `printed` is the value as printed, None where our source lacks it, and `unit` its unit.
    `how` is "counted", "measured", "trained" or "not ours". `reading` and `baseline` (the row that a change
    refers to) are the configs to count. `tags` say how we know the printed value, as in `paper.TAGS`.
    """

    table: str
    row: str
    column: str
    label: str
    printed: str | None
    unit: str
    how: str
    tags: tuple[str, ...]
    note: str = ""
    data: str = ""
    reading: Reading | None = None
    baseline: Reading | None = None
    others: tuple[Reading, ...] = ()

    @property
    def claimed(self) -> float | str | None:
        """The value as a number, or as text for operators and output sizes."""
        if self.printed is None or self.column in ("operators", "output"):
            return self.printed
        return float(self.printed)

    @property
    def decimals(self) -> int:
        """Printed decimals; a value is compared at these."""
        return len((self.printed or "").partition(".")[2])


@dataclass(frozen=True)
class Status:
    """How a claim stands: `kind` is a key of `KINDS`, `ours` our value if it can be counted.

    `shown` is our value as text, with two decimals more than the paper prints. `command` recomputes it, or repeats
    the study that tells the direction.
    """

    kind: str
    ours: float | str | None
    shown: str
    text: str
    command: str = ""


def claims_of(table: PaperTable) -> tuple[Claim, ...]:
    """The claims of one table, row by row: every printed value of its columns that are not labels."""
    readings = READINGS.get(table.id, {})
    first = readings.get(table.rows[0].id)
    found = []
    for row in table.rows:
        ours = row.by == "paper"
        for column, printed, tags, note in zip(table.columns, row.values, row.tags, row.notes, strict=True):
            if not column.how or printed in ("", "-", "N/A"):
                continue
            counted = ours and column.how == "counted"
            claim = Claim(
                table=table.id,
                row=row.id,
                column=column.key,
                label=row_label(table, row),
                printed=printed,
                unit=column.unit,
                how=column.how if ours else "not ours",
                tags=tags,
                note=note,
                data=table.data,
                reading=readings.get(row.id),
                baseline=first if column.key.endswith("_change") else None,
                others=alternatives(table.id, row.id, column.key) if counted else (),
            )
            found.append(claim)
    return tuple(found)


@cache
def claims() -> tuple[Claim, ...]:
    """All claims, in the order of the paper."""
    return tuple(claim for table in paper_tables() for claim in claims_of(table))


def row_label(table: PaperTable, row: Row) -> str:
    """The labels of a row as one phrase, for example "MViT-B, 16×4 · pre-training: K400"."""
    labels = [
        value if column.key in PLAIN else f"{column.title}: {value}"
        for column, value in zip(table.columns, row.values, strict=True)
        if not column.how and column.key != "views" and value not in ("", "-", None)
    ]
    return " · ".join(labels)


def status(claim: Claim, results: str | Path = RESULTS) -> Status:
    """Compare a claim with what we count now or what the logs in `results` show, or say what it needs."""
    if claim.how == "not ours":
        reason = not_attempted(claim)
        return Status("not attempted" if reason else "other work", None, "", reason)
    ours = count(claim) if claim.how == "counted" else None
    command = f"python -m mvit_edu.studies {claim.table}" if claim.how == "counted" else ""
    if claim.claimed is None or "memory" in claim.tags or "missing" in claim.tags:
        text = "our source lacks this cell: a recollection, not asserted"
        return Status("not read", ours, show(ours, claim), text, command)
    if claim.how == "measured":
        return Status("needs GPU", None, "", needs(claim))
    if claim.how == "trained":
        return trained(claim, results)
    if isinstance(claim.claimed, str):
        kind, text = ("equal", "") if ours == claim.claimed else ("differs", f"ours is {ours}")
        return Status(kind, ours, show(ours, claim), text, command)
    if rounds_to(ours, claim):
        return Status("equal", ours, show(ours, claim), "", command)
    apart = ours - claim.claimed
    percent = 100 * apart / abs(claim.claimed) if claim.claimed else float("inf")
    digits = 2 if abs(percent) < 1 else 1
    text = f"differs by {apart:+.{claim.decimals + 2}f} {claim.unit} ({percent:+.{digits}f} %)"
    if abs(percent) > FOLLOWS and claim.reading.gap:
        return Status("does not follow", ours, show(ours, claim), f"{text}. {claim.reading.gap}", command)
    for other in claim.others:
        value = count(claim, other)
        if rounds_to(value, claim):
            text += f"; {other.label} counts to {show(value, claim)} {claim.unit}"
            break
    return Status("differs", ours, show(ours, claim), text, command)


def trained(claim: Claim, results: str | Path) -> Status:
    """The direction at small scale if a log tells it, and always what the number itself needs."""
    lacking = not_attempted(claim)
    kind, text = ("not attempted", lacking) if lacking else ("needs data", needs(claim))
    if reason := ALONE.get((claim.table, claim.row)):
        text = f"no counterpart at small scale: {reason}. {text}"
    seen = direction(claim, results)
    if seen is None:
        return Status(kind, None, "", text)
    return Status(seen.kind or kind, None, "", f"{seen.text}. {text}", seen.command)


def rounds_to(ours: float, claim: Claim) -> bool:
    """Whether ours is the printed value at the printed decimals."""
    return format(ours, f".{claim.decimals}f") == format(claim.claimed, f".{claim.decimals}f")


def show(ours: float | str | None, claim: Claim) -> str:
    """Our value as text, with two decimals more than the paper prints; whole numbers as they are."""
    if ours is None:
        return ""
    if isinstance(ours, str | int):
        return str(ours)
    return format(ours, f".{claim.decimals + 2}f")


def count(claim: Claim, reading: Reading | None = None) -> float | int | str:
    """What the claim's config (or another reading of it) counts to, in the claim's unit.

    Raises:
        ValueError: a counted claim whose row has no reading, or whose column nobody can count.
    """
    reading = reading or claim.reading
    quantity = claim.column.removesuffix("_change")
    if reading is None or quantity not in COUNTS:
        where = f"Table {claim.table}, row {claim.row!r}, column {claim.column!r}"
        raise ValueError(f"{where} is marked as counted but has no config or rule; add it to READINGS or COUNTS.")
    value = COUNTS[quantity](table_of(reading.config), claim.row)
    return value - COUNTS[quantity](table_of(claim.baseline.config), claim.row) if claim.baseline else value


@cache
def table_of(config: MViTConfig) -> StageTable:
    return stage_table(config)


def operators(table: StageTable, row: str) -> str:
    """A row of Table 3: the cube, or the blocks of one stage."""
    if row == "cube1":
        config = table.config
        return f"{times(config.cube_kernel)}, {config.dim}; stride {times(config.cube_stride)}"
    stage = table.stages[int(row.removeprefix("scale")) - 2]
    return f"[MHPA({stage.dim}), MLP({stage.blocks[0].hidden})] × {stage.depth}"


def output(table: StageTable, row: str) -> str:
    """A row of Table 3: the clip, or channels and grid of tokens."""
    if row == "data":
        return times(table.config.size)
    if row == "cube1":
        return times((table.config.dim, *table.config.thw))
    stage = table.stages[int(row.removeprefix("scale")) - 2]
    return times((stage.dim, *stage.thw))


def times(sizes: Iterable[int]) -> str:
    return "×".join(map(str, sizes))


COUNTS: dict[str, Callable[[StageTable, str], float | int | str]] = {
    "gflops": lambda table, row: table.macs / 1e9,
    "tflops": lambda table, row: CLIPS * table.macs / 1e12,
    "params": lambda table, row: table.params / 1e6,
    "tokens_first": lambda table, row: table.rows[0].tokens_in,
    "tokens_last": lambda table, row: table.rows[-1].tokens_q,
    "operators": operators,
    "output": output,
}


def summary(some: Iterable[Claim] | None = None, results: str | Path = RESULTS) -> dict[str, int]:
    """How many claims (by default all) have each kind of status, in the order of `KINDS`."""
    totals = Counter(status(claim, results).kind for claim in (claims() if some is None else some))
    return {kind: totals[kind] for kind in KINDS}
