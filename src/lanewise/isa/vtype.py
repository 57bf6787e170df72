"""The vector type: width of the elements, registers in a group, floating-point format."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from lanewise.isa.operations import Width

SEWS = (8, 16, 32)
LMULS = tuple(Fraction(2) ** power for power in range(-3, 4))
"""1/8 to 8."""
_ALTFMT_BIT = 8


@dataclass(frozen=True)
class Vtype:
    """What ``vsetvli`` sets besides ``vl``. Tail and masked-off elements are undisturbed.

    Raises:
        ValueError: SEW or LMUL is none of RVV's, or a fraction of a register is too small: as in RVV with elements of
            up to 64 bits, SEW is at most 64 x LMUL.

    >>> Vtype(16, Fraction(1, 2)).vlmax(256), Vtype(32, Fraction(8)).vlmax(256)
    (8, 64)
    """

    sew_bits: int
    lmul: Fraction
    altfmt: bool = False
    """Whether floating-point elements of 16 bits are BF16."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lmul", Fraction(self.lmul))
        if self.sew_bits not in SEWS:
            raise ValueError(f"SEW must be one of {SEWS}, not {self.sew_bits!r}")
        if self.lmul not in LMULS:
            raise ValueError(f"LMUL must be a power of two from 1/8 to 8, not {self.lmul}")
        if self.sew_bits > 64 * self.lmul:
            raise ValueError(f"SEW must be at most 64 x LMUL, not {self.sew_bits} with LMUL {self.lmul}")

    def encode(self) -> int:
        """The bits of the CSR ``vtype``: ``vlmul`` in 2 to 0, ``vsew`` in 5 to 3, ``vta`` and ``vma`` 0, ``altfmt`` in 8.

        >>> [hex(Vtype(16, Fraction(*lmul), True).encode()) for lmul in ((1, 4), (8,))]
        ['0x10e', '0x10b']
        """
        vlmul = LMULS.index(self.lmul) - 3 & 7
        return vlmul | SEWS.index(self.sew_bits) << 3 | self.altfmt << _ALTFMT_BIT

    @classmethod
    def decode(cls, bits: int) -> "Vtype":
        """The inverse; ``vta`` and ``vma`` may be set, for agnostic elements may be undisturbed.

        Raises:
            ValueError: A reserved encoding.

        >>> Vtype.decode(0xC8) == Vtype(16, Fraction(1))
        True
        """
        vlmul, vsew = bits & 7, bits >> 3 & 7
        if vlmul == 4 or vsew >= len(SEWS) or bits >> (_ALTFMT_BIT + 1):
            raise ValueError(f"vtype {bits:#x} is reserved")
        return cls(SEWS[vsew], LMULS[(vlmul + 3) & 7], bool(bits >> _ALTFMT_BIT & 1))

    def vlmax(self, vlen_bits: int) -> int:
        """Elements in a group of registers of ``vlen_bits`` bits."""
        return int(vlen_bits * self.lmul / self.sew_bits)

    def emul(self, width: Width, eew_bits: int = 0) -> Fraction:
        """Registers, or the fraction of one, that an operand takes; 1 of masks and of an element 0 alone.

        >>> vtype = Vtype(16, Fraction(1))
        >>> [str(vtype.emul(width)) for width in (Width.DOUBLE, Width.HALF, Width.MASK)], vtype.emul(Width.EEW, 32)
        (['2', '1/2', '1'], Fraction(2, 1))
        """
        if width in (Width.MASK, Width.FIRST, Width.FIRST_DOUBLE):
            return Fraction(1)
        return self.lmul * width.bits(self.sew_bits, eew_bits) / self.sew_bits

    def registers(self, width: Width, eew_bits: int = 0) -> int:
        """Registers in an operand's group: at least 1."""
        lmul = self.lmul
        return _registers(self.sew_bits, lmul.numerator, lmul.denominator, width, eew_bits)


@lru_cache(maxsize=4096)
def _registers(sew_bits: int, numerator: int, denominator: int, width: Width, eew_bits: int) -> int:
    return max(1, int(Vtype(sew_bits, Fraction(numerator, denominator)).emul(width, eew_bits)))
