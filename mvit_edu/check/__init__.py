"""Checks for the exercises: `from mvit_edu import check; check.ex_02_1(your_function)`.

`ex_NN_k` is exercise k of chapter NN; it is looked up in `mvit_edu/check/chNN.py` when it is used. The
docstring of `mvit_edu.check.core` says how to write one.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from typing import Any

from mvit_edu.check.core import Case, Draw, Exercise, Mistake, Report, fill_

__all__ = ["Case", "Draw", "Exercise", "Mistake", "Report", "exercises", "fill_"]


def exercises() -> dict[str, Exercise]:
    """All checks by name, in the order of the book."""
    found: dict[str, Exercise] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if re.fullmatch(r"ch\d\d", module):
            names = vars(importlib.import_module(f"{__name__}.{module}"))
            own = [name for name in names if re.fullmatch(rf"ex_{module[2:]}_\d+", name)]
            found |= {name: names[name] for name in sorted(own, key=lambda name: int(name.split("_")[2]))}
    return found


def __getattr__(name: str) -> Any:
    match = re.fullmatch(r"ex_(\d\d)_\d+", name)
    if match is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{__name__}.ch{match[1]}"
    if importlib.util.find_spec(module) is None:
        raise AttributeError(f"There are no checks for chapter {int(match[1])}.")
    chapter = importlib.import_module(module)
    if not hasattr(chapter, name):
        raise AttributeError(f"Chapter {int(match[1])} has no check {name!r}.")
    return getattr(chapter, name)


def __dir__() -> list[str]:
    return [*__all__, *exercises()]
