"""How the other tools see the book: its folder, its configuration, its chapters and their cells."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
CODE_FENCE = re.compile(r"^(`{3,})\{code-cell\}")
DIRECTIVE = re.compile(r"^(:{3,})\{([\w:-]+)\}[ \t]*(.*)$")
HEADING = re.compile(r"^(#{1,6})[ \t]+(.*?)[ \t]*#*$")
SETUP_TAGS = ["setup", "hide-input"]

SETUP = """\
# Set-up, the same in every chapter: install mvit_edu
# only where it is missing, and never touch torch.
try:
    import mvit_edu
except ModuleNotFoundError:
    %pip install -q "git+{url}@{branch}"
    import mvit_edu

import matplotlib.pyplot as plt
import torch

from mvit_edu import check
from mvit_edu.visualize import set_style

torch.manual_seed(0)
torch.set_num_threads(min(torch.get_num_threads(), 4))
set_style()"""


@dataclass(frozen=True, order=True)
class Problem:
    """One broken rule: where, which, and what to do about it."""

    where: str  # "book/02_pooling.md:120" or "book/02_pooling.ipynb code cell 4"
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.where} [{self.rule}] {self.message}"


@dataclass(frozen=True)
class Directive:
    """A colon fence ``:::{name} argument`` with its options and body."""

    line: int
    name: str
    argument: str
    options: dict[str, str]
    body: str


@dataclass(frozen=True)
class Heading:
    line: int
    level: int
    text: str


@dataclass(frozen=True)
class Book:
    """The repository that holds the book: ``root/_config.yml``, ``root/_toc.yml``, ``root/book/``."""

    root: Path = ROOT

    @property
    def folder(self) -> Path:
        return self.root / "book"

    @property
    def html(self) -> Path:
        return self.root / "_build" / "html"

    @cached_property
    def config(self) -> dict:
        return yaml.safe_load((self.root / "_config.yml").read_text(encoding="utf-8"))

    @property
    def setup(self) -> str:
        """Source of the set-up cell. The repository's address stands in ``_config.yml`` only."""
        repository = self.config["repository"]
        return SETUP.format(url=repository["url"].rstrip("/"), branch=repository["branch"])

    @cached_property
    def toc(self) -> list[str]:
        """Files of ``_toc.yml`` in reading order, with suffix, relative to the root."""
        toc = yaml.safe_load((self.root / "_toc.yml").read_text(encoding="utf-8"))
        parts = toc.get("parts", [{"chapters": toc.get("chapters", [])}])
        return [toc["root"]] + [entry["file"] for part in parts for entry in part["chapters"]]

    def sources(self, which: str = "") -> list[Path]:
        """The ``NN_slug.md`` files, or the one that ``which`` ("02", "02_pooling") names."""
        found = sorted(self.folder.glob("[0-9][0-9]_*.md"))
        if not which:
            return found
        stem = Path(which).name.removesuffix(".md").removesuffix(".ipynb")
        chosen = [path for path in found if path.stem == stem or path.stem.startswith(stem + "_")]
        if not chosen:
            names = ", ".join(path.stem for path in found) or "none"
            raise ValueError(f"no chapter {which!r} in {self.folder}; there are: {names}")
        return chosen

    def chapters(self, which: str = "") -> list[Chapter]:
        return [Chapter(self, path) for path in self.sources(which)]


@dataclass(frozen=True)
class Chapter:
    """One chapter: its MyST source and its executed twin in the same folder."""

    book: Book
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        """Two digits, as in the file name."""
        return self.path.name[:2]

    @property
    def twin(self) -> Path:
        return self.path.with_suffix(".ipynb")

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def source(self) -> NotebookNode:
        """The ``.md`` as a notebook without outputs."""
        return jupytext.reads(self.text, fmt="md:myst")

    @cached_property
    def notebook(self) -> NotebookNode | None:
        """The committed ``.ipynb``, or None where there is none."""
        return nbformat.read(self.twin, as_version=4) if self.twin.exists() else None

    @cached_property
    def code(self) -> list[NotebookNode]:
        return code_cells(self.source)

    @cached_property
    def code_lines(self) -> list[int]:
        """Line in the ``.md`` of each code cell's fence, counted from 1."""
        return [n for n, line in enumerate(self.text.splitlines(), 1) if CODE_FENCE.match(line)]

    @cached_property
    def prose(self) -> list[str]:
        """Lines of the ``.md`` with the header and everything inside backtick fences blanked."""
        return blank_code(self.text)

    @cached_property
    def headings(self) -> list[Heading]:
        found = ((n, HEADING.match(line)) for n, line in enumerate(self.prose, 1))
        return [Heading(n, len(match[1]), match[2]) for n, match in found if match]

    @cached_property
    def directives(self) -> list[Directive]:
        return colon_fences(self.prose)

    def at(self, line: int) -> str:
        return f"book/{self.path.name}:{line}"

    def at_cell(self, number: int) -> str:
        """Place of code cell ``number`` (from 1), as a line of the ``.md`` where it can be told."""
        if 0 < number <= len(self.code_lines):
            return f"{self.at(self.code_lines[number - 1])} (code cell {number})"
        return f"book/{self.path.name} (code cell {number})"


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def cell_key(cell: NotebookNode) -> dict:
    """What must agree between a cell of the ``.md`` and of the ``.ipynb``."""
    return {"type": cell.cell_type, "source": cell.source.rstrip(), "metadata": dict(cell.metadata)}


def code_hash(notebook: NotebookNode) -> str:
    """SHA-256 of the code a notebook was executed with: sources and tags of its code cells, in order."""
    code = [[cell.source.rstrip(), sorted(tags(cell))] for cell in code_cells(notebook)]
    return hashlib.sha256(json.dumps(code, ensure_ascii=True).encode()).hexdigest()


def blank_code(text: str) -> list[str]:
    """Lines of a MyST text, with its YAML header and its backtick fences replaced by empty lines."""
    lines = text.splitlines()
    out: list[str] = []
    fence = ""
    header = bool(lines) and lines[0].strip() == "---"
    for number, line in enumerate(lines):
        if header:
            header = not (number > 0 and line.strip() == "---")
            out.append("")
        elif fence:
            if line.strip().startswith(fence) and not line.strip().strip("`"):
                fence = ""
            out.append("")
        elif match := re.match(r"^\s*(`{3,})", line):
            fence = match[1]
            out.append("")
        else:
            out.append(line)
    return out


def colon_fences(lines: list[str]) -> list[Directive]:
    """Every ``:::{name}`` directive in order of its first line; nested ones are found too."""
    found: list[Directive] = []
    for start, line in enumerate(lines):
        match = DIRECTIVE.match(line)
        if not match:
            continue
        colons = match[1]
        end = next((n for n in range(start + 1, len(lines)) if lines[n].strip() == colons), len(lines))
        body = lines[start + 1 : end]
        options = {}
        while body and (option := re.match(r"^:([\w-]+):[ \t]*(.*)$", body[0])):
            options[option[1]] = option[2].strip()
            body = body[1:]
        text = "\n".join(body)
        found.append(Directive(start + 1, match[2], match[3].strip(), options, text))
    return found


def report(problems: list[Problem], what: str) -> int:
    """Print problems and one closing line; the exit status."""
    for problem in sorted(problems):
        print(problem)
    print(f"{what}: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0
