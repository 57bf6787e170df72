"""Straight-line floating-point arithmetic on elements, said once: the golden model evaluates it, a vector kernel is written from it.

What an operation computes is what the vector instruction of it does: one rounding, RISC-V's NaN. So a recipe is bits, whoever reads it;
:mod:`lanewise.mapping.kernels.recipes` allocates registers and emits the instructions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lanewise.formats import FORMATS
from lanewise.models.multiply_add import multiply_add
from lanewise.models.numbers import bits_dtype
from lanewise.models.vector import canonical, execute
from lanewise.models.vector_estimates import reciprocal_estimate

Float: TypeAlias = npt.NDArray[np.floating[Any]]
KINDS: dict[int, type[np.floating[Any]]] = {16: np.float16, 32: np.float32}


@dataclass(frozen=True, slots=True)
class Place:
    """A run of elements of a buffer: the elements that all runs of one number share are a recipe's."""

    buffer: str
    row: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One operation; ``sources`` are numbers of steps before it."""

    name: str
    sources: tuple[int, ...] = ()
    constant: float = 0.0
    place: Place | None = None
    bits: int = 32
    """Of the result; of a store, of what is stored."""


class Recipe:
    """Builds the steps. A value is its step's number; ``None`` is a zero that is never computed.

    Args:
        bits: Width of the arithmetic, 16 or 32.
    """

    def __init__(self, bits: int = 32) -> None:
        self.bits = bits
        self.steps: list[Step] = []

    def _step(
        self, name: str, *sources: int, constant: float = 0.0, place: Place | None = None, bits: int = 0
    ) -> int:
        self.steps.append(Step(name, sources, constant, place, bits or self.bits))
        return len(self.steps) - 1

    def load(self, buffer: str, row: int = 0, bits: int = 0) -> int:
        """Elements of memory; of FP16 ones that an FP32 recipe loads their FP32 values."""
        made = self._step("load", place=Place(buffer, row), bits=bits)
        return self._step("widen", made) if bits and bits < self.bits else made

    def store(self, value: int, buffer: str, row: int = 0, bits: int = 0) -> None:
        """Write elements, rounded to FP16 if ``bits`` says so."""
        if bits and bits < self.bits:
            value = self._step("narrow", value, bits=bits)
        self._step("store", value, place=Place(buffer, row), bits=bits)

    def store_integer(self, value: int, buffer: str, row: int = 0) -> None:
        """Write elements rounded to INT8, saturating; of an FP32 recipe by way of FP16."""
        if self.bits == 32:
            value = self._step("narrow", value, bits=16)
        value = self._step("integer", value, bits=8)
        self._step("store", value, place=Place(buffer, row), bits=8)

    def add(self, a: int | None, b: int | None) -> int | None:
        """a + b."""
        if a is None or b is None:
            return b if a is None else a
        return self._step("add", a, b)

    def subtract(self, a: int | None, b: int | None) -> int | None:
        """a - b."""
        if b is None:
            return a
        return self.times(-1.0, b) if a is None else self._step("subtract", a, b)

    def times(self, constant: float, a: int | None) -> int | None:
        """A constant, rounded to the recipe's format, times a."""
        return None if a is None else self._step("times", a, constant=constant)

    def multiply(self, a: int, b: int) -> int:
        """a b."""
        return self._step("multiply", a, b)

    def add_times(self, a: int | None, constant: float, b: int | None) -> int | None:
        """a + constant b, fused."""
        if a is None or b is None:
            return self.times(constant, b) if a is None else a
        return self._step("add times", a, b, constant=constant)

    def times_subtract(self, constant: float, b: int, a: int) -> int:
        """constant b - a, fused."""
        return self._step("times subtract", a, b, constant=constant)

    def add_product(self, a: int, b: int, c: int) -> int:
        """a + b c, fused."""
        return self._step("add product", a, b, c)

    def subtract_product(self, a: int, b: int, c: int) -> int:
        """a - b c, fused."""
        return self._step("subtract product", a, b, c)

    def product_subtract(self, b: int, c: int, a: int) -> int:
        """b c - a, fused."""
        return self._step("product subtract", a, b, c)

    def plus(self, constant: float, a: int) -> int:
        """constant + a."""
        return self._step("plus", a, constant=constant)

    def constant(self, value: float) -> int:
        """A number in every element."""
        return self._step("constant", constant=value)

    def reciprocal(self, a: int) -> int:
        """1 / a of normal numbers: the 7-bit estimate and Newton steps, one of FP16, two of FP32."""
        made = self._step("estimate", a)
        for _ in range(1 if self.bits == 16 else 2):
            made = self.add_product(made, made, self.subtract_product(self.constant(1.0), a, made))
        return made

    def pruned(self) -> "Recipe":
        """Without what no store depends on."""
        wanted: set[int] = set()
        for number in range(len(self.steps) - 1, -1, -1):
            if self.steps[number].name == "store" or number in wanted:
                wanted |= {number, *self.steps[number].sources}
        numbers = {old: new for new, old in enumerate(sorted(wanted))}
        made = Recipe(self.bits)
        for old in numbers:
            step = self.steps[old]
            sources = tuple(numbers[source] for source in step.sources)
            made.steps.append(Step(step.name, sources, step.constant, step.place, step.bits))
        return made


