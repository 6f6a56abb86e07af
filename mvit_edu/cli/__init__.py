"""The command `mvit-edu`: stage tables, training, evaluation, prediction, conversion of weights, checks of videos.

Errors are one line on stderr. Exit codes: 0 done, 1 failed, 2 called wrongly, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.errors import record

from mvit_edu.cli import check, convert, evaluate, look, predict, study, train
from mvit_edu.cli.parser import Parser
from mvit_edu.data import VideoError
from mvit_edu.distributed import launched, launched_ranks

STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Under `torchrun` only rank 0 prints results, every process says its errors, and `torchrun` gets the traceback.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    ranks = launched_ranks()
    who = f"{parser.prog}: {ranks}" if ranks.size > 1 else parser.prog
    run = record(args.run) if launched() else args.run
    try:
        with contextlib.ExitStack() as stack:
            if not ranks.first:
                stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
            return run(args) or 0
    except KeyboardInterrupt:
        say(f"{who}: stopped.")
        return STOPPED
    except (ValueError, TypeError, ImportError, VideoError, OSError, RuntimeError) as error:
        say(f"{who}: error: {one_line(error)}")
        return 1


def say(text: str) -> None:
    """A line on stderr, the end of the line in the same write, so that those of several processes stay apart."""
    sys.stderr.write(f"{text}\n")


def one_line(error: Exception) -> str:
    """The message in one line; of an error in a worker of a loader, its own last line without the traceback."""
    text = str(error)
    if "Original Traceback" in text:
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split())


def build_parser() -> Parser:
    parser = Parser(prog="mvit-edu", description="Multiscale Vision Transformers to learn from.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (look, train, evaluate, predict, convert, check, study):
        module.add(commands)
    return parser
