"""Integer instructions of the vector unit, on bit patterns (unsigned arrays), modulo the width of the destination."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Binary: TypeAlias = Callable[[Array, Array], Array]
Ternary: TypeAlias = Callable[[Array, Array, Array], Array]

_UNSIGNED: dict[int, Any] = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_SIGNED: dict[int, Any] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def unsigned_dtype(bits: int) -> Any:
    """The unsigned integer of 8, 16, 32 or 64 bits."""
    return _UNSIGNED[bits]


def signed(x: Array) -> Array:
    """The same bits as two's complement."""
    same: Array = x.view(_SIGNED[x.dtype.itemsize])
    return same


def extend(x: Array, bits: int, *, sign: bool) -> Array:
    """Bit patterns of ``bits`` bits with the same value.

    >>> extend(np.array([0x80], np.uint8), 16, sign=True)
    array([65408], dtype=uint16)
    """
    return (signed(x) if sign else x).astype(_UNSIGNED[bits])


def _shift(name: str) -> Binary:
    """Shifts take the lowest bits of the second operand, as many as the width of the first one needs."""

    def left(x: Array, by: Array) -> Array:
        return x << by

    def right(x: Array, by: Array) -> Array:
        return x >> by

    def right_signed(x: Array, by: Array) -> Array:
        shifted: Array = signed(x) >> signed(by)
        return shifted.view(x.dtype)

    function = {"l": left, "u": right, "s": right_signed}[name]
    return lambda x, by: function(x, by.astype(x.dtype) & x.dtype.type(8 * x.dtype.itemsize - 1))


def _high(sign2: bool, sign1: bool) -> Binary:
    """Upper half of the product."""

    def product(vs2: Array, vs1: Array) -> Array:
        bits = 8 * vs2.dtype.itemsize
        wide = extend(vs2, 2 * bits, sign=sign2) * extend(vs1, 2 * bits, sign=sign1)
        half: Array = wide >> wide.dtype.type(bits)
        return half.astype(vs2.dtype)

    return product


BINARY: dict[str, Binary] = {
    "vadd": lambda vs2, vs1: vs2 + vs1,
    "vsub": lambda vs2, vs1: vs2 - vs1,
    "vrsub": lambda vs2, vs1: vs1 - vs2,
    "vminu": np.minimum,
    "vmaxu": np.maximum,
    "vmin": lambda vs2, vs1: np.minimum(signed(vs2), signed(vs1)).view(vs2.dtype),
    "vmax": lambda vs2, vs1: np.maximum(signed(vs2), signed(vs1)).view(vs2.dtype),
    "vand": lambda vs2, vs1: vs2 & vs1,
    "vor": lambda vs2, vs1: vs2 | vs1,
    "vxor": lambda vs2, vs1: vs2 ^ vs1,
    "vsll": _shift("l"),
    "vsrl": _shift("u"),
    "vsra": _shift("s"),
    "vnsrl": lambda vs2, vs1: BINARY["vsrl"](vs2, vs1).astype(vs1.dtype),
    "vnsra": lambda vs2, vs1: BINARY["vsra"](vs2, vs1).astype(vs1.dtype),
    "vmul": lambda vs2, vs1: vs2 * vs1,
    "vmulh": _high(True, True),
    "vmulhu": _high(False, False),
    "vmulhsu": _high(True, False),
    "vmseq": lambda vs2, vs1: vs2 == vs1,
    "vmsne": lambda vs2, vs1: vs2 != vs1,
    "vmsltu": lambda vs2, vs1: vs2 < vs1,
    "vmsleu": lambda vs2, vs1: vs2 <= vs1,
    "vmsgtu": lambda vs2, vs1: vs2 > vs1,
    "vmslt": lambda vs2, vs1: signed(vs2) < signed(vs1),
    "vmsle": lambda vs2, vs1: signed(vs2) <= signed(vs1),
    "vmsgt": lambda vs2, vs1: signed(vs2) > signed(vs1),
}
"""By base mnemonic: of ``vs2`` and ``vs1``, equally wide but for the narrowing shifts."""

TERNARY: dict[str, Ternary] = {
    "vmadd": lambda vd, vs1, vs2: vs1 * vd + vs2,
    "vnmsub": lambda vd, vs1, vs2: vs2 - vs1 * vd,
    "vmacc": lambda vd, vs1, vs2: vs1 * vs2 + vd,
    "vnmsac": lambda vd, vs1, vs2: vd - vs1 * vs2,
}
"""By base mnemonic: of ``vd``, ``vs1`` and ``vs2``."""

WIDENING: dict[str, tuple[str, bool, bool]] = {
    "vwaddu": ("vadd", False, False), "vwadd": ("vadd", True, True),
    "vwsubu": ("vsub", False, False), "vwsub": ("vsub", True, True),
    "vwmulu": ("vmul", False, False), "vwmul": ("vmul", True, True), "vwmulsu": ("vmul", True, False),
    "vwmaccu": ("vmacc", False, False), "vwmacc": ("vmacc", True, True),
    "vwmaccsu": ("vmacc", False, True), "vwmaccus": ("vmacc", True, False),
}  # fmt: skip
"""By base mnemonic: what is computed at double width; whether ``vs2`` is signed; whether ``vs1`` is."""

MASKS: dict[str, Binary] = {
    "vmand": lambda vs2, vs1: vs2 & vs1,
    "vmnand": lambda vs2, vs1: ~(vs2 & vs1),
    "vmandn": lambda vs2, vs1: vs2 & ~vs1,
    "vmor": lambda vs2, vs1: vs2 | vs1,
    "vmnor": lambda vs2, vs1: ~(vs2 | vs1),
    "vmorn": lambda vs2, vs1: vs2 | ~vs1,
    "vmxor": lambda vs2, vs1: vs2 ^ vs1,
    "vmxnor": lambda vs2, vs1: ~(vs2 ^ vs1),
}
"""By base mnemonic: of bools."""