def fused(a: Float, b: Float, c: Float) -> Float:
    """``a b + c`` with one rounding, float16 or float32, equal shapes; NaN are RISC-V's.

    A float64 sum rounded again is the fused one unless it is the middle of two numbers of the format, or leaves its normal ones; those few are
    the golden multiply-add's.
    """
    kind = a.dtype
    with np.errstate(all="ignore"):
        wide = a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)
        made = wide.astype(kind)
    spare = 52 - np.finfo(kind).nmant
    low = wide.view(np.uint64) & np.uint64((1 << spare) - 1)
    magnitude = np.abs(wide)
    limits = np.finfo(kind)
    doubtful = (low == np.uint64(1 << (spare - 1))) | ~(magnitude >= 2 * limits.smallest_normal) | ~(magnitude <= limits.max / 2)  # fmt: skip
    exact = ((wide == 0) & (a != 0) & (b != 0)) | (a == 0) | (b == 0)  # a cancellation; no product
    doubtful &= ~(exact & np.isfinite(wide))
    if doubtful.any():
        form = FORMATS["fp16" if kind == np.float16 else "fp32"]
        x, y, z = (np.ascontiguousarray(np.broadcast_to(v, made.shape)[doubtful]).view(bits_dtype(form)) for v in (a, b, c))  # fmt: skip
        made[doubtful] = multiply_add(x, y, z, form).view(kind)
    return made


def evaluate(recipe: Recipe, load: Callable[[Place], Float], store: Callable[[Place, Float], None]) -> None:
    """Run a recipe on arrays of any one shape."""
    kind: Any = KINDS[recipe.bits]
    form = FORMATS[f"fp{recipe.bits}"]
    values: list[Float] = []
    for step in recipe.steps:
        s = [values[source] for source in step.sources]
        constant = kind(step.constant)
        with np.errstate(all="ignore"):
            match step.name:
                case "load":
                    assert step.place is not None
                    made = load(step.place)
                case "store":
                    assert step.place is not None
                    store(step.place, s[0])
                    made = s[0]
                case "widen" | "narrow":
                    made = canonical(s[0].astype(KINDS[step.bits]))
                case "integer":
                    made = execute("vfncvt.x.f", [np.ascontiguousarray(s[0])], 16, None)
                case "constant":
                    made = np.asarray(constant)
                case "add":
                    made = canonical(s[0] + s[1])
                case "subtract":
                    made = canonical(s[0] - s[1])
                case "multiply":
                    made = canonical(s[0] * s[1])
                case "times":
                    made = canonical(s[0] * constant)
                case "plus":
                    made = canonical(s[0] + constant)
                case "estimate":
                    bits = np.ascontiguousarray(s[0]).view(bits_dtype(form))
                    made = reciprocal_estimate(bits, form).view(kind)
                case _:
                    made = _fused_step(step, s, constant)
        values.append(made)


def _fused_step(step: Step, s: list[Float], constant: Any) -> Float:
    a, b = np.broadcast_arrays(s[0], s[1])
    c = s[2] if len(s) == 3 else np.full(b.shape, constant, b.dtype)
    match step.name:
        case "add times" | "add product":
            return fused(b, c, a)
        case "subtract product":
            return fused(-b, c, a)
        case "times subtract" | "product subtract":
            return fused(b, c, -a)
        case _:
            raise ValueError(f"name must be an operation's, not {step.name!r}")
