"""``book.tools.save_cells`` and ``book.tools.student`` can fail."""

from __future__ import annotations

import nbformat
import pytest

from book.tools import save_cells, student
from book.tools.chapters import code_cells


def test_the_sample_is_clean(sample):
    assert save_cells.main(["--root", str(sample.root)]) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return 2 * number", "return number * 2", "differs from the module"),
        ("def double(number: int) -> int:", "def double(number: float) -> int:", "differs from the module"),
        ("    return 2 * number\n", "    return 2 * number\n\n\nx = 1\n", "exactly one def or class"),
        ("def double(", "def twice(", "defined in no module"),
        ("save: mvit_edu.counting:Counter", "save: mvit_edu.counting:Clock", "does not exist"),
        ("save: mvit_edu.counting:Counter", "save: Counter", "wanted is"),
        ("return 2 * number", "return 2 number", "does not parse"),
    ],
)
def test_save_cell_is_refused(old, new, message, edit):
    assert [message in problem.message for problem in save_cells.problems(edit(old, new))] == [True]


def test_the_module_names_its_chapter(sample):
    path = sample.root / "mvit_edu" / "counting.py"
    path.write_text(path.read_text().replace("Counts (Chapter 1).", "Counts."))
    assert [problem.rule for problem in save_cells.problems(sample.chapters()[0])] == ["docstring"]


def test_two_modules_with_the_name(sample):
    (sample.root / "mvit_edu" / "other.py").write_text("def double(number):\n    return number\n")
    assert "name one" in save_cells.problems(sample.chapters()[0])[0].message


def test_student_notebooks_hold_no_solution(sample, tmp_path):
    out = tmp_path / "out"
    assert student.main([str(out), "--root", str(sample.root)]) == 0
    notebook = nbformat.read(out / "01_sample.ipynb", as_version=4)
    text = (out / "01_sample.ipynb").read_text()
    assert "_solution" not in text and "number * number" not in text
    assert "Exercise 1.3" in text and "check.ex_01_3(fourth)" in text
    assert all(not cell.outputs and cell.execution_count is None for cell in code_cells(notebook))


@pytest.mark.parametrize(
    ("old", "new", "leak"),
    [
        ("Write it.", "Write it: `return number * number * number`.", "return number * number * number"),
        ("Multiply.", "See square_solution below.", "square_solution"),
    ],
)
def test_leaks_are_found(old, new, leak, edit, sample, tmp_path, capsys):
    edit(old, new)
    assert student.main([str(tmp_path / "out"), "--root", str(sample.root)]) == 1
    assert leak in capsys.readouterr().err


def test_solution_cells_and_outputs_are_leaks(sample):
    chapter = sample.chapters()[0]
    found = " ".join(student.leaks(chapter.notebook, chapter))
    assert "is a solution cell" in found and "has outputs" in found


def test_the_book_is_not_overwritten(sample, capsys):
    assert student.main([str(sample.folder), "--root", str(sample.root)]) == 2
    assert "the book's own folder" in capsys.readouterr().err
