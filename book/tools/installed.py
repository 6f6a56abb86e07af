"""Say in one sentence what is wrong with a fresh environment; also builds matplotlib's font cache."""

from __future__ import annotations

import sys


def diagnose(error: BaseException) -> str:
    """One sentence for a failed import of torch or torchvision: what is wrong and what to do."""
    if "torchvision::nms" in str(error):
        return (
            "torch and torchvision are different builds (one CUDA, one CPU): remove .venv and run "
            "the command again with both from one index, for example TORCH_INDEX=... (see CONTRIBUTING.md)."
        )
    what = f"{type(error).__name__}: {error}"
    return f"the installation does not work ({what}): remove .venv and run the command again."


def main() -> int:
    try:
        import matplotlib.pyplot  # noqa: F401  (its first import writes a font cache and says so on stderr)
        import torch
        import torchvision
    except Exception as error:  # any failure of a foreign import ends as one sentence
        print(f"error: {diagnose(error)}", file=sys.stderr)
        return 1
    print(f"Installed: torch {torch.__version__}, torchvision {torchvision.__version__}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
