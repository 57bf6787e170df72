"""Element-wise steps on registers, shared by every kernel that ends in them, and the conversion to the matrix unit's operands."""

from collections.abc import Sequence
from dataclasses import dataclass

from lanewise.mapping.kernels.activations import ON_FLEX_SFU, SOFTWARE, activation
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.division import divide, divide_by_constant, reverse_divide, square_root
from lanewise.mapping.kernels.turn_back import TURN_BACK, turn_back

_BINARY = {
    "add": "vfadd", "subtract": "vfsub", "multiply": "vfmul", "maximum": "vfmax", "minimum": "vfmin",
}  # fmt: skip
_REVERSED = {"reverse_subtract": "subtract", "reverse_divide": "divide"}
_SIMPLE = {"negate": "vfsgnjn.vv", "abs": "vfsgnjx.vv", "square": "vfmul.vv"}
_ALIASES = {
    "logical_and": "select", "logical_or": "select", "logical_xor": "select", "logical_not": "select",
    "floor": "round", "ceil": "round", "trunc": "round",
}  # fmt: skip
_POWERS = {2.0: ("square",), 0.5: ("sqrt",), -0.5: ("rsqrt",), -1.0: ("reciprocal",), 1.0: (), 3.0: ("cube",)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One element-wise function of the value at hand; or ``turn_back``, in training, with the block as ``constant``.

    ``operand`` is empty for a unary function, ``scalar`` (then ``constant`` holds it), ``tensor`` (as many elements as the value,
    read from memory) or ``channel`` (one value a column, read once a tile).
    """

    function: str
    operand: str = ""
    constant: float = 0.0


def knows(step: Step) -> bool:
    """Whether there is a kernel for ``step``."""
    name = _ALIASES.get(step.function, step.function)
    if step.function == "pow":
        return step.operand == "scalar" and step.constant in _POWERS
    if step.operand:
        return name in _BINARY or name in _REVERSED or name in ("divide", "compare", "select")
    return (
        name in SOFTWARE
        or name in _SIMPLE
        or name in ("sqrt", "clamp", "cast", "cube", "select", "compare", "leaky_relu", "round")
    )


def flex_functions(steps: Sequence[Step]) -> tuple[str, ...]:
    """The functions among ``steps`` that want Flex-SFU's one table."""
    return tuple(
        dict.fromkeys(s.function for s in steps if _ALIASES.get(s.function, s.function) in ON_FLEX_SFU)
    )


def emit_steps(
    kernel: VectorKernel, value: Register, steps: Sequence[Step], operands: dict[int, Register | str]
) -> Register:
    """Append ``steps`` to the kernel.

    Args:
        operands: For step i with a vector operand: the register that holds it, or the buffer to load it from.

    Raises:
        KeyError: There is no kernel for a step; ask :func:`knows` first.
    """
    for index, step in enumerate(steps):
        result = _emit_step(kernel, value, step, operands.get(index))
        if result != value:
            kernel.release(value)
        value = result
    return value


def _emit_step(kernel: VectorKernel, value: Register, step: Step, operand: Register | str | None) -> Register:
    name = _ALIASES.get(step.function, step.function)
    if name == TURN_BACK:
        return turn_back(kernel, value, int(step.constant))
    if name == "pow":
        for part in _POWERS[step.constant]:
            value = _emit_step(kernel, value, Step(function=part), None)
        return value
    if name in ("compare", "select", "cast"):  # a mask or a merge: one pass of the integer unit
        if isinstance(operand, str):
            other = kernel.load(operand)
            kernel.emit("vmerge.vvm", value, other, Register(first=0, length=1), into=value)
            kernel.release(other)
            return value
        return kernel.emit("vmerge.vvm", value, value, Register(first=0, length=1), into=value)
    if name == "clamp":
        kernel.emit("vfmax.vf", value, into=value, constant=step.constant)
        return kernel.emit("vfmin.vf", value, into=value, constant=step.constant)
    if name == "leaky_relu":
        scaled = kernel.emit("vfmul.vf", value, constant=step.constant)
        kernel.emit("vfmax.vv", value, scaled, into=value)
        kernel.release(scaled)
        return value
    if name == "cube":
        square = kernel.emit("vfmul.vv", value, value)
        kernel.emit("vfmul.vv", value, square, into=value)
        kernel.release(square)
        return value
    if name == "round":  # to an integer, in one of the rounding modes, and back
        kernel.emit("vfcvt.x.f.v", value, into=value)
        return kernel.emit("vfcvt.f.x.v", value, into=value)
    if not step.operand:
        if name == "sqrt":
            return square_root(kernel, value, into=value)
        if name in _SIMPLE:
            return kernel.emit(_SIMPLE[name], value, value, into=value)
        return activation(kernel, name, value)
    if step.operand == "scalar":
        return _with_scalar(kernel, name, value, step.constant)
    vector = kernel.load(operand) if isinstance(operand, str) else operand
    assert vector is not None
    first, second = (vector, value) if name in _REVERSED else (value, vector)
    name = _REVERSED.get(name, name)
    if name == "divide":
        divide(kernel, first, second, into=value)
    else:
        kernel.emit(f"{_BINARY[name]}.vv", first, second, into=value)
    if vector != operand:
        kernel.release(vector)
    return value


def _with_scalar(kernel: VectorKernel, name: str, value: Register, scalar: float) -> Register:
    if name == "divide":
        return divide_by_constant(kernel, value, scalar, into=value)
    if name == "reverse_divide":
        return reverse_divide(kernel, value, scalar, into=value)
    opcode = "vfrsub" if name == "reverse_subtract" else _BINARY[name]
    return kernel.emit(f"{opcode}.vf", value, into=value, constant=scalar)


def store_outputs(
    kernel: VectorKernel, value: Register, outputs: Sequence[str], buffers: dict[str, str]
) -> None:
    """Store the value in each format that its consumers want; what an FP16 array wants is FP16.

    ``quantised``: multiply by the inverse step, convert to INT8 with saturation, clamp to the operands' range, and for INT4
    pack two to a byte (shift the odd elements down to the even ones' upper nibble, mask both, or, narrow).
    """
    for form in outputs:
        if form in ("fp16", "middle"):
            kernel.store(buffers[form], value)
            continue
        scaled = kernel.emit("vfmul.vf", value, constant=1.0)
        small = kernel.emit("vfncvt.x.f.w", scaled, sew_bits=16, result_bits=8)
        kernel.release(scaled)
        if kernel.config.matrix.operand_bits == 4:
            kernel.emit("vmax.vx", small, into=small, sew_bits=8, constant=-8)
            kernel.emit("vmin.vx", small, into=small, sew_bits=8, constant=7)
            half = max(1, kernel.vl // 2)  # pairs of bytes seen as 16-bit elements
            high = kernel.emit("vsrl.vi", small, sew_bits=16, vl=half, constant=4)
            kernel.emit("vand.vx", small, into=small, sew_bits=16, vl=half, constant=15)
            kernel.emit("vand.vx", high, into=high, sew_bits=16, vl=half, constant=240)
            kernel.emit("vor.vv", small, high, into=small, sew_bits=16, vl=half)
            kernel.emit("vnsrl.wi", small, into=high, sew_bits=16, vl=half, constant=0)
            kernel.store(buffers[form], high, sew_bits=8, vl=half)
            kernel.release(high)
        else:
            kernel.store(buffers[form], small, sew_bits=8)
        kernel.release(small)


def format_bits(form: str, operand_bits: int) -> int:
    """Bits of an element in memory: 16, or the matrix unit's operand width, which is 16 as well for an FP16 array.

    ``middle`` is FP16 that stays in the scratchpad.
    """
    return operand_bits if form == "quantised" else 16
