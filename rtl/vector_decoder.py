"""Takes a vector instruction apart: the table of :mod:`lanewise.isa.operations` as logic."""

from collections.abc import Callable, Mapping
from typing import Any

from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from lanewise.isa.operations import CUSTOM_0, OPERATIONS, OPV, Latency, Operation, Rate, Unit, Width

UNITS = tuple(Unit)
LATENCIES = tuple(Latency)
RATES = tuple(Rate)
WIDTHS = (None, *Width)
"""The place of each is its code in :data:`DECODED`."""


class Grid(enum.Enum, shape=2):  # type: ignore[call-arg]
    """Whose elements fill a beat."""

    SEW = 0
    DOUBLE = 1
    EEW = 2
    WORD = 3


class Walk(enum.Enum, shape=4):  # type: ignore[call-arg]
    """What the walker of the ALU does beside reading beats in their order."""

    PLAIN = 0
    COMPARE = 1
    """The result is a bit an element."""
    LOGIC = 2
    """The result is bits, and so are the operands."""
    FIRST = 3
    """Element 0 alone is written."""
    SLIDE_UP = 4
    SLIDE_DOWN = 5
    SLIDE_1_UP = 6
    SLIDE_1_DOWN = 7
    GATHER = 8
    """One element for all."""
    GATHER_EACH = 9
    COMPRESS = 10
    REDUCE = 11


class Set(enum.Enum, shape=2):  # type: ignore[call-arg]
    """Where a vset instruction has its operands."""

    NONE = 0
    VSETVLI = 1
    VSETIVLI = 2
    VSETVL = 3


BREAKPOINTS, COEFFICIENTS = 1, 2
"""What a load of Flex-SFU's table brings."""


def grid_of(operation: Operation) -> Any:
    """Whose elements fill a beat of ``operation``: a :class:`Grid`."""
    if operation.rate is Rate.LANES:
        return Grid.WORD
    if operation.eew_bits:
        return Grid.EEW
    widths = (operation.vd, operation.vs2, operation.vs1)
    return Grid.DOUBLE if operation.rate is Rate.WIDEST and Width.DOUBLE in widths else Grid.SEW


def walk_of(operation: Operation) -> Any:
    """How the ALU's walker goes: a :class:`Walk`."""
    base = operation.base
    if operation.unit is not Unit.ALU:
        return Walk.PLAIN
    if operation.latency is Latency.REDUCE:
        return Walk.REDUCE
    if operation.rate is Rate.MASK:
        return Walk.LOGIC
    if operation.vd is Width.MASK:
        return Walk.COMPARE
    if operation.vd is Width.FIRST:
        return Walk.FIRST
    walks = {
        "vslideup": Walk.SLIDE_UP, "vslidedown": Walk.SLIDE_DOWN, "vslide1up": Walk.SLIDE_1_UP, "vfslide1up": Walk.SLIDE_1_UP,
        "vslide1down": Walk.SLIDE_1_DOWN, "vfslide1down": Walk.SLIDE_1_DOWN, "vcompress": Walk.COMPRESS,
    }  # fmt: skip
    if base == "vrgather":
        return Walk.GATHER_EACH if operation.vs1 is not None else Walk.GATHER
    return walks.get(base, Walk.PLAIN)


def pattern_of(operation: Operation) -> str:
    """The 32 bits of the instruction word, ``-`` where they are operands.

    >>> pattern_of(OPERATIONS["vadd.vi"])
    '000000-----------011-----1010111'
    >>> pattern_of(OPERATIONS["vsetivli"])
    '11---------------111-----1010111'
    """
    low = f"{operation.major:07b}"
    if operation.unit is Unit.SET:
        high = {"vsetvli": "0" + 16 * "-", "vsetivli": "11" + 15 * "-", "vsetvl": "1000000" + 10 * "-"}
        return f"{high[operation.mnemonic]}111-----{low}"

    def field(value: int | None, bits: int) -> str:
        return "-" * bits if value is None else f"{value:0{bits}b}"

    vm = "-" if operation.vm is None else str(operation.vm)
    vs2, vs1 = field(operation.vs2_code, 5), field(operation.vs1_code, 5)
    return f"{operation.funct6:06b}{vm}{vs2}{vs1}{operation.funct3:03b}-----{low}"


ControlOf = Callable[[Operation], Mapping[str, Any]]
Controls = Mapping[str, tuple[data.StructLayout, ControlOf]]
"""The layout of a datapath's control fields, and their values for an instruction, by :func:`datapath_of`."""


_OWN = ("immediate", "signed")
"""Constants of an instruction that the decoder itself uses."""


