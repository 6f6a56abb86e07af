"""``book.tools.anatomy``: the sample is clean, and every rule fires when the sample is broken."""

from __future__ import annotations

import nbformat
import pytest

from book.tools import anatomy
from book.tools.chapters import code_cells

SOURCE_BREAKS = [
    ("    format_name: myst\n", "    format_name: myst\n    jupytext_version: 1.19.6\n", "header"),
    ("# Count to three", "Count to three", "title"),
    ("## Double a number", "# Double a number", "title"),
    ("You will have counted to three.\n", "", "promise"),
    (":::{admonition} You will learn", ":::{admonition} What you learn", "opening"),
    (":class: seealso", ":class: note", "opening"),
    ("- Double.\n- Draw.\n", "", "learn"),
    ("One minute on any CPU.", "Any CPU.", "before"),
    (":::{admonition} Guess first", ":::{admonition} Guess", "guess"),
    ("What is twice three?", "Think of twice three.", "guess"),
    (":tags: [setup, hide-input]", ":tags: [hide-input]", "setup"),
    ("torch.manual_seed(0)", "torch.manual_seed(1)", "setup"),
    ("## Shapes so far", "## Shapes", "ending"),
    ("| number | () |\n", "", None),
    ("| what | shape |\n|---|---|\n| number | () |\n", "", "shapes"),
    (":::{admonition} Two is not three\n:class: warning", ":::{admonition} Two is not three", "disagree"),
    ("- Five.\n", "", "summary"),
    ("tags: [nbval-ignore-output]", "tags: [nbval-ignore-outputs]", "tag"),
    ("reason: the time of day differs from run to run\n", "", "reason"),
    ("assert now > 0\n", "", "assert"),
    ("tags: [nbval-ignore-output]", "tags: [nbval-skip]", "gpu"),
    (
        "    alt: A curve through the points zero, one, four and nine, ever steeper.",
        "    alt: A curve.",
        "alt",
    ),
    ("    caption: The squares of the numbers 0 to 3.\n", "", "caption"),
    ("    name: fig-01-square", "    name: square", "name"),
    ("    name: fig-01-square", "    name: fig-01-line", "name"),
    ("{numref}`fig-01-line` shows it.", "The figure shows it.", "numref"),
    ("plt.plot([0, 2, 4, 6])\nplt.show()", "plt.show()\nplt.plot([0, 2, 4, 6])", "show"),
    (":::{admonition} Two is not three\n", "```{admonition} Two is not three\n", "fence"),
    ("What is twice three?", "What is {glue}`three`, do you think?", "directive"),
    ("What is twice three?", "What is this? ![](a.png)", "alt"),
    ("Equation 1.", "Equation 1, in /home/me/paper.pdf.", "path"),
    ("### Exercise 1.2: the cube", "### Exercise 1.4: the cube", "exercise"),
    ("### Exercise 1.3: the fourth", "#### Exercise 1.3: the fourth", "exercises"),
    ("*Difficulty ●○○ · 2 minutes*", "*Difficulty: easy*", "difficulty"),
    (":::{dropdown} Hint", ":::{dropdown} Help", "hint"),
    (":tags: [check]", ":tags: [hide-output]", "cells"),
    ('NotImplementedError("Exercise 1.1")', "NotImplementedError", "stub"),
    ("check.ex_01_1(square)", "check.ex_01_2(square)", "check"),
    ("check.ex_01_1(square_solution)", "check.ex_01_1(square_solution)\nprint()", "solution"),
    ("def square_solution", "def answer", "solution"),
    ("tags: [solution, hide-input]", "tags: [solution]", "solution"),
    ("  code_prompt_show: Show solution\n", "", "solution"),
    ("- C. 3\n", "", "quiz"),
    ("- **C**: one too far.\n", "", "quiz"),
    (":::{dropdown} Answer", ":::{dropdown} Reply", "quiz"),
]


def rules(problems) -> set[str]:
    return {problem.rule for problem in problems}


def test_the_sample_is_clean(sample, capsys):
    assert anatomy.main(["--root", str(sample.root)]) == 0
    assert "anatomy: 0 problems" in capsys.readouterr().out


@pytest.mark.parametrize(("old", "new", "rule"), SOURCE_BREAKS)
def test_rule_fires(old, new, rule, edit):
    found = anatomy.source_problems(edit(old, new))
    assert rule in rules(found) if rule else found == [], [str(problem) for problem in found]
    assert all(problem.where.startswith("book/01_sample.md") for problem in found)


def test_share_of_uncompared_cells(edit):
    ignored = "---\ntags: [nbval-ignore-output]\nreason: only for this test\n"
    chapter = edit("---\nmystnb:\n  image:\n    alt: A straight", ignored + "mystnb:\n  image:\n    alt: A straight")
    assert "share" not in rules(anatomy.source_problems(chapter))
    chapter = edit(":tags: [exercise]\n", ":tags: [exercise, nbval-ignore-output]\n")
    assert "share" in rules(anatomy.source_problems(chapter))


def test_checks_and_exercises_are_the_same_set(edit, sample):
    path = sample.root / "mvit_edu" / "check" / "ch01.py"
    path.write_text(path.read_text() + "\n\ndef ex_01_4(function):\n    pass\n")
    assert rules(anatomy.source_problems(edit())) == {"checks"}
    path.write_text("ex_01_1: object = 1\nex_01_2 = ex_01_3 = 2\n")
    assert rules(anatomy.source_problems(edit())) == set()
    path.unlink()
    assert rules(anatomy.source_problems(edit())) == {"checks"}


def stream(name, text):
    return nbformat.v4.new_output("stream", name=name, text=text)


def shown(**data):
    data = {key.replace("__", "/"): value for key, value in data.items()}
    return nbformat.v4.new_output("display_data", data=data)


@pytest.mark.parametrize(
    ("output", "rule"),
    [
        (stream("stderr", "UserWarning: careful"), "stderr"),
        (stream("stdout", "read /home/me/clip.mp4"), "path"),
        (stream("stdout", "lib/python3.11/site-packages/torch"), "path"),
        (shown(text__plain="[<matplotlib.lines.Line2D at 0x7f2a3c4d5e6f>]"), "address"),
        (shown(text__html="<svg></svg>"), "svg"),
        (nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[]), "error"),
    ],
)
def test_output_rule_fires(output, rule, sample):
    chapter = sample.chapters()[0]
    code_cells(chapter.notebook)[3].outputs.append(output)
    assert rules(anatomy.output_problems(chapter)) == {rule}


def test_unexecuted_and_too_large(sample):
    chapter = sample.chapters()[0]
    code_cells(chapter.notebook)[3].execution_count = None
    assert rules(anatomy.output_problems(chapter)) == {"executed"}
    chapter.twin.write_text(" " * 500_000)
    assert "size" in rules(anatomy.output_problems(chapter))


def test_a_wrong_verdict_is_seen(sample):
    chapter = sample.chapters()[0]
    for cell in code_cells(chapter.notebook):
        if "check.ex_01_1(square_solution)" in cell.source:
            cell.outputs = [stream("stdout", "Exercise 1.1: failed")]
    assert rules(anatomy.source_problems(chapter)) == {"verdict"}
