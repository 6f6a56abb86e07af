"""The command `mvit-edu`: stage tables, training, evaluation, prediction, conversion of weights, checks of videos.

Errors are one line on stderr. Exit codes: 0 done, 1 failed, 2 called wrongly, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mvit_edu.cli import check, convert, evaluate, look, predict, train
from mvit_edu.cli.parser import Parser
from mvit_edu.data import VideoError

STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped.", file=sys.stderr)
        return STOPPED
    except (ValueError, TypeError, ImportError, VideoError, OSError, RuntimeError) as error:
        print(f"{parser.prog}: error: {one_line(error)}", file=sys.stderr)
        return 1


def one_line(error: Exception) -> str:
    """The message in one line; of an error in a worker of a loader, its own last line without the traceback."""
    text = str(error)
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def build_parser() -> Parser:
    parser = Parser(prog="mvit-edu", description="Multiscale Vision Transformers to learn from.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (look, train, evaluate, predict, convert, check):
        module.add(commands)
    return parser
