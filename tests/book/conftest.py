"""A miniature book in a temporary folder, executed once: the tools' tests break copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from book.tools import notebooks
from book.tools.chapters import ROOT, Book, Chapter

SAMPLE = Path(__file__).parent / "sample"


@pytest.fixture(scope="session")
def executed_sample(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "root"
    shutil.copytree(SAMPLE, root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "book" / "tools", root / "book" / "tools")
    shutil.copy(ROOT / "book" / "conftest.py", root / "book")
    assert notebooks.main(["--root", str(root)]) == 0
    return root


@pytest.fixture
def sample(executed_sample, tmp_path) -> Book:
    shutil.copytree(executed_sample, tmp_path / "root", ignore=shutil.ignore_patterns("__pycache__"))
    return Book(tmp_path / "root")


@pytest.fixture
def edit(sample):
    """Replace text in the sample's chapter; the chapter as it then is."""

    def replace(old: str = "", new: str = "", count: int = 1) -> Chapter:
        path = sample.folder / "01_sample.md"
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in the sample chapter"
        path.write_text(text.replace(old, new, count), encoding="utf-8")
        return sample.chapters()[0]

    return replace
