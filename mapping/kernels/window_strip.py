"""Vector code of windows: several results of a row side by side, a strip of channels each, every input element loaded once for all of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Operand, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import MAXIMUM_CODE
from lanewise.mapping.kernels.window_axes import Group, Layout, Span
from lanewise.sim.program import Address, Instruction, Loop, Node, Rotate, repeat

if TYPE_CHECKING:
    from lanewise.mapping.kernels.windows import WindowsWork

STRIP, ROW, COLUMN, TAP = "strip", "row", "column", "tap"
"""Indices of the loops over strips of channels, rows of results, groups of a row, and rows of taps."""

WEIGHTS = "@weights.0"

PIECE = 8
"""Taps of a row whose weights are in registers together, where not all are."""
RESIDENT_REGISTERS = 16
"""What all taps' weights may take to stay in registers."""
HELD = ((8, 4), (4, 2), (2, 1), (1, 1))
"""How many values are held after their use, and of how many results the registers, so that the next does not wait for them: tried in this order."""

COMBINE = {"max": "vfmax.vv", "average": "vfadd.vv", "sum": "vfadd.vv"}
NEUTRAL = {"max": float("-inf"), "average": 0.0, "sum": 0.0}
"""What a window has that lies in the padding alone."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How a strip is computed."""

    vl: int
    ways: int
    """Results of a row that are computed together."""
    rolled: bool
    """Whether the rows of taps are a loop."""


