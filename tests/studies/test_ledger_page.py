"""The ledger page is the data, and nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from book.tools import front_pages
from book.tools.chapters import ROOT, Book
from book.tools.ledger_page import PAGE, intro, ledger_text, write_ledger
from mvit_edu.studies.claims import KINDS, claims, status, summary
from mvit_edu.studies.paper import paper_tables


class Rows(HTMLParser):
    """Collects the cells of each claim, and checks that tags close in order."""

    def __init__(self):
        super().__init__()
        self.rows, self.open, self.kinds = [], [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in ("link", "br"):
            self.open.append(tag)
        if tag == "tr" and "data-status" in attrs:
            self.kinds.append(attrs["data-status"])
            self.rows.append([])
        elif tag == "td" and len(self.rows) and "tr" in self.open:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open and self.rows:
            self.rows[-1][-1] += data


def test_the_committed_page_is_not_stale():
    assert PAGE.read_text(encoding="utf-8") == ledger_text(), "run: python -m book.tools.ledger_page"


def test_every_claim_is_a_row():
    page = Rows()
    page.feed(ledger_text())
    assert page.open == []
    assert page.kinds == [status(claim).kind for claim in claims()]
    for claim, row in zip(claims(), page.rows, strict=True):
        assert row[0] == claim.label
        assert row[2] == f"{claim.printed} {claim.unit}".strip()
        assert row[3] == status(claim).shown


def test_totals_and_tables_stand_on_the_page():
    text = ledger_text()
    for kind, number in summary().items():
        assert f"| {kind} | {number} |" in text
    for table in paper_tables():
        assert table.title in text


def test_totals_stand_on_the_cover():
    """That the committed cover is what the code writes now is tested with the front pages."""
    text = front_pages.totals(Book(ROOT))
    shown = {kind: int(number) for kind, number in re.findall(r"^\| ([a-zA-Z ]+) \| (\d+) \|", text, re.MULTILINE)}
    assert shown == summary()
    assert "<!-- begin totals -->" in (ROOT / "book" / "index.md").read_text(encoding="utf-8")


def test_filters_offer_the_kinds_in_order():
    assert f'data-kinds="{"|".join(KINDS)}"' in ledger_text()


def test_the_tests_that_the_page_names_exist():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_\w+)`", intro())
    assert len(names) == 2 and all(f"\ndef {name}(" in code for name in names)


def test_every_kind_has_its_look():
    style = (PAGE.parent / "_static" / "ledger.css").read_text(encoding="utf-8")
    assert set(re.findall(r'data-status="([^"]+)"', style)) <= set(KINDS)


def test_html_blocks_have_no_blank_line():
    for block in ledger_text().split("<details")[1:]:
        assert "\n\n" not in block.split("</details>")[0]


def test_the_page_works_without_a_network():
    text = ledger_text()
    assert 'src="../_static/ledger.js"' in text
    assert (PAGE.parent / "_static" / "ledger.js").exists()
    assert (PAGE.parent / "_static" / "ledger.css").exists()
    assert "http" not in (PAGE.parent / "_static" / "ledger.js").read_text(encoding="utf-8")


def test_writing_twice_changes_nothing(tmp_path):
    assert write_ledger(tmp_path / "ledger.md")
    assert not write_ledger(tmp_path / "ledger.md")
