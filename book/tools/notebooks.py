"""Execute the chapters: ``book/NN_slug.md`` -> ``book/NN_slug.ipynb``, in that direction only.

    python -m book.tools.notebooks             every chapter
    python -m book.tools.notebooks 02          one chapter
    python -m book.tools.notebooks --text 02   only prose changed: keep the outputs, execute nothing
    python -m book.tools.notebooks --check     execute nothing, say which notebooks are stale

The set-up cell of each ``.md`` is written too, from the template in ``chapters.py`` and the repository's
address in ``_config.yml``. A notebook is written only when every cell ran without an error or a warning.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from PIL import Image, ImageChops, ImageStat

from book.tools import front_pages, ledger_page
from book.tools.chapters import (
    ROOT,
    SETUP_TAGS,
    Book,
    Chapter,
    Problem,
    cell_key,
    code_cells,
    code_hash,
    report,
    tags,
)
from book.tools.kernel import kernel_environment

MAX_BYTES = 400_000
MAX_COLOR_ERROR = 1.0  # of 255, on average over a picture
CELL_TIMEOUT = 300  # seconds; a chapter as a whole should take at most 60
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
}
SETUP_CELL = re.compile(r"(?ms)^```\{code-cell\}[^\n]*\n:tags: \[setup\b[^\n]*\]\n.*?^```$")


class ChapterError(Exception):
    """A chapter that could not be executed; the text says which cell and why."""


def write_setup(chapter: Chapter) -> Chapter:
    """Put the set-up cell into the ``.md`` where the file has one; the chapter as it then is."""
    cell = f"```{{code-cell}} ipython3\n:tags: [{', '.join(SETUP_TAGS)}]\n\n{chapter.book.setup}\n```"
    text, count = SETUP_CELL.subn(lambda _: cell, chapter.text)
    if count != 1:
        raise ChapterError(
            f"book/{chapter.path.name}: {count} set-up cells found, one is wanted; write an empty code cell "
            f"with the line ':tags: [{', '.join(SETUP_TAGS)}]' after the opening boxes and run this again"
        )
    if text != chapter.text:
        chapter.path.write_text(text, encoding="utf-8")
    return Chapter(chapter.book, chapter.path)


def set_ids(notebook: NotebookNode) -> None:
    """Cell ids from the cells' own text, so that executing again changes nothing."""
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def set_metadata(notebook: NotebookNode) -> None:
    """Nothing of this machine: no versions, no times. A header may ask for ``accelerator: GPU``."""
    own = {key: value for key, value in notebook.metadata.items() if key in ("accelerator", "execution")}
    colab: dict = {"provenance": [], "toc_visible": True}
    if own.get("accelerator") == "GPU":
        colab["gpuType"] = "T4"
    notebook.metadata = nbformat.from_dict(
        {
            **own,
            "colab": colab,
            "kernelspec": KERNELSPEC,
            "language_info": LANGUAGE,
            "mvit_edu": {"code_sha256": code_hash(notebook)},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5


def execute(chapter: Chapter) -> NotebookNode:
    """The chapter with outputs, from a fresh kernel in ``book/`` that has no network."""
    notebook = nbformat.from_dict(chapter.source)
    set_ids(notebook)
    set_metadata(notebook)
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        iopub_timeout=60,
        raise_on_iopub_timeout=True,  # or outputs would be missing
        kernel_name="python3",
        resources={"metadata": {"path": str(chapter.book.folder)}},
        record_timing=False,
        coalesce_streams=True,
        skip_cells_with_tag="nbval-skip",
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | kernel_environment(Path(folder), chapter.book.root)
        try:
            client.execute(env=environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise ChapterError(describe_failure(chapter, notebook, error)) from None
    set_metadata(notebook)  # nbclient adds the kernel's own
    for number, cell in enumerate(code_cells(notebook), 1):
        for output in cell.outputs:
            if output.output_type == "stream" and output.name == "stderr":
                place = chapter.at_cell(number)
                raise ChapterError(f"{place} wrote to stderr; cure the cause, do not hide it:\n{output.text}")
    shrink_pictures(notebook)
    return notebook


def shrink_pictures(notebook: NotebookNode) -> None:
    """Store drawings with a palette, a third of their size; pictures that would look different stay as they are."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" not in data:
                continue
            picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
            small = picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
            error = ImageStat.Stat(ImageChops.difference(picture, small.convert("RGB"))).mean
            if max(error) <= MAX_COLOR_ERROR:
                file = io.BytesIO()
                small.save(file, "PNG", optimize=True)
                data["image/png"] = base64.b64encode(file.getvalue()).decode()


def describe_failure(chapter: Chapter, notebook: NotebookNode, error: Exception) -> str:
    """Which cell failed and how, with the end of its traceback."""
    for number, cell in enumerate(code_cells(notebook), 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output.traceback)).splitlines()
                return f"{chapter.at_cell(number)} raised {output.ename}: {output.evalue}\n" + "\n".join(trace[-25:])
    ran = [number for number, cell in enumerate(code_cells(notebook), 1) if cell.get("execution_count")]
    place = chapter.at_cell(max(ran, default=0) + 1)
    return f"{place} did not finish ({type(error).__name__}): {str(error).strip().splitlines()[0]}"


def dump(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def keep_outputs(chapter: Chapter) -> NotebookNode:
    """The chapter with the outputs of its present notebook, for a change of prose, captions or alt texts."""
    notebook, old = nbformat.from_dict(chapter.source), chapter.notebook
    stored = old.metadata.get("mvit_edu", {}).get("code_sha256") if old else None
    if stored != code_hash(notebook) or stored != code_hash(old):
        again = f"run `make notebooks CHAPTER={chapter.number}`"
        raise ChapterError(f"book/{chapter.path.name}: its code changed since it was executed; {again}")
    for new, executed in zip(code_cells(notebook), code_cells(old), strict=True):
        new.outputs, new.execution_count = executed.outputs, executed.execution_count
    set_ids(notebook)
    set_metadata(notebook)
    return notebook


def make(chapter: Chapter, text_only: bool = False) -> int:
    """Execute one chapter and write its notebook; the number of bytes written."""
    chapter = write_setup(chapter)
    text = dump(keep_outputs(chapter) if text_only else execute(chapter))
    size = len(text.encode())
    if size > MAX_BYTES:
        raise ChapterError(
            f"book/{chapter.twin.name} would have {size // 1000} kB, the limit is {MAX_BYTES // 1000}: "
            "lower the dpi, draw fewer frames, or show fewer numbers"
        )
    if chapter.path.read_text(encoding="utf-8") != chapter.text:
        raise ChapterError(f"book/{chapter.path.name} was edited while it ran; run this again")
    temporary = chapter.twin.with_suffix(".ipynb.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(chapter.twin)
    return size


def stale(chapter: Chapter) -> list[Problem]:
    """Differences between a chapter's ``.md`` and its ``.ipynb``: cells, tags, metadata, hash of the code."""
    again = f"run `make notebooks CHAPTER={chapter.number}`"
    where = f"book/{chapter.twin.name}"
    if chapter.notebook is None:
        return [Problem(where, "missing", f"no notebook for book/{chapter.path.name}: {again}")]
    problems = []
    ours, theirs = chapter.source.cells, chapter.notebook.cells
    if len(ours) != len(theirs):
        problems.append(Problem(where, "sync", f"{len(theirs)} cells, the .md has {len(ours)}: {again}"))
    for number, (md, nb) in enumerate(zip(ours, theirs, strict=False), 1):
        md_key, nb_key = cell_key(md), cell_key(nb)
        differing = [key for key in md_key if md_key[key] != nb_key[key]]
        if differing:
            first = (md.source.strip().splitlines() or ["empty"])[0][:60]
            message = f"cell {number} ({first}) differs in {', '.join(differing)}: {again}"
            problems.append(Problem(where, "sync", message))
            break
    stored = chapter.notebook.metadata.get("mvit_edu", {}).get("code_sha256")
    if stored != code_hash(chapter.notebook):
        problems.append(Problem(where, "hash", f"the outputs belong to other code than the cells hold: {again}"))
    return problems


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.notebooks", description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="*", help="two digits or a file name; without it, all")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder that holds _config.yml and book/")
    parser.add_argument("--check", action="store_true", help="execute nothing; say which notebooks are stale")
    parser.add_argument("--text", action="store_true", help="only prose changed: keep the outputs")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    try:
        chosen = [chapter for which in options.chapter or [""] for chapter in book.chapters(which)]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.check:
        return report([problem for chapter in chosen for problem in stale(chapter)], "stale notebooks")
    for chapter in chosen:
        print(f"{chapter.name}: {'keeping outputs' if options.text else 'executing'} ...", flush=True)
        start = time.perf_counter()
        try:
            size = make(chapter, options.text)
        except ChapterError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        seconds = time.perf_counter() - start
        slow = "  (more than 60 s: make it lighter, or move the work to a study)" if seconds > 60 else ""
        print(f"{chapter.name}: {seconds:.0f} s, {size // 1000} kB{slow}", flush=True)
    if book.root == ROOT:  # the pages that code writes: ledger, totals, lists of models
        ledger_page.write_ledger()
        return front_pages.main([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
