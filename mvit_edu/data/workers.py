"""How the workers of a loader behave when the program is asked to stop (Chapter 8)."""

from __future__ import annotations

import signal


def leave_signals_to_parent(worker: int = 0) -> None:
    """For `DataLoader(worker_init_fn=...)`: Ctrl-C reaches workers, too, but the main process decides when they end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
