"""Every vector instruction of the core, by mnemonic.

The encodings are those of the RISC-V "V" Vector Extension, version 1.0; ``sfu.*`` lie in the custom-0 space with the
same fields. ``vtype.altfmt`` (bit 8, as in the Zvfbfa proposal) makes the 16-bit floating-point format BF16.

Left out of RVV 1.0: SEW = 64; indexed, segment, whole-register, mask and fault-only-first memory accesses; integer divide; fixed-point
(saturating, averaging, scaling) arithmetic; carries; floating-point divide and square root (there are the 7-bit
estimates), ordered sums and classes; ``vfncvt.rod``; viota and the set-first masks; and what answers to a scalar register.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass

OPV, LOAD_FP, STORE_FP, CUSTOM_0 = 0x57, 0x07, 0x27, 0x0B
"""Major opcodes."""
OPIVV, OPFVV, OPMVV, OPIVI, OPIVX, OPFVF, OPMVX, OPCFG = range(8)
"""``funct3`` of the major opcode OPV."""


class Unit(enum.StrEnum):
    """What executes an instruction."""

    SET = "vector_set"
    """The sequencer itself: an issue slot and no more."""
    FMA = "vector_fma"
    """Floating-point add and multiply, conversions, integer multiply."""
    ALU = "vector_alu"
    """Everything of one clock, permutations, reductions."""
    MEMORY = "vector_memory"
    FLEX_SFU = "flex_sfu"


class Rate(enum.StrEnum):
    """What a unit takes each clock."""

    WIDEST = "widest"
    """As many elements as the lanes hold of the widest vector operand."""
    LANES = "lanes"
    """An element a lane."""
    ONE = "one"
    """One element."""
    MASK = "mask"
    """A bit for each bit of the lanes."""
    SINGLE = "single"
    """One beat, whatever ``vl``."""


class Latency(enum.StrEnum):
    """Which of the machine's latencies an instruction has: from its start to that of a reader of its first beat."""

    SET = "set"
    ALU = "alu"
    GATHER = "gather"
    """An index is read before the element."""
    REDUCE = "reduce"
    """After the last beat."""
    FMA = "fma"
    LOAD = "load"
    STORE = "store"
    FLEX_SFU = "flex_sfu"
    TABLE = "table"


