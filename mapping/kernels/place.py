"""Numbers of lines, columns and steps that follow the loops around them."""

from collections.abc import Iterator
from dataclasses import dataclass

from lanewise.sim.program import Address


@dataclass(frozen=True, slots=True)
class Place:
    """A number that is affine in the counters of the loops around it.

    >>> row = Place(64).along("row", 32)
    >>> str((row.times(3) + Place(5)).address("x")), str(row.times(4, 8).address("@y"))
    ('x + 197 + 96 row', '@y + 32 + 16 row')
    """

    first: int = 0
    """In the first repetition of every loop."""
    steps: tuple[tuple[str, int], ...] = ()
    """What each repetition of a loop adds, by the loop's index; each index once."""

    def along(self, index: str, step: int) -> "Place":
        """With a step for another loop."""
        return self + Place(0, ((index, step),))

    def __add__(self, other: "Place") -> "Place":
        total = dict(self.steps)
        for index, step in other.steps:
            total[index] = total.get(index, 0) + step
        steps = tuple((index, step) for index, step in total.items() if step)
        return Place(self.first + other.first, steps)

    def times(self, factor: int, divisor: int = 1) -> "Place":
        """``factor / divisor`` as much.

        Raises:
            ValueError: That is no whole number.
        """
        if any(value * factor % divisor for value in (self.first, *(step for _, step in self.steps))):
            raise ValueError(f"place must be a multiple of {divisor} / {factor}, not {self}")
        steps = tuple((index, step * factor // divisor) for index, step in self.steps)
        return Place(self.first * factor // divisor, steps)

    def address(self, base: str) -> Address:
        """So many bytes behind ``base``."""
        return Address(base, self.first, self.steps)


def split(size: int, part: int, index: str) -> Iterator[tuple[int, int, Place]]:
    """The whole parts, then the remainder: how many, how long, and where a loop ``index`` over them is.

    >>> list(split(7, 3, "i")), list(split(3, 4, "i"))
    ([(2, 3, Place(first=0, steps=(('i', 3),))), (1, 1, Place(first=6, steps=()))], [(1, 3, Place(first=0, steps=()))])
    """
    whole, rest = divmod(size, part)
    if whole:
        yield whole, part, Place().along(index, part if whole > 1 else 0)
    if rest:
        yield 1, rest, Place(whole * part)
