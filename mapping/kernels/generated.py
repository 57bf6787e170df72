"""Weights that the weight generator makes in the scratchpad, instead of a load from external memory."""

from dataclasses import dataclass

from lanewise.mapping.kernels.matmul_operand import MatrixOperand
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

    def check(self, operand: MatrixOperand, columns: int, *, weights: bool) -> None:
        """That the generator can make an operand, in blocks that no tile cuts.

        Args:
            columns: Of a tile, if there is more than one; 0: one has all.
            weights: Whether it is a parameter, on an array of INT4.

        Raises:
            ValueError: It cannot.
        """
        moved = operand.turned or operand.pitch or operand.step or operand.before
        if not weights or moved or operand.bits != 4:
            raise ValueError(
                "right operand must be INT4 weights side by side, on an array of INT4, to be generated"
            )
        if columns % self.lines:
            raise ValueError(f"lines of a block must divide a tile's {columns} columns, not be {self.lines}")

    def fill(
        self, operand: MatrixOperand, first: Place, lines: int, k: int, before: Place
    ) -> list[Instruction]:
        """Commands that make ``lines`` filters from the filter ``first`` on, where a load would put them.

        Args:
            operand: The weights.
            k: Elements of each filter that the buffer holds.
            before: Blocks before the tensor's first, of products before.

        Raises:
            ValueError: ``first`` is not the first of a block, or the buffer does not hold whole filters.
        """
        if k != operand.k:
            raise ValueError(
                f"scratchpad.size_kib must hold two tiles of generated weights, {operand.k} steps each, not {k}"
            )
        made, size, buffer = [], operand.bytes(1, k), f"@{operand.name}.0"
        for begin in range(0, lines, self.lines):
            count = min(self.lines, lines - begin)
            number = (first + Place(begin)).times(1, self.lines) + before
            made.append(
                Instruction(
                    opcode="dma.generate", writes=(buffer,), runs=1, run_bytes=count * size, seed=self.seed,
                    address=Address(buffer, begin * size), indices=number.address(operand.name),
                )
            )  # fmt: skip
        return made
