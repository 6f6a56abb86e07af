"""Write the generated parts of the front pages: totals, commands' output, the address to install from.

python -m book.tools.front_pages           writes what changed
python -m book.tools.front_pages --check   only says what is stale

A generated part stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; the rest of a page is edited by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path

from book.tools import ledger_page
from book.tools.chapters import ROOT, Book
from book.tools.cover import PRESET, alt_text
from mvit_edu import check, cli, get_config, stage_table
from mvit_edu.studies.claims import claims, claims_of, summary
from mvit_edu.studies.paper import paper_tables

PART = re.compile(r"(<!-- begin ([\w-]+) -->\n)(.*?)(<!-- end \2 -->\n)", re.DOTALL)
PAGES = ("index.md", "how_to_use.md", "paper_map.md")

# Table of the paper -> chapters that build or recompute it ("01", "02", ...).
TABLE_CHAPTERS = {
    "1": ("01",),
    "2": ("01", "05"),
    "3a": ("01", "05"),
    "3b": ("05", "06"),
    "3c": ("05",),
    "4": ("05", "06"),
    "5": ("05",),
    "6": ("05",),
    "7": ("05",),
    "8": ("05",),
    "9": ("10", "11"),
    "10": ("05", "13"),
    "11": ("01", "05", "13"),
    "12": ("01", "05", "13"),
    "13": ("05", "13"),
    "14": ("03", "05", "13"),
    "15": ("02", "12"),
    "16": ("12",),
    "17": ("05",),
    "A.1": ("04", "13"),
    "A.2": ("08", "13"),
    "A.3": ("05", "13"),
    "text": ("01", "05"),
}


def tokens_left(thw, kernel, stride, padding, cls_token=True):
    """A plausible wrong answer to Exercise 2.1: it divides by the stride."""
    n = 1
    for size, s in zip(thw, stride, strict=True):
        n *= size // s
    return n + cls_token


def totals(book: Book) -> str:
    """Where the paper's numbers stand: a sentence, and the table of the ledger."""
    counted = [claim for claim in claims() if claim.how == "counted"]
    equal = summary(counted)["equal"]
    return (
        f"The paper's tables print {len(claims())} numbers. {len(counted)} of them can be counted without training, "
        f"and {equal} of these counts round to the printed value. Where an ablation had to be trained, small models "
        f"say whether its direction holds.\n\n{ledger_page.totals()}"
    )


def cover(book: Book) -> str:
    """The picture, with the description that its tool derives from the stage table."""
    alt = alt_text(stage_table(get_config(PRESET)))
    return f":::{{image}} media/cover.png\n:alt: {alt}\n:class: dark-light sd-mb-3\n:width: 100%\n:::\n"


def install(book: Book) -> str:
    repository = book.config["repository"]
    return fenced(f'pip install "git+{repository["url"].rstrip("/")}@{repository["branch"]}"')


def models(book: Book) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        cli.main(["models"])
    return fenced(f"$ mvit-edu models\n{out.getvalue()}")


def wrong_answer(book: Book) -> str:
    return fenced(repr(check.ex_02_1(tokens_left)))


def tables(book: Book) -> str:
    """One row for each table of the paper, with the standing of its numbers in the ledger."""
    lines = ["| table | numbers | chapter |", "|---|---|---|"]
    for table in paper_tables():
        found = claims_of(table)
        standing = ", ".join(f"{kind} {n}" for kind, n in summary(found).items() if n) or "symbols only"
        name = f"{{ref}}`{table.name} <ledger-{table.id.lower().replace('.', '')}>`"
        title = "" if table.id == "text" else f": {table.title}"
        chapters = ", ".join(chapter_link(book, which) for which in TABLE_CHAPTERS[table.id])
        lines.append(f"| {name}{title} | {standing} | {chapters} |")
    return "\n".join(lines) + "\n"


def chapter_link(book: Book, which: str) -> str:
    file = next(Path(file).name for file in book.toc if Path(file).name.startswith(which + "_"))
    return f"[{int(which)}]({file})"


def fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


PARTS: dict[str, Callable[[Book], str]] = {
    "totals": totals,
    "cover": cover,
    "install": install,
    "models": models,
    "wrong-answer": wrong_answer,
    "tables": tables,
}


def refreshed(text: str, book: Book) -> str:
    """A page with its generated parts written anew."""
    return PART.sub(lambda part: f"{part[1]}{PARTS[part[2]](book)}{part[4]}", text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.front_pages", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a part is stale")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    stale = []
    for name in PAGES:
        path = book.folder / name
        text = path.read_text(encoding="utf-8")
        new = refreshed(text, book)
        if new != text:
            stale.append(name)
            if not options.check:
                path.write_text(new, encoding="utf-8")
    if options.check and stale:
        print(f"stale: {', '.join(stale)}; run python -m book.tools.front_pages")
        return 1
    print(f"front pages: {'wrote ' + ', '.join(stale) if stale else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
