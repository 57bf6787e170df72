"""Streaming block Walsh-Hadamard transform."""

from amaranth.hdl import Array, Cat, Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from lanewise.config import FIXED_POINT_BITS, HADAMARD_BLOCKS, OperandPathConfig
from lanewise.rtl.fixed_point import FixedPoint, block_bits


def _beat(config: OperandPathConfig, bits: int) -> stream.Signature:
    elements = data.ArrayLayout(signed(bits), config.lanes)
    return stream.Signature(data.StructLayout({"x": elements, "block": block_bits(config)}))


def _active(block: Value, stride: int) -> Value:
    """Whether elements ``stride`` apart are of one block."""
    least = next(k for k, size in enumerate(HADAMARD_BLOCKS) if size > stride)
    return block >= least


class WalshHadamard(wiring.Component):
    """Each block of fixed-point elements times Sylvester's matrix of +-1: exact, not normalised.

    A level of additions between elements 1, 2, 4, ... apart; a level whose distance is not within the selected
    block hands its elements on. Elements of one beat are added in :class:`BeatLevels`, two levels a clock.
    Where a block has several beats, a :class:`DelayLevel` keeps the first half, hands on the sums while the second
    half comes and the differences while the next block's first half does: a memory of ``block / lanes - 1`` beats
    in all, where transforming in two buffers in turn would take twice a block. These levels come first, where elements are narrowest.

    Latency ``config.transform_latency_clk(block)``, throughput 1 beat of ``lanes`` elements a clock whatever the
    block. The latency is a block's own: its last beat is what the first result waits for, and to make small
    blocks wait as long would take as much memory. A block's beats follow each other; a block that was begun must
    be ended. While ``o`` is valid and not taken, the parts whose own outputs are valid stand still; a part takes
    a beat of a smaller block behind a larger one when it has handed on the larger one. The memory needs no beat
    behind a block to hand it on.
    Golden model: :func:`lanewise.models.walsh_hadamard.walsh_hadamard` of ``fixed_point``; clocks:
    :mod:`lanewise.sim.walsh_hadamard`.
    Source: Xi, Li, Chen, Zhu, arXiv 2306.11987 (the transform); He and Torkelson, IPPS 1996 (the delay feedback).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(x, block, exponent[, format])))``
        As :class:`~lanewise.rtl.fixed_point.FixedPoint`'s. ``block``: its index in the config's ``blocks``.
    o : ``Out(stream.Signature(ArrayLayout(signed(transformed_bits), lanes)))``
        Transformed elements.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    busy: Signal

    def __init__(self, config: OperandPathConfig) -> None:
        self.config = config
        self._fixed_point = FixedPoint(config)
        bits = FIXED_POINT_BITS
        self._levels: list[DelayLevel | BeatLevels] = []
        for level in range(config.levels - 1, config.beat_levels - 1, -1):
            self._levels.append(DelayLevel(config, stride=1 << level, bits=bits))
            bits += 1
        for level in range(0, config.beat_levels, 2):
            count = min(2, config.beat_levels - level)
            self._levels.append(BeatLevels(config, stride=1 << level, count=count, bits=bits))
            bits += count
        assert bits == config.transformed_bits
        super().__init__({
            "i": In(self._fixed_point.i.signature.flip()),
            "o": Out(stream.Signature(data.ArrayLayout(signed(bits), config.lanes))),
            "busy": Out(1),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.fixed_point = head = self._fixed_point
        assert head.latency_clk + len(self._levels) == self.config.transform_latency_clk(1)
        m.d.comb += [
            head.i.payload.eq(self.i.payload),
            head.i.valid.eq(self.i.valid),
            self.i.ready.eq(head.i.ready),
        ]
        before: FixedPoint | DelayLevel | BeatLevels = head
        busy: Value = head.busy
        for unit in self._levels:
            kind = "delay_level" if isinstance(unit, DelayLevel) else "beat_levels"
            m.submodules[f"{kind}_{unit.stride}"] = unit
            connect(m, before.o, unit.i)
            busy = busy | unit.busy
            before = unit
        m.d.comb += [
            self.o.payload.eq(before.o.p.x),
            self.o.valid.eq(before.o.valid),
            before.o.ready.eq(self.o.ready),
            self.busy.eq(busy),
        ]
        return m


class DelayLevel(wiring.Component):
    """Sums and differences of elements ``stride`` apart, where that is ``stride / lanes`` beats.

    Latency ``stride / lanes + 1`` clocks, 1 where the block is smaller; throughput 1 beat/clock; stands still
    while ``o`` is valid and not taken.

    Members
    -------
    i, o : ``stream.Signature(StructLayout(x, block))``
        Integers of ``bits``, and of a bit more.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    def __init__(self, config: OperandPathConfig, *, stride: int, bits: int) -> None:
        self.config, self.stride, self.bits = config, stride, bits
        self.depth = stride // config.lanes
        super().__init__({"i": In(_beat(config, bits)), "o": Out(_beat(config, bits + 1)), "busy": Out(1)})

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        depth = self.depth
        valid, move = Signal(), Signal()
        index = Signal(range(2 * depth))  # of the next beat in its block
        left = Signal(range(depth + 1))  # differences yet to be handed on
        old_block = Signal.like(self.i.p.block, reset_less=True)  # theirs
        block = Signal.like(self.i.p.block, reset_less=True)
        active, first, second, drain, taken = (
            Signal(name=name) for name in ("active", "first", "second", "drain", "taken")
        )
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            active.eq(_active(self.i.p.block, self.stride)),
            first.eq(active & ~index[-1]),
            second.eq(active & index[-1]),
            drain.eq(left != 0),
            self.i.ready.eq(move & (first | ~drain)),
            taken.eq(self.i.valid & self.i.ready),
            self.o.valid.eq(valid),
            self.o.p.block.eq(block),
            self.busy.eq(valid | drain | (index != 0)),
        ]
        with m.If(move):
            m.d.sync += [
                valid.eq(drain | (self.i.valid & ~first)),
                block.eq(Mux(drain, old_block, self.i.p.block)),
            ]
            with m.If(drain):
                m.d.sync += left.eq(left - 1)
        with m.If(taken & active):
            m.d.sync += index.eq(index + 1)
            with m.If(index.all()):
                m.d.sync += [left.eq(depth), old_block.eq(self.i.p.block)]
        slot = index[:-1] if depth > 1 else Value.cast(0)
        oldest = (depth - left)[: len(index) - 1] if depth > 1 else Value.cast(0)
        for k in range(self.config.lanes):
            m.submodules[f"lane_{k}"] = lane = _DelayLane(self.bits, depth)
            m.d.comb += [
                lane.move.eq(move),
                lane.write.eq(Cat(taken & active & (slot == place) for place in range(depth))),
                lane.read.eq(Mux(drain, oldest, slot)),
                lane.second.eq(second),
                lane.drain.eq(drain),
                lane.x.eq(self.i.p.x[k]),
                self.o.p.x[k].eq(lane.y),
            ]
        return m


