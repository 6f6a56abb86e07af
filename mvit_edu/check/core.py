'''The engine behind the exercises' checks: run an answer on drawn cases and say what is wrong with it.

A chapter's checks are `Exercise` objects named `ex_NN_k` in `mvit_edu/check/chNN.py`. A full example:

    import torch
    from mvit_edu.check.core import Case, Draw, Exercise, Mistake

    def _pool_pairs(x, keep_first=False):
        """(B, N, D) -> (B, N // 2, D): the mean of each pair of tokens; the first stays if asked."""
        first, rest = x[:, : int(keep_first)], x[:, int(keep_first) :]
        rest = rest[:, : rest.shape[1] // 2 * 2].unflatten(1, (-1, 2)).mean(2)
        return torch.cat([first, rest], dim=1)

    def _cases(draw: Draw) -> list[Case]:
        batch = draw.integer(2, 4)
        return [
            Case("even length", draw.normal(batch, 8, 5)),
            Case("odd length", draw.normal(batch, 7, 5)),
            Case("class token", draw.normal(batch, 9, 5), keep_first=True),
        ]

    ex_02_1 = Exercise(
        "2.1",
        reference=_pool_pairs,
        cases=_cases,
        mistakes=(
            Mistake("You pooled the class token too.", lambda x, keep_first=False: _pool_pairs(x)),
            Mistake("A sum is not a mean.", lambda x, keep_first=False: 2 * _pool_pairs(x, keep_first)),
        ),
    )

In the notebook, `check.ex_02_1(student_function)` shows one of

    Exercise 2.1: not attempted. ...
    Exercise 2.1: passed (3 cases).
    Exercise 2.1: not yet. ...       followed by the case, what is wrong, and a hint if a mistake is known

and raises nothing. The texts hold no times and no addresses: the same answer gives the same text.

* The cases come from a fixed seed. The reference and the student's function get their own copies of the same
  inputs, and the same seeds for torch, numpy and random before each call; the global states are put back.
* A `Mistake` is a hint and the wrong function that deserves it. It is recognized by its output on the case
  that failed: the student's output equals the wrong function's, and that differs from the reference's.
  It is also recognized where both raise the same error.
* Where the student writes a class, `build(cls, *args, **kwargs)` makes the outputs to compare, for the
  student's class, the reference and the mistakes alike. `fill_` gives modules equal weights by name:

    Exercise("4.2", reference=MLP, cases=..., build=lambda cls, dim, x: fill_(cls(dim))(x))

* `compare(expected, got)` replaces the comparison: it returns None, or a sentence that says what is wrong.
'''

from __future__ import annotations

import contextlib
import copy
import linecache
import random
import re
import textwrap
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from mvit_edu.check.difference import ATOL, RTOL, describe, difference

LINE = 80  # characters; wider lines scroll in a notebook


class Case:
    """One call of the student's function: a name that the report shows, and the arguments."""

    def __init__(self, name: str, /, *args: Any, **kwargs: Any) -> None:
        self.name, self.args, self.kwargs = name, args, kwargs


@dataclass(frozen=True)
class Mistake:
    """A usual mistake: the hint for it, and the function (or class) that makes it."""

    hint: str
    wrong: Callable[..., Any]


class Draw:
    """Random inputs from a fixed seed, for the `cases` of an exercise."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def integer(self, low: int, high: int) -> int:
        """A whole number between low and high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def normal(self, *shape: int) -> torch.Tensor:
        """A float32 tensor of standard normal numbers."""
        return torch.randn(*shape, generator=self.generator)

    def choice(self, options: Sequence[Any]) -> Any:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]


@dataclass(frozen=True, repr=False)
class Report:
    """What a check found. Shown as text; true where the answer passed."""

    number: str
    ok: bool
    attempted: bool
    text: str
    case: str | None = None
    hint: str | None = None

    def __repr__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True)
class _Outcome:
    """What one call gave: an output or an error, and the inputs that it changed."""

    output: Any = None
    error: Exception | None = None
    changed: str | None = None


