"""The rules for exercises and quizzes, used by ``anatomy``."""

from __future__ import annotations

import ast
import re

from book.tools.chapters import Chapter, Heading, Problem, code_cells, tags

EXERCISE = re.compile(r"^Exercise (\d+)\.(\d+): \S")
DIFFICULTY = re.compile(r"^\*Difficulty ([●○]{3}) · \d+ minutes?\*", re.MULTILINE)
OPTION = re.compile(r"^\s*[-*]\s+\(?(?:\*\*)?\(?([A-D])\b[.:)]?", re.MULTILINE)
EXPLAINED = re.compile(r"\*\*\(?([A-D])\)?[.:)]?\*\*|\b([A-D])[.:)]|\(([A-D])\)")
MIN_EXERCISES, MIN_QUESTIONS = 3, 4
PROMPTS = {"code_prompt_show": "Show solution", "code_prompt_hide": "Hide solution"}


def section(chapter: Chapter, title: str, level: int = 2) -> tuple[int, int]:
    """Line of a section's heading (from 1) and its last line; (0, 0) where there is no such section."""
    for index, heading in enumerate(chapter.headings):
        if heading.level == level and heading.text == title:
            later = [other.line for other in chapter.headings[index + 1 :] if other.level <= level]
            return heading.line, (later[0] - 1 if later else len(chapter.prose))
    return 0, 0


def exercise_problems(chapter: Chapter, checks: list[str] | None) -> list[Problem]:
    """Each exercise has difficulty, minutes, a hint, and the cells exercise, check, solution."""
    first, last = section(chapter, "Exercises")
    if not first:
        return []
    where = chapter.at(first)
    out: list[Problem] = []
    found = [h for h in chapter.headings if h.level == 3 and first < h.line <= last]
    if len(found) < MIN_EXERCISES:
        out.append(Problem(where, "exercises", f"{len(found)} exercises, at least {MIN_EXERCISES} are wanted"))
    wanted = []
    for k, heading in enumerate(found, 1):
        following = [other.line for other in found if other.line > heading.line]
        end = following[0] - 1 if following else last
        name = f"ex_{chapter.number}_{k}"
        wanted.append(name)
        match = EXERCISE.match(heading.text)
        if not match or (int(match[1]), int(match[2])) != (int(chapter.number), k):
            message = f"the heading should read '### Exercise {int(chapter.number)}.{k}: title'"
            out.append(Problem(chapter.at(heading.line), "exercise", message))
        out += one_exercise(chapter, heading, end, name, f"Exercise {int(chapter.number)}.{k}")
    if checks is None:
        message = f"mvit_edu/check/ch{chapter.number}.py is missing; it holds {', '.join(wanted)}"
        out.append(Problem(where, "checks", message))
    elif sorted(checks) != sorted(wanted):
        theirs = f"mvit_edu/check/ch{chapter.number}.py has {', '.join(checks) or 'none'}"
        message = f"the chapter has {', '.join(wanted)}, {theirs}"
        out.append(Problem(where, "checks", message))
    return out


