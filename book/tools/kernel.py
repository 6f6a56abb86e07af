"""The environment in which chapters run: this checkout importable, no network, an empty IPython profile."""

from __future__ import annotations

import os
from pathlib import Path

from book.tools.chapters import ROOT

NO_NETWORK = '''\
"""Chapters run without a network: only this machine's own addresses can be reached."""
import socket as _socket

_connect, _connect_ex, _getaddrinfo = _socket.socket.connect, _socket.socket.connect_ex, _socket.getaddrinfo


def _refuse_outside(host):
    host = host.decode() if isinstance(host, bytes) else str(host)
    if not (host in ("", "None", "localhost", "::1", "0.0.0.0", "::") or host.startswith("127.")):
        raise OSError(f"chapters run without a network, {host} was asked for")


def _checked(function):
    def connect(self, address):
        if self.family in (_socket.AF_INET, _socket.AF_INET6):
            _refuse_outside(address[0])
        return function(self, address)

    return connect


def _local_getaddrinfo(host, *args, **kwargs):
    _refuse_outside(host)
    return _getaddrinfo(host, *args, **kwargs)


_socket.socket.connect, _socket.socket.connect_ex = _checked(_connect), _checked(_connect_ex)
_socket.getaddrinfo = _local_getaddrinfo
'''

CONFIG = "c = get_config()\nc.HistoryManager.enabled = False\nc.IPKernelApp.log_level = 40\n"


def kernel_environment(folder: Path, root: Path = ROOT) -> dict[str, str]:
    """Environment variables for a kernel. ``folder`` is an empty one that receives IPython's profile."""
    profile = folder / "ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True, exist_ok=True)
    (profile / "startup" / "00-no-network.py").write_text(NO_NETWORK, encoding="utf-8")
    (profile / "ipython_kernel_config.py").write_text(CONFIG, encoding="utf-8")
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # whatever the shell says
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