@dataclass(frozen=True, repr=False)
class Exercise:
    """A check: call it with the student's function. The module's docstring has an example.

    Args:
        number: as in the heading, "2.1".
        reference: the right function (or class).
        cases: called with a `Draw`, returns the cases.
        mistakes: usual mistakes and their hints, the more telling first.
        compare: `compare(expected, got) -> str | None`; None takes `difference` with `rtol` and `atol`.
        build: `build(fn, *args, **kwargs) -> output`; None calls `fn(*args, **kwargs)`.
        seed: of the cases and of the calls.
    """

    number: str
    reference: Callable[..., Any]
    cases: Callable[[Draw], Sequence[Case]]
    mistakes: Sequence[Mistake] = ()
    compare: Callable[[Any, Any], str | None] | None = None
    build: Callable[..., Any] | None = None
    rtol: float = RTOL
    atol: float = ATOL
    seed: int = 0

    def __repr__(self) -> str:
        return f"Exercise({self.number!r})"

    def __call__(self, answer: Callable[..., Any]) -> Report:
        if not callable(answer):
            return self._not_yet(None, f"the check wants your function itself, got {describe(answer)}.")
        cases = list(self.cases(Draw(self.seed)))
        for case in cases:
            expected = self._run(self.reference, case)
            if expected.error is not None:
                raise RuntimeError(
                    f"The reference of exercise {self.number} fails on case {case.name!r}."
                ) from expected.error
            got = self._run(answer, case)
            if _is_stub(got.error):
                todo = "Replace `raise NotImplementedError` with your code, and run both cells again."
                return self._report(f"not attempted. {todo}", ok=False, attempted=False)
            problem = self._problem(expected, got)
            if problem:
                hint = self._diagnose(answer, case, expected, got, cases)
                return self._not_yet(case, problem, hint, answer)
        plural = "" if len(cases) == 1 else "s"
        return self._report(f"passed ({len(cases)} case{plural}).", ok=True)

    def _problem(self, expected: _Outcome, got: _Outcome) -> str | None:
        if got.error is not None:
            return _error_text(got.error)
        if got.output is None and expected.output is not None:
            return "it returned None. Did you forget `return`?"
        if got.changed and not expected.changed:
            return (
                f"it changes its input {got.changed} in place. The caller still needs that tensor: make a "
                "new one (`x = x + 1` instead of `x += 1` or `x.add_(1)`, `.clone()` before writing into it)."
            )
        return self._compare(expected.output, got.output)

    def _compare(self, expected: Any, got: Any) -> str | None:
        compare = self.compare or partial(difference, rtol=self.rtol, atol=self.atol)
        return compare(expected, got)

    def _run(self, fn: Callable[..., Any], case: Case) -> _Outcome:
        args, kwargs = _copy(case.args), _copy(case.kwargs)
        with _seeded(self.seed):
            try:
                output = self.build(fn, *args, **kwargs) if self.build else fn(*args, **kwargs)
            except Exception as error:
                return _Outcome(error=error)
        named = {f"number {position + 1}": (case.args[position], arg) for position, arg in enumerate(args)}
        named |= {f"`{name}`": (case.kwargs[name], arg) for name, arg in kwargs.items()}
        changed = next((name for name, (before, after) in named.items() if not _same(before, after)), None)
        return _Outcome(output=output, changed=changed)

    def _diagnose(
        self, answer: Callable[..., Any], case: Case, expected: _Outcome, got: _Outcome, cases: list[Case]
    ) -> str | None:
        """The hint of the mistake with the student's output; of several, the one that fits all cases."""
        fitting = []
        for mistake in self.mistakes:
            wrong = self._run(mistake.wrong, case)
            if self._problem(expected, wrong) and self._alike(wrong, got):
                fitting.append(mistake)
        if not fitting:
            return None
        answers = [self._run(answer, other) for other in cases] if len(fitting) > 1 else []
        for mistake in fitting:
            wrongs = [self._run(mistake.wrong, other) for other in cases] if answers else []
            if all(self._alike(wrong, other) for wrong, other in zip(wrongs, answers, strict=True)):
                return mistake.hint
        return fitting[0].hint

    def _alike(self, wrong: _Outcome, got: _Outcome) -> bool:
        if wrong.error is not None or got.error is not None:
            return type(wrong.error) is type(got.error) and str(wrong.error) == str(got.error)
        if difference(wrong.output, got.output, self.rtol, self.atol) is None:
            return True
        return self.compare is not None and self.compare(wrong.output, got.output) is None

    def _not_yet(
        self,
        case: Case | None,
        problem: str,
        hint: str | None = None,
        answer: Callable[..., Any] | None = None,
    ) -> Report:
        lines = ["not yet."]
        if case is not None:
            lines.append(f"Case {case.name!r}: {_call_text(answer, case, called=self.build is None)}")
        lines.append(f"Problem: {problem}")
        if hint:
            lines.append(f"Hint: {hint}")
        return self._report("\n".join(lines), ok=False, case=case.name if case else None, hint=hint)

    def _report(self, text: str, **fields: Any) -> Report:
        lines = f"Exercise {self.number}: {text}".splitlines()
        text = "\n".join(
            textwrap.fill(line, LINE, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
            for line in lines
        )
        return Report(self.number, text=text, **{"attempted": True, **fields})


def fill_(module: nn.Module) -> nn.Module:
    """Give every parameter small random values that depend on its name and shape only; returns the module.

    Two modules with the same parameter names then compute the same, in whichever order they made them.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return module


def as_list(answer: Callable[..., Any], *args: Any) -> Any:
    """For `build`: lists, tuples, ranges, arrays and tensors of numbers are equally good."""
    found = answer(*args)
    found = found.tolist() if isinstance(found, np.ndarray | torch.Tensor) else found
    if isinstance(found, list | tuple | range):
        found = [value.item() if isinstance(value, np.generic | torch.Tensor) else value for value in found]
    return found


def as_number(answer: Callable[..., Any], *args: Any) -> Any:
    """For `build`: a number, an array and a tensor of one number are equally good."""
    found = answer(*args)
    return found.item() if isinstance(found, np.generic | torch.Tensor) and np.ndim(found) == 0 else found


def _is_stub(error: Exception | None) -> bool:
    """An untouched stub, and not torch's own "not implemented for ..."."""
    return isinstance(error, NotImplementedError) and (not str(error) or str(error).startswith("Exercise "))


def _error_text(error: Exception) -> str:
    message = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))
    text = f"it raised {type(error).__name__}: {message}" if message else f"it raised {type(error).__name__}"
    text = text if text.endswith((".", "!", "?")) else f"{text}."
    line = _student_line(error)
    return f"{text} The line is `{line}`." if line else text


