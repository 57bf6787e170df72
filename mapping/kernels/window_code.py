"""Vector code of windows, wherever they lie: several results of a row side by side, a strip of channels each, every input element loaded once for all of them.

What a group's code is depends neither on the size of the input nor on the channels beside the strip, so that works, tiles, bands and machines with one vector
unit share it. Its addresses count positions and results (:data:`ROW_UNITS`); :mod:`lanewise.mapping.kernels.window_strip` makes bytes of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import REGISTERS, Register, VectorKernel
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import MAXIMUM_CODE
from lanewise.mapping.kernels.window_axes import Span
from lanewise.mapping.kernels.window_kinds import (
    Code,
    Constants,
    Kind,
    Machine,
    State,
    Windows,
    reads,
    to_middle,
)
from lanewise.sim.program import Address, Instruction, Node, Program, repeat

TAP = "tap"
"""Index of the loop over rows of taps."""

INPUT, WEIGHTS = "@in.0", "@weights.0"

ROW_UNITS, PLANE_UNITS = 1 << 20, 1 << 40
"""In the code's addresses, half the offset of the input is a position: so many times its row and its plane, and its column. Half that of the weights is
their row; that of results and of operands is the number of the result."""

PIECE = 8
"""Taps of a row whose weights are in registers together, where not all are."""
RESIDENT_REGISTERS = 16
"""What all taps' weights may take to stay in registers."""
HELD = ((8, 4), (4, 2), (2, 1), (1, 1))
"""How many values are held after their use, and of how many results the registers, so that the next does not wait for them: tried in this order."""

COMBINE = {"max": "vfmax.vv", "average": "vfadd.vv", "sum": "vfadd.vv"}
NEUTRAL = {"max": float("-inf"), "average": 0.0, "sum": 0.0}
"""What a window has that lies in the padding alone."""

ROWS = 4
"""Rows of results that are timed together, for the last one's end is nobody's beginning."""
KEPT = 2048
"""Kinds of windows whose code is kept."""


class _Kernel(VectorKernel):
    """Knows whether somebody wanted a register for a constant: where it is depends on what has been written."""

    asked = False

    def _allocate_constant(self, length: int) -> Register:
        self.asked = True
        return super()._allocate_constant(length)


@lru_cache(maxsize=KEPT)
def strip_code(kind: Kind, machine: Machine) -> "StripCode":
    """The code of one kind of windows on one kind of machine, as far as somebody has asked for it."""
    return StripCode(kind, machine.config)


