"""The strict build, the check of its pages and the browser pass can fail. Pages of the sample book."""

from __future__ import annotations

import shutil
import subprocess
import sys

import nbformat
import pytest

from book.tools import browser, build, html_check
from book.tools.chapters import Book, code_cells


@pytest.fixture(scope="session")
def built_sample(executed_sample, tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "root"
    shutil.copytree(executed_sample, root)
    assert build.main(["--strict", "--root", str(root)]) == 0
    return root


@pytest.fixture
def built(built_sample, tmp_path) -> Book:
    shutil.copytree(built_sample, tmp_path / "root", ignore=shutil.ignore_patterns("sre", "a11y", "svg*"))
    return Book(tmp_path / "root")


@pytest.fixture
def change(built):
    def replace(old: str, new: str) -> Book:
        path = built.html / "book" / "01_sample.html"
        text = path.read_text()
        assert old in text, f"{old!r} is not on the page"
        path.write_text(text.replace(old, new))
        return built

    return replace


def test_strict_build_refuses_a_broken_reference(edit, sample, capfd):
    (sample.folder / "index.md").write_text("# Sample\n\n[nowhere](02_nothing.md) {ref}`nothing`\n")
    assert build.main(["--strict", "--root", str(sample.root)]) != 0
    assert "02_nothing" in capfd.readouterr().out


def test_build_names_missing_files(sample, capsys):
    (sample.folder / "01_sample.ipynb").unlink()
    assert build.main(["--root", str(sample.root)]) == 1
    assert "book/01_sample.ipynb" in capsys.readouterr().err


def test_the_sample_pages_are_clean(built):
    assert html_check.problems(built) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ('alt="A straight line', 'title="A straight line', "alt"),
        ('href="index.html"', 'href="nowhere.html"', "link"),
        ('href="#quiz"', 'href="#nowhere"', "anchor"),
        ("<h1>", "<h1 hidden>:::", "markup"),
        ("</article>", '<img alt="A cat" src="https://example.org/cat.png"></article>', "network"),
        ("</article>", '<video src="data:video/mp4;base64,"></video></article>', "video"),
        ('<div class="cell_output ', '<div class="', "content"),
        ('<span class="caption-number">', "<span>", "content"),
        ("</article>", '<span class="problematic">x</span></article>', "error"),
    ],
)
def test_page_rule_fires(old, new, rule, change):
    assert rule in {problem.rule for problem in html_check.problems(change(old, new))}


def test_missing_page(built):
    (built.html / "book" / "01_sample.html").unlink()
    assert [problem.rule for problem in html_check.problems(built)] == ["page"]


needs_chromium = pytest.mark.skipif(browser.find_chromium() is None, reason="no Chromium on PATH")


def seen(book: Book) -> set[str]:
    with browser.served(book.html) as base, browser.chromium(browser.find_chromium()) as chromium:
        found = browser.look(chromium, base, book, "book/01_sample.ipynb", "dark", "phone", None)
    return {problem.rule for problem in found}


@needs_chromium
def test_the_browser_sees_a_clean_page(built):
    assert seen(built) == set()


@needs_chromium
@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("</article>", '<div style="width: 900px">wide</div></article>', "overflow"),
        ("</article>", "<script>console.error('oh')</script></article>", "console"),
        ("</article>", "<script>undefinedName.call()</script></article>", "console"),
        ("</article>", '<img src="https://example.org/cat.png"></article>', "network"),
        ("</article>", '<img src="nothing.png"></article>', "image"),
        (
            "</article>",
            '<video aria-label="none" src="data:video/mp4;base64,AAAA"></video></article>',
            "video",
        ),
        ("y = 2x", r"y = \nosuchmacro x", "math"),
        ("../_static/mathjax/tex-chtml.js", "../_static/mathjax/nothing.js", "math"),
        ("/book/01_sample.ipynb", "/book/01_sample.md", "colab"),
    ],
)
def test_the_browser_sees(old, new, rule, change):
    assert rule in seen(change(old, new))


def test_without_a_chromium_the_pass_is_skipped(built, monkeypatch, capsys):
    monkeypatch.setattr(browser, "find_chromium", lambda: None)
    assert browser.main(["--root", str(built.root)]) == 0
    assert "skipped, no Chromium" in capsys.readouterr().out


def nbval(book: Book) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:python", "-p", "no:cacheprovider", "--nbval"]
    command += ["--nbval-current-env", "--rootdir", str(book.root), "book"]
    return subprocess.run(command, cwd=book.root, text=True, capture_output=True, check=False)


def test_nbval_accepts_the_sample_and_refuses_a_changed_output(sample):
    done = nbval(sample)
    assert done.returncode == 0, done.stdout
    chapter = sample.chapters()[0]
    notebook = chapter.notebook
    code_cells(notebook)[3].outputs[0].data["text/plain"] = "7"
    nbformat.write(notebook, chapter.twin)
    done = nbval(sample)
    assert done.returncode == 1 and "1 failed" in done.stdout