def _student_line(error: Exception) -> str | None:
    """The last line of the student's own code on the way to the error, not one inside a library."""
    traceback, line = error.__traceback__, None
    while traceback is not None:
        filename = traceback.tb_frame.f_code.co_filename
        library = re.search(r"site-packages|[/\\]lib[/\\]python3", filename)
        if not library and not str(traceback.tb_frame.f_globals.get("__name__")).startswith("mvit_edu."):
            line = linecache.getline(filename, traceback.tb_lineno).strip() or line
        traceback = traceback.tb_next
    return line


def _call_text(answer: Callable[..., Any] | None, case: Case, called: bool) -> str:
    name = getattr(answer, "__name__", "your function")
    name = "your function" if name == "<lambda>" else name
    arguments = [describe(arg) for arg in case.args]
    arguments += [f"{key}={describe(arg)}" for key, arg in case.kwargs.items()]
    return f"{name}({', '.join(arguments)})" if called else f"{name} with {', '.join(arguments)}"


def _copy(value: Any) -> Any:
    """A deep copy; tensors keep their strides, and functions and classes stay what they are."""
    if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if type(value) in (tuple, list):
        return type(value)(_copy(item) for item in value)
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    return copy.deepcopy(value)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, torch.Tensor):
        return before.shape == after.shape and bool(torch.equal(before.nan_to_num(), after.nan_to_num()))
    if isinstance(before, np.ndarray):
        return bool(np.array_equal(before, after))
    if isinstance(before, tuple | list):
        return len(before) == len(after) and all(map(_same, before, after))
    if isinstance(before, dict):
        return before.keys() == after.keys() and all(_same(before[key], after[key]) for key in before)
    if isinstance(before, nn.Module):
        return _same(dict(before.state_dict()), dict(after.state_dict()))
    return True


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The same random numbers for every call; the global states are put back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
