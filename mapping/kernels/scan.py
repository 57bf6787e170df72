"""Inclusive prefix scans: sums, maxima and linear recurrences, along a row or over time.

Where time is outermost, a step is one instruction on as many columns as a register group holds. Where it is innermost, registers hold
segments of ``segment`` elements, one of each of several rows side by side; log2(segment) slides and masked combinations scan them all, and
a carry chains a segment to the next. The transfers bring the rows' segments together, for a run of DMA is no dearer
than what it touches: short segments need few slides, and the longest rows to be many. Of a single row the carry
is combined with the scanned segment, so that what follows another is one copy and one combination, not the whole scan.
Which of all these a work takes is what costs the fewest clocks. The golden model is :mod:`lanewise.models.scan`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import STRIP, Register, VectorKernel
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.schedule import schedule
from lanewise.mapping.kernels.strips import load, store
from lanewise.models.scan import OPERATORS, decay_powers, identity
from lanewise.sim.program import Address, Node, Program, Rotate, repeat

CHUNK_BYTES = 8192
"""Bytes, or one segment of each row if that is more, that go through a buffer at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """What is in the registers at a time."""

    lines: int
    """Rows, or columns where time is outermost, side by side in a register group."""
    segment: int
    """Elements of each, one after the other in time."""
    ways: int
    """Register groups, interleaved."""
    broadcast: bool = False
    """Whether the carry is combined with every element of a scanned segment."""
    serial: bool = False
    """Whether the groups hold segments of the same line, one after the other (with ``broadcast`` alone)."""

    @property
    def period(self) -> int:
        """Elements of a line that are in the registers at a time."""
        return self.segment * (self.ways if self.serial else 1)


@dataclass(frozen=True, kw_only=True)
class ScanWork:
    """Inclusive scan of ``rows`` sequences of ``length`` elements, from and to memory.

    Tensors: ``in`` (of the recurrence ``b``) and ``out``, shape ``(rows, length)``, or ``(length, rows)`` where time is outermost;
    ``factor``, of the same shape, of the operator ``linear``; ``powers`` of ``decay`` where the layout has ``broadcast``:
    ``segment`` elements, of :func:`lanewise.models.scan.decay_powers`.
    """

    operator: str
    rows: int
    length: int
    bits: int = 16
    """16 (FP16) or 32 (FP32)."""
    decay: float = 1.0
    """The constant factor of the operator ``decay``."""
    time_outermost: bool = False

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise ValueError(f"operator must be one of {', '.join(OPERATORS)}, not {self.operator!r}")
        if self.bits not in (16, 32):
            raise ValueError(f"bits must be 16 or 32, not {self.bits}")

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def layout(self, config: MachineConfig) -> Layout:
        """The fastest layout."""
        return _fastest(self, config)

    def program(self, config: MachineConfig) -> Program:
        """Groups of lines; of each, chunks of time through double buffers.

        Raises:
            ValueError: No layout fits the registers.
        """
        if not self.rows or not self.length:
            return Program(body=())
        return _Writer(self, config, self.layout(config)).program()


@lru_cache(maxsize=256)
def _fastest(work: ScanWork, config: MachineConfig) -> Layout:
    best: tuple[int, Layout] | None = None
    for layout in _layouts(work, config):
        try:
            clocks = price(_Writer(work, config, layout).program(), config).cycles
        except ValueError:  # more registers or banks than there are
            continue
        if best is None or clocks < best[0]:
            best = clocks, layout
    if best is None:
        raise ValueError(f"vector.vlen_bits must hold a segment, not {config.vector.vlen_bits}")
    return best[1]


