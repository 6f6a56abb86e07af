"""Every table of the MViT paper as data: one JSON file a table, one row of the table a line.

The numbers are those of the arXiv version (2104.11227), as printed: a value is a string, so that "70.0"
keeps its decimal and "170" has none. Each value carries tags that say how we know it (`TAGS`).
FLOPs are multiply-adds of one clip.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

SOURCES = {
    "text": "read in a transcription of the arXiv paper",
    "fix": "the transcription prints something impossible or nothing; this is the corrected value",
    "memory": "a recollection, not read: it is not asserted",
    "missing": "not found, and not guessed",
}
CONFIRMATIONS = {
    "prose": "the number also stands in the paper's running text",
    "v2": "the MViTv2 paper, by the same group, quotes the same number",
}
TAGS = SOURCES | CONFIRMATIONS


@dataclass(frozen=True)
class Column:
    """A column: `how` is "counted", "measured" or "trained", and "" for a column of labels."""

    key: str
    title: str
    unit: str = ""
    how: str = ""


@dataclass(frozen=True)
class Row:
    """A row: `values`, `tags` and `notes` have one entry a column. A value is None where it is missing.

    `tags` holds one source (a key of `SOURCES`) first, then confirmations.
    `by` is "paper" for the models of the paper and "other work" for those it compares with.
    """

    id: str
    values: tuple[str | None, ...]
    tags: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    by: str = "paper"


@dataclass(frozen=True)
class PaperTable:
    """One table (for Table 3, one of its panels). `data` names the data set of the accuracy columns."""

    id: str
    title: str
    section: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    data: str = ""

    @property
    def name(self) -> str:
        return "Running text" if self.id == "text" else f"Table {self.id}"

    def column(self, key: str) -> Column:
        return self.columns[self._index("column", key, [column.key for column in self.columns])]

    def row(self, id: str) -> Row:
        return self.rows[self._index("row", id, [row.id for row in self.rows])]

    def value(self, row: str, column: str) -> str | None:
        """The printed value, for example `paper_table("4").value("mvit_b_16x4", "top1")` -> "78.4"."""
        return self.row(row).values[self.columns.index(self.column(column))]

    def _index(self, what: str, key: str, known: list[str]) -> int:
        if key not in known:
            raise ValueError(f"{self.name} has no {what} {key!r}; choose one of: {', '.join(known)}.")
        return known.index(key)


def parse_table(data: dict) -> PaperTable:
    """A table from its JSON form, with the shared tags spread over the values."""
    columns = tuple(Column(**column) for column in data["columns"])
    rows = tuple(_parse_row(row, columns, data) for row in data["rows"])
    ids = [row.id for row in rows]
    if len(set(ids)) != len(ids):
        raise ValueError(f"Table {data['id']} uses a row id twice: {', '.join(ids)}; give each row its own.")
    return PaperTable(
        data["id"], data["title"], data["section"], columns, rows, tuple(data["notes"]), data.get("data", "")
    )


def _parse_row(row: dict, columns: tuple[Column, ...], table: dict) -> Row:
    where = f"Row {row['id']!r} of table {table['id']}"
    if len(row["values"]) != len(columns):
        given = len(row["values"])
        raise ValueError(f"{where} has {given} values for {len(columns)} columns; add or remove some.")
    unknown = (row.get("cell_tags", {}).keys() | row.get("notes", {}).keys()) - {c.key for c in columns}
    if unknown:
        raise ValueError(f"{where} has tags or notes for {sorted(unknown)}; use columns of the table.")
    tags = []
    for column, value in zip(columns, row["values"], strict=True):
        shared = row.get("tags", []) + table.get("column_tags", {}).get(column.key, [])
        given = shared + row.get("cell_tags", {}).get(column.key, [])
        if set(given) - TAGS.keys():
            raise ValueError(f"{where} has tags {given}; choose from: {', '.join(TAGS)}.")
        source = next((tag for tag in given if tag in SOURCES), table["tags"][0])
        confirmed = [tag for tag in CONFIRMATIONS if tag in given and column.how]
        tags.append(("missing" if value is None else source, *confirmed))
    notes = tuple(row.get("notes", {}).get(column.key, "") for column in columns)
    return Row(row["id"], tuple(row["values"]), tuple(tags), notes, row.get("by", "paper"))


@cache
def paper_tables() -> tuple[PaperTable, ...]:
    """All tables in the order of the paper: "1", "2", "3a" ... "17", "A.1", "A.2", "A.3", "text"."""
    files = [file for file in resources.files(__package__).iterdir() if file.name.endswith(".json")]
    files.sort(key=lambda file: file.name)
    return tuple(parse_table(json.loads(file.read_text(encoding="utf-8"))) for file in files)


def paper_table(id: str) -> PaperTable:
    """One table by its number, for example "13" or "A.3"."""
    tables = {table.id: table for table in paper_tables()}
    if id not in tables:
        raise ValueError(f"There is no table {id!r}; choose one of: {', '.join(tables)}.")
    return tables[id]