def datapath_of(operation: Operation) -> str:
    """The unit, or ``reduction``."""
    return "reduction" if operation.latency is Latency.REDUCE else str(operation.unit)


def control_bits(controls: Controls) -> int:
    """Width that holds any datapath's control fields."""
    return max(layout.size for layout, _ in controls.values())


def decoded_layout(controls: Controls) -> data.StructLayout:
    """What is known of an instruction from its word and scalar alone."""
    return data.StructLayout({
        "known": 1, "unit": 3, "latency": 4, "rate": 3, "grid": Grid, "walk": Walk, "set": Set,
        "vd_width": 4, "vs2_width": 4, "vs1_width": 4, "vd": 5, "vs2": 5, "vs1": 5,
        "reads_vd": 1, "writes_vd": 1, "stores": 1, "table": 2, "chained": 1, "whole": 1,
        "reads_mask": 1, "masked": 1, "eew": 2, "vtype": 11, "index": 5, "control": control_bits(controls), "scalar": 32,
    })  # fmt: skip


class VectorDecoder(wiring.Component):
    """Fields of a vector instruction. Combinational.

    Golden model: :func:`lanewise.isa.encoding.decode`.

    Members
    -------
    word : ``In(32)``
        The instruction.
    rs1, rs2 : ``In(32)``
        Its scalar operands.
    o : ``Out(decoded_layout(controls))``
        ``known`` is 0 for a word that no instruction of the table has.
    """

    def __init__(self, controls: Controls) -> None:
        self.controls = controls
        super().__init__({
            "word": In(32), "rs1": In(32), "rs2": In(32), "o": Out(decoded_layout(controls)),
        })  # fmt: skip

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        o = self.o
        constants = data.StructLayout(
            {
                name: self.o.shape()[name].shape
                for name in self._constants(OPERATIONS["vadd.vv"])
                if name not in _OWN
            }
            | dict.fromkeys(_OWN, 1)
        )
        row = Signal(constants)
        with m.Switch(self.word):  # one assignment a case: many are slow to convert
            for operation in OPERATIONS.values():
                with m.Case(pattern_of(operation)):
                    m.d.comb += row.as_value().eq(constants.const(self._constants(operation)).as_value())
        m.d.comb += [
            getattr(o, name).eq(getattr(row, name)) for name in constants.members if name not in _OWN
        ]
        field = self.word[15:20]
        m.d.comb += [
            o.vd.eq(self.word[7:12]),
            o.vs2.eq(self.word[20:25]),
            o.vs1.eq(field),
            o.index.eq(Mux(o.table.any(), self.word[7:12], field)),
            o.scalar.eq(Mux(row.immediate, Cat(field, (field[-1] & row.signed).replicate(27)), self.rs1)),
            o.vtype.eq(Mux(o.set == Set.VSETVL, self.rs2[:11], Mux(o.set == Set.VSETIVLI, self.word[20:30], self.word[20:31]))),
        ]  # fmt: skip
        unmasked = self.word[25]
        with m.If((self.word[:7] != OPV) | (self.word[12:15] != 7)):
            m.d.comb += o.reads_mask.eq(~unmasked)
        with m.If(self.word[:7] == CUSTOM_0):
            m.d.comb += o.reads_mask.eq(0)
        return m

    def _constants(self, operation: Operation) -> dict[str, int]:
        layout, control_of = self.controls.get(datapath_of(operation), (None, None))
        control = 0
        if layout is not None and control_of is not None:
            control = layout.const(dict(control_of(operation))).as_bits()
        table = {"sfu.breakpoints": BREAKPOINTS, "sfu.coefficients": COEFFICIENTS}.get(operation.mnemonic, 0)
        return {
            "known": 1,
            "unit": UNITS.index(operation.unit),
            "latency": LATENCIES.index(operation.latency),
            "rate": RATES.index(operation.rate),
            "grid": grid_of(operation).value,
            "walk": walk_of(operation).value,
            "set": {"vsetvli": 1, "vsetivli": 2, "vsetvl": 3}.get(operation.mnemonic, 0),
            "vd_width": WIDTHS.index(operation.vd),
            "vs2_width": WIDTHS.index(operation.vs2),
            "vs1_width": WIDTHS.index(operation.vs1),
            "reads_vd": operation.reads_vd,
            "writes_vd": operation.vd is not None and not operation.stores,
            "stores": operation.stores,
            "table": table,
            "chained": operation.chained,
            "whole": operation.whole,
            "masked": operation.vm is None,
            "eew": {8: 0, 16: 1, 32: 2}.get(operation.eew_bits, 0),
            "control": control,
            "immediate": operation.scalar in ("i", "u") and operation.unit is not Unit.FLEX_SFU,
            "signed": operation.scalar == "i",
        }