class StripCode:
    """Emits groups of results for one strip of channels; the same group after the same groups is emitted once."""

    def __init__(self, kind: Kind, config: MachineConfig) -> None:
        self.kind, self.config = kind, config
        kernel = self.kernel = _Kernel(config=config, vl=kind.vl, places=self._place)
        self.shared = {
            WEIGHTS,
            *(f"@operand{i}.0" for i, s in enumerate(kind.ending.steps) if s.operand == "channel"),
        }
        """Buffers of what all positions share."""
        self.resident: list[Register] = []
        self.loads: list[Instruction] = []
        """Of the weights that stay in registers."""
        planes, rows, columns = kind.taps
        self.taps = planes * rows * columns
        if (
            kind.function == "depthwise"
            and not kind.rolled
            and self.taps * kernel.lmul(16) <= RESIDENT_REGISTERS
        ):
            self.resident = [kernel.load(self._weights(tap)) for tap in range(self.taps)]
            self.loads, kernel.code = kernel.code, []
        self._known: dict[Constants, Constants] = {}
        self.start = State(constants=self._constants(), written=frozenset(kernel.written))
        """Before the first group."""
        self._made: dict[tuple[int, frozenset[int] | None, Windows], Code] = {}
        """By constants and, where it matters, what is written before."""
        self._loads: dict[tuple[str, int, int], Instruction] = {}
        self._multiply_adds: dict[tuple[int, int, int], Instruction] = {}
        self._ends: dict[object, tuple[tuple[Instruction, ...], frozenset[int], frozenset[int]]] = {}
        self._middle: dict[int, tuple[tuple[Node, ...], tuple[Node, ...]]] = {}
        self._clocks: dict[tuple[tuple[int, int], ...], int] = {}
        self.held: list[Register] = []
        self.patience = HELD[0]
        self.totals: list[Register | None] = []
        self.own: list[bool] = []

    # Groups

    def group(self, before: State, windows: Windows) -> tuple[Code, State]:
        """Code of windows side by side, and what it leaves, after what left ``before``: :attr:`start`, or another group.

        Raises:
            ValueError: The registers do not hold what it needs.
        """
        constants = id(before.constants)
        code = self._made.get((constants, None, windows)) or self._made.get(
            (constants, before.written, windows)
        )
        if code is None:
            code = self._tried(before, windows)
            self._made[constants, before.written if self.kernel.asked else None, windows] = code
        if code.constants is None:
            raise ValueError(code.problem)
        return code, State(constants=code.constants, written=before.written | code.written)

    def clocks(self, codes: Sequence[tuple[int, Code]]) -> int:
        """Clocks that :data:`ROWS` rows of groups take, each so many times a row."""
        key = tuple((count, id(code)) for count, code in codes)
        if key not in self._clocks:
            row = [node for count, code in codes for node in repeat(count, *code.nodes)]
            ending = self.kind.ending
            names = [
                INPUT,
                WEIGHTS,
                *(f"@operand{i}.0" for i in range(len(ending.steps))),
                *(f"@{form}.0" for form in ending.outputs),
            ]
            program = Program(body=repeat(ROWS, *row), buffers_bytes=dict.fromkeys(names, 1))
            self._clocks[key] = price(program, self.config).cycles
        return self._clocks[key]

    def middle(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """The same nodes with FP16 results that stay in the scratchpad."""
        known = self._middle.get(id(nodes))
        if known is None:  # with the nodes, so that their id stays their own
            known = self._middle[id(nodes)] = nodes, tuple(to_middle(node) for node in nodes)
        return known[1]

    def _constants(self) -> Constants:
        kernel = self.kernel
        made = Constants(
            used=frozenset(kernel.used), splats=tuple(kernel.splats.items()), setup=tuple(kernel.setup), tables=tuple(kernel.tables)
        )  # fmt: skip
        return self._known.setdefault(made, made)

    def _tried(self, before: State, windows: Windows) -> Code:
        kernel, constants, problem = self.kernel, before.constants, ""
        kernel.asked = False
        for patience in HELD:
            if patience != HELD[-1] and self._short(constants.used, windows, patience[0]):
                continue
            kernel.used, kernel.written, kernel.splats = (
                set(constants.used),
                set(before.written),
                dict(constants.splats),
            )
            kernel.setup, kernel.tables = list(constants.setup), list(constants.tables)
            self.patience, self.held, kernel.code, kernel.way = patience, [], [], 0
            try:
                nodes = self._windows(*windows)
            except ValueError as error:
                problem = str(error)
                continue
            return Code(
                reads=tuple(reads(nodes).items()),
                nodes=nodes,
                constants=self._constants(),
                written=frozenset(kernel.written) - before.written,
            )
        return Code(problem=problem)

    def _short(self, used: frozenset[int], windows: Windows, held: int) -> bool:
        """Whether registers are certain to be too few if so many values are held: those that are needed for the last value of the last row of taps."""
        depth, row, spans = windows
        rows = (depth.stop - depth.first) * (row.stop - row.first)
        if self.kind.function != "depthwise" or self.kind.rolled or self.kind.taps[2] > PIECE or not rows:
            return False
        values = len(
            {span.start + tap * self.kind.apart[1] for span in spans for tap in range(span.first, span.stop)}
        )
        taps = {tap for span in spans for tap in range(span.first, span.stop)}
        weights = 0 if self.resident else len(taps)
        given_back = (rows - 1) * (values + weights) + values - 1
        length = self.kernel.lmul(16)
        free = sum(
            used.isdisjoint(range(first, first + length))
            for first in range(length, REGISTERS - length + 1, length)
        )
        return bool(values) and len(spans) + weights + 1 + min(held - 1, given_back) > free

    # Places

    def _place(self, buffer: str, bits: int, elements: int) -> Address:  # noqa: ARG002
        """Where the current result of the group at hand is, or its operand."""
        return Address(buffer, 0 if buffer in self.shared else self.kernel.way)

    def _weights(self, row: int) -> Address:
        return Address(WEIGHTS, 2 * row)

    def _load(self, address: Address) -> Register:
        """As the kernel's, from memory if it has been written before."""
        kernel = self.kernel
        register = kernel.allocate()
        key = address.base, address.offset_bytes, register.first
        known = self._loads.get(key)
        if known is None:
            kernel.load(address, into=register)
            self._loads[key] = kernel.code[-1]
        else:
            kernel.code.append(known)
        return register

    def _multiply_add(self, weight: Register, value: Register, total: Register) -> None:
        """Likewise."""
        key = weight.first, value.first, total.first
        known = self._multiply_adds.get(key)
        if known is None:
            self.kernel.emit("vfmacc.vv", weight, value, into=total)
            self._multiply_adds[key] = self.kernel.code[-1]
        else:
            self.kernel.code.append(known)

    def _end(self, total: Register) -> None:
        """Steps and stores of a result, from memory if registers were as they are now and no constant or table was missing."""
        kernel = self.kernel
        used = frozenset(kernel.used)
        key = used, total.first, kernel.way, tuple(kernel.splats.items()), tuple(kernel.tables)
        known = self._ends.get(key)
        if known is not None:
            code, used, touched = known
            kernel.code += code
            kernel.used = set(used)
            kernel.touched |= touched
            kernel.written |= touched
            return
        begin, before, asked = len(kernel.code), (len(kernel.splats), len(kernel.setup)), kernel.asked
        kernel.asked = False
        try:
            self.kind.ending.emit(kernel, total)
        except ValueError:
            kernel.asked = kernel.asked or asked
            raise
        if not kernel.asked and before == (len(kernel.splats), len(kernel.setup)):
            self._ends[key] = tuple(kernel.code[begin:]), frozenset(kernel.used), frozenset(kernel.touched)
        kernel.asked = kernel.asked or asked

    # Code

    def _windows(self, depth: Span, row: Span, spans: tuple[Span, ...]) -> tuple[Node, ...]:
        kernel, kind = self.kernel, self.kind
        planes, rows = range(depth.stop - depth.first), list(range(row.first, row.stop))
        self.totals, self.own = [None] * len(spans), [False] * len(spans)
        if kind.function == "depthwise":
            for way in range(len(spans)):
                self.totals[way], self.own[way] = self._load(self._weights(self.taps)), True
        nodes: list[Node] = []
        for plane in planes:
            left = list(rows)
            if kind.rolled and len(left) > 1:
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
        steps = {INPUT: 2 * self.kind.apart[0] * ROW_UNITS, WEIGHTS: 2 * self.kind.taps[2]}
        looped = [
            replace(i, address=i.address.along(TAP, steps[i.address.base])) if i.address is not None else i
            for i in self._flush()
        ]
        return repeat(rows, *looped, index=TAP)

    def _row(self, depth: Span, plane: int, row: int, spans: tuple[Span, ...]) -> None:
        """One row of taps of one plane, for all results: columns from left to right, so that each result has its taps in order."""
        kind = self.kind
        _, rows, columns = kind.taps
        down, across = kind.apart
        begin = plane * PLANE_UNITS + row * down * ROW_UNITS
        number = ((depth.first + plane) * rows + row) * columns
        for first in range(0, columns, PIECE):
            uses: dict[int, list[tuple[int, int]]] = {}
            for way, span in enumerate(spans):
                for tap in range(max(first, span.first), min(first + PIECE, span.stop)):
                    uses.setdefault(span.start + tap * across, []).append((way, tap))
            weights: dict[int, Register] = {}
            if kind.function == "depthwise":
                for tap in sorted({tap for users in uses.values() for _, tap in users}):
                    kept = self.resident[number + tap] if self.resident else None
                    weights[tap] = kept or self._load(self._weights(number + tap))
            for column in sorted(uses):
                value = self._load(Address(INPUT, 2 * (begin + column)))
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
            self._multiply_add(weight, value, total)
        elif total is None:
            self.totals[way] = value
        else:
            alone = self.own[way] or self.totals.count(total) == 1
            made = kernel.emit(COMBINE[self.kind.function], total, value, into=total if alone else None)
            self.totals[way], self.own[way] = made, True

    def _shared(self, value: Register) -> bool:
        """Whether a value is also a result's first."""
        return value in self.totals

    def _settle(self) -> None:
        """Every result gets a register of its own."""
        kernel = self.kernel
        for way, total in enumerate(self.totals):
            if total is None:
                neutral = NEUTRAL[self.kind.function]
                self.totals[way] = kernel.emit("vfmv.v.f", constant=neutral)
            elif not self.own[way] and self.totals.count(total) > 1:
                self.totals[way] = kernel.emit("vmv.v.v", total)
            self.own[way] = True

    def _finish(self, way: int, counted: int) -> None:
        kernel, total = self.kernel, self.totals[way]
        assert total is not None
        kernel.touched.clear()
        if self.kind.function == "average":
            kernel.emit("vfmul.vf", total, into=total, constant=1 / (self.kind.divisor or max(1, counted)))
        self._end(total)
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
