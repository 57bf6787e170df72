"""An operand of a matrix product: where its lines lie in external memory, how they are loaded, and where they lie in the scratchpad."""

from dataclasses import dataclass
from math import ceil

from lanewise.mapping.kernels.place import Place
from lanewise.mapping.kernels.strips import load
from lanewise.sim.program import Instruction, Lines

BATCH = "batch"
"""Index of the loop over products."""


def packed_bytes(elements: int, bits: int) -> int:
    """Bytes of so many elements side by side.

    >>> packed_bytes(5, 4)
    3
    """
    return ceil(elements * bits / 8)


def contiguous(runs: int, run_bytes: int, distance_bytes: int, stride_bytes: int = 0) -> tuple[int, int]:
    """Number and size of runs, one where they follow each other in external memory and in the scratchpad.

    >>> contiguous(4, 16, 16), contiguous(4, 16, 20), contiguous(4, 16, 16, 32)
    ((1, 64), (4, 16), (4, 16))
    """
    together = distance_bytes == run_bytes and stride_bytes in (0, run_bytes)
    return (1, runs * run_bytes) if together else (runs, run_bytes)


@dataclass(frozen=True, kw_only=True)
class MatrixOperand:
    """``lines`` lines of ``k`` elements: rows of the left operand, columns of the right one; each line begins with a byte, or, ``turned``,
    the elements of all lines for each k do.

    Raises:
        ValueError: A product does not begin with a byte.
    """

    name: str
    """``left`` or ``right``: the external tensor; the buffers are ``@left.0`` and ``@left.1``."""
    lines: int
    k: int
    bits: int
    turned: bool = False
    before: int = 0
    """Elements before the first in the tensor."""
    pitch: int = 0
    """Elements from line to line, of a turned operand from k to k; 0: side by side."""
    step: int = 0
    """Elements from product to product; 0: one behind the other."""
    batch: int = 1
    """Products."""

    def __post_init__(self) -> None:
        for what, elements in (("step", self.step), ("first", self.before)):
            if elements * self.bits % 8:
                raise ValueError(
                    f"{self.name}_{what} must be whole bytes of {self.bits} bits, not {elements} elements"
                )

    @property
    def distance_bytes(self) -> int:
        """From line to line, or from k to k, in external memory."""
        return packed_bytes(self.pitch or (self.lines if self.turned else self.k), self.bits)

    @property
    def step_bytes(self) -> int:
        """From product to product, if there is more than one."""
        if self.batch == 1:
            return 0
        return self.step * self.bits // 8 or (self.k if self.turned else self.lines) * self.distance_bytes

    def bytes(self, lines: int, k: int) -> int:
        """Of so many lines, ``k`` elements of each, in the scratchpad."""
        runs, length = (k, lines) if self.turned else (lines, k)
        return runs * packed_bytes(length, self.bits)

    def load(self, first: Place, lines: int, at: Place, k: int) -> Instruction:
        """``lines`` lines from the line ``first`` on, of each ``k`` elements from the element ``at`` on.

        Raises:
            ValueError: The first line, of a turned operand, or the first element does not begin with a byte.
        """
        runs, length, run, element = (k, lines, at, first) if self.turned else (lines, k, first, at)
        size = packed_bytes(length, self.bits)
        place = run.times(self.distance_bytes) + (element + Place(self.before)).times(self.bits, 8)
        return load(
            f"@{self.name}.0", *contiguous(runs, size, self.distance_bytes),
            external=place.along(BATCH, self.step_bytes).address(self.name), distance_bytes=self.distance_bytes,
        )  # fmt: skip

    def part(self, first: Place, lines: int, loaded: int, k: int) -> Lines:
        """``lines`` of the ``loaded`` lines of ``k`` elements in the buffer, from the line ``first`` of them on."""
        stride = packed_bytes(loaded if self.turned else k, self.bits)
        place = first.times(self.bits, 8) if self.turned else first.times(stride)
        return Lines(
            address=place.address(f"@{self.name}.0"), stride_bytes=stride, lines=lines, bits=self.bits, turned=self.turned
        )  # fmt: skip
