"""Number of ones."""

from collections.abc import Iterable

from amaranth.hdl import Value


def count(bits: Iterable[Value]) -> Value:
    """How many of the bits are 1."""
    parts: list[Value] = list(bits)
    while len(parts) > 1:
        sums = [one + two for one, two in zip(parts[::2], parts[1::2], strict=False)]
        parts = sums + parts[len(parts) // 2 * 2 :]
    return parts[0]
