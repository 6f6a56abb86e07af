"""`mvit-edu models` and `mvit-edu table`."""

from __future__ import annotations

import argparse

from mvit_edu.cli.parser import add_set, configure
from mvit_edu.model.presets import get_config, list_models
from mvit_edu.model.stages import stage_table


def add(commands: argparse._SubParsersAction) -> None:
    models = commands.add_parser("models", help="list the presets with their sizes")
    models.set_defaults(run=run_models)
    table = commands.add_parser("table", help="print the stage table of a preset")
    about = "a name from `mvit-edu models`"
    table.add_argument("preset", choices=list_models(), metavar="PRESET", help=about)
    add_set(table)
    table.set_defaults(run=run_table, parser=table)


def run_models(args: argparse.Namespace) -> None:
    names = list_models()
    width = max(map(len, names))
    for name in names:
        table = stage_table(get_config(name))
        size = "x".join(map(str, table.config.size))
        cost = f"{table.params / 1e6:6.2f} M parameters  {table.macs / 1e9:7.2f} G multiply-adds"
        print(f"{name:<{width}}  {size:>10}  {cost}")


def run_table(args: argparse.Namespace) -> None:
    print(stage_table(configure(args.parser, args.preset, args.set)))
