"""``python -m book.tools.ledger_page``: write ``book/ledger.md`` from the paper's tables, our counts and our logs.

The page is plain HTML inside MyST: it reads without JavaScript, and ``_static/ledger.js`` adds the filters.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

from mvit_edu.studies.claims import KINDS, Claim, claims, claims_of, row_label, status, summary
from mvit_edu.studies.paper import TAGS, PaperTable, paper_tables
from mvit_edu.studies.readings import READINGS

PAGE = Path(__file__).resolve().parents[1] / "ledger.md"
HEAD = ("row", "number", "claimed", "ours", "how", "status", "source")


def ledger_text() -> str:
    """The whole page."""
    return "\n".join([intro(), *map(section, paper_tables()), legend()])


def write_ledger(path: str | Path = PAGE) -> bool:
    """Write the page if it changed; returns whether it did."""
    path, text = Path(path), ledger_text()
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def totals() -> str:
    """How many numbers have each status, as a table; also on the cover."""
    rows = "".join(f"| {kind} | {number} | {KINDS[kind]} |\n" for kind, number in summary().items())
    return f"| status | numbers | meaning |\n|---|---:|---|\n{rows}"


def intro() -> str:
    counted = [claim for claim in claims() if claim.how == "counted"]
    equal = summary(counted)["equal"]
    return f"""<!-- Written by book/tools/ledger_page.py; edit that, or the data in mvit_edu/studies. -->

# Check the ledger of the paper's numbers

Every number of the paper's tables, and how it stands against ours.

The tables of the [arXiv version](https://arxiv.org/abs/2104.11227) hold {len(claims())} numbers.
{len(counted)} of them are parameters, multiply-adds or sizes of the paper's own models: these we count, and
{equal} of the counts round to the printed value. The others have to be trained or measured, or belong to
other work. No status is typed: this page is written by code that compares the two numbers.

{totals()}
A count is *equal* if it rounds to the printed value at the printed decimals; *ours* shows two decimals more.
FLOPs are multiply-adds of one clip. Where ours differs and the note names another reading of the row, that
reading gives the printed value. `python -m mvit_edu.studies 13` recomputes Table 13 and shows the config of
each row. Two tests guard the counts: `test_table_equals_model` compares stage tables with the models as built and with
PyTorch's own counter, and `test_counts` holds the counts to numbers that stand in the test.

An accuracy of an ablation has a *direction*: the sign of its difference from the row that the paper takes as
default. Our studies train small models on small generated clips, which differ in the same way. If the 95 %
interval of the paired differences over seeds leaves out 0, the sign is compared, and only the sign: the number
itself still needs what the note says. The paper prints one run without an interval, so a small difference of its
own may be chance; and of twenty intervals at 95 %, one may miss. `mvit-edu study run pooling --seeds 9` adds seeds to
the study that the note names.

Hours of training are rough: the clips per second of Table 16, scaled by multiply-adds.

<link rel="stylesheet" href="../_static/ledger.css">
<div id="ledger-filters" data-kinds="{"|".join(KINDS)}" hidden></div>
<script src="../_static/ledger.js" defer></script>
"""


def section(table: PaperTable) -> str:
    """One table: a heading with a label (`ledger-13`), its notes, and its claims folded away."""
    found = claims_of(table)
    title = table.title if table.id == "text" else f"{table.name}: {table.title}"
    lines = [
        f"(ledger-{table.id.lower().replace('.', '')})=",
        f"## {title}",
        "",
        *(f"- {note}" for note in table.notes),
        "",
    ]
    if not found:
        head = [column.title for column in table.columns]
        body = ["<tr>" + "".join(f"<td>{escape(value)}</td>" for value in row.values) + "</tr>" for row in table.rows]
        return "\n".join([*lines, *fold("No numbers", head, body), ""])
    counts = ", ".join(f"{kind} {number}" for kind, number in summary(found).items() if number)
    body = [claim_row(claim, table) for claim in found]
    readings = READINGS.get(table.id, {})
    read = [(row_label(table, row), str(readings[row.id])) for row in table.rows if row.id in readings]
    configs = [f"<tr><td>{escape(row)}</td><td><code>{escape(code)}</code></td></tr>" for row, code in read]
    lines += fold(f"{len(found)} numbers: {counts}", HEAD, body, table.id)
    if configs:
        lines += ["", *fold("How each row is read", ("row", "config"), configs)]
    return "\n".join([*lines, ""])


def fold(title: str, head: tuple[str, ...] | list[str], body: list[str], table: str = "") -> list[str]:
    """A table behind a summary; an HTML block ends at the first blank line, so it has none."""
    name = f' class="ledger" data-table="{escape(table)}"' if table else ' class="ledger-aside"'
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    return [
        f"<details{name}><summary>{escape(title)}</summary>",
        f'<div class="ledger-scroll" tabindex="0"><table><thead><tr>{cells}</tr></thead><tbody>',
        *body,
        "</tbody></table></div></details>",
    ]


def claim_row(claim: Claim, table: PaperTable) -> str:
    now = status(claim)
    notes = [note for note in (now.text, claim.note) if note]
    if claim.column == "gflops" and any(column.key == "views" for column in table.columns):
        notes.append(f"Views: {table.value(claim.row, 'views')}.")
    note = " ".join(sentence(note) for note in notes)
    note = note[:1].upper() + note[1:]
    kind = f'<span class="ledger-kind">{now.kind}</span>' + (f"<br>{note}" if note else "")
    printed = "" if claim.printed is None else f"{claim.printed} {claim.unit}"
    cells = [
        escape(claim.label),
        escape(table.column(claim.column).title),
        escape(printed.strip()),
        escape(now.shown),
        claim.how,
        kind,
        ", ".join(claim.tags),
    ]
    return f'<tr data-status="{now.kind}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def sentence(note: str) -> str:
    """A note as HTML, with a full stop or, where it ends with a command, that as code."""
    words, found, command = note.partition("mvit-edu ")
    if found:
        return f"{escape(words)}<code>{escape(found + command)}</code>"
    return escape(note if note.endswith(".") else f"{note}.")


def legend() -> str:
    rows = "\n".join(f"| {tag} | {meaning} |" for tag, meaning in TAGS.items())
    return f"""## How we know the printed values

The paper's text was read in a transcription. The last column of each table says how sure a value is.

| source | meaning |
|---|---|
{rows}
"""


if __name__ == "__main__":
    print(f"{PAGE.name} {'written' if write_ledger() else 'is up to date'}", file=sys.stdout)
