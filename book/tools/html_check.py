"""Check the built pages: all there, every link and anchor resolves, every figure has alt text and caption.

python -m book.tools.html_check        after ``make book``
"""

from __future__ import annotations

import argparse
import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup, Tag

from book.tools.chapters import ROOT, Book, Chapter, Problem, code_cells, report, tags

SOURCES = {"img": "src", "script": "src", "link": "href", "source": "src", "video": "src", "iframe": "src"}
LEFTOVER = re.compile(r":::|\{(?:numref|term|cite|eq|doc|ref|admonition|dropdown|figure)[^}]*\}")


class Site:
    """The built pages, each parsed once."""

    def __init__(self, book: Book) -> None:
        self.book, self.html = book, book.html
        self.pages = sorted(p for p in self.html.rglob("*.html") if "_static" not in p.parts)
        self.soup = cache(lambda path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser"))
        self.ids = cache(lambda path: {tag["id"] for tag in self.soup(path).find_all(id=True)})

    def name(self, path: Path) -> str:
        return path.relative_to(self.html).as_posix()


def page_of(book: Book, file: str) -> Path:
    return (book.html / file).with_suffix(".html")


def link_problems(site: Site, page: Path) -> list[Problem]:
    """Links and sources inside the book that lead nowhere, and anything a page loads from elsewhere."""
    out, where, soup = [], site.name(page), site.soup(page)
    targets = [("a", tag["href"]) for tag in soup.find_all("a", href=True)]
    targets += [(name, tag[key]) for name, key in SOURCES.items() for tag in soup.find_all(name, attrs={key: True})]
    for kind, target in targets:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            if kind != "a" and parts.scheme != "data":
                out.append(Problem(where, "network", f"<{kind}> loads {target}; readers may be offline"))
            continue
        file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        if file.is_dir():
            file = file / "index.html"
        if not file.exists():
            out.append(Problem(where, "link", f"<{kind}> leads to {target}, which is not in the book"))
        elif parts.fragment and file.suffix == ".html" and unquote(parts.fragment) not in site.ids(file):
            out.append(Problem(where, "anchor", f"{target}: no such place on that page"))
    return out


def article_problems(site: Site, page: Path) -> list[Problem]:
    """Alt texts, error boxes and markup that was not understood."""
    out, where = [], site.name(page)
    article = site.soup(page).find("article")
    if not isinstance(article, Tag):
        return [Problem(where, "article", "the page has no article")]
    if article.find("h1") is None:
        out.append(Problem(where, "title", "the page has no heading of level 1"))
    for image in article.find_all("img"):
        if not str(image.get("alt", "")).strip() or image["alt"] == image.get("src"):
            out.append(Problem(where, "alt", f"an image without alt text: {str(image.get('src'))[:80]}"))
    for video in article.find_all("video"):
        if not (str(video.get("aria-label", "")).strip() and video.has_attr("controls")):
            out.append(Problem(where, "video", "a video wants controls and an aria-label that says what it shows"))
        if video.has_attr("autoplay"):
            out.append(Problem(where, "video", "no autoplay: the reader starts a video"))
    for box in article.select(".system-message, .problematic"):
        out.append(Problem(where, "error", f"Sphinx left an error: {box.get_text(' ', strip=True)[:100]}"))
    text = "\n".join(
        str(piece) for piece in article.find_all(string=True) if not piece.find_parent(["pre", "code", "script"])
    )
    if match := LEFTOVER.search(text):
        around = " ".join(text[max(0, match.start() - 40) : match.end() + 40].split())
        out.append(Problem(where, "markup", f"markup that was not understood: ... {around} ..."))
    return out


def chapter_problems(site: Site, chapter: Chapter) -> list[Problem]:
    """A chapter's page shows all its cells, all their outputs and all its figures with captions."""
    page = page_of(site.book, f"book/{chapter.twin.name}")
    if not page.exists() or chapter.notebook is None:
        return []  # reported elsewhere
    where, soup = site.name(page), site.soup(page)
    cells = [c for c in code_cells(chapter.notebook) if not any(t.startswith("remove-") for t in tags(c))]
    figures = [c for c in cells if c.metadata.get("mystnb", {}).get("figure")]
    wanted = {
        "code cells": (len(cells), len(soup.select("article div.cell"))),
        "cells with outputs": (
            sum(bool(c.outputs) for c in cells),
            len(soup.select("article div.cell_output")),
        ),
        "figures with a number": (
            len(figures),
            len(soup.select("article figure figcaption .caption-number")),
        ),
    }
    return [
        Problem(where, "content", f"{there} {what} on the page, the notebook has {count}")
        for what, (count, there) in wanted.items()
        if count != there
    ]


def problems(book: Book) -> list[Problem]:
    missing = [file for file in book.toc if not page_of(book, file).exists()]
    if missing:
        cure = "run `make book`"
        return [Problem(file, "page", f"has no page in {book.html}: {cure}") for file in missing]
    site = Site(book)
    out = [found for page in site.pages for found in link_problems(site, page)]
    for file in book.toc:
        out += article_problems(site, page_of(book, file))
    for chapter in book.chapters():
        if f"book/{chapter.twin.name}" not in book.toc:
            out.append(Problem("_toc.yml", "toc", f"book/{chapter.twin.name} is not listed"))
        out += chapter_problems(site, chapter)
    return sorted(set(out))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.html_check", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    return report(problems(book), f"built pages ({len(book.toc)})")


if __name__ == "__main__":
    sys.exit(main())
