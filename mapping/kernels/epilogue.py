"""Element-wise steps on registers, shared by every kernel that ends in them, and the conversion to the matrix unit's operands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from lanewise.mapping.kernels.activations import ON_FLEX_SFU, SOFTWARE, activation
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.division import divide, divide_by_constant, reverse_divide, square_root
from lanewise.mapping.kernels.logic import (
    LOGIC,
    MASKS,
    RELATIONS,
    ROUNDINGS,
    compare,
    logic,
    merge,
    rounded,
    set_mask,
)
from lanewise.mapping.kernels.turn_back import TURN_BACK, turn_back
from lanewise.sim.program import Address

Operand: TypeAlias = Register | str | Address
"""A register, or what :meth:`VectorKernel.load` takes."""

_BINARY = {
    "add": "vfadd", "subtract": "vfsub", "multiply": "vfmul", "maximum": "vfmax", "minimum": "vfmin",
}  # fmt: skip
_REVERSED = {"reverse_subtract": "subtract", "reverse_divide": "divide"}
_SIMPLE = {"negate": "vfsgnjn.vv", "abs": "vfsgnjx.vv", "square": "vfmul.vv"}
_POWERS = {2.0: ("square",), 0.5: ("sqrt",), -0.5: ("rsqrt",), -1.0: ("reciprocal",), 1.0: (), 3.0: ("cube",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One element-wise function of the value at hand; or ``turn_back``, in training, with the block as ``constant``.

    ``operand`` is empty for a unary function, ``scalar`` (then ``constant`` holds it), ``tensor`` (as many elements as the value,
    read from memory) or ``channel`` (one value a column, read once a tile).

    Comparisons (``less``, ...) give 1.0 or 0.0, which is what ``logical_*`` take. A selection is several steps, one right after the other: ``mask`` or
    ``mask_not`` says where the operand, or the value itself, is true or is not; ``set`` replaces the value; ``merge`` replaces it where the mask says.
    """

    function: str
    operand: str = ""
    constant: float = 0.0
    """The scalar; ``leaky_relu``'s slope; ``clamp``'s minimum."""
    maximum: float = 0.0
    """``clamp``'s."""


def knows(step: Step) -> bool:
    """Whether there is a kernel for ``step``."""
    name = step.function
    if name == "pow":
        return step.operand == "scalar" and step.constant in _POWERS
    if step.operand:
        logic = name in LOGIC or name in MASKS
        other = name in _REVERSED or name in RELATIONS[:6] or name in ("divide", "set", "merge")
        return name in _BINARY or other or (logic and step.operand != "scalar")
    return (
        name in SOFTWARE
        or name in _SIMPLE
        or name in ROUNDINGS
        or name in MASKS
        or name in ("sqrt", "clamp", "cube", "leaky_relu", "logical_not", *RELATIONS[6:])
    )


def flex_functions(steps: Sequence[Step]) -> tuple[str, ...]:
    """The functions among ``steps`` that want Flex-SFU's one table."""
    return tuple(dict.fromkeys(s.function for s in steps if s.function in ON_FLEX_SFU))


def emit_steps(
    kernel: VectorKernel, value: Register, steps: Sequence[Step], operands: Mapping[int, Operand]
) -> Register:
    """Append ``steps`` to the kernel.

    Args:
        operands: For step i with a vector operand: the register that holds it, or what :meth:`VectorKernel.load` loads it from.

    Raises:
        KeyError: There is no kernel for a step; ask :func:`knows` first.
    """
    for index, step in enumerate(steps):
        if step.operand in ("", "scalar"):
            result = _alone(kernel, value, step)
        else:
            place = operands[index]
            other = place if isinstance(place, Register) else kernel.load(place)
            result = _with_vector(kernel, value, step.function, other)
            if other is not place and other != result:
                kernel.release(other)
        if result != value:
            kernel.release(value)
        value = result
    return value


