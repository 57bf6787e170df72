"""What RVV forbids: element widths, register groups that are not there, and operands that overlap."""

from collections.abc import Iterator
from dataclasses import dataclass

from lanewise.isa.operations import OPCFG, OPV, Operation, Width
from lanewise.isa.vtype import LMULS, Vtype

_APART = ("vslideup", "vslide1up", "vfslide1up", "vrgather", "vcompress")
"""Whose destination must share no register with a source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    name: str
    first: int
    count: int
    bits: int
    """Width of an element; 1 of a mask."""
    whole: bool
    """Whether it takes at least a register (EMUL of 1 or more)."""

    @property
    def end(self) -> int:
        return self.first + self.count

    def meets(self, other: "_Group") -> bool:
        return self.first < other.end and other.first < self.end

    def __str__(self) -> str:
        text = f"{self.name} (v{self.first}" + (f" to v{self.end - 1})" if self.count > 1 else ")")
        return "the mask (v0)" if self.name == "v0" else text


def check_legal(
    operation: Operation, vtype: Vtype, *, vd: int = 0, vs2: int = 0, vs1: int = 0, vm: int = 1
) -> None:
    """Refuse what RVV 1.0 reserves.

    SEW that the operation has not; register groups of more than 8 or less than 1/8; groups that do not start at a
    multiple of their length; a destination that overlaps a source of another width, unless in its lowest registers (where
    the destination is narrower) or in the destination's highest ones (wider; the source at least a register); a register
    that is a source in two widths; a masked instruction that overwrites its mask, unless by a mask or by a reduction; slides up,
    gathers and ``vcompress`` into their sources.

    Args:
        operation: Which instruction.
        vtype: Under which it executes.
        vd: Fields of the instruction word: see :class:`~lanewise.isa.encoding.Decoded`; those that are no vectors do not matter.

    Raises:
        ValueError: Says what is reserved.

    >>> from fractions import Fraction
    >>> from lanewise.isa.operations import OPERATIONS
    >>> check_legal(OPERATIONS["vwadd.vv"], Vtype(16, Fraction(1)), vd=2, vs2=3, vs1=4)
    >>> check_legal(OPERATIONS["vwadd.vv"], Vtype(16, Fraction(1)), vd=2, vs2=2, vs1=4)
    Traceback (most recent call last):
    ValueError: vwadd.vv: vd (v2 to v3) overlaps vs2 (v2) of another width
    """
    if operation.major == OPV and operation.funct3 == OPCFG:
        return
    if vtype.sew_bits not in operation.sews:
        raise ValueError(f"{operation.mnemonic}: SEW must be one of {operation.sews}, not {vtype.sew_bits}")
    groups = list(_groups(operation, vtype, (vd, vs2, vs1)))
    target = next((group for group in groups if group.name == "vd"), None)
    sources = [group for group in groups if group.name != "vd" or operation.reads_vd]
    if vm == 0:
        sources.append(_Group(name="v0", first=0, count=1, bits=1, whole=True))
    for at, one in enumerate(sources):
        for other in sources[at + 1 :]:
            if one.bits != other.bits and one.meets(other):
                raise ValueError(f"{operation.mnemonic}: {one} overlaps {other}, a source of another width")
    if target is not None and not operation.stores:
        for source in sources:
            _check_overlap(operation, target, source)


def _groups(operation: Operation, vtype: Vtype, firsts: tuple[int, int, int]) -> Iterator[_Group]:
    widths = (operation.vd, operation.vs2, operation.vs1)
    for name, width, first in zip(("vd", "vs2", "vs1"), widths, firsts):
        if width is None:
            continue
        emul, count = vtype.emul(width, operation.eew_bits), vtype.registers(width, operation.eew_bits)
        if emul not in LMULS:
            raise ValueError(f"{operation.mnemonic}: {name} would take {emul} registers, not 1/8 to 8")
        if not 0 <= first < 32 or first % count:
            raise ValueError(
                f"{operation.mnemonic}: {name} must be a multiple of {count} below 32, not {first}"
            )
        bits = width.bits(vtype.sew_bits, operation.eew_bits)
        yield _Group(name=name, first=first, count=count, bits=bits, whole=emul >= 1)


def _check_overlap(operation: Operation, target: _Group, source: _Group) -> None:
    if not target.meets(source) or source is target:
        return
    if operation.base in _APART:
        raise ValueError(f"{operation.mnemonic}: {target} must not overlap {source}")
    if operation.vd in (Width.FIRST, Width.FIRST_DOUBLE):
        return  # element 0 is written when all is read
    if source.name == "v0":
        if target.bits > 1:
            raise ValueError(f"{operation.mnemonic}: {target} must not overlap {source}")
        return
    narrower = target.bits < source.bits and target.first == source.first
    wider = target.bits > source.bits and source.whole and source.end == target.end
    if not (target.bits == source.bits or narrower or wider):
        raise ValueError(f"{operation.mnemonic}: {target} overlaps {source} of another width")
