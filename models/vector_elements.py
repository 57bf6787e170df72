"""What every element-wise vector instruction computes, on bit patterns."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.isa.operations import OPERATIONS, Operation, Unit, Width
from lanewise.models import vector_floats, vector_integers
from lanewise.models.vector_conversions import from_integer, to_integer
from lanewise.models.vector_estimates import reciprocal_estimate, square_root_estimate
from lanewise.models.vector_floats import convert, float_format
from lanewise.models.vector_integers import extend, unsigned_dtype

Array: TypeAlias = npt.NDArray[Any]
Operand: TypeAlias = Array | None

_MOVES = ("vmv.v", "vfmv.v", "vmv.s", "vfmv.s")
_MERGES = ("vmerge", "vfmerge")


def is_elementwise(operation: Operation) -> bool:
    """Whether each element of the result depends on the operands' elements of the same place alone.

    >>> [is_elementwise(OPERATIONS[name]) for name in ("vfmacc.vv", "vmseq.vx", "vmand.mm", "vid.v", "vslideup.vx", "vle8.v")]
    [True, True, True, False, False, False]
    """
    return operation.mnemonic in _EVALUATORS


def evaluate(
    operation: Operation,
    vs2: Operand,
    vs1: Operand,
    vd: Operand = None,
    *,
    sew_bits: int,
    altfmt: bool = False,
    mask: npt.NDArray[np.bool_] | None = None,
) -> Array:
    """The result of an element-wise instruction, all elements active.

    Args:
        operation: See :func:`is_elementwise`.
        vs2: Bit patterns, unsigned integers as wide as the operand's elements, any shape; of mask logic bools. ``None`` where
            there is no such operand.
        vs1: Likewise, or the scalar, as wide as SEW, that stands in its place; all operands are broadcast against each other.
        vd: The old destination, of multiply-adds.
        sew_bits: SEW.
        altfmt: Whether 16-bit floating point is BF16.
        mask: Of merges alone: where it is set, the result is ``vs1``.

    Returns:
        Bit patterns as wide as the destination's elements, or bools where it is a mask.

    Raises:
        ValueError: The instruction is not element-wise, has not this SEW, or lacks an operand.
        TypeError: An operand is not as wide as it must be.

    >>> x = np.array([0x3C00, 0x7C00], np.uint16)
    >>> [hex(y) for y in evaluate(OPERATIONS["vfadd.vf"], x, np.uint16(0xFC00), sew_bits=16)]
    ['0xfc00', '0x7e00']
    >>> evaluate(OPERATIONS["vwmulsu.vx"], np.array([255], np.uint8), np.uint8(255), sew_bits=8).view(np.int16)
    array([-255], dtype=int16)
    """
    if operation.mnemonic not in _EVALUATORS:
        raise ValueError(f"{operation.mnemonic} is not element-wise")
    if sew_bits not in operation.sews:
        raise ValueError(f"SEW of {operation.mnemonic} must be one of {operation.sews}, not {sew_bits}")
    operands = _operands(operation, (vs2, vs1, vd), sew_bits)
    if operation.base in _MERGES:
        if mask is None:
            raise ValueError(f"{operation.mnemonic} needs a mask")
        return np.where(mask, operands[1], operands[0])
    with np.errstate(all="ignore"):
        result = _EVALUATORS[operation.mnemonic](operation, operands, sew_bits, altfmt)
    assert operation.vd is not None
    if operation.vd is not Width.MASK:
        assert result.dtype == unsigned_dtype(operation.vd.bits(sew_bits)), (operation.mnemonic, result.dtype)
    return result


def _operands(operation: Operation, given: tuple[Operand, Operand, Operand], sew_bits: int) -> list[Array]:
    """``vs2``, ``vs1`` and ``vd``, of one shape; an empty array where there is none."""
    second = Width.SEW if operation.scalar else operation.vs1
    widths = (operation.vs2, second, operation.vd if operation.reads_vd else None)
    present: list[Array] = []
    for name, width, value in zip(("vs2", "vs1", "vd"), widths, given):
        if width is None:
            continue
        if value is None:
            raise ValueError(f"{operation.mnemonic} needs {name}")
        kind = np.bool_ if width is Width.MASK else unsigned_dtype(width.bits(sew_bits))
        value = np.asarray(value)
        if value.dtype != kind:
            raise TypeError(
                f"{name} of {operation.mnemonic} must be a {np.dtype(kind)} array, not {value.dtype}"
            )
        present.append(value)
    shape = np.broadcast_shapes(*(value.shape for value in present))
    filled = iter(present)
    return [
        _NONE if width is None else np.ascontiguousarray(np.broadcast_to(next(filled), shape)).reshape(shape)
        for width in widths
    ]


_NONE = np.zeros(0, np.uint8)

Evaluator: TypeAlias = Callable[[Operation, list[Array], int, bool], Array]


def _move(_operation: Operation, operands: list[Array], _sew_bits: int, _altfmt: bool) -> Array:
    return operands[1]


def _mask_logic(operation: Operation, operands: list[Array], _sew_bits: int, _altfmt: bool) -> Array:
    return vector_integers.MASKS[operation.base](operands[0], operands[1])


def _extension(operation: Operation, operands: list[Array], sew_bits: int, _altfmt: bool) -> Array:
    return extend(operands[0], sew_bits, sign=operation.base == "vsext")


def _integer(operation: Operation, operands: list[Array], sew_bits: int, _altfmt: bool) -> Array:
    base, (vs2, vs1, vd) = operation.base, operands
    if base in vector_integers.WIDENING:
        base, sign2, sign1 = vector_integers.WIDENING[base]
        vs2, vs1 = extend(vs2, 2 * sew_bits, sign=sign2), extend(vs1, 2 * sew_bits, sign=sign1)
    if base in vector_integers.TERNARY:
        return vector_integers.TERNARY[base](vd, vs1, vs2)
    return vector_integers.BINARY[base](vs2, vs1)


def _float(operation: Operation, operands: list[Array], sew_bits: int, altfmt: bool) -> Array:
    base, (vs2, vs1, vd) = operation.base, operands
    form = float_format(sew_bits, altfmt=altfmt)
    if base in vector_floats.WIDENING:
        base, wide = vector_floats.WIDENING[base], float_format(2 * sew_bits, altfmt=altfmt)
        vs1 = convert(vs1, form, wide)
        vs2 = vs2 if operation.vs2 is Width.DOUBLE else convert(vs2, form, wide)
        form = wide
    if base in vector_floats.BINARY:
        return vector_floats.BINARY[base](vs2, vs1, form)
    return vector_floats.fused(base, vd, vs1, vs2, form)


def _conversion(operation: Operation, operands: list[Array], sew_bits: int, altfmt: bool) -> Array:
    assert operation.vs2 is not None
    assert operation.vd is not None
    source_bits, target_bits = operation.vs2.bits(sew_bits), operation.vd.bits(sew_bits)
    _, *rounding, target, source = operation.base.split(".")
    if target == source == "f":
        return convert(
            operands[0], float_format(source_bits, altfmt=altfmt), float_format(target_bits, altfmt=altfmt)
        )
    if target == "f":
        return from_integer(operands[0], float_format(target_bits, altfmt=altfmt), sign=source == "x")
    return to_integer(
        operands[0], float_format(source_bits, altfmt=altfmt), target_bits, sign=target == "x", truncate=rounding == ["rtz"],
    )  # fmt: skip


def _estimate(operation: Operation, operands: list[Array], sew_bits: int, altfmt: bool) -> Array:
    function = reciprocal_estimate if operation.base == "vfrec7" else square_root_estimate
    return function(operands[0], float_format(sew_bits, altfmt=altfmt))


def _evaluator(operation: Operation) -> Evaluator | None:
    base = operation.base
    if operation.unit not in (Unit.ALU, Unit.FMA) or operation.vd in (Width.FIRST, Width.FIRST_DOUBLE):
        return _move if base in _MOVES else None
    if base in (*_MOVES, *_MERGES):
        return _move
    if base in vector_integers.MASKS and operation.vs2 is Width.MASK:
        return _mask_logic
    if base in ("vzext", "vsext"):
        return _extension
    if "cvt" in base:
        return _conversion
    if base in ("vfrec7", "vfrsqrt7"):
        return _estimate
    if operation.floating and not operation.whole:
        return _float
    integers = (*vector_integers.BINARY, *vector_integers.TERNARY, *vector_integers.WIDENING)
    return _integer if base in integers else None


_EVALUATORS: dict[str, Evaluator] = {
    mnemonic: evaluator
    for mnemonic, operation in OPERATIONS.items()
    if (evaluator := _evaluator(operation)) is not None
}
