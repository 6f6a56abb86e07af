"""The anatomy of a chapter: what every chapter has, in which order, and what no chapter may hold.

    python -m book.tools.anatomy [02 ...]

``prose_problems`` and ``cell_problems`` read the ``.md``, ``output_problems`` the executed ``.ipynb``.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from pathlib import Path

from book.tools.chapters import ROOT, SETUP_TAGS, Book, Chapter, Problem, code_cells, report, tags
from book.tools.exercises import exercise_problems, quiz_problems, section
from book.tools.notebooks import MAX_BYTES

OPENING = [
    ("You will learn", "tip"),
    ("Before you start", "note"),
    ("Where this stands in the paper", "seealso"),
]
ENDING = [
    "Shapes so far",
    "Where paper and code disagree",
    "Summary",
    "Exercises",
    "Quiz",
    "Further reading",
]
KNOWN_TAGS = {
    "setup", "save", "exercise", "check", "solution", "gpu",
    "hide-input", "hide-output", "hide-cell", "remove-input", "remove-output", "remove-cell",
    "nbval-ignore-output", "nbval-skip", "raises-exception",
}  # fmt: skip
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}
MAX_UNCOMPARED = 0.15
MIN_ALT = 40  # characters: an alt text says what is to be seen
UNWANTED = {"mermaid": "draw it with matplotlib", "glue": "print the number in a cell", "raw": "use Markdown"}
PATHS = re.compile(
    r"(?<![\w.:/])(/(?:home|Users|root|tmp|work|opt|usr|var|mnt|content)/[\w.-]+|[A-Z]:\\\\?\w+|\S*site-packages)"
)
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}|<[\w.]+ object at")


def prose_problems(chapter: Chapter) -> list[Problem]:
    """Title, opening boxes, guesses, closing sections, directives."""
    out: list[Problem] = []

    def add(line: int, rule: str, message: str) -> None:
        out.append(Problem(chapter.at(line), rule, message))

    for number, line in enumerate(chapter.text.splitlines()[:12], 1):
        if re.match(r"\s*(format_version|jupytext_version):", line):
            add(number, "header", f"remove {line.strip()!r}: the header carries no versions")
    titles = [heading for heading in chapter.headings if heading.level == 1]
    if len(titles) != 1:
        add(1, "title", f"{len(titles)} headings of level 1, one is wanted")
    boxes = {box.argument: box for box in chapter.directives if box.name == "admonition"}
    for title, kind in OPENING:
        if title not in boxes:
            add(1, "opening", f"no box ':::{{admonition}} {title}' (class {kind})")
        elif boxes[title].options.get("class") != kind:
            add(boxes[title].line, "opening", f"the box {title!r} wants ':class: {kind}'")
    opened = [boxes[title].line for title, _ in OPENING if title in boxes]
    if opened != sorted(opened):
        add(opened[0], "opening", "the order of the boxes is: " + ", ".join(title for title, _ in OPENING))
    if titles and opened and not "".join(chapter.prose[titles[0].line : min(opened) - 1]).strip():
        add(
            titles[0].line,
            "promise",
            "below the title comes one line that says what the reader will have at the end",
        )
    if (box := boxes.get("You will learn")) and not 3 <= len(bullets(box.body)) <= 5:
        add(box.line, "learn", f"{len(bullets(box.body))} bullets, 3 to 5 are wanted")
    if (box := boxes.get("Before you start")) and not re.search(r"\bminutes?\b", box.body):
        add(box.line, "before", "say how many minutes the chapter takes and what hardware it needs")

    guesses = [box for box in chapter.directives if box.name == "admonition" and box.argument == "Guess first"]
    if len(guesses) < 2:
        add(
            1,
            "guess",
            f"{len(guesses)} boxes ':::{{admonition}} Guess first' (class important), at least 2 are wanted",
        )
    out += [
        Problem(chapter.at(box.line), "guess", "the box wants ':class: important' and a question with '?'")
        for box in guesses
        if box.options.get("class") != "important" or "?" not in box.body
    ]

    second = [heading for heading in chapter.headings if heading.level == 2]
    tail = [heading.text for heading in second[-len(ENDING) :]]
    if tail != ENDING:
        missing = [text for text in ENDING if text not in [heading.text for heading in second]]
        what = f"missing: {', '.join(missing)}" if missing else f"found: {', '.join(tail)}"
        add(1, "ending", f"the chapter ends in the sections {', '.join(ENDING)}, in this order; {what}")
    first, last = section(chapter, "Shapes so far")
    if first and not any(line.lstrip().startswith("|") for line in chapter.prose[first:last]):
        code = [at for at in chapter.code_lines if first < at <= last]
        if not code:
            add(first, "shapes", "the section 'Shapes so far' holds a table (or a cell that shows one)")
    first, last = section(chapter, "Where paper and code disagree")
    if first and not any(
        box.options.get("class") == "warning" and first < box.line <= last for box in chapter.directives
    ):
        add(first, "disagree", "the section wants at least one ':::{admonition} ...' with ':class: warning'")
    first, last = section(chapter, "Summary")
    if first:
        lines = chapter.prose[first:last]
        count = len(bullets("\n".join(lines))) or sum(bool(line.strip()) for line in lines)
        if count != 5:
            add(first, "summary", f"{count} points, five are wanted (a list of five items)")
    out += directive_problems(chapter)
    return out


def directive_problems(chapter: Chapter) -> list[Problem]:
    """Colon fences only, nothing that needs a network or a package that readers lack."""
    out = []
    for number, line in enumerate(chapter.text.splitlines(), 1):
        if (match := re.match(r"^\s*`{3,}\{([\w:-]+)\}", line)) and match[1] != "code-cell":
            message = f"write '{match[1]}' with a colon fence (:::{{{match[1]}}}): backticks hide the text in Colab"
            out.append(Problem(chapter.at(number), "fence", message))
    for number, line in enumerate(chapter.prose, 1):
        for name, cure in UNWANTED.items():
            if re.search(rf"\{{{name}[}}:]", line):
                out.append(Problem(chapter.at(number), "directive", f"no {name}: {cure}"))
        if re.search(r"!\[\s*\]\(", line):
            out.append(Problem(chapter.at(number), "alt", "an image without alt text: say what is to be seen"))
        if match := PATHS.search(re.sub(r"\]\([^)]*\)|https?://\S+", "", line)):
            out.append(Problem(chapter.at(number), "path", f"a path of one machine: {match[0]}"))
    return out


def bullets(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"^([-*]|\d+\.)\s+\S", line)]


def cell_problems(chapter: Chapter) -> list[Problem]:
    """Set-up cell, tags, reasons, figures: what the source says before anything runs."""
    out: list[Problem] = []
    code = chapter.code
    if not code or tags(code[0]) != SETUP_TAGS:
        place = chapter.at_cell(1) if code else chapter.at(1)
        out.append(Problem(place, "setup", f"the first code cell is the set-up cell, tags {SETUP_TAGS}"))
    elif code[0].source.strip() != chapter.book.setup.strip():
        cure = f"run `make notebooks CHAPTER={chapter.number}`, which writes it"
        out.append(Problem(chapter.at_cell(1), "setup", f"differs from the template in book/tools/chapters.py: {cure}"))
    names: dict[str, int] = {}
    for number, cell in enumerate(code, 1):
        place, labels = chapter.at_cell(number), set(tags(cell))
        for label in sorted(labels - KNOWN_TAGS):
            message = f"unknown tag {label!r}; known: {', '.join(sorted(KNOWN_TAGS))}"
            out.append(Problem(place, "tag", message))
        reason = str(cell.metadata.get("reason", "")).strip()
        if labels & UNCOMPARED and len(reason) < 10:
            message = f'tag {" ".join(labels & UNCOMPARED)} wants a reason in the cell\'s metadata (reason: "...")'
            out.append(Problem(place, "reason", message))
        if ("gpu" in labels) != ("nbval-skip" in labels):
            out.append(Problem(place, "gpu", "the tags gpu and nbval-skip come together"))
        if "nbval-ignore-output" in labels and "assert" not in cell.source:
            out.append(Problem(place, "assert", "an output that is not compared must assert what the text claims"))
        out += figure_problems(chapter, number, names)
    share = [cell for cell in code if set(tags(cell)) & UNCOMPARED]
    if code and len(share) / len(code) >= MAX_UNCOMPARED:
        message = f"{len(share)} of {len(code)} code cells are not compared, the limit is {MAX_UNCOMPARED:.0%}"
        out.append(Problem(chapter.at(1), "share", message))
    if len(names) < 2:
        out.append(Problem(chapter.at(1), "figures", f"{len(names)} figures with a name, at least 2 are wanted"))
    return out


def figure_problems(chapter: Chapter, number: int, names: dict[str, int]) -> list[Problem]:
    """A cell that draws has alt text, caption and name, ends in ``plt.show()`` and is referred to."""
    cell = chapter.code[number - 1]
    place = chapter.at_cell(number)
    mystnb = cell.metadata.get("mystnb", {})
    figure, image = mystnb.get("figure", {}), mystnb.get("image", {})
    twin = chapter.notebook
    drawn = False
    if twin is not None and len(code_cells(twin)) == len(chapter.code):
        outputs = code_cells(twin)[number - 1].outputs
        drawn = any("image/png" in output.get("data", {}) for output in outputs)
    if not (drawn or figure or image or last_line(cell.source) == "plt.show()"):
        return []
    out = []

    def add(rule: str, message: str) -> None:
        out.append(Problem(place, rule, message))

    if last_line(cell.source) not in ("plt.show()", "plt.show();"):
        add("show", "a cell that draws ends in plt.show()")
    alt = str(image.get("alt", "")).strip()
    if len(alt) < MIN_ALT:
        add("alt", f"mystnb.image.alt has {len(alt)} characters; say what is to be seen (at least {MIN_ALT})")
    if not str(figure.get("caption", "")).strip():
        add("caption", "mystnb.figure.caption is missing; say what the figure shows")
    name = str(figure.get("name", ""))
    if not re.fullmatch(rf"fig-{chapter.number}-[a-z0-9-]+", name):
        add("name", f"mystnb.figure.name is {name!r}; it should look like fig-{chapter.number}-slug")
    elif name in names:
        add("name", f"figure name {name!r} is used twice")
    elif not re.search(rf"\{{numref\}}`(?:[^`<]*<)?{re.escape(name)}>?`", "\n".join(chapter.prose)):
        add("numref", f"no text refers to this figure; write {{numref}}`{name}` where it is discussed")
    if name:
        names[name] = number
    return out


def last_line(source: str) -> str:
    lines = [line.strip() for line in source.strip().splitlines()]
    return lines[-1] if lines else ""


def output_problems(chapter: Chapter) -> list[Problem]:
    """What the executed notebook holds: counts 1..n, no stderr, no error, no SVG, no path, at most 400 kB."""
    notebook = chapter.notebook
    where = f"book/{chapter.twin.name}"
    again = f"run `make notebooks CHAPTER={chapter.number}`"
    if notebook is None:
        return [Problem(where, "missing", again)]
    out: list[Problem] = []
    cells = code_cells(notebook)
    counts = [cell.execution_count for cell in cells if "nbval-skip" not in tags(cell)]
    if counts != list(range(1, len(counts) + 1)):
        first = next(n for n, count in enumerate(counts, 1) if count != n)
        message = f"execution counts are not 1..{len(counts)} (the first wrong one is at {first}): {again}"
        out.append(Problem(where, "executed", message))
    if (size := chapter.twin.stat().st_size) > MAX_BYTES:
        out.append(Problem(where, "size", f"{size // 1000} kB, the limit is {MAX_BYTES // 1000} kB"))
    for number, cell in enumerate(cells, 1):
        place = f"{where} (code cell {number})"
        compared = not set(tags(cell)) & UNCOMPARED
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                out.append(Problem(place, "error", f"{output.ename}: {output.evalue}"))
            if output.output_type == "stream" and output.name == "stderr":
                out.append(Problem(place, "stderr", f"cure the warning: {output.text.strip().splitlines()[0]}"))
            data = output.get("data", {})
            if "image/svg+xml" in data or "<svg" in data.get("text/html", ""):
                out.append(Problem(place, "svg", "no SVG outputs: nbval compares them and they are large; use PNG"))
            if any("widget" in kind for kind in data):
                out.append(Problem(place, "widget", "no widget outputs: a static page can't show them"))
            text = output.get("text", "") + data.get("text/plain", "") + data.get("text/html", "")
            text = re.sub(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]+", "", text)
            if match := PATHS.search(text):
                out.append(Problem(place, "path", f"a path of one machine in the output: {match[0]}"))
            if compared and (match := ADDRESS.search(text)):
                message = f"a memory address in the output ({match[0]}): end the cell in plt.show() or in ';'"
                out.append(Problem(place, "address", message))
    return out


def check_functions(book: Book, number: str) -> list[str] | None:
    """Names ``ex_NN_k`` that ``mvit_edu/check/chNN.py`` defines, or None where there is no such file."""
    path = book.root / "mvit_edu" / "check" / f"ch{number}.py"
    if not path.exists():
        return None
    names = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if name.startswith("ex_")]


def source_problems(chapter: Chapter) -> list[Problem]:
    """Everything that can be told from the ``.md`` alone."""
    checks = check_functions(chapter.book, chapter.number)
    return (
        prose_problems(chapter) + cell_problems(chapter) + exercise_problems(chapter, checks) + quiz_problems(chapter)
    )


def problems(chapter: Chapter) -> list[Problem]:
    return source_problems(chapter) + output_problems(chapter)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.anatomy", description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="*", help="two digits or a file name; without it, all")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--source-only", action="store_true", help="look at the .md only, not at the outputs")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    try:
        chosen = [chapter for which in options.chapter or [""] for chapter in book.chapters(which)]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rules = source_problems if options.source_only else problems
    return report([problem for chapter in chosen for problem in rules(chapter)], "anatomy")


if __name__ == "__main__":
    sys.exit(main())