class Width(enum.Enum):
    """Width of a vector operand's elements."""

    SEW = 0
    DOUBLE = 1
    HALF = -1
    QUARTER = -2
    MASK = "mask"
    """Bits of one register."""
    FIRST = "first"
    """Element 0 alone, of SEW."""
    FIRST_DOUBLE = "first double"
    """Element 0 alone, of 2 SEW."""
    EEW = "eew"
    """The width that the mnemonic says (memory)."""

    def bits(self, sew_bits: int, eew_bits: int = 0) -> int:
        """Width in bits; 1 of a mask."""
        if self is Width.MASK:
            return 1
        if self is Width.EEW:
            return eew_bits
        if self in (Width.FIRST, Width.FIRST_DOUBLE):
            return sew_bits << (self is Width.FIRST_DOUBLE)
        shift = int(self.value)
        return sew_bits << shift if shift >= 0 else sew_bits >> -shift


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One instruction."""

    mnemonic: str
    """As the GNU assembler writes it."""
    major: int
    """Opcode, bits 6 to 0."""
    funct3: int
    funct6: int
    """Bits 31 to 26; of loads and stores, ``nf`` (0), ``mew`` (0) and ``mop``."""
    unit: Unit
    latency: Latency
    vd: Width | None = None
    """Width of the destination; of a store, of the data, which is read."""
    vs2: Width | None = None
    vs1: Width | None = None
    """``None``: not a vector (the field holds a scalar register, an immediate or a selector)."""
    vs1_code: int | None = None
    """What the field ``vs1`` must hold where it selects the operation (of a load or store: not used)."""
    vs2_code: int | None = None
    """What the field ``vs2`` must hold where there is no such operand."""
    vm: int | None = None
    """What the bit ``vm`` must be: 1, never masked; 0, v0 is an operand; ``None``: masked or not."""
    scalar: str = ""
    """``x`` (integer register), ``f`` (floating-point register), ``i`` (signed immediate) or ``u`` (unsigned) in the field ``vs1``."""
    reads_vd: bool = False
    """Whether the old destination is an operand (multiply-accumulate, stores' data)."""
    floating: bool = False
    """Whether SEW is a floating-point format's."""
    sews: tuple[int, ...] = (8, 16, 32)
    """The SEW that it exists for."""
    rate: Rate = Rate.WIDEST
    chained: bool = True
    """Whether a reader may start at the first beat of the result."""
    whole: bool = False
    """Whether ``vs2`` must have landed whole before this starts: its beats are not read in order."""
    eew_bits: int = 0
    """Of memory accesses."""
    strided: bool = False
    """Of memory accesses: the second scalar is the distance in bytes."""

    @property
    def base(self) -> str:
        """Mnemonic without its operand form.

        >>> OPERATIONS["vfmadd.vf"].base, OPERATIONS["vfncvt.f.f.w"].base, OPERATIONS["vle16.v"].base
        ('vfmadd', 'vfncvt.f.f', 'vle16')
        """
        return self.mnemonic.rpartition(".")[0]

    @property
    def stores(self) -> bool:
        """Whether it writes memory."""
        return self.major == STORE_FP

    @property
    def multiply_adds(self) -> bool:
        """Whether the assembler's order of the operands is ``vd, vs1, vs2``."""
        return self.reads_vd and self.major == OPV and self.unit is Unit.FMA


_FLOATS, _NARROW_FLOATS = (16, 32), (16,)
_SCALARS = {OPIVX: "x", OPMVX: "x", OPFVF: "f"}
_FORM = {OPIVV: "v", OPFVV: "v", OPMVV: "v", OPIVI: "i", OPIVX: "x", OPFVF: "f", OPMVX: "x"}


def _arithmetic(name: str, funct6: int, funct3s: tuple[int, ...], **more: object) -> Iterator[Operation]:
    """The forms of an operation with a second source; ``w`` marks a double-width first source."""
    first = more.pop("first", "v")
    unsigned = more.pop("unsigned", False)
    for funct3 in funct3s:
        vector = funct3 in (OPIVV, OPFVV, OPMVV)
        fields: dict[str, object] = {
            "vd": Width.SEW, "vs2": Width.SEW, "unit": Unit.ALU, "latency": Latency.ALU,
            "floating": funct3 in (OPFVV, OPFVF),
        }  # fmt: skip
        if fields["floating"]:
            fields["sews"] = _FLOATS
        fields |= more
        fields["vs1"] = fields.get("vs1", Width.SEW) if vector else None
        fields["scalar"] = "" if vector else _SCALARS.get(funct3, "u" if unsigned else "i")
        suffix = str(fields.pop("suffix", ""))
        yield Operation(
            mnemonic=f"{name}.{first}{_FORM[funct3]}{suffix}", major=OPV, funct3=funct3, funct6=funct6, **fields,  # type: ignore[arg-type]
        )  # fmt: skip


def _unary(name: str, funct3: int, funct6: int, code: int, **more: object) -> Operation:
    """An operation that the field ``vs1`` selects."""
    fields: dict[str, object] = {"vd": Width.SEW, "vs2": Width.SEW, "floating": funct3 == OPFVV}
    fields |= more
    return Operation(mnemonic=name, major=OPV, funct3=funct3, funct6=funct6, vs1_code=code, **fields)  # type: ignore[arg-type]


def _integer() -> Iterator[Operation]:
    vx, vxi = (OPIVV, OPIVX), (OPIVV, OPIVX, OPIVI)
    for name, funct6, forms in (
        ("vadd", 0x00, vxi), ("vsub", 0x02, vx), ("vrsub", 0x03, (OPIVX, OPIVI)), ("vminu", 0x04, vx), ("vmin", 0x05, vx),
        ("vmaxu", 0x06, vx), ("vmax", 0x07, vx), ("vand", 0x09, vxi), ("vor", 0x0A, vxi), ("vxor", 0x0B, vxi),
    ):  # fmt: skip
        yield from _arithmetic(name, funct6, forms)
    for name, funct6 in (("vsll", 0x25), ("vsrl", 0x28), ("vsra", 0x29)):
        yield from _arithmetic(name, funct6, vxi, unsigned=True)
    for name, funct6 in (("vnsrl", 0x2C), ("vnsra", 0x2D)):
        yield from _arithmetic(name, funct6, vxi, unsigned=True, first="w", vs2=Width.DOUBLE, sews=(8, 16))
    for name, funct6, forms in (
        ("vmseq", 0x18, vxi), ("vmsne", 0x19, vxi), ("vmsltu", 0x1A, vx), ("vmslt", 0x1B, vx), ("vmsleu", 0x1C, vxi),
        ("vmsle", 0x1D, vxi), ("vmsgtu", 0x1E, (OPIVX, OPIVI)), ("vmsgt", 0x1F, (OPIVX, OPIVI)),
    ):  # fmt: skip
        yield from _arithmetic(name, funct6, forms, vd=Width.MASK)
    yield from _arithmetic("vmerge", 0x17, vxi, vm=0, suffix="m")
    for funct3, form, scalar in ((OPIVV, "v", ""), (OPIVX, "x", "x"), (OPIVI, "i", "i")):
        yield Operation(
            mnemonic=f"vmv.v.{form}", major=OPV, funct3=funct3, funct6=0x17, unit=Unit.ALU, latency=Latency.ALU, vm=1,
            vd=Width.SEW, vs2_code=0, vs1=None if scalar else Width.SEW, scalar=scalar,
        )  # fmt: skip
    for name, code, source, sews in (
        ("vzext.vf4", 4, Width.QUARTER, (32,)), ("vsext.vf4", 5, Width.QUARTER, (32,)),
        ("vzext.vf2", 6, Width.HALF, (16, 32)), ("vsext.vf2", 7, Width.HALF, (16, 32)),
    ):  # fmt: skip
        yield _unary(name, OPMVV, 0x12, code, unit=Unit.ALU, latency=Latency.ALU, vs2=source, sews=sews)
    for name, funct6 in (("vwaddu", 0x30), ("vwadd", 0x31), ("vwsubu", 0x32), ("vwsub", 0x33)):
        yield from _arithmetic(name, funct6, (OPMVV, OPMVX), vd=Width.DOUBLE, sews=(8, 16))
        yield from _arithmetic(
            name, funct6 + 4, (OPMVV, OPMVX), vd=Width.DOUBLE, vs2=Width.DOUBLE, first="w", sews=(8, 16)
        )
    multiply = {"unit": Unit.FMA, "latency": Latency.FMA}
    for name, funct6 in (("vmulhu", 0x24), ("vmul", 0x25), ("vmulhsu", 0x26), ("vmulh", 0x27)):
        yield from _arithmetic(name, funct6, (OPMVV, OPMVX), **multiply)
    for name, funct6 in (("vmadd", 0x29), ("vnmsub", 0x2B), ("vmacc", 0x2D), ("vnmsac", 0x2F)):
        yield from _arithmetic(name, funct6, (OPMVV, OPMVX), reads_vd=True, **multiply)
    wide: dict[str, object] = {"vd": Width.DOUBLE, "sews": (8, 16), **multiply}
    for name, funct6 in (("vwmulu", 0x38), ("vwmulsu", 0x3A), ("vwmul", 0x3B)):
        yield from _arithmetic(name, funct6, (OPMVV, OPMVX), **wide)
    for name, funct6 in (("vwmaccu", 0x3C), ("vwmacc", 0x3D), ("vwmaccsu", 0x3F)):
        yield from _arithmetic(name, funct6, (OPMVV, OPMVX), reads_vd=True, **wide)
    yield from _arithmetic("vwmaccus", 0x3E, (OPMVX,), reads_vd=True, **wide)


def _permutations() -> Iterator[Operation]:
    alu: dict[str, object] = {"unit": Unit.ALU, "latency": Latency.ALU, "whole": True}
    xi = (OPIVX, OPIVI)
    yield from _arithmetic("vslideup", 0x0E, xi, unsigned=True, **alu)
    yield from _arithmetic("vslidedown", 0x0F, xi, unsigned=True, **alu)
    yield from _arithmetic("vslide1up", 0x0E, (OPMVX,), **alu)
    yield from _arithmetic("vslide1down", 0x0F, (OPMVX,), **alu)
    yield from _arithmetic("vfslide1up", 0x0E, (OPFVF,), **alu)
    yield from _arithmetic("vfslide1down", 0x0F, (OPFVF,), **alu)
    yield from _arithmetic("vrgather", 0x0C, xi, unsigned=True, **alu)
    single = alu | {"rate": Rate.ONE, "chained": False}
    yield from _arithmetic("vrgather", 0x0C, (OPIVV,), **(single | {"latency": Latency.GATHER}))
    yield Operation(
        mnemonic="vcompress.vm", major=OPV, funct3=OPMVV, funct6=0x17, vm=1, vd=Width.SEW, vs2=Width.SEW, vs1=Width.MASK, **single,  # type: ignore[arg-type]
    )  # fmt: skip
    yield _unary("vid.v", OPMVV, 0x14, 17, unit=Unit.ALU, latency=Latency.ALU, vs2=None, vs2_code=0)
    first: dict[str, object] = {
        "unit": Unit.ALU, "latency": Latency.ALU, "vm": 1, "vd": Width.FIRST, "vs2_code": 0, "rate": Rate.SINGLE,
    }  # fmt: skip
    yield Operation(mnemonic="vmv.s.x", major=OPV, funct3=OPMVX, funct6=0x10, scalar="x", **first)  # type: ignore[arg-type]
    yield Operation(
        mnemonic="vfmv.s.f", major=OPV, funct3=OPFVF, funct6=0x10, scalar="f", floating=True, sews=_FLOATS, **first,  # type: ignore[arg-type]
    )  # fmt: skip
    for name, funct6 in (
        ("vmandn", 0x18), ("vmand", 0x19), ("vmor", 0x1A), ("vmxor", 0x1B), ("vmorn", 0x1C), ("vmnand", 0x1D),
        ("vmnor", 0x1E), ("vmxnor", 0x1F),
    ):  # fmt: skip
        yield Operation(
            mnemonic=f"{name}.mm", major=OPV, funct3=OPMVV, funct6=funct6, unit=Unit.ALU, latency=Latency.ALU, vm=1,
            vd=Width.MASK, vs2=Width.MASK, vs1=Width.MASK, rate=Rate.MASK,
        )  # fmt: skip


def _reductions() -> Iterator[Operation]:
    def reduction(name: str, funct3: int, funct6: int, **more: object) -> Operation:
        fields: dict[str, object] = {"vd": Width.FIRST, "vs1": Width.FIRST} | more
        return Operation(
            mnemonic=f"{name}.vs", major=OPV, funct3=funct3, funct6=funct6, unit=Unit.ALU, latency=Latency.REDUCE,
            vs2=Width.SEW, rate=Rate.LANES, chained=False, floating=funct3 == OPFVV, **fields,  # type: ignore[arg-type]
        )  # fmt: skip

    integer = ("vredsum", "vredand", "vredor", "vredxor", "vredminu", "vredmin", "vredmaxu", "vredmax")
    for funct6, name in enumerate(integer):
        yield reduction(name, OPMVV, funct6)
    wide: dict[str, object] = {"vd": Width.FIRST_DOUBLE, "vs1": Width.FIRST_DOUBLE}
    yield reduction("vwredsumu", OPIVV, 0x30, sews=(8, 16), **wide)
    yield reduction("vwredsum", OPIVV, 0x31, sews=(8, 16), **wide)
    yield reduction("vfredusum", OPFVV, 0x01, sews=(32,))
    yield reduction("vfredmin", OPFVV, 0x05, sews=_FLOATS)
    yield reduction("vfredmax", OPFVV, 0x07, sews=_FLOATS)
    yield reduction("vfwredusum", OPFVV, 0x31, sews=_NARROW_FLOATS, **wide)


def _floating() -> Iterator[Operation]:
    vf = (OPFVV, OPFVF)
    fma: dict[str, object] = {"unit": Unit.FMA, "latency": Latency.FMA}
    for name, funct6, forms in (
        ("vfadd", 0x00, vf), ("vfsub", 0x02, vf), ("vfmul", 0x24, vf), ("vfrsub", 0x27, (OPFVF,)),
    ):  # fmt: skip
        yield from _arithmetic(name, funct6, forms, **fma)
    for name, funct6 in (
        ("vfmadd", 0x28), ("vfnmadd", 0x29), ("vfmsub", 0x2A), ("vfnmsub", 0x2B), ("vfmacc", 0x2C), ("vfnmacc", 0x2D),
        ("vfmsac", 0x2E), ("vfnmsac", 0x2F),
    ):  # fmt: skip
        yield from _arithmetic(name, funct6, vf, reads_vd=True, **fma)
    wide: dict[str, object] = {"vd": Width.DOUBLE, "sews": _NARROW_FLOATS, **fma}
    for name, funct6 in (("vfwadd", 0x30), ("vfwsub", 0x32)):
        yield from _arithmetic(name, funct6, vf, **wide)
        yield from _arithmetic(name, funct6 + 4, vf, vs2=Width.DOUBLE, first="w", **wide)
    yield from _arithmetic("vfwmul", 0x38, vf, **wide)
    for name, funct6 in (("vfwmacc", 0x3C), ("vfwnmacc", 0x3D), ("vfwmsac", 0x3E), ("vfwnmsac", 0x3F)):
        yield from _arithmetic(name, funct6, vf, reads_vd=True, **wide)
    for name, funct6 in (
        ("vfmin", 0x04),
        ("vfmax", 0x06),
        ("vfsgnj", 0x08),
        ("vfsgnjn", 0x09),
        ("vfsgnjx", 0x0A),
    ):
        yield from _arithmetic(name, funct6, vf)
    for name, funct6, forms in (
        ("vmfeq", 0x18, vf), ("vmfle", 0x19, vf), ("vmflt", 0x1B, vf), ("vmfne", 0x1C, vf), ("vmfgt", 0x1D, (OPFVF,)),
        ("vmfge", 0x1F, (OPFVF,)),
    ):  # fmt: skip
        yield from _arithmetic(name, funct6, forms, vd=Width.MASK)
    yield from _arithmetic("vfmerge", 0x17, (OPFVF,), vm=0, suffix="m")
    yield Operation(
        mnemonic="vfmv.v.f", major=OPV, funct3=OPFVF, funct6=0x17, unit=Unit.ALU, latency=Latency.ALU, vm=1, vd=Width.SEW,
        vs2_code=0, scalar="f", floating=True, sews=_FLOATS,
    )  # fmt: skip
    for name, code in (
        ("xu.f", 0), ("x.f", 1), ("f.xu", 2), ("f.x", 3), ("rtz.xu.f", 6), ("rtz.x.f", 7),
    ):  # fmt: skip
        yield _unary(f"vfcvt.{name}.v", OPFVV, 0x12, code, sews=_FLOATS, **fma)
        # SEW is the narrow side's: of an integer that becomes a float twice as wide, or the reverse, 8 bits as well
        sews = (8, 16) if name in ("f.xu", "f.x") else _NARROW_FLOATS
        yield _unary(f"vfwcvt.{name}.v", OPFVV, 0x12, 8 + code, vd=Width.DOUBLE, sews=sews, **fma)
        sews = _NARROW_FLOATS if name in ("f.xu", "f.x") else (8, 16)
        yield _unary(f"vfncvt.{name}.w", OPFVV, 0x12, 16 + code, vs2=Width.DOUBLE, sews=sews, **fma)
    yield _unary("vfwcvt.f.f.v", OPFVV, 0x12, 12, vd=Width.DOUBLE, sews=_NARROW_FLOATS, **fma)
    yield _unary("vfncvt.f.f.w", OPFVV, 0x12, 20, vs2=Width.DOUBLE, sews=_NARROW_FLOATS, **fma)
    alu: dict[str, object] = {"unit": Unit.ALU, "latency": Latency.ALU, "sews": _FLOATS}
    yield _unary("vfrsqrt7.v", OPFVV, 0x13, 4, **alu)
    yield _unary("vfrec7.v", OPFVV, 0x13, 5, **alu)


def _memory() -> Iterator[Operation]:
    for eew, funct3 in ((8, 0), (16, 5), (32, 6)):
        for strided in (False, True):
            for major, letter in ((LOAD_FP, "l"), (STORE_FP, "s")):
                store = major == STORE_FP
                yield Operation(
                    mnemonic=f"v{letter}{'s' if strided else ''}e{eew}.v", major=major, funct3=funct3, funct6=2 * strided,
                    unit=Unit.MEMORY, latency=Latency.STORE if store else Latency.LOAD, vd=Width.EEW, eew_bits=eew,
                    strided=strided, vs2_code=None if strided else 0, scalar="x", reads_vd=store,
                    rate=Rate.ONE if strided else Rate.WIDEST,
                )  # fmt: skip


def _other() -> Iterator[Operation]:
    for name, funct6 in (("vsetvli", 0x00), ("vsetivli", 0x30), ("vsetvl", 0x20)):
        yield Operation(
            mnemonic=name, major=OPV, funct3=OPCFG, funct6=funct6, unit=Unit.SET, latency=Latency.SET,
            scalar="u" if name == "vsetivli" else "x", rate=Rate.SINGLE,
        )  # fmt: skip
    yield Operation(
        mnemonic="sfu.execute", major=CUSTOM_0, funct3=0, funct6=0, unit=Unit.FLEX_SFU, latency=Latency.FLEX_SFU, vm=1,
        vd=Width.SEW, vs2=Width.SEW, scalar="u",
    )  # fmt: skip
    for funct3, name in ((1, "sfu.breakpoints"), (2, "sfu.coefficients")):
        yield Operation(
            mnemonic=name, major=CUSTOM_0, funct3=funct3, funct6=0, unit=Unit.MEMORY, latency=Latency.TABLE, vm=1,
            vs2_code=0, scalar="x", eew_bits=32, rate=Rate.ONE, chained=False,
        )  # fmt: skip


OPERATIONS: dict[str, Operation] = {
    operation.mnemonic: operation
    for family in (_integer, _permutations, _reductions, _floating, _memory, _other)
    for operation in family()
}
"""By mnemonic.

>>> len(OPERATIONS) > 200, OPERATIONS["vadd.vv"].unit, OPERATIONS["vle16.v"].eew_bits
(True, <Unit.ALU: 'vector_alu'>, 16)
"""
