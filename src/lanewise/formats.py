"""Number formats: widths, fields and special values. What their bits mean is in :mod:`lanewise.models.numbers`."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """A format of an element: a binary floating-point number or a two's complement integer."""

    name: str
    bits: int
    """Width of an element: 8, 16 or 32."""
    exponent_bits: int = 0
    """0 for an integer."""
    infinities: bool = True
    """Whether the largest exponent holds infinities and NaNs alone (IEEE 754). If not (FP8 E4M3), only the
    largest fraction of the largest exponent is a NaN, and what overflows saturates."""

    @property
    def floating(self) -> bool:
        """Whether it is a floating-point format."""
        return self.exponent_bits > 0

    @property
    def fraction_bits(self) -> int:
        """Stored bits of the significand; of an integer, the bits below the sign."""
        return self.bits - 1 - self.exponent_bits

    @property
    def precision(self) -> int:
        """Bits of a normal significand, the hidden one included."""
        return self.fraction_bits + 1

    @property
    def bias(self) -> int:
        """The exponent field that stands for 2**0."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def maximum_bits(self) -> int:
        """Bit pattern of the largest finite number.

        >>> [hex(FORMATS[name].maximum_bits) for name in ("fp16", "fp8e4m3", "int8")]
        ['0x7bff', '0x7e', '0x7f']
        """
        if not self.floating:
            return (1 << (self.bits - 1)) - 1
        return self.infinity_bits - 1 if self.infinities else (1 << (self.bits - 1)) - 2

    @property
    def infinity_bits(self) -> int:
        """Bit pattern of +infinity: an exponent of ones and a fraction of zeros; means so only with ``infinities``."""
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def nan_bits(self) -> int:
        """The one NaN that arithmetic makes: positive, quiet, no payload (RISC-V's canonical NaN); for E4M3 its positive NaN.

        >>> [hex(FORMATS[name].nan_bits) for name in ("fp16", "bf16", "fp32", "fp8e5m2", "fp8e4m3")]
        ['0x7e00', '0x7fc0', '0x7fc00000', '0x7e', '0x7f']
        """
        if not self.infinities:
            return (1 << (self.bits - 1)) - 1
        return self.infinity_bits | 1 << (self.fraction_bits - 1)

    @property
    def maximum(self) -> float:
        """The largest finite number.

        >>> [FORMATS[name].maximum for name in ("fp16", "fp8e4m3", "fp8e5m2", "int8")]
        [65504.0, 448.0, 57344.0, 127.0]
        """
        if not self.floating:
            return float(self.maximum_bits)
        exponent, fraction = divmod(self.maximum_bits, 1 << self.fraction_bits)
        return float((1 + fraction / (1 << self.fraction_bits)) * 2.0 ** (exponent - self.bias))


_ALL = (
    NumberFormat(name="int8", bits=8),
    NumberFormat(name="int16", bits=16),
    NumberFormat(name="int32", bits=32),
    NumberFormat(name="fp8e4m3", bits=8, exponent_bits=4, infinities=False),
    NumberFormat(name="fp8e5m2", bits=8, exponent_bits=5),
    NumberFormat(name="fp16", bits=16, exponent_bits=5),
    NumberFormat(name="bf16", bits=16, exponent_bits=8),
    NumberFormat(name="fp32", bits=32, exponent_bits=8),
)

FORMATS: Mapping[str, NumberFormat] = MappingProxyType({item.name: item for item in _ALL})
"""By name. FP8: Micikevicius et al., arXiv 2209.05433 (OCP 8-bit floating point, E4M3 and E5M2)."""
