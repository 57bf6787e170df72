"""What the vector instructions of the kernels compute, element by element.

FP16 arithmetic is correctly rounded: numpy's float16 add, subtract and multiply round a float32
result that has at least 2p + 2 bits, which is innocuous, and the fused multiply-add is
:func:`lanewise.models.multiply_add.multiply_add`. FP32 arithmetic is numpy's float32.
Source: RISC-V "V" Vector Extension, version 1.0. What it leaves open is decided here: an unordered sum adds neighbours
pairwise, level by level, the number of elements filled up with +0 to a power of two.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import Bits, bits_dtype
from lanewise.models.vector_estimates import reciprocal_estimate, square_root_estimate

Float: TypeAlias = npt.NDArray[np.floating[Any]]
Array: TypeAlias = npt.NDArray[Any]


def fused_multiply_add(a: Array, b: Array, c: Array) -> Array:
    """``a * b + c`` with one rounding, in the arrays' own format (float16 or float32), any equal shapes."""
    a, b, c = np.broadcast_arrays(a, b, c)
    unsigned: Any = np.uint16 if a.dtype == np.float16 else np.uint32
    name = "fp16" if a.dtype == np.float16 else "fp32"
    x, y, z = (np.ascontiguousarray(v).view(unsigned) for v in (a, b, c))
    return multiply_add(x, y, z, FORMATS[name]).view(a.dtype)


def _estimate(estimate: Callable[[Bits, NumberFormat], Bits], x: Array) -> Array:
    """``vfrec7.v`` or ``vfrsqrt7.v`` of float16 or float32 numbers."""
    form = FORMATS["fp16" if x.dtype == np.float16 else "fp32"]
    return estimate(np.ascontiguousarray(x).view(bits_dtype(form)), form).view(x.dtype)


def _float(x: Array, sew_bits: int) -> Array:
    return np.ascontiguousarray(x).view({16: np.float16, 32: np.float32}[sew_bits])


def _bits(x: Array) -> Array:
    return np.ascontiguousarray(x).view({1: np.uint8, 2: np.uint16, 4: np.uint32}[x.dtype.itemsize])


def _saturate(x: Array, kind: Any) -> Array:
    limits = np.iinfo(kind)
    rounded = np.rint(
        np.nan_to_num(x.astype(np.float64), nan=limits.max, posinf=limits.max, neginf=limits.min)
    )
    return np.clip(rounded, limits.min, limits.max).astype(kind)


Semantics: TypeAlias = Callable[..., Array]
"""Takes the sources in the mnemonic's order (a destination that is also read comes first), then the scalar."""

_FLOAT: dict[str, Semantics] = {
    "vfadd": lambda a, b: a + b,
    "vfsub": lambda a, b: a - b,
    "vfrsub": lambda a, b: b - a,
    "vfmul": lambda a, b: a * b,
    "vfmax": np.fmax,
    "vfmin": np.fmin,
    "vfsgnj": lambda a, b: np.copysign(a, b),
    "vfsgnjn": lambda a, b: np.copysign(a, -b),
    "vfsgnjx": lambda a, b: np.where(np.signbit(b), -a, a),
    "vfmadd": lambda d, a, b: fused_multiply_add(d, a, b),
    "vfmacc": lambda d, a, b: fused_multiply_add(a, b, d),
    "vfnmsub": lambda d, a, b: fused_multiply_add(-d, a, b),
    "vfnmsac": lambda d, a, b: fused_multiply_add(-a, b, d),
    "vfrec7": partial(_estimate, reciprocal_estimate),
    "vfrsqrt7": partial(_estimate, square_root_estimate),
    "vfmv": lambda a: a,
    "vmflt": lambda a, b: a < b,
    "vmfle": lambda a, b: a <= b,
    "vmfgt": lambda a, b: a > b,
    "vmfge": lambda a, b: a >= b,
    "vmfeq": lambda a, b: a == b,
    "vmfne": lambda a, b: a != b,
}
_MOVES = frozenset({"vfsgnj", "vfsgnjn", "vfsgnjx", "vfmv"})
"""Instructions that leave a NaN as it is; all others give RISC-V's canonical one."""

_INTEGER: dict[str, Semantics] = {
    "vadd": lambda a, b: a + b,
    "vsub": lambda a, b: a - b,
    "vand": lambda a, b: a & b,
    "vor": lambda a, b: a | b,
    "vxor": lambda a, b: a ^ b,
    "vrsub": lambda a, b: b - a,
    "vsll": lambda a, b: a << b,
    "vsrl": lambda a, b: a >> b,
    "vsra": lambda a, b: (_signed(a) >> b.astype(_signed(a).dtype)).view(a.dtype),
    "vminu": np.minimum,
    "vmax": lambda a, b: np.maximum(_signed(a), _signed(b)).view(a.dtype),
    "vmseq": lambda a, b: a == b,
    "vmsne": lambda a, b: a != b,
    "vmslt": lambda a, b: _signed(a) < _signed(b),
    "vmv": lambda a: a,
}


