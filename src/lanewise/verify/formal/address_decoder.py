"""The address decoder returns the number of breakpoints that are at most the element, for any sorted table."""

from functools import reduce
from itertools import pairwise
from operator import and_

from amaranth.hdl import Array, C, Cat, Mux, Signal, Value

from lanewise.config import FlexSfuConfig
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.multiply_add import LANE_BITS
from lanewise.verify.formal.counting import count
from lanewise.verify.formal.harness import Harness, Step
from lanewise.verify.formal.order import at_most, place


def segments_harness(config: FlexSfuConfig) -> Harness:
    """Beats, loads and resets in any order and at any time.

    Claim, for each element of each format, of a beat at the output: if its table has been loaded, in its format and
    ascending, its segment is the number of breakpoints that are at most the element.

    * Invariants. The harness notes what is loaded, and the table holds the places of just that. A beat with the prefix p
      behind level L lies between two entries of the table: entry[lo - 1] <= element < entry[hi], where lo to hi are
      the segments that begin with p. This needs no order of the table; it holds through loads because these wait.
    * Bounds. At the output, in terms of elements: breakpoint[s - 1] <= x < breakpoint[s].
    * Order. Of ascending breakpoints: if breakpoint i + 1 is at most x, so is breakpoint i.
    * Claim. Hence the breakpoints at most x are the first s; their number is s.
    """
    component = AddressDecoder(config)
    harness = Harness(component)
    tables = _Tables(harness, component)
    valid = harness.signal("valid")
    levels = config.levels
    for stage in range(1, levels + 1):
        last = stage == levels
        chosen = _formats(harness, config, stage)
        entries = tables.entries(_bank(harness, config, stage))
        word = harness.signal("lane_0", "element" if last else f"key_{stage - 1}")
        for form, is_chosen in zip(config.number_formats, chosen, strict=True):
            for e in range(LANE_BITS // form.bits):
                bits = slice(e * form.bits, (e + 1) * form.bits)
                key = place(word[bits], form) if last else word[bits]
                first = e * form.bits // config.slot_bits
                prefixes = [
                    harness.signal("lane_0", f"segment_{stage - 1}_{first + k}")
                    for k in range(form.bits // config.slot_bits)
                ]
                start = e * form.bits % config.word_bits
                pieces = [entry[start : start + form.bits] for entry in entries]
                below, above = _neighbours(pieces, prefixes[0], levels)
                agree = reduce(and_, (prefix == prefixes[0] for prefix in prefixes[1:]), C(1, 1))
                between = (prefixes[0] == 0) | (below <= key)
                between &= (prefixes[0] == (1 << stage) - 1) | (key < above)
                harness.hold(
                    Step.INVARIANT, f"stage_{stage}_{form.name}_{e}",
                    ~(valid[stage - 1] & is_chosen) | (agree & between),
                )  # fmt: skip
    _output(harness, component, tables)
    return harness


class _Tables:
    """What has been loaded, as the harness sees it from the ports, and that the component holds it."""

    def __init__(self, harness: Harness, component: AddressDecoder) -> None:
        m, config, load = harness.m, component.config, component.load
        self.config = config
        self.words = [
            [harness.signal(f"key_{k}_{a}") for a in range(config.breakpoints)] for k in range(config.banks)
        ]
        self.raw: list[list[Signal]] = []
        """Of each table, the breakpoints as they were offered."""
        self.format: list[list[Signal]] = []
        """Of each table, the format of each."""
        self.loaded: list[list[Signal]] = []
        for k in range(config.banks):
            raw = [
                Signal(config.word_bits, name=f"raw_{k}_{a}", reset_less=True)
                for a in range(config.breakpoints)
            ]
            form = [Signal(4, name=f"raw_format_{k}_{a}", reset_less=True) for a in range(config.breakpoints)]
            loaded = [harness.known(f"loaded_{k}_{a}") for a in range(config.breakpoints)]
            bank = load.p.bank == k if config.banks == 2 else C(1, 1)
            format_ = load.p.format if len(config.formats) > 1 else C(0, 4)
            for a in range(config.breakpoints):
                with m.If(load.valid & load.ready & bank & (load.p.address == a)):
                    m.d.sync += [raw[a].eq(load.p.breakpoint), form[a].eq(format_), loaded[a].eq(1)]
                for index, number in enumerate(config.number_formats):
                    copies = [
                        self.words[k][a][start : start + number.bits] == place(raw[a][: number.bits], number)
                        for start in range(0, config.word_bits, number.bits)
                    ]
                    harness.hold(
                        Step.INVARIANT, f"table_{k}_{a}_{number.name}",
                        ~(loaded[a] & (form[a] == index)) | reduce(and_, copies),
                    )  # fmt: skip
            self.raw.append(raw)
            self.format.append(form)
            self.loaded.append(loaded)

    def entries(self, bank: Value) -> list[Value]:
        """The words that the component holds for ``bank``."""
        return self._of(self.words, bank)

    def breakpoints(self, bank: Value) -> list[Value]:
        """The breakpoints that were loaded for ``bank``."""
        return self._of(self.raw, bank)

    def ready(self, bank: Value, index: int) -> Value:
        """Whether all of them were loaded, in the format ``index``."""
        pairs = zip(self._of(self.loaded, bank), self._of(self.format, bank), strict=True)
        return reduce(and_, (loaded & (form == index) for loaded, form in pairs))

    def _of(self, tables: list[list[Signal]], bank: Value) -> list[Value]:
        if len(tables) == 1:
            return list(tables[0])
        return [Mux(bank, two, one) for one, two in zip(*tables, strict=True)]


def _output(harness: Harness, component: AddressDecoder, tables: _Tables) -> None:
    m, config, o = harness.m, component.config, component.o
    bank = o.p.bank if config.banks == 2 else C(0, 1)
    breakpoints = []
    for a, word in enumerate(tables.breakpoints(bank)):
        breakpoints.append(Signal(config.word_bits, name=f"breakpoint_{a}"))
        m.d.comb += breakpoints[-1].eq(word)
    for index, form in enumerate(config.number_formats):
        asked = Signal(name=f"asked_{form.name}")
        chosen = o.p.format == index if len(config.formats) > 1 else C(1, 1)
        m.d.comb += asked.eq(o.valid & chosen & tables.ready(bank, index))
        own = [word[: form.bits] for word in breakpoints]
        ascending = Signal(len(own) - 1, name=f"ascending_{form.name}")
        m.d.comb += ascending.eq(Cat(at_most(one, two, form) for one, two in pairwise(own)))
        for e in range(LANE_BITS // form.bits):
            x = o.p.x[0][e * form.bits : (e + 1) * form.bits]
            below = Signal(len(own), name=f"below_{form.name}_{e}")
            m.d.comb += below.eq(Cat(at_most(word, x, form) for word in own))
            first = e * form.bits // config.slot_bits
            for slot in range(first, first + form.bits // config.slot_bits):
                s = o.p.segment[slot]
                name = f"{form.name}_{e}_slot_{slot}"
                left, right = _neighbours(list(below), s, config.levels)
                bounds = ((s == 0) | left) & ((s == config.segments - 1) | ~right)
                harness.hold(Step.BOUND, name, ~asked | bounds)
                harness.hold(Step.CLAIM, name, ~(asked & ascending.all()) | (count(below) == s))
            harness.hold(Step.ORDER, f"{form.name}_{e}", (~ascending | ~below[1:] | below[:-1]).all())


def _neighbours(entries: list[Value], prefix: Value, levels: int) -> tuple[Value, Value]:
    """The entries just below and just above the segments that begin with ``prefix``; anything where there is none."""
    span = 1 << (levels - len(prefix))
    below = Array([entries[0]] + [entries[p * span - 1] for p in range(1, 1 << len(prefix))])
    above = Array([entries[(p + 1) * span - 1] for p in range((1 << len(prefix)) - 1)] + [entries[-1]])
    return below[prefix], above[prefix]


def _formats(harness: Harness, config: FlexSfuConfig, stage: int) -> list[Value]:
    """For each format, whether it is that of the beat in a stage."""
    if len(config.formats) == 1:
        return [C(1, 1)]
    select = harness.signal(f"format_{stage}")
    return [select == k for k in range(len(config.formats))]


def _bank(harness: Harness, config: FlexSfuConfig, stage: int) -> Value:
    return harness.signal(f"bank_{stage}") if config.banks == 2 else C(0, 1)