def _layouts(work: ScanWork, config: MachineConfig) -> Iterator[Layout]:
    """All that may be the fastest."""
    vlen = config.vector.vlen_bits // work.bits
    for group in (1, 2, 4, 8):
        for ways in (1, 2, 4):
            if work.time_outermost:
                lines = min(group * vlen, work.rows)
                if (ways - 1) * lines < work.rows:
                    yield Layout(lines=lines, segment=1, ways=ways)
                continue
            segment = 1 << (min(group * vlen, work.length) - 1).bit_length()
            if ways <= work.rows and group <= 2:
                yield Layout(lines=1, segment=min(segment, group * vlen), ways=ways, broadcast=True)
            if group <= 2:
                yield Layout(
                    lines=1, segment=min(segment, group * vlen), ways=2 * ways, broadcast=True, serial=True
                )
            for segment in (4, 8, 16, 32):
                lines = max(1, min(group * vlen, segment << (work.rows - 1).bit_length()) // segment)
                if lines > 1 and (ways - 1) * lines < work.rows and segment < 2 * work.length:
                    yield Layout(lines=lines, segment=segment, ways=ways)


class _Writer:
    """Writes the Program of a work in a layout."""

    def __init__(self, work: ScanWork, config: MachineConfig, layout: Layout) -> None:
        self.work, self.layout, self.bits = work, layout, work.bits
        self.size = work.bits // 8
        self.kernel = VectorKernel(config=config, vl=layout.lines * layout.segment, ways=layout.ways)
        self.lines = layout.lines * (1 if layout.serial else layout.ways)
        self.strips = max(1, CHUNK_BYTES // (self.lines * layout.period * self.size))
        self.strips = min(self.strips, ceil(work.length / layout.period))
        self.names = ("in", "factor") if work.operator == "linear" else ("in",)
        self.along = not work.time_outermost
        self.apart = layout.lines == 1 and self.along
        """Whether a chunk of a line lies in one piece, and not segment by segment beside the others."""
        self.span = self.strips * layout.period if self.apart else layout.segment
        """Elements of a line that lie one after the other."""

    def program(self) -> Program:
        """Setup; groups of lines; chunks of time."""
        work, kernel, layout = self.work, self.kernel, self.layout
        self.masks: dict[int, Register] = {}
        if self.along:
            self._masks()
        self.carries = [kernel.allocate(self.bits) for _ in range(self.lines // layout.lines)]
        self.carries *= layout.ways // len(self.carries)
        powers = work.operator == "decay" and layout.broadcast
        sizes = {}
        before: list[Node] = []
        self.powers: Register | None = None
        if powers:
            before.append(load("@powers", 1, kernel.vl * self.size, external=Address("powers")))
            sizes["@powers"] = kernel.vl * self.size
            self.powers = kernel.load(Address("@powers"), sew_bits=self.bits)
        before += kernel.code
        kernel.code = []
        for carry in dict.fromkeys(self.carries):
            kernel.emit("vfmv.v.f", into=carry, sew_bits=self.bits, constant=identity(work.operator))
        start, kernel.code = kernel.code, []
        self._strip()
        code = schedule(kernel.code, kernel.config)
        body: list[Node] = [*before]
        whole = work.rows // self.lines
        for count, lines, first in ((whole, self.lines, 0), (1, work.rows % self.lines, whole * self.lines)):
            if count and lines:
                body += repeat(count, *start, *self._chunks(lines, first, code), index="group")
        chunk = self.strips * self.lines * layout.period * self.size
        sizes |= {f"@{name}.{copy}": chunk for name in (*self.names, "out") for copy in "01"}
        return Program(body=tuple(body), buffers_bytes=sizes)

    def _masks(self) -> None:
        """Of each distance the elements that have one so far before them in their segment; of 0 the first ones."""
        kernel, segment, bits = self.kernel, self.layout.segment, self.bits
        place = kernel.emit("vid.v", sew_bits=bits)
        kernel.emit("vand.vx", place, into=place, sew_bits=bits, constant=segment - 1)
        distance = 1
        while distance < segment:
            self.masks[distance] = kernel.emit(
                "vmsgtu.vx", place, sew_bits=bits, result_bits=1, constant=distance - 1
            )
            distance *= 2
        if not self.layout.broadcast:
            self.masks[0] = kernel.emit("vmseq.vx", place, sew_bits=bits, result_bits=1, constant=0)
        kernel.release(place)

    def _chunks(self, lines: int, first: int, code: Sequence[Node]) -> list[Node]:
        """All of time for so many lines."""
        steps = self.strips * self.layout.period
        whole = self.work.length // steps
        made: list[Node] = []
        for count, elements, before in ((whole, steps, 0), (1, self.work.length % steps, whole * steps)):
            if not count or not elements:
                continue
            strips = ceil(elements / self.layout.period)
            inner: list[Node] = []
            for name in self.names:
                inner += self._transfers(name, lines, first, elements, before)
            inner += repeat(strips, *code, index=STRIP)
            inner += self._transfers("out", lines, first, elements, before)
            inner += [Rotate(names=(f"@{name}.0", f"@{name}.1")) for name in (*self.names, "out")]
            made += repeat(count, *inner, index="chunk")
        return made

    def _transfers(self, name: str, lines: int, first: int, elements: int, before: int) -> Iterator[Node]:
        """A chunk of ``elements`` of each of ``lines`` lines, between a tensor and a buffer."""
        move, work, size = store if name == "out" else load, self.work, self.size
        steps, buffer = self.strips * self.layout.period, f"@{name}.0"
        if not self.along:
            place = Address(name, (before * work.rows + first) * size).along(
                "chunk", steps * work.rows * size
            )
            place = place.along("group", self.lines * size)
            yield move(
                buffer, elements, lines * size, external=place, distance_bytes=work.rows * size, stride_bytes=self.lines * size
            )  # fmt: skip
            return
        place = Address(name, (first * work.length + before) * size).along("chunk", steps * size)
        place = place.along("group", self.lines * work.length * size)
        distance, stride = work.length * size, self.span * size
        whole, rest = (0, elements) if self.apart else divmod(elements, self.layout.segment)
        strip = self.lines * self.layout.segment * size
        yield from repeat(
            whole,
            move(
                Address(buffer).along("piece", strip), lines, stride, external=place.along("piece", stride),
                distance_bytes=distance, stride_bytes=stride,
            ),
            index="piece",
        )  # fmt: skip
        if rest:
            yield move(
                Address(buffer, whole * strip), lines, rest * size, external=place.moved(whole * stride),
                distance_bytes=distance, stride_bytes=stride,
            )  # fmt: skip

    def _place(self, name: str, way: int) -> Address:
        segment = self.layout.segment * self.size
        if self.layout.serial:
            return Address(f"@{name}.0", way * segment).along(STRIP, self.layout.period * self.size)
        step = segment if self.apart else self.lines * segment
        return Address(f"@{name}.0", way * self.layout.lines * self.span * self.size).along(STRIP, step)

    def _strip(self) -> None:
        """A segment of every line; the ways step by step, for they share the mask."""
        kernel, bits, ways = self.kernel, self.bits, range(self.layout.ways)
        values = [kernel.load(self._place("in", way), sew_bits=bits) for way in ways]
        linear = self.work.operator == "linear"
        factors = [kernel.load(self._place("factor", way), sew_bits=bits) for way in ways] if linear else []
        if not self.along:
            for way in ways:
                carry = self.carries[way]
                self._advance(carry, values[way], factors[way] if linear else None)
                kernel.store(self._place("out", way), carry, sew_bits=bits)
            return
        if not self.layout.broadcast:
            self._mask(0)
            for way in ways:
                self._combine(
                    values[way], self.carries[way], factors[way] if linear else None, 1, masked=True
                )
        slid = [kernel.allocate(bits) for _ in ways]
        slid_factors = [kernel.allocate(bits) for _ in ways] if linear else []
        last = self.layout.segment // 2
        for distance in (d for d in self.masks if d):
            self._mask(distance)
            for way in ways:
                kernel.emit("vslideup.vx", values[way], into=slid[way], sew_bits=bits, constant=distance)
                more = linear and (distance < last or self.layout.broadcast)
                if more:
                    kernel.emit(
                        "vslideup.vx", factors[way], into=slid_factors[way], sew_bits=bits, constant=distance
                    )
                self._combine(values[way], slid[way], factors[way] if linear else None, distance, masked=True)
                if more:
                    kernel.emit(
                        "vfmul.vv",
                        factors[way],
                        slid_factors[way],
                        into=factors[way],
                        sew_bits=bits,
                        masked=True,
                    )
        for way in ways:
            value, carry = values[way], self.carries[way]
            place = self.layout.segment - 1
            if self.layout.broadcast:
                weight = factors[way] if linear else self.powers
                self._combine(value, carry, weight, 1, masked=False)
                kernel.emit("vrgather.vx", value, into=carry, sew_bits=bits, constant=place)
            else:  # the last element of each segment where the next one's first is
                kernel.emit("vslidedown.vx", value, into=carry, sew_bits=bits, constant=place)
            kernel.store(self._place("out", way), value, sew_bits=bits)

    def _mask(self, distance: int) -> None:
        mask = self.masks[distance]
        self.kernel.emit("vmand.mm", mask, mask, into=Register(first=0, length=1), sew_bits=8)

    def _advance(self, state: Register, value: Register, factor: Register | None) -> None:
        """The state of the next time."""
        kernel, bits = self.kernel, self.bits
        if self.work.operator == "decay":
            kernel.emit("vfmadd.vf", value, into=state, sew_bits=bits, constant=self.work.decay)
        elif factor is not None:
            kernel.emit("vfmadd.vv", factor, value, into=state, sew_bits=bits)
        else:
            opcode = "vfmax.vv" if self.work.operator == "maximum" else "vfadd.vv"
            kernel.emit(opcode, state, value, into=state, sew_bits=bits)

    def _combine(
        self, value: Register, earlier: Register, factor: Register | None, distance: int, *, masked: bool
    ) -> None:
        """What comes ``distance`` earlier into ``value``."""
        kernel, bits = self.kernel, self.bits
        if factor is not None:
            kernel.emit("vfmacc.vv", factor, earlier, into=value, sew_bits=bits, masked=masked)
        elif self.work.operator == "decay":
            power = self._power(distance)
            kernel.emit("vfmacc.vf", earlier, into=value, sew_bits=bits, constant=power, masked=masked)
        else:
            opcode = "vfmax.vv" if self.work.operator == "maximum" else "vfadd.vv"
            kernel.emit(opcode, earlier, value, into=value, sew_bits=bits, masked=masked)

    def _power(self, distance: int) -> float:
        kind = np.float16 if self.bits == 16 else np.float32
        return float(decay_powers(self.work.decay, distance, kind)[-1])
