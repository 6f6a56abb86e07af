def double(number: int) -> int:
    """Twice a number (Chapter 1)."""
    return 2 * number


class Counter:
    """Counts (Chapter 1)."""

    def __init__(self) -> None:
        """Start at zero."""
        self.count = 0
