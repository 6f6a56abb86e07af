"""The chapters of the book as they are: in sync, complete, equal to the module, no solution given away."""

from __future__ import annotations

import pytest

from book.tools import anatomy, notebooks, save_cells, student
from book.tools.chapters import Book

BOOK = Book()
CHAPTERS = BOOK.chapters()


def lines(problems) -> str:
    return "\n" + "\n".join(str(problem) for problem in sorted(problems))


def test_there_are_chapters_and_the_toc_lists_them():
    assert [f"book/{chapter.twin.name}" for chapter in CHAPTERS] == [f for f in BOOK.toc if f.endswith(".ipynb")]
    assert CHAPTERS


def test_every_listed_file_exists():
    assert [file for file in BOOK.toc if not (BOOK.root / file).exists()] == []


def test_no_notebook_without_its_source():
    sources = {chapter.twin for chapter in CHAPTERS}
    assert sorted(set(BOOK.folder.glob("*.ipynb")) - sources) == []


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
@pytest.mark.parametrize(
    "rules",
    [notebooks.stale, anatomy.source_problems, anatomy.output_problems, save_cells.problems],
    ids=["in_sync", "anatomy", "outputs", "save_cells"],
)
def test_chapter(chapter, rules):
    found = rules(chapter)
    assert not found, lines(found)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.name)
def test_student_notebook(chapter):
    assert student.leaks(student.student_notebook(chapter), chapter) == []
