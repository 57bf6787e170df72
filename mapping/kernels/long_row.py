"""One row of softmax, a norm, a sum, a mean or a maximum that the registers do not hold."""

from collections.abc import Callable
from math import ceil
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.row import RowKernel, nonpositive_exponential
from lanewise.mapping.kernels.schedule import schedule
from lanewise.models.reduction import LOWEST
from lanewise.models.rows import row_sums, square_sums
from lanewise.sim.program import Address, Instruction, Node, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.rows import RowsWork


ROW = "row"
"""Index of the loop over rows."""


class LongRow:
    """Emits a row that the registers do not hold: passes over the scratchpad in strips of two registers.

    Strips are taken four at a time, each with a sum of its own, so that no reduction waits for another.
    """

    kept = True
    """Whether what is shifted is kept for the last pass, or the row is read and shifted again."""

    def __init__(self, work: "RowsWork", config: MachineConfig) -> None:
        self.work, self.config = work, config
        self.kernel = VectorKernel(config=config, vl=min(work.length, 2 * config.vector.vlen_bits // 16))
        self.row = RowKernel(work, self.kernel, ())
        self.nodes: list[Node] = []
        self.sums: list[Register] = []
        self.strip_elements = self.kernel.vl
        self.strip, self.together = 0, row_sums(ceil(work.length / self.strip_elements))
        self.elements = work.length
        """Of the row that are in the buffers."""
        self.kernel.places = self.place

    def place(self, buffer: str, bits: int, elements: int) -> Address:
        """Where the strip at hand lies: in a row's buffer, or in one that all rows share."""
        if elements == 1 and self.work.result_length == 1 and buffer != "@in.0":
            return Address(buffer).along(ROW, bits // 8)
        if buffer == "@quantised.0":
            bits = self.config.matrix.operand_bits  # which are stored as bytes
        size = self.strip_elements * bits // 8
        address = Address(buffer, self.strip * size).along(STRIP, self.together * size)
        if buffer in ("@scratch", *self.work.weights):
            return address
        return address.along(ROW, ceil(self.work.length * bits / 8))

    def emit(self) -> tuple[Node, ...]:
        """The row's instructions; constants and tables are the kernel's ``setup``."""
        kernel, row, function = self.kernel, self.row, self.work.function
        if function == "softmax":
            kernel.splat(1.0, 32, 1)  # the reciprocal's, before the strips take every register
        if function in ("softmax", "max"):
            peak = kernel.emit("vmv.v.v", kernel.splat(LOWEST))
            self.sweep(lambda _: self.take_peak(peak))
            single = row.reduce("vfredmax.vs", peak, 16)
            kernel.release(peak)
            if function == "max":
                row.finish(single, vl=1)
                return self.done()
            offset: Register | None = row.spread(single)
        elif function in ("layer_norm", "sum", "mean"):
            self.clear()
            self.sweep(self.add)
            total = self.gather()
            if function != "sum":
                kernel.emit("vfmul.vf", total, into=total, sew_bits=32, vl=1, constant=1 / self.work.length)
            mean = row.narrowed(total)
            if function != "layer_norm":
                row.finish(mean, vl=1)
                return self.done()
            offset = row.spread(mean)
        else:
            offset = None
        if function == "softmax":
            self.clear()
            self.sweep(lambda index: self.shift(index, offset))
            factor = row.inverse(self.gather())
        else:
            vlen_bits = self.config.vector.vlen_bits
            elements = square_sums(self.work.length, vlen_bits)
            zeros = kernel.splat(0.0, 32, elements)
            sums = kernel.emit("vmv.v.v", zeros, sew_bits=32, vl=elements)
            self.sums = [sums] * self.together
            self.sweep(lambda index: self.shift(index, offset))
            factor = row.inverse_root(row.reduce_squares(sums))
        if offset is not None and self.kept:
            kernel.release(offset)
        self.sweep(lambda _: self.scale(factor, offset))
        kernel.release(factor, *(() if offset is None else (offset,)))
        return self.done()

    def done(self) -> tuple[Node, ...]:
        self.flush()
        return tuple(self.nodes)

    def flush(self) -> None:
        self.nodes += schedule(self.kernel.code, self.config)
        self.kernel.code = []

    def clear(self) -> None:
        """As many sums as strips are taken at a time, all 0."""
        kernel = self.kernel
        zero = kernel.splat(0.0, 32, 1)
        self.sums = [kernel.emit("vmv.v.v", zero, sew_bits=32, vl=1) for _ in range(self.together)]

    def gather(self) -> Register:
        """Neighbouring sums are added, then their sums."""
        kernel = self.kernel
        while len(self.sums) > 1:
            pairs = list(zip(self.sums[::2], self.sums[1::2]))
            for left, right in pairs:
                kernel.emit("vfadd.vv", left, right, into=left, sew_bits=32, vl=1)
                kernel.release(right)
            self.sums = [left for left, _ in pairs]
        return self.sums.pop()

    def sweep(self, body: Callable[[int], None]) -> None:
        """Run ``body`` on every strip of the row."""
        self.flush()
        self.nodes += self.strips(body, self.work.length)

    def strips(self, body: Callable[[int], None], elements: int) -> list[Node]:
        """``body`` on the strips of so many elements, those of a round in registers of their own as far as there are enough."""
        self.elements = elements
        rounds = elements // self.strip_elements // self.together
        rest = (
            ceil(elements / self.strip_elements) - rounds * self.together
        )  # the last one of them may be short
        nodes: list[Node] = []
        if rounds:
            nodes += repeat(rounds, *self.round(body, 0, self.together), index=STRIP)
        if rest:
            nodes += self.round(body, rounds * self.together, rest)
        return nodes

    def round(self, body: Callable[[int], None], first: int, strips: int) -> list[Instruction]:
        """``body`` on so many strips from the ``first`` on, scheduled."""
        kernel = self.kernel
        before = (set(kernel.used), set(kernel.written), dict(kernel.splats), list(kernel.setup))
        for apart in (4, 2, 1):
            kernel.used, kernel.written, kernel.splats, kernel.setup = (
                set(before[0]), set(before[1]), dict(before[2]), list(before[3]),
            )  # fmt: skip
            kernel.code, held = [], set[int]()
            try:
                for index in range(strips):
                    if index % apart == 0:
                        kernel.used -= held
                        held.clear()
                    kernel.touched.clear()
                    self.strip = first + index
                    kernel.vl = min(self.strip_elements, self.elements - self.strip * self.strip_elements)
                    body(index)
                    held |= kernel.touched - kernel.used
                    kernel.used |= held
            except ValueError:
                if apart == 1:
                    raise
                continue
            finally:
                kernel.vl = self.strip_elements
            kernel.used -= held
            break
        code, kernel.code = schedule(kernel.code, self.config), []
        return code

    def take_peak(self, peak: Register) -> None:
        value = self.kernel.load("@in.0")
        self.kernel.emit("vfmax.vv", peak, value, into=peak)
        self.kernel.release(value)

    def add(self, index: int) -> None:
        value, total = self.kernel.load("@in.0"), self.sums[index]
        self.kernel.emit("vfwredusum.vs", value, total, into=total)
        self.kernel.release(value)

    def shift(self, index: int, offset: Register | None) -> None:
        """The sum of the shifted values, for softmax of their exp, or of their squares."""
        kernel, total = self.kernel, self.sums[index]
        value = self.shifted(offset)
        if self.work.function == "softmax":
            kernel.emit("vfwredusum.vs", value, total, into=total)
        else:
            self.row.add_squares(value, into=total)
        if self.kept:
            kernel.store("@scratch", value)
        kernel.release(value)

    def shifted(self, offset: Register | None) -> Register:
        """A strip of the row less the offset, for softmax its exp."""
        value = self.kernel.load("@in.0")
        if offset is not None:
            self.kernel.emit("vfsub.vv", value, offset, into=value)
        if self.work.function == "softmax":
            value = nonpositive_exponential(self.kernel, value, self.work)
        return value

    def scale(self, factor: Register, offset: Register | None) -> None:
        value = self.kernel.load("@scratch") if self.kept else self.shifted(offset)
        self.kernel.emit("vfmul.vv", value, factor, into=value)
        self.row.weigh(value)
        self.row.finish(value)
