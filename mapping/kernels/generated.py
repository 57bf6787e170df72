"""Weights that the weight generator makes in the scratchpad, instead of a load from external memory."""

from dataclasses import dataclass

from lanewise.mapping.kernels.place import Place
from lanewise.sim.program import Address, Instruction


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """A tensor of INT4 filters that is nowhere but in its seed: blocks of ``lines`` filters, each of a seed of its own, so that any can be made at any time.

    What the weights are: :func:`lanewise.models.weight_generator.generated_bytes` of :func:`~lanewise.models.weight_generator.block_seed` for each
    block, filters one after the other, each from a byte on.

    Raises:
        ValueError: ``seed`` is no unsigned 32-bit number, or a block has no filter.
    """

    seed: int = 0
    lines: int = 32
    """Filters of a block: a divisor of the columns of the machine's array, on which the weights then do not depend."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"seed must be 0 to 2**32 - 1, not {self.seed!r}")
        if self.lines < 1:
            raise ValueError(f"lines must be at least 1, not {self.lines!r}")

    def blocks(self, lines: int) -> int:
        """Blocks of so many filters.

        >>> Generated().blocks(33)
        2
        """
        return -(-lines // self.lines)

    def fill(
        self, buffer: str, first: Place, lines: int, line_bytes: int, before: Place
    ) -> list[Instruction]:
        """Commands that make ``lines`` filters of ``line_bytes`` bytes from the filter ``first`` on, one after the other.

        Args:
            buffer: Where, from its first byte on.
            before: Blocks before the tensor's first, of products before.

        Raises:
            ValueError: ``first`` is not the first of a block.
        """
        made = []
        for begin in range(0, lines, self.lines):
            count = min(self.lines, lines - begin)
            number = (first + Place(begin)).times(1, self.lines) + before
            made.append(
                Instruction(
                    opcode="dma.generate", writes=(buffer,), runs=1, run_bytes=count * line_bytes, seed=self.seed,
                    address=Address(buffer, begin * line_bytes), indices=number.address("right"),
                )
            )  # fmt: skip
        return made
