"""Comparisons, truth values, selections and rounding on registers. A truth value is FP16: 1.0 or 0.0."""

from collections.abc import Mapping
from math import inf

from lanewise.mapping.kernels.builder import Register, VectorKernel

MASK = Register(first=0, length=1)

ONE_BITS = 0x3C00

_VECTOR = {
    "equal": ("vmfeq", False), "not_equal": ("vmfne", False), "less": ("vmflt", False), "less_equal": ("vmfle", False),
    "greater": ("vmflt", True), "greater_equal": ("vmfle", True),
}  # fmt: skip
"""Of two vectors: the instruction, and whether its sources change places."""
_SCALAR = {
    "equal": "vmfeq", "not_equal": "vmfne", "less": "vmflt", "less_equal": "vmfle", "greater": "vmfgt",
    "greater_equal": "vmfge",
}  # fmt: skip
REVERSED_RELATIONS: Mapping[str, str] = {
    "less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal",
}  # fmt: skip
"""The relation of ``b`` and ``a`` that is the one of ``a`` and ``b``; the others are their own."""
RELATIONS = (*_SCALAR, "nan", "infinite")
LOGIC = {"logical_and": "vand", "logical_or": "vor", "logical_xor": "vxor"}
MASKS = {"mask": "vmfne.vf", "mask_not": "vmfeq.vf"}
ROUNDINGS = ("round", "floor", "ceil", "trunc")

_WHOLE = 1024.0
"""FP16 numbers from here on are integers."""


def compare(
    kernel: VectorKernel, relation: str, value: Register, other: Register | None, constant: float
) -> Register:
    """The truth of ``value relation other``, in value's place; ``other`` is ``constant`` if it is no vector."""
    if relation == "nan":
        kernel.emit("vmfne.vv", value, value, into=MASK)
    elif relation == "infinite":
        kernel.emit("vfsgnjx.vv", value, value, into=value)
        kernel.emit("vmfeq.vf", value, into=MASK, constant=inf)
    elif other is None:
        kernel.emit(f"{_SCALAR[relation]}.vf", value, into=MASK, constant=constant)
    else:
        opcode, swapped = _VECTOR[relation]
        kernel.emit(f"{opcode}.vv", *((other, value) if swapped else (value, other)), into=MASK)
    return kernel.emit("vfmerge.vfm", kernel.splat(0.0), into=value, constant=1.0)


def logic(kernel: VectorKernel, function: str, value: Register, other: Register | None) -> Register:
    """``function`` of truth values, by their bits, in value's place."""
    if other is None:
        return kernel.emit("vxor.vx", value, into=value, constant=ONE_BITS)
    return kernel.emit(f"{LOGIC[function]}.vv", value, other, into=value)


def set_mask(kernel: VectorKernel, function: str, condition: Register) -> None:
    """``mask``: where the condition holds; ``mask_not``: where it does not."""
    kernel.emit(MASKS[function], condition, into=MASK, constant=0.0)


def merge(kernel: VectorKernel, value: Register, other: Register | None, constant: float) -> Register:
    """``other``, or ``constant``, where the mask is set, in value's place."""
    if other is None:
        return kernel.emit("vfmerge.vfm", value, into=value, constant=constant)
    return kernel.emit("vmerge.vvm", value, other, into=value)


def rounded(kernel: VectorKernel, function: str, value: Register) -> Register:
    """To an integer, in value's place: by way of one of 16 bits where there is a fraction. The sign stays, a zero's as well."""
    convert = "vfcvt.x.f.v" if function == "round" else "vfcvt.rtz.x.f.v"
    whole = kernel.emit(convert, value)
    kernel.emit("vfcvt.f.x.v", whole, into=whole)
    if function in ("floor", "ceil"):  # one further where truncation went the other way
        down = function == "floor"
        kernel.emit("vmflt.vv", *((value, whole) if down else (whole, value)), into=MASK)
        kernel.emit("vfadd.vf", whole, into=whole, constant=-1.0 if down else 1.0, masked=True)
    kernel.emit("vfsgnj.vv", whole, value, into=whole)
    magnitude = kernel.emit("vfsgnjx.vv", value, value)
    kernel.emit("vmflt.vf", magnitude, into=MASK, constant=_WHOLE)
    kernel.release(magnitude)
    kernel.emit("vmerge.vvm", value, whole, into=value)
    kernel.release(whole)
    return value
