"""For every test: one thread, a fixed seed, no network."""

from __future__ import annotations

import os
import sys

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before torch is imported: the test processes share the cores
os.environ.setdefault("MPLBACKEND", "agg")

import pytest  # noqa: E402

from book.tools.kernel import NO_NETWORK  # noqa: E402

exec(compile(NO_NETWORK, "no-network", "exec"), {})


@pytest.fixture(autouse=True)
def fixed_seed():
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