def _signed(x: Array) -> Array:
    return x.view({1: np.int8, 2: np.int16, 4: np.int32}[x.dtype.itemsize])


def pairwise_sum(x: Array) -> Array:
    """``vfwredusum.vs`` and ``vfredusum.vs`` from +0: the FP32 sum of the last axis, neighbours first.

    Args:
        x: float16 or float32, shape ``(..., n)``; any ``n`` is filled up with +0 to a power of two.

    Returns:
        float32, shape ``(...)``.

    >>> float(pairwise_sum(np.array([1, 2**24, 1, 1, 1], np.float32)))  # one by one it would be 2**24
    16777220.0
    """
    x = x.astype(np.float32)
    length = x.shape[-1]
    width = 1 << max(0, length - 1).bit_length()
    x = np.concatenate([x, np.zeros((*x.shape[:-1], width - length), np.float32)], axis=-1)
    with np.errstate(all="ignore"):
        while x.shape[-1] > 1:
            x = x[..., ::2] + x[..., 1::2]
    return canonical(x[..., 0] + np.float32(0))


def canonical(x: Array) -> Array:
    """``x`` with RISC-V's one quiet NaN for every NaN; float16 or float32, any shape."""
    unsigned, nan = (np.uint16, 0x7E00) if x.dtype == np.float16 else (np.uint32, 0x7FC00000)
    return np.where(np.isnan(x), np.array(nan, unsigned).view(x.dtype), x)


def _reduce(base: str, sources: list[Array], sew_bits: int) -> Array:
    """Shape ``(..., 1)``: of the last axis of the first source, with the second's first element."""
    values, start = sources
    if base in ("vfredmax", "vfredmin"):
        peak = np.fmax if base == "vfredmax" else np.fmin
        halves = _float(values, sew_bits)
        reduced = peak(peak.reduce(halves, axis=-1, keepdims=True), _float(start, sew_bits)[..., :1])
        return canonical(reduced)
    total = pairwise_sum(_float(values, sew_bits))[..., None]
    return canonical(total + _float(start, 32)[..., :1])


def execute(base: str, sources: list[Array], sew_bits: int, constant: float | None = None) -> Array:
    """The result of one instruction on whole registers.

    Args:
        base: Mnemonic without its operand form, such as ``vfmadd``.
        sources: Operands in the mnemonic's order, shape ``(vl,)`` each.
        sew_bits: Width of the elements of the sources.
        constant: Scalar operand; it takes the place of the one vector operand that is missing.

    Raises:
        ValueError: There is no such instruction here.
    """
    with np.errstate(all="ignore"):
        if base in _FLOAT:
            operands = [_float(s, sew_bits) for s in sources]
            if constant is not None:  # vd = f(vd, rs1, vs2) for the multiply-adds; vs2, rs1 for the others
                operands.insert(1 if operands else 0, operands[0].dtype.type(constant))
            result = np.asarray(_FLOAT[base](*operands))
            return result if base in _MOVES or result.dtype == np.bool_ else canonical(result)
        if base in _INTEGER:
            operands = [_bits(s) for s in sources]
            if constant is not None:
                operands.append(np.asarray(int(constant) & (1 << sew_bits) - 1, operands[0].dtype))
            return np.asarray(_INTEGER[base](*operands))
        if base == "vfmerge":  # vd[i] = mask[i] ? scalar : vs2[i]
            value, mask = sources
            return np.where(mask, _float(value, sew_bits).dtype.type(constant), _float(value, sew_bits))
        if base == "vmerge":  # vd[i] = mask[i] ? vs1[i] : vs2[i]
            otherwise, value, mask = sources
            return np.where(mask, _bits(value), _bits(otherwise))
        if base == "vfcvt.f.x":
            return (
                np.ascontiguousarray(sources[0])
                .view({16: np.int16, 32: np.int32}[sew_bits])
                .astype({16: np.float16, 32: np.float32}[sew_bits])
            )
        if base == "vfcvt.x.f":
            return _saturate(_float(sources[0], sew_bits), {16: np.int16, 32: np.int32}[sew_bits])
        if base == "vfncvt.f.f":
            return canonical(_float(sources[0], 32).astype(np.float16))
        if base == "vfwcvt.f.f":
            return canonical(_float(sources[0], 16).astype(np.float32))
        if base == "vfwmul":  # sources of 16 bits, an exact product
            a, b = (_float(s, 16).astype(np.float32) for s in sources)
            return canonical(a * b)
        if base == "vfwmacc":
            a, b = (_float(s, 16).astype(np.float32) for s in sources[1:])
            return canonical(fused_multiply_add(a, b, _float(sources[0], 32)))
        if base in ("vfredmax", "vfredmin", "vfredusum", "vfwredusum"):
            return _reduce(base, sources, sew_bits)
        if base == "vfncvt.x.f":
            return _saturate(_float(sources[0], 16), np.int8)
    raise ValueError(f"base must be an instruction of the vector model, not {base!r}")
