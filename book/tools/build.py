"""Build the rendered book into ``_build/html``.

python -m book.tools.build             only what changed; for readers
python -m book.tools.build --strict    from scratch, every warning is an error; for the tests
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from book.tools.chapters import ROOT, Book


def build(book: Book, strict: bool = False) -> int:
    """Run Jupyter Book; its exit status. A strict build starts from scratch: Sphinx warns only once."""
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(book.root),
        "--quiet",
    ]
    if strict:
        shutil.rmtree(book.root / "_build", ignore_errors=True)
        command += ["-W", "-n", "--keep-going"]
    paths = [str(book.root), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode != 0:
        print("\n".join(lines))
    elif not (book.html / "index.html").exists():
        print("error: the build ended without a page; remove _build and try again", file=sys.stderr)
        return 1
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.build", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--strict", action="store_true", help="from scratch, every warning is an error")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    missing = [name for name in book.toc if not (book.root / name).exists()]
    if missing:
        print(f"error: _toc.yml names files that do not exist: {', '.join(missing)}", file=sys.stderr)
        return 1
    print("Building the book ...", flush=True)
    status = build(book, options.strict)
    if status == 0:
        print(f"The book is ready: {(book.html / 'index.html').as_uri()}")
    return status


if __name__ == "__main__":
    sys.exit(main())