def _alone(kernel: VectorKernel, value: Register, step: Step) -> Register:
    """A step without a vector operand."""
    name = step.function
    if name == TURN_BACK:
        return turn_back(kernel, value, int(step.constant))
    if name == "pow":
        for part in _POWERS[step.constant]:
            result = _alone(kernel, value, Step(function=part))
            if result != value:
                kernel.release(value)
            value = result
        return value
    if name in RELATIONS:
        return compare(kernel, name, value, None, step.constant)
    if name in MASKS:
        set_mask(kernel, name, value)
        return value
    if name == "merge":
        return merge(kernel, value, None, step.constant)
    if name == "set":
        return kernel.emit("vfmv.v.f", into=value, constant=step.constant)
    if step.operand == "scalar":
        return _with_scalar(kernel, name, value, step.constant)
    if name == "logical_not":
        return logic(kernel, name, value, None)
    if name in ROUNDINGS:
        return rounded(kernel, name, value)
    if name == "clamp":
        kernel.emit("vfmax.vf", value, into=value, constant=step.constant)
        return kernel.emit("vfmin.vf", value, into=value, constant=step.maximum)
    if name in ("leaky_relu", "cube"):
        if name == "cube":
            other, opcode = kernel.emit("vfmul.vv", value, value), "vfmul.vv"
        else:
            other = kernel.emit("vfmul.vf", value, constant=step.constant)
            opcode = "vfmax.vv" if step.constant <= 1 else "vfmin.vv"
        kernel.emit(opcode, value, other, into=value)
        kernel.release(other)
        return value
    if name == "sqrt":
        return square_root(kernel, value, into=value)
    if name in _SIMPLE:
        return kernel.emit(_SIMPLE[name], value, value, into=value)
    return activation(kernel, name, value)


def _with_vector(kernel: VectorKernel, value: Register, name: str, other: Register) -> Register:
    """``other`` is the operand; the result is in value's place, but of ``set``."""
    if name in RELATIONS:
        return compare(kernel, name, value, other, 0.0)
    if name in LOGIC:
        return logic(kernel, name, value, other)
    if name in MASKS:
        set_mask(kernel, name, other)
        return value
    if name == "merge":
        return merge(kernel, value, other, 0.0)
    if name == "set":
        return kernel.emit("vmv.v.v", other, into=value)
    first, second = (other, value) if name in _REVERSED else (value, other)
    name = _REVERSED.get(name, name)
    if name == "divide":
        return divide(kernel, first, second, into=value)
    return kernel.emit(f"{_BINARY[name]}.vv", first, second, into=value)


def _with_scalar(kernel: VectorKernel, name: str, value: Register, scalar: float) -> Register:
    if name == "divide":
        return divide_by_constant(kernel, value, scalar, into=value)
    if name == "reverse_divide":
        return reverse_divide(kernel, value, scalar, into=value)
    opcode = "vfrsub" if name == "reverse_subtract" else _BINARY[name]
    return kernel.emit(f"{opcode}.vf", value, into=value, constant=scalar)


def store_outputs(
    kernel: VectorKernel, value: Register, outputs: Sequence[str], places: Mapping[str, str | Address], inverse_step: float = 1.0
) -> None:  # fmt: skip
    """Store the value in each format that its consumers want; what an FP16 array wants is FP16.

    ``quantised``: multiply by the inverse step, convert to INT8 with saturation, clamp to the operands' range, and for INT4
    pack two to a byte, the first in the lower half (shift the odd elements down to the even ones' upper nibble, mask both, or, narrow).
    """
    for form in outputs:
        if form in ("fp16", "middle"):
            kernel.store(places[form], value)
            continue
        scaled = kernel.emit("vfmul.vf", value, constant=inverse_step)
        small = kernel.emit("vfncvt.x.f.w", scaled, sew_bits=16, result_bits=8)
        kernel.release(scaled)
        if kernel.config.matrix.operand_bits == 4:
            kernel.emit("vmax.vx", small, into=small, sew_bits=8, constant=-8)
            kernel.emit("vmin.vx", small, into=small, sew_bits=8, constant=7)
            half = ceil(kernel.vl / 2)  # pairs of bytes seen as 16-bit elements
            high = kernel.emit("vsrl.vi", small, sew_bits=16, vl=half, constant=4)
            kernel.emit("vand.vx", small, into=small, sew_bits=16, vl=half, constant=15)
            kernel.emit("vand.vx", high, into=high, sew_bits=16, vl=half, constant=240)
            kernel.emit("vor.vv", small, high, into=small, sew_bits=16, vl=half)
            kernel.emit("vnsrl.wi", small, into=high, sew_bits=16, vl=half, constant=0)
            kernel.store(places[form], high, sew_bits=8, vl=half)
            kernel.release(high)
        else:
            kernel.store(places[form], small, sew_bits=8)
        kernel.release(small)


def format_bits(form: str, operand_bits: int) -> int:
    """Bits of an element in memory: 16, or the matrix unit's operand width, which is 16 as well for an FP16 array.

    ``middle`` is FP16 that stays in the scratchpad.
    """
    return operand_bits if form == "quantised" else 16
