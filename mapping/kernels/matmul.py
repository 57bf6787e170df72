"""Matrix products on the MAC array, with everything that is done to the result before it leaves the chip.

An operator is a loop nest over tiles of ``rows x columns`` results. One operand's super-tile stays in the scratchpad while the
other streams past it; the choice is the one that moves fewer bytes. All buffers are double, so that load, MAC
array, vector unit and store work on different tiles at the same time. The convolution is the same product: DMA commands gather each
result's patch (:mod:`lanewise.mapping.kernels.patch_loads`).

The matrix unit's output path scales the sums, adds the bias and rounds: to FP16, or to the next operator's operands where nothing
else is done to them. What is more than that the vector unit does to the FP16 tile in the scratchpad. A column's constants are
reloaded where the columns change.
"""

from dataclasses import dataclass, replace

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.epilogue import Step, format_bits
from lanewise.mapping.kernels.generated import Generated
from lanewise.mapping.kernels.matmul_parts import fastest
from lanewise.mapping.kernels.patches import Patches
from lanewise.sim.engine import Run
from lanewise.sim.program import Program


@dataclass(frozen=True, kw_only=True)
class MatmulWork:
    """``batch`` independent products (m, k) x (k, n) -> (m, n), scaled, biased, passed through ``steps``, and stored.

    Tensors: ``left``, of which a line is a row, and ``right``, of which a line is a column; FP16 ``operand0`` for step 0 and so on, and a result for each
    of ``outputs``, of its name, as rows. A line or row begins with a byte and has its elements side by side, two INT4 a byte, the first in the low
    bits; what is beyond an odd number of them in the last byte is not told. Of a transposed operand that is so of all lines' elements for each k.
    Everything lies side by side, product behind product, unless a pitch or a step says otherwise.

    * ``constants``: for each product and each tile of :meth:`tile_shape`'s columns, as
      :func:`lanewise.models.matrix_layout.column_constants` has them; without ``weights`` one tile's, for all.
    * ``channel0`` for step 0 and so on: an FP16 value for each product and column.
    * ``scales`` and ``rows``, with ``row_scales``: for each product and row 4 bytes of multiplier and shift, and the 32-bit number of the row of
      results (and of tensor operands) that it is.
    """

    m: int
    k: int
    n: int
    batch: int = 1
    left_runs: int = 0
    """Contiguous runs of external memory that make up one row of the left operand, which is priced and no more; 0: a row lies as said."""
    patches: Patches | None = None
    """Of a convolution: ``left`` is their tensor, ``zeros`` the one of its borders; ``m`` are their lines, ``k`` the taps times the channels that are not
    padding, a group is a product. What is computed is :meth:`on`."""
    left_transposed: bool = False
    """The left operand is stored with m, not k, contiguous."""
    right_transposed: bool = False
    """The right operand is stored with n, not k, contiguous."""
    left_first: int = 0
    """Elements before the operand's first in its tensor."""
    right_first: int = 0
    left_pitch: int = 0
    """Elements from line to line, of a transposed operand from k to k; 0: side by side."""
    left_step: int = 0
    """Elements from product to product; 0: one behind the other."""
    right_pitch: int = 0
    right_step: int = 0
    result_pitch: int = 0
    """Elements from row to row of the results, and of tensor operands."""
    result_step: int = 0
    weights: bool = True
    """The right operand is a parameter: a scale and a bias for each column; otherwise one scale for all."""
    generated: Generated | None = None
    """The right operand is made on chip and not in external memory: INT4, of columns side by side, all of k at once."""
    row_scales: bool = False
    """Rows of results lie where a list of numbers says, and each has a scale of its own, read from memory: kept rows of a sample."""
    left_bits: int = 0
    """Width of the left operand on an array that takes several, 4 or 8; 0: the array's own."""
    right_bits: int = 0
    """Width of the right operand, likewise."""
    multiplier: int = 1
    """What all results are multiplied by, 16 bits, and"""
    shift: int = 0
    """how many bits to the right they then move, of 6 bits, beside the columns' multipliers; without ``row_scales``."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)
    inverse_step: float = 1.0
    """Of a quantised output behind ``steps``, or beside an FP16 one: what a value is multiplied by before it is rounded."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the operator needs."""
        return self.batch * self.m * self.k * self.n

    def tile_shape(self, config: MachineConfig) -> tuple[int, int]:
        """Rows and columns of a tile: the array's, but an even number where several lie side by side in two a byte.

        Raises:
            ValueError: The array has a single row or column, and such lines do not begin with a byte.

        >>> from lanewise.config import MatrixConfig
        >>> odd = MachineConfig(matrix=MatrixConfig(rows=3, columns=5))
        >>> MatmulWork(m=9, k=9, n=9).tile_shape(odd), MatmulWork(m=9, k=9, n=9, outputs=("quantised",)).tile_shape(odd)
        ((3, 5), (3, 4))
        """
        matrix = config.matrix
        left, right = (
            (bits or matrix.operand_bits) if matrix.splits else matrix.operand_bits
            for bits in (self.left_bits, self.right_bits)
        )
        packed_rows = self.left_transposed and left == 4
        packed_columns = (self.right_transposed and right == 4) or any(
            format_bits(form, matrix.operand_bits) == 4 for form in self.outputs
        )
        shape = []
        for name, size, lines, packed in (
            ("rows", matrix.rows, self.m, packed_rows),
            ("columns", matrix.columns, self.n, packed_columns),
        ):
            if packed and lines > size == 1:
                raise ValueError(f"matrix.{name} must be at least 2 for tiles of INT4 side by side, not 1")
            shape.append(size - size % 2 if packed and lines > size else size)
        return shape[0], shape[1]

    def program(self, config: MachineConfig) -> Program:
        """The loop nest on ``config``'s machine.

        Raises:
            ValueError: The scratchpad does not hold two tiles of each operand, or a product does not begin with a byte.
        """
        return self.fastest(config)[0]

    def fastest(self, config: MachineConfig) -> tuple[Program, Run | None]:
        """:meth:`program`, and its run where several nests were run to choose it.

        Raises:
            ValueError: Likewise.
        """
        return fastest(self.on(config), config)

    def on(self, config: MachineConfig) -> "MatmulWork":
        """The products that ``config``'s machine computes, which say how weights and constants lie: a convolution's with the channels that are padding, and as
        many groups together as its array has columns for, more where fewer would not begin with a byte.

        Groups together are one product, in which a group's weights are zero for the others' channels: as many steps of the array as one group after the
        other, of which each used so many columns less, and runs of memory that are so much longer.
        """
        if self.patches is None:
            return self
        matrix = config.matrix
        bits = (self.left_bits or matrix.operand_bits) if matrix.splits else matrix.operand_bits
        results = min(format_bits(form, matrix.operand_bits) for form in self.outputs)

        def whole_bytes(together: int) -> bool:
            """Whether so many groups begin with a byte, and their results."""
            assert self.patches is not None
            alone = together == self.batch
            return self.patches.joined(together).whole_bytes(bits) and (
                alone or together * self.n * results % 8 == 0
            )

        counts = [d for d in range(1, self.batch + 1) if self.batch % d == 0 and whole_bytes(d)]
        together = max((d for d in counts if d * self.n <= matrix.columns), default=counts[0])
        patches, n = self.patches.joined(together), together * self.n
        return replace(
            self, batch=self.batch // together, n=n, k=patches.k(bits), patches=patches,
            result_pitch=self.batch * self.n, result_step=n,
        )  # fmt: skip