class _DelayLane(wiring.Component):
    """One element a beat: the memory, the sum and the difference."""

    def __init__(self, bits: int, depth: int) -> None:
        self.bits, self.depth = bits, depth
        super().__init__({
            "move": In(1), "write": In(depth), "read": In(range(max(depth, 2))), "second": In(1), "drain": In(1),
            "x": In(signed(bits)), "y": Out(signed(bits + 1)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        shape = signed(self.bits + 1)
        memory = [Signal(shape, name=f"slot_{k}", reset_less=True) for k in range(self.depth)]
        kept, y = Signal(shape), Signal(shape, reset_less=True)
        new, total = Signal(shape), Signal(shape)
        m.d.comb += [
            kept.eq(Array(memory)[self.read] if self.depth > 1 else memory[0]),
            # a kept element of the first half is no wider than x: neither sum nor difference wraps
            total.eq(kept[:-1].as_signed() + self.x),
            new.eq(Mux(self.second, kept[:-1].as_signed() - self.x, self.x)),
            self.y.eq(y),
        ]
        with m.If(self.move):
            m.d.sync += y.eq(Mux(self.drain, kept, Mux(self.second, total, self.x)))
        for k, slot in enumerate(memory):
            with m.If(self.write[k]):
                m.d.sync += slot.eq(new)
        return m


class BeatLevels(wiring.Component):
    """Sums and differences of elements ``stride`` apart in a beat and, for ``count`` 2, of those twice as far apart.

    Latency 1 clock, throughput 1 beat/clock; stands still while ``o`` is valid and not taken.

    Members
    -------
    i, o : ``stream.Signature(StructLayout(x, block))``
        Integers of ``bits``, and of ``count`` bits more.
    busy : ``Out(1)``
        An accepted beat has not left yet.
    """

    def __init__(self, config: OperandPathConfig, *, stride: int, count: int, bits: int) -> None:
        self.config, self.stride, self.count, self.bits = config, stride, count, bits
        super().__init__({
            "i": In(_beat(config, bits)), "o": Out(_beat(config, bits + count)), "busy": Out(1)
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        valid, move = Signal(), Signal()
        block = Signal.like(self.i.p.block, reset_less=True)
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(move),
            self.o.valid.eq(valid),
            self.o.p.block.eq(block),
            self.busy.eq(valid),
        ]
        with m.If(move):
            m.d.sync += [valid.eq(self.i.valid), block.eq(self.i.p.block)]
        active = Cat(_active(self.i.p.block, self.stride << level) for level in range(self.count))
        reach = self.stride << (self.count - 1)
        firsts = [k for k in range(self.config.lanes) if not k & ((reach << 1) - self.stride)]
        for group, k in enumerate(firsts):
            m.submodules[f"group_{group}"] = unit = _Group(self.bits, self.count)
            m.d.comb += [unit.move.eq(move), unit.active.eq(active)]
            for j in range(1 << self.count):
                m.d.comb += [
                    unit.x[j].eq(self.i.p.x[k + j * self.stride]),
                    self.o.p.x[k + j * self.stride].eq(unit.y[j]),
                ]
        return m


class _Group(wiring.Component):
    """Two elements, or four, and their sums and differences; a level that is not active hands on."""

    def __init__(self, bits: int, count: int) -> None:
        self.bits, self.count = bits, count
        super().__init__({
            "move": In(1), "active": In(count), "x": In(data.ArrayLayout(signed(bits), 1 << count)),
            "y": Out(data.ArrayLayout(signed(bits + count), 1 << count)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        values: list[Value] = [self.x[j] for j in range(1 << self.count)]
        for level in range(self.count):
            after: list[Value] = []
            for j in range(len(values)):
                a, b = values[j & ~(1 << level)], values[j | 1 << level]
                result = Signal(signed(self.bits + level + 1), name=f"level_{level}_{j}")
                added = a - b if j >> level & 1 else a + b
                m.d.comb += result.eq(Mux(self.active[level], added, values[j]))
                after.append(result)
            values = after
        for j, value in enumerate(values):
            y = Signal(signed(self.bits + self.count), name=f"y_{j}", reset_less=True)
            with m.If(self.move):
                m.d.sync += y.eq(value)
            m.d.comb += self.y[j].eq(y)
        return m
