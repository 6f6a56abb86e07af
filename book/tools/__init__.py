"""The book's own tools: execute, check, build. Run them with ``python -m book.tools.NAME``."""
