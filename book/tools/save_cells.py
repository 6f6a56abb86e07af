"""Cells tagged ``save`` are, by syntax tree, what the module ships.

    python -m book.tools.save_cells [02 ...]

The cell's metadata names the symbol (``save: mvit_edu.model.pooling:TokenPool``); without it the symbol is
looked for by name in the whole package. Docstrings and comments may differ, nothing else.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import sys
from pathlib import Path

from book.tools.chapters import ROOT, Book, Chapter, Problem, report, tags

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def strip_docstrings(tree: ast.AST) -> ast.AST:
    """The same tree without docstrings (in place); a body that held nothing else becomes ``pass``."""
    for node in ast.walk(tree):
        if isinstance(node, Definition) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def normal_form(node: ast.AST) -> str:
    """The code of a definition without docstrings, comments and layout."""
    return ast.unparse(ast.fix_missing_locations(strip_docstrings(node)))


def find_symbol(root: Path, module: str, symbol: str) -> Definition | None:
    """The definition of ``symbol`` ("TokenPool", "MViT.features") in the file of ``module``, or None."""
    base = root.joinpath(*module.split("."))
    path = next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.exists()), None)
    if path is None:
        return None
    node: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    for name in symbol.split("."):
        matches = [n for n in getattr(node, "body", []) if isinstance(n, Definition) and n.name == name]
        if not matches:
            return None
        node = matches[-1]
    return node


def modules_with(root: Path, symbol: str) -> list[str]:
    """Names of the package's modules that define ``symbol`` at their top level."""
    found = []
    for path in sorted((root / "mvit_edu").rglob("*.py")):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if f" {symbol}" in path.read_text(encoding="utf-8") and find_symbol(root, module, symbol) is not None:
            found.append(module)
    return found


def cell_problem(chapter: Chapter, number: int) -> Problem | None:
    """Why code cell ``number`` (from 1) is not the module's definition, or None if it is."""
    cell, root = chapter.code[number - 1], chapter.book.root

    def problem(rule: str, message: str) -> Problem:
        return Problem(chapter.at_cell(number), rule, message)

    try:
        body = ast.parse(cell.source).body
    except SyntaxError as error:
        return problem("save", f"does not parse: {error}")
    if len(body) != 1 or not isinstance(body[0], Definition):
        return problem("save", "a save cell holds exactly one def or class; move the rest to another cell")
    target = str(cell.metadata.get("save", ""))
    if target:
        module, _, symbol = target.partition(":")
        if not symbol:
            return problem("save", f"metadata save is {target!r}; wanted is 'mvit_edu.package.module:Symbol'")
    else:
        symbol = body[0].name
        found = modules_with(root, symbol)
        if len(found) != 1:
            message = f"{symbol} is defined in {found or 'no module'}; name one (save: module:Symbol)"
            return problem("save", message)
        module = found[0]
    theirs = find_symbol(root, module, symbol)
    if theirs is None:
        return problem("save", f"{module}:{symbol} does not exist; correct the metadata or the name in the cell")
    here = ast.get_docstring(theirs) or ""
    ours_text, theirs_text = normal_form(body[0]), normal_form(theirs)
    if ours_text != theirs_text:
        lines = difflib.unified_diff(
            theirs_text.splitlines(),
            ours_text.splitlines(),
            f"{module}:{symbol}",
            "this cell",
            lineterm="",
            n=1,
        )
        return problem("save", "differs from the module; make them equal:\n    " + "\n    ".join(lines))
    if f"Chapter {int(chapter.number)}" not in here:
        return problem("docstring", f"the docstring of {module}:{symbol} should say 'Chapter {int(chapter.number)}'")
    return None


def problems(chapter: Chapter) -> list[Problem]:
    numbers = [n for n, cell in enumerate(chapter.code, 1) if "save" in tags(cell)]
    return [found for number in numbers if (found := cell_problem(chapter, number))]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.save_cells", description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="*", help="two digits or a file name; without it, all")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    chosen = [chapter for which in options.chapter or [""] for chapter in book.chapters(which)]
    return report([problem for chapter in chosen for problem in problems(chapter)], "save cells")


if __name__ == "__main__":
    sys.exit(main())
