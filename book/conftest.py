"""For nbval: chapters run with this checkout importable and without a network."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from book.tools.kernel import kernel_environment  # noqa: E402


def pytest_configure(config):
    folder = tempfile.TemporaryDirectory()
    os.environ.update(kernel_environment(Path(folder.name)))
    config.add_cleanup(folder.cleanup)


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = 60  # nbval's 5 seconds are few on a busy machine
