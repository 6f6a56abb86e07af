"""Options of a command from the fields of a frozen dataclass; the help comes from its docstring."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Sequence

BY_RECIPE = "by the recipe"


def add_options(
    parser: argparse.ArgumentParser,
    cls: type,
    *,
    skip: Sequence[str] = (),
    default: str | None = None,
    title: str | None = None,
) -> None:
    """One option `--field-name VALUE` for each field of a dataclass, with its help, unit and default.

    Args:
        skip: fields without an option.
        default: what to show in place of the fields' own defaults, where the program chooses them.
        title: heading above the options.
    """
    group = parser.add_argument_group(title) if title else parser
    helps = field_helps(cls)
    kinds = typing.get_type_hints(cls)
    for one in dataclasses.fields(cls):
        if one.name in skip:
            continue
        about = helps[one.name]
        shown = default or ("on" if one.default is True else "off" if one.default is False else one.default)
        group.add_argument(
            f"--{one.name.replace('_', '-')}",
            dest=one.name,
            type=reader(kinds[one.name]),
            default=argparse.SUPPRESS,
            metavar=metavar(kinds[one.name]),
            help=f"{about} ({shown})".replace("%", "%%"),
        )


def given(args: argparse.Namespace, cls: type) -> dict[str, object]:
    """The fields of a dataclass that the user gave, with their values."""
    return {one.name: getattr(args, one.name) for one in dataclasses.fields(cls) if hasattr(args, one.name)}


def field_helps(cls: type) -> dict[str, str]:
    """What the docstring of a class says of each field under "Args:"; several fields may share a sentence."""
    text = (cls.__doc__ or "").partition("Args:\n")[2]
    helps: dict[str, str] = {}
    names: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            break
        start = re.match(r"^ {8}(\w+(?:, \w+)*): (.*)$", line)
        if start:
            names = start[1].split(", ")
            helps |= dict.fromkeys(names, start[2])
        elif names:
            helps |= {name: f"{helps[name]} {line.strip()}" for name in names}
    return {name: about.rstrip(".").replace("`", "") for name, about in helps.items()}


def reader(kind: type) -> Callable[[str], object]:
    """A function from the text of an option to a value of this type; it names what it wants."""
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)

    def read(text: str) -> object:
        if type(None) in choices and text.lower() == "none":
            return None
        if bool in choices:
            if text.lower() in ("on", "yes", "true", "1"):
                return True
            if text.lower() in ("off", "no", "false", "0"):
                return False
            raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
        for one, about in ((int, "a whole number"), (float, "a number")):
            if one in choices:
                try:
                    return one(text)
                except ValueError:
                    if not (one is int and float in choices):
                        raise argparse.ArgumentTypeError(f"{text!r} is not {about}") from None
        if str in choices:
            return text
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a value such as (0.9, 0.999)") from None

    return read


def metavar(kind: type) -> str:
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if bool in choices:
        return "on|off"
    return "X" if float in choices else "N" if int in choices else "TEXT" if str in choices else "VALUE"
