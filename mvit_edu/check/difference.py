"""Say in one or two sentences how an answer differs from the expected one.

`difference(expected, got)` returns None where the two agree. It knows tensors, numbers, strings, None,
and tuples, lists and dicts of these; anything else is compared with `==`.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import torch

RTOL, ATOL = 1e-4, 1e-5


def difference(
    expected: Any, got: Any, rtol: float = RTOL, atol: float = ATOL, where: str = "the result"
) -> str | None:
    """How `got` differs from `expected`, as text for a student; None where they agree.

    Tensors must agree in device, dtype, shape and, up to the tolerances, in every value. Numbers agree up to
    the tolerances; where a whole number is expected, 14.0 is not 14. Tuples and lists are taken for each
    other. `where` names the part of the answer that is being compared.
    """
    if got is None and expected is not None:
        return f"{where} is None. Did you forget to return it?"
    if isinstance(expected, torch.Tensor):
        return _tensors(expected, got, rtol, atol, where)
    if isinstance(expected, np.ndarray) and isinstance(got, np.ndarray):
        return _tensors(torch.from_numpy(expected), torch.from_numpy(got), rtol, atol, where)
    if isinstance(expected, Mapping):
        return _mappings(expected, got, rtol, atol, where)
    if isinstance(expected, tuple | list):
        return _sequences(expected, got, rtol, atol, where)
    if isinstance(expected, numbers.Number | np.generic):
        return _numbers(expected, got, rtol, atol, where)
    if isinstance(expected, str) and isinstance(got, str) and got != expected:
        return f"expected {where} to be {expected!r}, got {got!r}."
    if type(expected) is not type(got):
        return _wrong_type(expected, got, where)
    return None if bool(expected == got) else f"{where} is not the expected {type(expected).__name__}."


def describe(value: Any) -> str:
    """A short text for an argument or a result; the same in every run (no address of an object)."""
    if isinstance(value, torch.Tensor):
        return f"{_dtype(value)} tensor {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array {value.shape}"
    if isinstance(value, torch.Size):
        value = tuple(value)
    if value is None or isinstance(value, bool | numbers.Number | str):
        return repr(value)
    if isinstance(value, tuple | list):
        inside = ", ".join(describe(item) for item in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key!r}: {describe(item)}" for key, item in value.items()) + "}"
    return getattr(value, "__name__", None) or f"a {type(value).__name__}"


def _wrong_type(expected: Any, got: Any, where: str) -> str:
    if isinstance(got, torch.Tensor | np.ndarray) and isinstance(expected, numbers.Number):
        return f"expected {where} to be a plain number, got a {describe(got)}. `.item()` takes it out."
    return f"expected {where} to be {_kind(expected)}, got {_kind(got)}."


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"a {describe(value)}"
    if isinstance(value, tuple | list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _sequences(expected: tuple | list, got: Any, rtol: float, atol: float, where: str) -> str | None:
    if not isinstance(got, tuple | list):
        return _wrong_type(expected, got, where)
    if len(got) != len(expected):
        return (
            f"expected {where} to be a {type(expected).__name__} of {len(expected)}, got {len(got)} items: "
            f"{describe(got)}."
        )
    if all(isinstance(item, numbers.Number) for item in (*expected, *got)):
        wrong = any(_numbers(a, b, rtol, atol, where) for a, b in zip(expected, got, strict=True))
        types = next(filter(None, (_whole(a, b, where) for a, b in zip(expected, got, strict=True))), None)
        if wrong:
            return types or f"expected {where} to be {describe(expected)}, got {describe(got)}."
        return None
    for index, (a, b) in enumerate(zip(expected, got, strict=True)):
        text = difference(a, b, rtol, atol, f"item {index} of {where}")
        if text:
            return text
    return None


def _mappings(expected: Mapping, got: Any, rtol: float, atol: float, where: str) -> str | None:
    if not isinstance(got, Mapping):
        return _wrong_type(expected, got, where)
    missing = [repr(key) for key in expected if key not in got]
    extra = [repr(key) for key in got if key not in expected]
    if missing or extra:
        parts = {"no key": missing, "the extra key": extra}
        texts = [f"{text} {', '.join(keys)}" for text, keys in parts.items() if keys]
        return f"{where} has {' and '.join(texts)}."
    for key, value in expected.items():
        text = difference(value, got[key], rtol, atol, f"entry {key!r} of {where}")
        if text:
            return text
    return None


def _whole(expected: Any, got: Any, where: str) -> str | None:
    """The sentence for 14.0 where 14 is expected."""
    if isinstance(expected, numbers.Integral) and not isinstance(got, numbers.Integral) and got == expected:
        return f"expected {where} to hold the whole number {expected}, got {got!r}. `//` gives whole numbers."
    return None


def _numbers(expected: Any, got: Any, rtol: float, atol: float, where: str) -> str | None:
    expected = expected.item() if isinstance(expected, np.generic) else expected
    got = got.item() if isinstance(got, np.generic) else got
    if isinstance(expected, bool) or isinstance(got, bool):
        if type(expected) is not type(got):
            return _wrong_type(expected, got, where)
        return None if expected == got else f"expected {where} to be {expected}, got {got}."
    if not isinstance(got, numbers.Number):
        return _wrong_type(expected, got, where)
    if isinstance(expected, numbers.Integral):
        if expected == got:
            return _whole(expected, got, where)
        return f"expected {where} to be {expected}, got {_short(got)}.{_ratio_of_numbers(expected, got)}"
    if expected == got or abs(got - expected) <= atol + rtol * abs(expected):
        return None
    return f"expected {where} to be {_short(expected)}, got {_short(got)}.{_ratio_of_numbers(expected, got)}"


def _ratio_of_numbers(expected: Any, got: Any) -> str:
    ratio = got / expected if expected else 0
    if ratio == -1:
        return " The sign is turned around."
    for factor in (2, 3, 4, 8, 10, 100, 1000, 10**6, 10**9):
        for times in (factor, 1 / factor):
            if abs(ratio / times - 1) < 1e-6:
                return f" That is {_short(times)} times the expected value."
    return ""


def _tensors(expected: torch.Tensor, got: Any, rtol: float, atol: float, where: str) -> str | None:
    if not isinstance(got, torch.Tensor):
        return _wrong_type(expected, got, where)
    if got.device != expected.device:
        return f"expected {where} on {expected.device}, got it on {got.device}."
    if got.shape != expected.shape:
        text = f"expected {where} to have shape {tuple(expected.shape)}, got {tuple(got.shape)}."
        return text + _shape_help(expected, got, rtol, atol)
    if got.dtype != expected.dtype:
        return f"expected {where} to have dtype {_dtype(expected)}, got {_dtype(got)}."
    return _values(expected.detach().cpu(), got.detach().cpu(), rtol, atol, where)


def _shape_help(expected: torch.Tensor, got: torch.Tensor, rtol: float, atol: float) -> str:
    order = _permutation(expected, got, rtol, atol)
    if order:
        return f" {order}"
    if [n for n in got.shape if n != 1] == [n for n in expected.shape if n != 1]:
        return " The two differ only in dimensions of size 1: `unsqueeze` adds one, `squeeze` removes one."
    if got.numel() == expected.numel():
        return " The number of values is right: a reshape is missing, or goes to another shape."
    wrong = [d for d, (a, b) in enumerate(zip(expected.shape, got.shape, strict=False)) if a != b]
    if got.ndim == expected.ndim and len(wrong) == 1:
        d = wrong[0]
        return f" Only dimension {d} is wrong, by {got.shape[d] - expected.shape[d]:+d}."
    return ""


def _permutation(expected: torch.Tensor, got: torch.Tensor, rtol: float, atol: float) -> str | None:
    """Whether an order of the dimensions of `got` gives the expected shape, and perhaps the values too."""
    if got.ndim != expected.ndim or not 2 <= got.ndim <= 6 or sorted(got.shape) != sorted(expected.shape):
        return None
    orders = list(permutations(range(got.ndim)))[1:]  # without the one that changes nothing
    orders = [p for p in orders if all(got.shape[d] == n for d, n in zip(p, expected.shape, strict=True))]
    for order in orders:
        if _wrong_values(expected, got.permute(order), rtol, atol).sum() == 0:
            return f"`.permute{order}` of your tensor would be right, in shape and in values."
    if got.shape != expected.shape and orders:
        return f"`.permute{orders[0]}` of your tensor would have that shape."
    return None


def _wrong_values(expected: torch.Tensor, got: torch.Tensor, rtol: float, atol: float) -> torch.Tensor:
    if got.is_floating_point() or got.is_complex():
        return ~torch.isclose(got.to(expected.dtype), expected, rtol=rtol, atol=atol, equal_nan=True)
    return got != expected


def _values(expected: torch.Tensor, got: torch.Tensor, rtol: float, atol: float, where: str) -> str | None:
    wrong = _wrong_values(expected, got, rtol, atol)
    count = int(wrong.sum())
    if not count:
        return None
    if got.is_floating_point():
        bad = ~torch.isfinite(got) & torch.isfinite(expected)
        if bad.any():
            index = tuple(bad.nonzero()[0].tolist())
            count = int(bad.sum())
            return f"{count} of {got.numel()} values of {where} are NaN or infinite, the first at {index}."
    if got.ndim == 0:
        return _numbers(expected.item(), got.item(), rtol, atol, where)
    first = tuple(wrong.nonzero()[0].tolist())
    text = (
        f"{count} of {got.numel()} values of {where} differ. First at {first}: "
        f"expected {_short(expected[first].item())}, got {_short(got[first].item())}."
    )
    if not got.is_complex() and got.dtype != torch.bool:
        a, b = expected.double(), got.double()
        text += f" Largest difference: {_short((a - b).abs().max().item())}."
        text += _pattern(a, b, rtol, atol)
    return text + _place(wrong) + _order(expected, got, rtol, atol)


def _pattern(a: torch.Tensor, b: torch.Tensor, rtol: float, atol: float) -> str:
    """A constant factor or a constant offset between all values."""
    if a.numel() < 2 or not (torch.isfinite(a) & torch.isfinite(b)).all():
        return ""
    norm = (a * a).sum().item()
    ratio = (a * b).sum().item() / norm if norm else 0.0
    offset = (b - a).mean().item()
    if not b.any():
        return " All your values are 0."
    if abs(ratio) > 1e-6 and torch.allclose(b, ratio * a, rtol=rtol, atol=atol):
        if abs(ratio + 1) < 1e-3:
            return " Your values are the expected ones with the opposite sign."
        return f" Your values are {ratio:.3g} times the expected ones: a scale is missing or doubled."
    if torch.allclose(b, a + offset, rtol=rtol, atol=atol):
        sign = "plus" if offset > 0 else "minus"
        return f" Your values are the expected ones {sign} {_short(abs(offset))}."
    return ""


def _place(wrong: torch.Tensor) -> str:
    """Where the differences are, if all of them share one index of a dimension."""
    places = wrong.nonzero()  # (count, ndim)
    for dimension, size in enumerate(wrong.shape):
        index = places[0, dimension].item()
        if size > 1 and (places[:, dimension] == index).all():
            return f" All of them are at index {index} of dimension {dimension}; the rest is right."
        if size > 2 and places[:, dimension].min() == 1 and not wrong.all():
            rest = wrong.narrow(dimension, 1, size - 1)
            if rest.all():
                return f" Only index 0 of dimension {dimension} is right."
    return ""


def _order(expected: torch.Tensor, got: torch.Tensor, rtol: float, atol: float) -> str:
    order = _permutation(expected, got, rtol, atol)
    if order:
        return f" {order}"
    if got.is_complex() or got.dtype == torch.bool or got.unique().numel() < 2:
        return ""
    a, b = expected.flatten().sort().values, got.flatten().sort().values
    return "" if _wrong_values(a, b, rtol, atol).any() else " The values are the right ones in another order."


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _short(number: Any) -> str:
    return str(number) if isinstance(number, numbers.Integral) else f"{number:.4g}"
