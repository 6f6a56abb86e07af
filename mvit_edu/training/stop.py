"""Ctrl-C and SIGTERM end a training after the running step, with a checkpoint (Chapter 8)."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Inside `with StopRequest() as stop`, `stop.signal` tells which signal asks to stop, None if none did.

    The first Ctrl-C or SIGTERM only asks; a second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread,
    where Python allows no handlers, nothing is installed.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        print(f"\n{self.signal.name}: saving after this step; Ctrl-C again stops at once.", file=sys.stderr)
