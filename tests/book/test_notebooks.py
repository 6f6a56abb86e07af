"""``book.tools.notebooks``: what it writes, and that it refuses what it should refuse."""

from __future__ import annotations

import nbformat
import pytest

from book.tools import notebooks
from book.tools.chapters import code_cells, code_hash, tags


def rules(problems) -> set[str]:
    return {problem.rule for problem in problems}


def test_writes_an_executed_twin_without_traces_of_this_machine(sample):
    chapter = sample.chapters()[0]
    notebook = chapter.notebook
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(chapter.code) + 1))
    assert notebook.metadata["mvit_edu"]["code_sha256"] == code_hash(chapter.source)
    assert "version" not in notebook.metadata["language_info"]
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    assert notebooks.stale(chapter) == []
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_setup_cell_is_written_from_the_repository_address(sample):
    source = sample.chapters()[0].code[0].source
    assert source == sample.setup
    assert "git+https://github.com/somebody/sample@main" in source


def test_executing_again_changes_nothing_but_uncompared_outputs(sample):
    chapter = sample.chapters()[0]
    before = chapter.notebook
    notebooks.make(chapter)
    after = sample.chapters()[0].notebook
    for old, new in zip(before.cells, after.cells, strict=True):
        if "nbval-ignore-output" not in tags(old):
            assert old == new
    assert before.metadata == after.metadata


def test_changed_code_is_stale(edit):
    assert rules(notebooks.stale(edit("return 2 * number", "return number + number"))) == {"sync"}


def test_changed_tags_and_captions_are_stale(edit):
    assert rules(notebooks.stale(edit("tags: [nbval-ignore-output]", "tags: [hide-output]"))) == {"sync"}
    assert rules(notebooks.stale(edit("caption: Twice", "caption: Double"))) == {"sync"}


def test_a_hash_of_other_code_is_stale(sample):
    chapter = sample.chapters()[0]
    notebook = chapter.notebook
    notebook.metadata["mvit_edu"]["code_sha256"] = "0" * 64
    nbformat.write(notebook, chapter.twin)
    assert rules(notebooks.stale(sample.chapters()[0])) == {"hash"}
    chapter.twin.unlink()
    assert rules(notebooks.stale(sample.chapters()[0])) == {"missing"}


def test_changed_prose_keeps_the_outputs(edit, sample):
    chapter = edit("You will have counted", "You will have walked")
    assert notebooks.stale(chapter)
    before = code_cells(chapter.notebook)
    notebooks.make(chapter, text_only=True)
    after = sample.chapters()[0]
    assert notebooks.stale(after) == []
    assert [cell.outputs for cell in code_cells(after.notebook)] == [cell.outputs for cell in before]


def test_changed_code_can_not_keep_the_outputs(edit):
    with pytest.raises(notebooks.ChapterError, match="code changed since it was executed"):
        notebooks.make(edit("double(3)", "double(4)"), text_only=True)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", r"01_sample.md:\d+ \(code cell 4\) raised ZeroDivisionError"),
        ("import sys; print('careful', file=sys.stderr)", r"code cell 4\) wrote to stderr"),
        ("import urllib.request; urllib.request.urlopen('http://192.0.2.1')", "without a network, 192.0.2.1"),
        (
            "import urllib.request; urllib.request.urlopen('https://example.org')",
            "without a network, example.org",
        ),
        ("from IPython.display import HTML; HTML('x' * 500_000)", "the limit is 400"),
    ],
)
def test_refuses_a_chapter_that(code, message, edit):
    chapter = edit("double(3)", code)
    before = chapter.twin.read_bytes()
    with pytest.raises(notebooks.ChapterError, match=message):
        notebooks.make(chapter)
    assert chapter.twin.read_bytes() == before


def test_a_gpu_cell_is_not_executed_here(edit, sample):
    old = "tags: [nbval-ignore-output]\nreason: the time of day differs from run to run\n---\nimport time\n"
    edit(old, "tags: [gpu, nbval-skip]\nreason: needs a CUDA device\n---\nraise SystemError('no GPU here')\n")
    notebooks.make(sample.chapters()[0])
    cell = next(cell for cell in code_cells(sample.chapters()[0].notebook) if "gpu" in tags(cell))
    assert cell.execution_count is None and not cell.outputs


def test_no_setup_cell(edit):
    with pytest.raises(notebooks.ChapterError, match="0 set-up cells found"):
        notebooks.make(edit(":tags: [setup, hide-input]", ":tags: [hide-input]"))


def test_unknown_chapter(sample, capsys):
    assert notebooks.main(["--root", str(sample.root), "77"]) == 2
    assert "no chapter '77'" in capsys.readouterr().err
