"""Flex-SFU's address decoding unit: a pipelined binary tree of comparisons."""

from functools import reduce
from operator import or_

from amaranth.hdl import Array, C, Cat, Elaboratable, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from lanewise.config import FlexSfuConfig
from lanewise.rtl.multiply_add import LANE_BITS
from lanewise.rtl.multiply_add_slot import select_bits


class AddressDecoder(wiring.Component):
    """The segment of each element: the number of breakpoints that are at most ``x``.

    One tree of unsigned comparisons serves every format: floating-point bit patterns are turned into their
    rank in the total order of sign-magnitude integers (-0 below +0, NaNs outside the infinities on the side
    of their sign), integers into theirs in two's complement. A lane of 32 bits is a row of slots as wide as
    the narrowest format; slots that share a wider element chain their comparisons and agree on its segment.
    Level 0 of the tree compares with the breakpoint in the middle, level 1 with one of the two in the middle
    of the halves, and so on. The table serves all lanes; a narrow breakpoint is repeated in its word.

    Latency log2(segments) clocks, throughput 1 beat/clock; all stages stand still while ``o`` is valid and
    not taken. A load waits until the accepted beats of its table have left, and no beat of that table is accepted while
    the load is valid. The tables have no reset: load all before use.
    Golden model: :func:`lanewise.models.address_decoder.address_decoder`.
    Source: Reggiani, Andri, Cavigelli, DAC 2023 (arXiv 2305.04546).

    Members
    -------
    i : ``In(stream.Signature(StructLayout(x[, format][, bank])))``
        ``lanes`` words of 32 bits, lane 0 and element 0 in the low bits; ``format``, with more than one: its
        index; ``bank``, if double-buffered: which table.
    o : ``Out(stream.Signature(StructLayout(x, segment[, format][, bank])))``
        The same again, and for each slot its element's segment, log2(segments) bits.
    load : ``In(stream.Signature(StructLayout(address, breakpoint[, format][, bank])))``
        One breakpoint, in the low bits, at its place in ascending order. The address segments - 1 has no
        breakpoint: ignored.
    busy : ``Out(banks)``
        For each table: an accepted beat of it has not left yet.
    """

    i: stream.Interface
    o: stream.Interface
    load: stream.Interface
    busy: Signal

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(beat_layout(config))),
            "o": Out(stream.Signature(beat_layout(config, segment=data.ArrayLayout(config.levels, slots(config))))),
            "load": In(stream.Signature(load_layout(config, breakpoint=config.word_bits))),
            "busy": Out(config.banks),
        })  # fmt: skip

    @property
    def latency_clk(self) -> int:
        """Clocks from an accepted beat to its result."""
        return self.config.levels

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config, levels = self.config, self.config.levels
        move = Signal()
        valid = Signal(levels)
        accept = Signal()
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            accept.eq(~(self.load.valid & same_bank(config, self.i.p, self.load.p))),
            self.i.ready.eq(move & accept),
            self.o.valid.eq(valid[-1]),
            self.load.ready.eq(~bank_of(config, self.busy, self.load.p)),
        ]
        with m.If(move):
            m.d.sync += valid.eq(Cat(self.i.valid & accept, valid))

        def delayed(value: Value, name: str) -> list[Value]:
            line = [value]
            for stage in range(1, levels + 1):
                line.append(Signal.like(value, name=f"{name}_{stage}", reset_less=True))
                with m.If(move):
                    m.d.sync += line[-1].eq(line[-2])
            return line

        if config.banks == 2:
            bank = delayed(self.i.p.bank, "bank")
            m.d.comb += self.o.p.bank.eq(bank[-1])
            here = Cat(bank[1:])
            m.d.comb += self.busy.eq(Cat((valid & ~here).any(), (valid & here).any()))
        else:
            m.d.comb += self.busy.eq(valid.any())
        if len(config.formats) > 1:
            select = delayed(self.i.p.format, "format")
            m.d.comb += self.o.p.format.eq(select[-1])

        key = repeated(m, config, self.load.p, ranked(m, config, self.load.p.breakpoint, self.load.p))
        tables = []
        for k in range(config.banks):
            table = [
                Signal(config.word_bits, name=f"key_{k}_{a}", reset_less=True)
                for a in range(config.breakpoints)
            ]
            chosen = self.load.p.bank == k if config.banks == 2 else C(1, 1)
            with m.If(self.load.valid & self.load.ready & chosen), m.Switch(self.load.p.address):
                for address, word in enumerate(table):
                    with m.Case(address):
                        m.d.sync += word.eq(key)
            tables.append(table)
        keys: list[Value] = list(tables[0])
        if config.banks == 2:  # a level reads the table of the beat that it compares
            for level in range(levels):
                for address in range(*_places(level, levels)):
                    keys[address] = Signal(config.word_bits, name=f"key_{address}")
                    m.d.comb += keys[address].eq(Mux(bank[level], tables[1][address], tables[0][address]))

        for k in range(config.lanes):
            m.submodules[f"lane_{k}"] = lane = _Lane(config)
            first = k * (LANE_BITS // config.slot_bits)
            m.d.comb += [
                lane.move.eq(move),
                lane.keys.eq(Cat(keys)),
                lane.i.eq(self.i.p.x[k]),
                self.o.p.x[k].eq(lane.x),
                *(self.o.p.segment[first + j].eq(segment) for j, segment in enumerate(lane.segment)),
            ]
            if len(config.formats) > 1:
                m.d.comb += lane.format.eq(Cat(select))
        return m


class _Lane(wiring.Component):
    """The comparisons of one lane, a stage each; they advance where ``move`` is 1. The table holds ranks.

    ``format`` holds what it is at the input of each stage and at the output.
    """

    def __init__(self, config: FlexSfuConfig) -> None:
        self.config = config
        ports = {
            "move": In(1), "keys": In(data.ArrayLayout(config.word_bits, config.breakpoints)),
            "i": In(LANE_BITS), "x": Out(LANE_BITS),
            "segment": Out(data.ArrayLayout(config.levels, LANE_BITS // config.slot_bits)),
        }  # fmt: skip
        if len(config.formats) > 1:
            ports["format"] = In(data.ArrayLayout(select_bits(config.number_formats), config.levels + 1))
        super().__init__(ports)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        self._selected: dict[int, list[Value]] = {}
        config, levels, width = self.config, self.config.levels, self.config.slot_bits
        pieces = config.word_bits // width
        count = LANE_BITS // width
        key = _rank(m, config, self.i, self._is(m, 0))
        segments: list[Value] = [Cat()] * count
        for level in range(levels):
            words = [self.keys[address] for address in range(*_places(level, levels))]
            right = []  # of each slot, whether its element goes right
            equal, at_least = [], []
            for j in range(count):
                piece = slice((j % pieces) * width, (j % pieces + 1) * width)
                own = [word[piece] for word in words]
                breakpoint = Array(own)[segments[j]] if level else own[0]
                mine = key[j * width : (j + 1) * width]
                at_least.append(self._signal(m, mine >= breakpoint, f"at_least_{level}_{j}"))
                if pieces > 1:
                    equal.append(self._signal(m, mine == breakpoint, f"equal_{level}_{j}"))
            for j in range(count):
                ways: dict[int, Value] = {}
                for bits in sorted({form.bits for form in config.number_formats}):
                    group = bits // width
                    start = j // group * group
                    way = at_least[start]
                    for k in range(start + 1, start + group):
                        way = self._signal(
                            m, Mux(equal[k], way, at_least[k]), f"at_least_{level}_{start}_{k}"
                        )
                    ways[bits] = way
                right.append(self._signal(m, self._by_width(m, level, ways), f"right_{level}_{j}"))
            last = level == levels - 1
            next_key = Signal(LANE_BITS, name="element" if last else f"key_{level}", reset_less=True)
            new = [Signal(level + 1, name=f"segment_{level}_{j}", reset_less=True) for j in range(count)]
            with m.If(self.move):
                m.d.sync += next_key.eq(
                    _rank(m, config, key, self._is(m, level), inverse=True) if last else key
                )
                m.d.sync += [s.eq(Cat(r, old)) for s, r, old in zip(new, right, segments, strict=True)]
            key, segments = next_key, list(new)
        m.d.comb += [self.x.eq(key), *(self.segment[j].eq(segment) for j, segment in enumerate(segments))]
        return m

    def _signal(self, m: Module, value: Value, name: str) -> Signal:
        """A name for the value, so that it is written once."""
        signal = Signal(len(value), name=name)
        m.d.comb += signal.eq(value)
        return signal

    def _is(self, m: Module, stage: int) -> list[Value]:
        """For each format, whether the element at ``stage`` has it."""
        if len(self.config.formats) == 1:
            return [C(1, 1)]
        if stage not in self._selected:
            self._selected[stage] = [
                self._signal(m, self.format[stage] == k, f"format_{stage}_{k}")
                for k in range(len(self.config.formats))
            ]
        return self._selected[stage]

    def _by_width(self, m: Module, stage: int, ways: dict[int, Value]) -> Value:
        """The value for the element's width."""
        if len(ways) == 1:
            return next(iter(ways.values()))
        forms = list(zip(self.config.number_formats, self._is(m, stage), strict=True))
        return reduce(or_, (
            way & reduce(or_, (chosen for form, chosen in forms if form.bits == bits)) for bits, way in ways.items()
        ))  # fmt: skip


def slots(config: FlexSfuConfig) -> int:
    """Slots of all lanes."""
    return config.lanes * LANE_BITS // config.slot_bits


def beat_layout(config: FlexSfuConfig, **fields: data.Layout) -> data.StructLayout:
    """A beat's payload: elements, ``fields``, and what selects format and table where there is a choice."""
    x = data.ArrayLayout(LANE_BITS, config.lanes)
    return data.StructLayout({"x": x, **fields, **selection(config)})


def load_layout(config: FlexSfuConfig, **fields: data.Layout | int) -> data.StructLayout:
    """A load's payload."""
    return data.StructLayout({"address": config.levels, **fields, **selection(config)})


def selection(config: FlexSfuConfig) -> dict[str, int]:
    """What selects format and table, where there is a choice."""
    fields = {}
    if len(config.formats) > 1:
        fields["format"] = select_bits(config.number_formats)
    if config.banks == 2:
        fields["bank"] = 1
    return fields


def same_bank(config: FlexSfuConfig, one: data.View, other: data.View) -> Value:
    """Whether two payloads mean the same table."""
    return one.bank == other.bank if config.banks == 2 else C(1, 1)


def bank_of(config: FlexSfuConfig, bits: Value, payload: data.View) -> Value:
    """The payload's table's bit of ``bits``."""
    return Mux(payload.bank, bits[1], bits[0]) if config.banks == 2 else bits[0]


def chosen_formats(config: FlexSfuConfig, payload: data.View) -> list[Value]:
    """For each format, whether it is the payload's."""
    if len(config.formats) == 1:
        return [C(1, 1)]
    return [payload.format == k for k in range(len(config.formats))]


def repeated(m: Module, config: FlexSfuConfig, payload: data.View, word: Value) -> Value:
    """An element in the low bits of ``word``, repeated to fill the word."""
    if config.slot_bits == config.word_bits:
        return word
    result = Signal(config.word_bits, name="word")
    copies = [
        word[: form.bits].replicate(config.word_bits // form.bits) & chosen.replicate(config.word_bits)
        for form, chosen in zip(config.number_formats, chosen_formats(config, payload), strict=True)
    ]
    m.d.comb += result.eq(reduce(or_, copies))
    return result


def ranked(m: Module, config: FlexSfuConfig, word: Value, payload: data.View) -> Value:
    """Rank of the element in the low bits of ``word``."""
    return _rank(m, config, word, chosen_formats(config, payload))


def _places(level: int, levels: int) -> tuple[int, int, int]:
    """Range of the breakpoints' addresses that a level compares with."""
    return (1 << (levels - 1 - level)) - 1, (1 << levels) - 1, 1 << (levels - level)


def _rank(
    m: Module, config: FlexSfuConfig, word: Value, chosen: list[Value], *, inverse: bool = False
) -> Signal:
    """Rank of each element of the word in its format's total order, as an unsigned integer; or the inverse."""
    flips: list[Value] = []
    for place in range(len(word)):
        flip: Value = C(0, 1)
        for form, is_chosen in zip(config.number_formats, chosen, strict=True):
            top = place | (form.bits - 1)
            if top >= len(word):
                continue
            if place == top:
                flip = flip | is_chosen
            elif form.floating:
                flip = flip | (is_chosen & (~word[top] if inverse else word[top]))
        flips.append(flip)
    result = Signal(len(word), name="element_of_rank" if inverse else "rank")
    m.d.comb += result.eq(word ^ Cat(flips))
    return result