def one_exercise(chapter: Chapter, heading: Heading, end: int, name: str, title: str) -> list[Problem]:
    """Problems of the exercise that starts with ``heading`` and ends at line ``end``."""
    out: list[Problem] = []

    def add(line_or_cell: int, rule: str, message: str, cell: bool = False) -> None:
        place = chapter.at_cell(line_or_cell) if cell else chapter.at(line_or_cell)
        out.append(Problem(place, rule, message))

    text = "\n".join(chapter.prose[heading.line : end])
    if not DIFFICULTY.search(text):
        add(heading.line, "difficulty", "below the heading comes a line like '*Difficulty ●●○ · 10 minutes*'")
    hints = [box for box in chapter.directives if heading.line < box.line <= end and box.name == "dropdown"]
    if not any(box.argument.startswith("Hint") for box in hints):
        add(heading.line, "hint", "a hint in ':::{dropdown} Hint' is missing")
    numbers = [n for n, line in enumerate(chapter.code_lines, 1) if heading.line < line <= end]
    roles = {}
    for number in numbers:
        for role in ("exercise", "check", "solution"):
            if role in tags(chapter.code[number - 1]):
                roles.setdefault(role, number)
    if list(roles) != ["exercise", "check", "solution"]:
        found = ", ".join(roles) or "none"
        add(heading.line, "cells", f"the cells are exercise, check, solution, in this order; found: {found}")
        return out
    stub, check, solution = (chapter.code[roles[role] - 1] for role in ("exercise", "check", "solution"))
    if f'NotImplementedError("{title}")' not in stub.source:
        add(roles["exercise"], "stub", f'the stub\'s body is: raise NotImplementedError("{title}")', cell=True)
    if not re.search(rf"\bcheck\.{name}\(", check.source):
        add(roles["check"], "check", f"the check cell calls check.{name}(...)", cell=True)
    last = solution.source.strip().splitlines()[-1]
    if not re.fullmatch(rf"check\.{name}\(.*_solution\b.*\)", last):
        add(roles["solution"], "solution", f"its last line is check.{name}(..._solution)", cell=True)
    stub_names, solution_names = defined(stub.source), defined(solution.source)
    if not any(f"{n}_solution" in solution_names or f"{n}Solution" in solution_names for n in stub_names):
        message = f"defines {solution_names or 'nothing'}; the stub's name with the suffix _solution is wanted"
        add(roles["solution"], "solution", message, cell=True)
    if "hide-input" not in tags(solution):
        add(roles["solution"], "solution", "the tags are [solution, hide-input]", cell=True)
    mystnb = solution.metadata.get("mystnb", {})
    if any(mystnb.get(key) != value for key, value in PROMPTS.items()):
        message = f"the metadata holds mystnb: {PROMPTS}"
        add(roles["solution"], "solution", message, cell=True)
    out += verdicts(chapter, roles, title)
    return out


def verdicts(chapter: Chapter, roles: dict[str, int], title: str) -> list[Problem]:
    """The executed check says "not attempted", the executed solution says "passed"."""
    if chapter.notebook is None or len(code_cells(chapter.notebook)) != len(chapter.code):
        return []
    cells = code_cells(chapter.notebook)
    out = []
    for role, word in (("check", "not attempted"), ("solution", "passed")):
        shown = "".join(
            output.get("text", "") + output.get("data", {}).get("text/plain", "")
            + output.get("data", {}).get("text/html", "") + output.get("data", {}).get("text/markdown", "")
            for output in cells[roles[role] - 1].outputs
        )  # fmt: skip
        if title not in shown or word not in shown:
            message = f"the output should hold '{title}' and '{word}', it holds {shown.strip()[:80]!r}"
            out.append(Problem(chapter.at_cell(roles[role]), "verdict", message))
    return out


def defined(source: str) -> list[str]:
    """Names of the functions and classes that a cell defines at its top level."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    return [node.name for node in tree.body if isinstance(node, kinds)]


def quiz_problems(chapter: Chapter) -> list[Problem]:
    """At least four questions, each with options A-D and an Answer that explains every option."""
    first, last = section(chapter, "Quiz")
    if not first:
        return []
    answers = [
        box
        for box in chapter.directives
        if first < box.line <= last and box.name == "dropdown" and box.argument.startswith("Answer")
    ]
    out: list[Problem] = []
    if len(answers) < MIN_QUESTIONS:
        message = f"{len(answers)} questions with ':::{{dropdown}} Answer', at least {MIN_QUESTIONS} are wanted"
        out.append(Problem(chapter.at(first), "quiz", message))
    start = first
    for number, box in enumerate(answers, 1):
        options = OPTION.findall("\n".join(chapter.prose[start : box.line - 1]))
        if options != list("ABCD"):
            message = f"question {number} has the options {options}; wanted is a list '- A. ...' to '- D. ...'"
            out.append(Problem(chapter.at(box.line), "quiz", message))
        explained = {next(filter(None, groups)) for groups in EXPLAINED.findall(box.body)}
        if missing := sorted(set("ABCD") - explained):
            message = f"the answer to question {number} does not explain {', '.join(missing)} (write '**A**: ...')"
            out.append(Problem(chapter.at(box.line), "quiz", message))
        start = box.line + box.body.count("\n") + len(box.options) + 2
    return out
