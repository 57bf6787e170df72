"""The streams of Flex-SFU's parts and of the whole, each under a :class:`~lanewise.verify.formal.watch.Watch`."""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_

from amaranth.hdl import Array, C, Cat, Mux, Signal, Value
from amaranth.lib import data

from lanewise.config import FlexSfuConfig
from lanewise.formats import NumberFormat
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.multiply_add import LANE_BITS, MultiplyAdd
from lanewise.verify.formal.harness import Harness, Step
from lanewise.verify.formal.order import place
from lanewise.verify.formal.watch import Stage, Watch

TAG_BITS = 16
"""Of what travels beside a multiply-add's operands in its proof."""


def decoder_stream(config: FlexSfuConfig) -> Harness:
    """The address decoder: elements, format and table of each beat arrive as they were; loads wait, beats wait for loads."""
    component = AddressDecoder(config)
    harness = Harness(component)
    i, o, load = component.i, component.o, component.load
    watch = Watch(harness, i, o, Value.cast(i.payload), component.latency_clk)
    watched = data.View(i.payload.shape(), watch.payload)
    kept = [Value.cast(o.p[name]) for name in watched.shape().members]
    stages = _decoder_stages(harness, config, (), watched)
    stages[-1] = Stage(valid=stages[-1].valid, contents=Cat(kept), expected=watch.payload)
    watch.check(stages, Cat(kept), watch.payload, Value.cast(o.payload))

    same = load.p.bank == watched.bank if config.banks == 2 else C(1, 1)
    harness.hold(Step.CLAIM, "load_waits", ~(watch.watching & load.valid & load.ready & same))
    both = load.p.bank == i.p.bank if config.banks == 2 else C(1, 1)
    harness.hold(Step.CLAIM, "beat_waits", ~(load.valid & both & i.valid & i.ready))
    harness.hold(Step.CLAIM, "load_waits_for_beats_alone", (watch.in_flight != 0) | load.ready)
    harness.hold(Step.CLAIM, "beat_waits_for_loads_alone", ~o.ready | (load.valid & both) | i.ready)
    harness.hold(Step.CLAIM, "busy", component.busy.any() == (watch.in_flight != 0))
    return harness


def table_stream(config: FlexSfuConfig) -> Harness:
    """The coefficient table: each beat arrives with the coefficients that its segments had when it was accepted."""
    component = CoefficientTable(config)
    harness = Harness(component)
    i, o, load = component.i, component.o, component.load
    passed = [Value.cast(i.p[name]) for name in ("x", "format") if name in i.payload.shape().members]
    arriving = [Value.cast(o.p[name]) for name in ("x", "format") if name in o.payload.shape().members]
    coefficients = [Value.cast(o.p.coefficients[power][0]) for power in range(config.degree + 1)]
    if config.integers:
        coefficients.append(Value.cast(o.p.shifts))
    sound, wanted = _coefficients_of(harness, component)
    watch = Watch(harness, i, o, Cat(*passed, *wanted, sound), component.latency_clk)
    kept = len(Cat(*passed))
    remembered, remembered_sound = watch.payload[:-1], watch.payload[-1]
    right = (Cat(*arriving) == remembered[:kept]) & (
        ~remembered_sound | (Cat(*coefficients) == remembered[kept:])
    )
    stage = Stage(valid=o.valid, contents=right, expected=C(1, 1))
    watch.check([stage], right, C(1, 1), Value.cast(o.payload))

    both = load.p.bank == i.p.bank if config.banks == 2 else C(1, 1)
    harness.hold(Step.CLAIM, "load_at_once", load.ready)
    harness.hold(Step.CLAIM, "beat_waits", ~(load.valid & both & i.valid & i.ready))
    harness.hold(Step.CLAIM, "beat_waits_for_loads_alone", ~o.ready | (load.valid & both) | i.ready)
    return harness


