"""What tells the vector unit's multiply-add unit what to do: constant fields of each instruction."""

import enum
from collections.abc import Mapping

from amaranth.lib import data

from lanewise.isa.operations import Operation, Unit, Width


class Kind(enum.IntEnum):
    """Which part computes."""

    MULTIPLY = 0
    """Integer multiply, with or without an addend."""
    CONVERT = 1
    MULTIPLY_ADD = 2
    """Floating point."""


class Terms(enum.IntEnum):
    """What is multiplied by ``b`` and what is added; ``a``, ``b``, ``c`` are vs2, vs1 (or the scalar) and vd."""

    PRODUCT = 0
    """``a * b``; to a floating-point product -0 is added, which leaves a zero its sign."""
    ACCUMULATE = 1
    """``a * b + c``"""
    OVERWRITE = 2
    """``c * b + a``"""
    SUM = 3
    """``1 * b + a``"""


CONTROL = data.StructLayout({
    "kind": 2,
    "terms": 2,
    "scalar": 1,
    "widen_a": 1,
    "widen_b": 1,
    "narrow": 1,
    "signed_a": 1,
    "signed_b": 1,
    "high": 1,
    "negate_product": 1,
    "negate_addend": 1,
    "from_float": 1,
    "to_float": 1,
    "truncate": 1,
})  # fmt: skip
"""Constant fields of an instruction.

``kind``, ``terms``: :class:`Kind`, :class:`Terms`. ``scalar``: ``b`` is the scalar. ``widen_a``, ``widen_b``: the operand
is half as wide as the result. ``narrow``: the result is half as wide as ``a``. ``signed_a``, ``signed_b``: signs of integer
operands; of a conversion, ``signed_a`` is its integer's. ``high``: the upper half of the product. ``from_float``, ``to_float``:
what the sources and what the result are. ``truncate``: a conversion to integer that rounds to zero.
"""

BEAT = data.StructLayout({"control": CONTROL, "size": 2, "altfmt": 1})
"""What goes with a beat down the pipeline; ``size`` is the log2 of the bytes of its widest elements."""

_MULTIPLIES: Mapping[str, tuple[int, int, int]] = {
    "mul": (1, 1, 0), "mulu": (0, 0, 0), "mulsu": (1, 0, 0), "mulh": (1, 1, 1), "mulhu": (0, 0, 1), "mulhsu": (1, 0, 1),
    "macc": (1, 1, 0), "maccu": (0, 0, 0), "maccsu": (0, 1, 0), "maccus": (1, 0, 0),
    "madd": (1, 1, 0), "nmsac": (1, 1, 0), "nmsub": (1, 1, 0),
}  # fmt: skip
"""``signed_a``, ``signed_b``, ``high``. (``maccsu``: the signed operand is vs1.)"""
_NEGATED: Mapping[str, tuple[int, int]] = {
    "add": (0, 0), "sub": (1, 0), "rsub": (0, 1), "mul": (0, 1),
    "macc": (0, 0), "nmacc": (1, 1), "msac": (0, 1), "nmsac": (1, 0),
    "madd": (0, 0), "nmadd": (1, 1), "msub": (0, 1), "nmsub": (1, 0),
}  # fmt: skip
"""``negate_product``, ``negate_addend``. (The product is ``1 * b`` of a sum; a floating-point product's addend is zero.)"""


def control_of(operation: Operation) -> dict[str, int]:
    """The fields of :data:`CONTROL` for an instruction of the unit.

    Raises:
        ValueError: It is another unit's.

    >>> from lanewise.isa.operations import OPERATIONS
    >>> fields = control_of(OPERATIONS["vfwnmsac.vf"])
    >>> sorted(name for name, value in fields.items() if value)
    ['from_float', 'kind', 'negate_product', 'scalar', 'terms', 'to_float', 'widen_a', 'widen_b']
    """
    if operation.unit is not Unit.FMA:
        raise ValueError(f"operation must be of unit {Unit.FMA}, not {operation.mnemonic}")
    fields: dict[str, int] = dict.fromkeys(CONTROL.members, 0)
    wide = operation.vd is Width.DOUBLE
    fields |= {"scalar": operation.scalar != "", "widen_a": wide and operation.vs2 is Width.SEW}
    if operation.vs1_code is not None:
        *rounding, result, source = operation.base.split(".")[1:]
        fields |= {
            "kind": Kind.CONVERT,
            "narrow": operation.vs2 is Width.DOUBLE,
            "signed_a": "x" in (result, source),
            "from_float": source == "f",
            "to_float": result == "f",
            "truncate": rounding == ["rtz"],
        }
    else:
        name = operation.base.removeprefix("vf" if operation.floating else "v").removeprefix("w")
        product, addend = _NEGATED.get(name, (0, 0))
        fields |= {
            "kind": Kind.MULTIPLY_ADD if operation.floating else Kind.MULTIPLY,
            "terms": _terms(name),
            "widen_b": wide,
            "negate_product": product,
            "negate_addend": addend and operation.floating,
            "from_float": operation.floating,
            "to_float": operation.floating,
        }
        if not operation.floating:
            fields["signed_a"], fields["signed_b"], fields["high"] = _MULTIPLIES[name]
    return {name: int(value) for name, value in fields.items()}


def _terms(name: str) -> Terms:
    if name in ("add", "sub", "rsub"):
        return Terms.SUM
    if name.startswith("mul"):
        return Terms.PRODUCT
    return Terms.ACCUMULATE if name.rstrip("su").endswith("c") else Terms.OVERWRITE
