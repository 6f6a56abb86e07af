"""Imports point down only: cli -> studies -> training -> evaluation -> model, data, distributed.

visualize stands on model and data; check, the exercises' checks, on all of what a chapter teaches.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import mvit_edu

ROOT = Path(mvit_edu.__file__).parent
MAY_IMPORT = {
    "model": set(),
    "data": set(),
    "distributed.py": set(),
    "evaluation": {"model", "data", "distributed"},
    "training": {"evaluation", "model", "data", "distributed"},
    "studies": {"training", "evaluation", "model", "data", "distributed"},
    "visualize": {"model", "data"},
    "check": {"training", "evaluation", "model", "data", "distributed"},
}
OUTSIDE = {
    "distributed.py": {"torch"},
    "model": {"torch", "einops"},
    "data": {"torch", "torchvision", "av", "numpy", "tqdm"},
}
FILES = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] in MAY_IMPORT]


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the full name"
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    wing = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        top, *rest = name.split(".")
        if top == "mvit_edu":
            target = rest[0] if rest else ""
            allowed = MAY_IMPORT[wing] | {wing} | ({""} if wing not in OUTSIDE else set())
            assert target in allowed, f"{wing} must not import {name}"
        elif wing in OUTSIDE and top not in sys.stdlib_module_names:
            assert top in OUTSIDE[wing], f"{wing} must not import {name}"


def test_every_wing_is_looked_at():
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(MAY_IMPORT)