def _coefficients_of(harness: Harness, component: CoefficientTable) -> tuple[Value, list[Value]]:
    """What the beat at the input is to get, from the loads alone: whether that is defined, the words, and the shifts.

    It is defined if the segments' coefficients were loaded in the beat's format and slots that share an element agree.
    """
    m, config, i, load = harness.m, component.config, component.i, component.load
    bank = i.p.bank if config.banks == 2 else C(0, 1)
    offered = Value.cast(load.p.coefficients)
    raw, form, loaded = [], [], []
    for k in range(config.banks):
        raw.append(
            [Signal(len(offered), name=f"raw_{k}_{a}", reset_less=True) for a in range(config.segments)]
        )
        form.append([Signal(4, name=f"raw_format_{k}_{a}", reset_less=True) for a in range(config.segments)])
        loaded.append([harness.known(f"loaded_{k}_{a}") for a in range(config.segments)])
        chosen = load.p.bank == k if config.banks == 2 else C(1, 1)
        for a in range(config.segments):
            with m.If(load.valid & chosen & (load.p.address == a)):
                m.d.sync += [raw[k][a].eq(offered), loaded[k][a].eq(1)]
                m.d.sync += form[k][a].eq(load.p.format if len(config.formats) > 1 else 0)
            entry = harness.signal(f"segment_{k}_{a}")
            for index, number in enumerate(config.number_formats):
                copies = [
                    entry[start : start + number.bits] == _piece(raw[k][a], config, power, number)
                    for power in range(config.degree + 1)
                    for start in range(power * config.word_bits, (power + 1) * config.word_bits, number.bits)
                ]
                harness.hold(
                    Step.INVARIANT, f"table_{k}_{a}_{number.name}",
                    ~(loaded[k][a] & (form[k][a] == index)) | reduce(and_, copies),
                )  # fmt: skip
    words: list[Value] = [C(0, LANE_BITS)] * (config.degree + 1)
    # each slot's entry, chosen once: as signals, lest every use have multiplexers of its own
    entries, entry_forms, entry_loaded = [], [], []
    for j in range(LANE_BITS // config.slot_bits):
        entries.append(Signal(len(offered), name=f"entry_{j}"))
        entry_forms.append(Signal(4, name=f"entry_form_{j}"))
        entry_loaded.append(Signal(name=f"entry_loaded_{j}"))
        s = i.p.segment[j]
        m.d.comb += [
            entries[j].eq(_at(raw, bank, s)),
            entry_forms[j].eq(_at(form, bank, s)),
            entry_loaded[j].eq(_at(loaded, bank, s)),
        ]
    sound: Value = C(0, 1)
    for index, number in enumerate(config.number_formats):
        chosen = i.p.format == index if len(config.formats) > 1 else C(1, 1)
        own: list[list[Value]] = [[] for _ in words]
        fine: Value = C(1, 1)
        for first in range(0, LANE_BITS // config.slot_bits, number.bits // config.slot_bits):
            s = i.p.segment[first]
            others = range(first + 1, first + number.bits // config.slot_bits)
            fine = reduce(and_, (i.p.segment[j] == s for j in others), fine)
            fine = fine & entry_loaded[first] & (entry_forms[first] == index)
            for power, pieces in enumerate(own):
                pieces.append(_piece(entries[first], config, power, number))
        sound = sound | (chosen & fine)
        words = [
            word | (Cat(pieces) & chosen.replicate(LANE_BITS))
            for word, pieces in zip(words, own, strict=True)
        ]
    return sound, words + _shifts_of(harness, component, bank, loaded)


def _shifts_of(
    harness: Harness, component: CoefficientTable, bank: Value, loaded: list[list[Signal]]
) -> list[Value]:
    """The shifts of the last load, with an integer format."""
    m, config, load = harness.m, component.config, component.load
    if not config.integers:
        return []
    offered = Value.cast(load.p.shifts)
    raw = []
    for k in range(config.banks):
        raw.append(Signal(len(offered), name=f"raw_shifts_{k}", reset_less=True))
        with m.If(load.valid & (load.p.bank == k if config.banks == 2 else C(1, 1))):
            m.d.sync += raw[k].eq(offered)
        held = harness.signal(f"shifts_{k}")
        harness.hold(Step.INVARIANT, f"shifts_{k}", ~Cat(loaded[k]).any() | (held == raw[k]))
    return [Mux(bank, raw[1], raw[0]) if config.banks == 2 else raw[0]]


def _piece(raw: Value, config: FlexSfuConfig, power: int, form: NumberFormat) -> Value:
    """The coefficient that a load offers for ``power``."""
    return raw[power * config.word_bits : power * config.word_bits + form.bits]


def _at(tables: list[list[Signal]], bank: Value, address: Value) -> Value:
    values = [Array(table)[address] for table in tables]
    return Mux(bank, values[1], values[0]) if len(values) == 2 else values[0]


def multiply_add_stream(formats: Sequence[NumberFormat]) -> Harness:
    """A multiply-add: what is beside the operands arrives as it was. Its arithmetic is the benches' affair."""
    component = MultiplyAdd(
        lanes=1, formats=formats, zero_annihilates=True, beside=data.ArrayLayout(TAG_BITS, 1)
    )
    harness = Harness(component)
    i, o = component.i, component.o
    watch = Watch(harness, i, o, Value.cast(i.p.beside), component.latency_clk)
    valid = harness.signal("valid")
    stages = [
        Stage(valid=valid[k], contents=harness.signal(f"beside_{k + 1}"), expected=watch.payload)
        for k in range(component.latency_clk)
    ]
    watch.check(stages, Value.cast(o.p.beside), watch.payload, Value.cast(o.payload))
    harness.hold(Step.CLAIM, "beat_waits_for_the_receiver_alone", ~o.ready | i.ready)
    harness.hold(Step.CLAIM, "busy", component.busy == (watch.in_flight != 0))
    return harness


def flex_sfu_stream(config: FlexSfuConfig) -> Harness:
    """The whole: the stages of all parts hold what was accepted and not delivered, in order, and loads delay no accepted beat.

    What is not visible at the output, which is a result, is followed as far as it goes: the elements, up to the last
    multiply-add.
    """
    component = FlexSfu(config)
    harness = Harness(component)
    i, o = component.i, component.o
    watch = Watch(harness, i, o, Value.cast(i.payload), config.latency_clk)
    watched = data.View(i.payload.shape(), watch.payload)
    stages = _decoder_stages(harness, config, ("decoder",), watched)
    valid = harness.signal("table", "o__valid")
    stages.append(
        Stage(valid=valid, contents=harness.signal("table", "o__payload")[:LANE_BITS], expected=watched.x[0])
    )
    for step in range(1, config.degree + 1):
        valid = harness.signal(f"multiply_add_{step}", "valid")
        for k in range(len(valid)):
            if step < config.degree:
                x = harness.signal(f"multiply_add_{step}", f"beside_{k + 1}")[:LANE_BITS]
                stages.append(Stage(valid=valid[k], contents=x, expected=watched.x[0]))
            else:
                stages.append(Stage(valid=valid[k], contents=C(0, 1), expected=C(0, 1)))
    here = watch.check(stages, C(0, 1), C(0, 1), C(0, 1))

    in_tree = reduce(or_, here[: config.levels])
    blocked: Value = C(0, 1)
    for name in ("load_breakpoint", "load_coefficients"):
        load = getattr(component, name)
        same = load.p.bank == watched.bank if config.banks == 2 else C(1, 1)
        both = load.p.bank == i.p.bank if config.banks == 2 else C(1, 1)
        harness.hold(Step.CLAIM, f"{name}_waits", ~(in_tree & load.valid & load.ready & same))
        harness.hold(Step.CLAIM, f"{name}_waits_for_beats_alone", (watch.in_flight != 0) | load.ready)
        harness.hold(Step.CLAIM, f"beat_waits_for_{name}", ~(load.valid & both & i.valid & i.ready))
        blocked = blocked | (load.valid & both)
    harness.hold(Step.CLAIM, "beat_waits_for_loads_alone", ~o.ready | blocked | i.ready)
    harness.hold(Step.CLAIM, "busy", component.busy == (watch.in_flight != 0))
    return harness


def _decoder_stages(
    harness: Harness, config: FlexSfuConfig, path: tuple[str, ...], watched: data.View
) -> list[Stage]:
    """Stages of the breakpoint tree; all but the last hold places instead of elements."""
    valid = harness.signal(*path, "valid")
    selected = [watched[name] for name in ("format", "bank") if name in watched.shape().members]
    x = watched.x[0]
    places: Value = C(0, LANE_BITS)
    for index, form in enumerate(config.number_formats):
        chosen = watched.format == index if len(config.formats) > 1 else C(1, 1)
        own = Cat(place(x[start : start + form.bits], form) for start in range(0, LANE_BITS, form.bits))
        places = places | (own & chosen.replicate(LANE_BITS))
    if len(config.formats) > 1:  # an index that stands for no format turns nothing
        known = reduce(or_, (watched.format == index for index in range(len(config.formats))))
        places = Mux(known, places, x)
    stages = []
    for stage in range(1, config.levels + 1):
        last = stage == config.levels
        word = harness.signal(*path, "lane_0", "element" if last else f"key_{stage - 1}")
        names = [name for name in ("format", "bank") if name in watched.shape().members]
        contents = Cat(word, *(harness.signal(*path, f"{name}_{stage}") for name in names))
        expected = Cat(x if last else places, *selected)
        stages.append(Stage(valid=valid[stage - 1], contents=contents, expected=expected))
    return stages