class WindowStrip:
    """Emits groups of results for one strip of channels.

    Registers that all groups share (constants, weights that stay) are set by :meth:`prologue`; ask for it when all groups are emitted.

    Raises:
        ValueError: The registers do not hold what a group needs; choose a shorter strip or less results together.
    """

    def __init__(self, work: "WindowsWork", config: MachineConfig, layout: Layout, shape: Shape) -> None:
        self.work, self.config, self.layout, self.shape = work, config, layout, shape
        kernel = self.kernel = VectorKernel(config=config, vl=shape.vl, places=self._place)
        self.shared = {
            WEIGHTS,
            *(f"@operand{i}.0" for i, s in enumerate(work.steps) if s.operand == "channel"),
        }
        """Buffers of what all positions share."""
        self.resident: list[Register] = []
        self.loads: list[Instruction] = []
        depthwise = work.function == "depthwise"
        if depthwise and not shape.rolled and work.taps * kernel.lmul(16) <= RESIDENT_REGISTERS:
            self.resident = [kernel.load(self._weights(tap)) for tap in range(work.taps)]
            self.loads, kernel.code = kernel.code, []
        self.made: dict[object, tuple[Node, ...]] = {}
        self.held: list[Register] = []
        self.patience = HELD[0]
        self.totals: list[Register | None] = []
        self.own: list[bool] = []

    # Places

    def position_bytes(self, buffer: str) -> int:
        """Bytes of a position in a buffer of the band."""
        return self._bytes(buffer, self.layout.channels)

    def _bytes(self, buffer: str, elements: int) -> int:
        form = buffer.removeprefix("@").partition(".")[0]
        return -(-elements * format_bits(form, self.config.matrix.operand_bits) // 8)

    def _place(self, buffer: str, bits: int, elements: int) -> Address:  # noqa: ARG002
        """Where the current result of the group at hand is, or its operand."""
        return Address(buffer, 0 if buffer in self.shared else self.kernel.way * self.position_bytes(buffer))

    def _weights(self, row: int) -> Address:
        return Address(WEIGHTS, 2 * row * self.layout.channels)

    def prologue(self, first: int, strips: int) -> tuple[Node, ...]:
        """Constants and the weights that stay, for ``strips`` strips from channel ``first`` on."""
        constants = [i for i in self.kernel.setup if not fills_table(i)]
        return (*constants, *self._moved(self.loads, lambda _: 0, {}, first, strips))

    def tables(self) -> tuple[Instruction, ...]:
        """What fills Flex-SFU's tables."""
        return tuple(i for i in self.kernel.setup if fills_table(i))

    def placed(
        self, code: Iterable[Node], *, inside: int, result: int, first: int, strips: int, loops: Mapping[str, tuple[int, int]]
    ) -> tuple[Node, ...]:  # fmt: skip
        """A group's code where its first window begins at position ``inside`` of the band and its first result is ``result``.

        Args:
            first: Channel of the first strip.
            strips: How many are in the loop over strips.
            loops: By index, how many positions and how many results each repetition moves.
        """

        def moved(positions: int, results: int, base: str) -> int:
            if base == "@in.0":
                return 2 * self.layout.channels * positions
            return 0 if base in self.shared else self.position_bytes(base) * results

        steps = {index: partial(moved, *by) for index, by in loops.items()}
        return self._moved(code, partial(moved, inside, result), steps, first, strips)

    def _moved(
        self, code: Iterable[Node], by: Callable[[str], int], steps: Mapping[str, Callable[[str], int]], first: int, strips: int
    ) -> tuple[Node, ...]:  # fmt: skip
        made: list[Node] = []
        for node in code:
            if isinstance(node, Loop):
                made.append(replace(node, body=self._moved(node.body, by, steps, first, strips)))
                continue
            if isinstance(node, Rotate) or node.address is None:
                made.append(node)
                continue
            base = node.address.base
            address = node.address.moved(by(base) + self._bytes(base, first))
            for index, step in steps.items():
                address = address.along(index, step(base))
            if strips > 1:
                address = address.along(STRIP, self._bytes(base, self.shape.vl))
            made.append(replace(node, address=address))
        return tuple(made)

    # Code

    def group(self, depth: Span, row: Span, group: Group) -> tuple[Node, ...]:
        """Code of ``ways`` windows, relative to the first one's tap 0 in the first plane that is inside, and to its result."""
        key = (replace(depth, start=0), replace(row, start=0), group.shape)
        if key not in self.made:
            self.made[key] = self._tried(depth, row, group.shape)
        return self.made[key]

    def _tried(self, depth: Span, row: Span, spans: tuple[Span, ...]) -> tuple[Node, ...]:
        kernel = self.kernel
        before = (set(kernel.used), set(kernel.written), dict(kernel.splats), list(kernel.setup))
        for patience in HELD:
            kernel.used, kernel.written, kernel.splats, kernel.setup = (
                set(before[0]), set(before[1]), dict(before[2]), list(before[3]),
            )  # fmt: skip
            self.patience, self.held, kernel.code = patience, [], []
            try:
                return self._windows(depth, row, spans)
            except ValueError:
                if patience == HELD[-1]:
                    raise
        raise AssertionError

    def _windows(self, depth: Span, row: Span, spans: tuple[Span, ...]) -> tuple[Node, ...]:
        kernel, work = self.kernel, self.work
        planes, rows = range(depth.stop - depth.first), list(range(row.first, row.stop))
        self.totals, self.own = [None] * len(spans), [False] * len(spans)
        if work.function == "depthwise":
            for way in range(len(spans)):
                self.totals[way], self.own[way] = kernel.load(self._weights(work.taps)), True
        nodes: list[Node] = []
        for plane in planes:
            left = list(rows)
            if self.shape.rolled and len(left) > 1:
                if not all(self.own):
                    self._row(depth, plane, left.pop(0), spans)
                    self._settle()
                nodes += self._flush()
                self._row(depth, plane, left[0], spans)
                nodes += self._tap_loop(len(left))
                continue
            for tap in left:
                self._row(depth, plane, tap, spans)
        self._settle()
        for way, span in enumerate(spans):
            kernel.way = way
            self._finish(way, depth.counted * row.counted * span.counted)
        kernel.way = 0
        nodes += self._flush()
        return tuple(nodes)

    def _flush(self) -> list[Instruction]:
        kernel = self.kernel
        self._let_go(0)
        code, kernel.code = kernel.code, []
        if len(code) > 4 * MAXIMUM_CODE:
            raise ValueError(f"vl must leave the code below {4 * MAXIMUM_CODE} instructions, not {len(code)}")
        return schedule(code, self.config)

    def _tap_loop(self, rows: int) -> tuple[Node, ...]:
        """The row of taps at hand, and so many less one after it."""
        _, along, across = self.work.volume
        steps = {
            "@in.0": 2 * along.apart * self.layout.row * self.layout.channels,
            WEIGHTS: 2 * across.taps * self.layout.channels,
        }
        looped = [
            replace(i, address=i.address.along(TAP, steps[i.address.base])) if i.address is not None else i
            for i in self._flush()
        ]
        return repeat(rows, *looped, index=TAP)

    def _row(self, depth: Span, plane: int, row: int, spans: tuple[Span, ...]) -> None:
        """One row of taps of one plane, for all results: columns from left to right, so that each result has its taps in order."""
        kernel, work, channels = self.kernel, self.work, self.layout.channels
        _, rows, columns = work.volume
        begin = plane * self.layout.plane + row * rows.apart * self.layout.row
        number = ((depth.first + plane) * rows.taps + row) * columns.taps
        for first in range(0, columns.taps, PIECE):
            uses: dict[int, list[tuple[int, int]]] = {}
            for way, span in enumerate(spans):
                for tap in range(max(first, span.first), min(first + PIECE, span.stop)):
                    uses.setdefault(span.start + tap * columns.apart, []).append((way, tap))
            weights: dict[int, Register] = {}
            if work.function == "depthwise":
                for tap in sorted({tap for users in uses.values() for _, tap in users}):
                    kept = self.resident[number + tap] if self.resident else None
                    weights[tap] = kept or kernel.load(self._weights(number + tap))
            for column in sorted(uses):
                value = kernel.load(Address("@in.0", 2 * channels * (begin + column)))
                for way, tap in uses[column]:
                    self._take(way, value, weights.get(tap))
                if not self._shared(value):
                    self._release(value)
            if not self.resident:
                self._release(*weights.values())

    def _take(self, way: int, value: Register, weight: Register | None) -> None:
        kernel, total = self.kernel, self.totals[way]
        if weight is not None:
            assert total is not None
            kernel.emit("vfmacc.vv", weight, value, into=total)
        elif total is None:
            self.totals[way] = value
        else:
            alone = self.own[way] or self.totals.count(total) == 1
            made = kernel.emit(COMBINE[self.work.function], total, value, into=total if alone else None)
            self.totals[way], self.own[way] = made, True

    def _shared(self, value: Register) -> bool:
        """Whether a value is also a result's first."""
        return value in self.totals

    def _settle(self) -> None:
        """Every result gets a register of its own."""
        kernel = self.kernel
        for way, total in enumerate(self.totals):
            if total is None:
                neutral = NEUTRAL[self.work.function]
                self.totals[way] = kernel.emit("vfmv.v.f", constant=neutral)
            elif not self.own[way] and self.totals.count(total) > 1:
                self.totals[way] = kernel.emit("vmv.v.v", total)
            self.own[way] = True

    def _finish(self, way: int, counted: int) -> None:
        kernel, total = self.kernel, self.totals[way]
        assert total is not None
        kernel.touched.clear()
        if self.work.function == "average":
            kernel.emit("vfmul.vf", total, into=total, constant=1 / (self.work.divisor or max(1, counted)))
        steps_and_stores(kernel, total, self.work)
        wait = kernel.touched - kernel.used
        if self.patience[1] > 1 and (way + 1) % self.patience[1]:
            kernel.used |= wait
            self.held += [Register(first=first, length=1) for first in sorted(wait)]
        else:
            self._let_go(0)

    def _release(self, *registers: Register) -> None:
        self.held += registers
        self._let_go(self.patience[0] - 1)

    def _let_go(self, keep: int) -> None:
        while len(self.held) > keep:
            self.kernel.release(self.held.pop(0))


def steps_and_stores(kernel: VectorKernel, total: Register, work: "WindowsWork") -> None:
    """What follows a sum or a maximum: the steps, and a store in each format."""
    operands: dict[int, Operand] = {
        index: f"@operand{index}.0"
        for index, step in enumerate(work.steps)
        if step.operand in ("tensor", "channel")
    }
    total = emit_steps(kernel, total, work.steps, operands)
    store_outputs(
        kernel, total, work.outputs, {form: f"@{form}.0" for form in work.outputs}, work.inverse_step
    )
    kernel.release(total)


def fills_table(instruction: Instruction) -> bool:
    """Whether it is part of filling a table of Flex-SFU."""
    return instruction.opcode in ("dma.load", "sfu.breakpoints", "sfu.coefficients")
