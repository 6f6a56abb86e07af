"""Write the student notebooks: no solutions, no outputs; exercises, hints and checks stay.

    python -m book.tools.student OUT/ [02 ...]

Every notebook is searched for leaks of its solutions before it is written.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from book.tools.chapters import ROOT, Book, Chapter, tags
from book.tools.notebooks import dump, set_ids, set_metadata

MIN_LINE = 20  # characters: shorter lines of a solution say nothing


def student_notebook(chapter: Chapter) -> NotebookNode:
    """A copy of the chapter without solution cells and without outputs."""
    notebook = nbformat.from_dict(chapter.source)
    notebook.cells = [cell for cell in notebook.cells if "solution" not in tags(cell)]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    set_ids(notebook)
    set_metadata(notebook)
    return notebook


def leaks(notebook: NotebookNode, chapter: Chapter) -> list[str]:
    """What a student's notebook gives away: solution cells, their names or lines, outputs.

    A line counts only if the chapter shows it nowhere but in its solutions.
    """
    cells = [cell for cell in chapter.source.cells if cell.cell_type == "code"]
    shown = "\n".join(cell.source for cell in cells if "solution" not in tags(cell))
    solutions = "\n".join(cell.source for cell in cells if "solution" in tags(cell))
    lines = {line.split("  #")[0].strip() for line in solutions.splitlines()}
    secret = {line for line in lines if len(line) >= MIN_LINE and line[0] not in "#\"'" and line not in shown}
    found = []
    for number, cell in enumerate(notebook.cells, 1):
        if "solution" in tags(cell):
            found.append(f"cell {number} is a solution cell")
        if cell.get("outputs"):
            found.append(f"cell {number} has outputs")
        if name := re.search(r"\w+_solution\b", cell.source):
            found.append(f"cell {number} names {name[0]}")
        found += [f"cell {number} holds the line {line!r}" for line in sorted(secret) if line in cell.source]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.student", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("chapter", nargs="*", help="two digits or a file name; without it, all")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    if options.out.resolve() == book.folder:
        print("error: OUT is the book's own folder; name another one", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    for which in options.chapter or [""]:
        for chapter in book.chapters(which):
            notebook = student_notebook(chapter)
            if found := leaks(notebook, chapter):
                print(
                    f"error: book/{chapter.path.name} gives a solution away: {'; '.join(found)}",
                    file=sys.stderr,
                )
                return 1
            (options.out / chapter.twin.name).write_text(dump(notebook), encoding="utf-8")
            print(options.out / chapter.twin.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
