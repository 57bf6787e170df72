"""One function of one operand on the hardware: bits, derivative, and the exact function that it stands for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import log
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.formats import FORMATS, NumberFormat
from lanewise.models.address_decoder import address_decoder
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.functions import FUNCTIONS, Function
from lanewise.models.nn.config import ApproximateConfig
from lanewise.models.nn.fast_fp32 import FastFp32
from lanewise.models.nn.lookup import operand_bits, patterns
from lanewise.models.nn.session import paused
from lanewise.models.numbers import Bits, Reals, decode
from lanewise.models.reduction import REDUCED, reduced
from lanewise.models.reduction_tables import reduction_table

Parameters: TypeAlias = tuple[float, ...]
"""Of a kind of functions: softplus' beta and threshold, ELU's alpha, scale and input scale, leaky ReLU's slope."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Activation:
    """A function of one operand as the hardware computes it, on tensors of any shape and floating-point type.

    Calling it rounds the operands to ``format`` and gives the hardware's results in the operand's type.
    """

    name: str
    format: str
    exact: Callable[[torch.Tensor], torch.Tensor]
    """What it stands for, differentiable."""
    bits: Callable[[Bits], Bits]
    """The golden model."""
    range: tuple[float, float]
    """Operands for which the hardware's result is meant to be accurate: the fit's interval, or all of them."""
    table: SfuTable | None = None
    """What Flex-SFU holds, if its result is the function's."""
    input_scale: float = 1.0
    """What one unit of an integer operand stands for."""
    output_scale: float = 1.0
    """What one unit of an integer result stands for."""

    @property
    def form(self) -> NumberFormat:
        """The number format."""
        return FORMATS[self.format]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Results, shape and type of ``x``."""
        operands = operand_bits(x, self.form, self.input_scale)
        values: npt.NDArray[np.floating[Any]]
        if self.format == "fp32":
            values = self.bits(operands).view(np.float32)
        else:
            values = self._results(operands) if self.form.bits == 32 else self._lookup.take(operands)
        return torch.from_numpy(np.asarray(values)).to(dtype=x.dtype, device=x.device)

    def slope(self, x: torch.Tensor) -> torch.Tensor:
        """Derivative of the segment's polynomial, in real numbers; shape and type of ``x``.

        Raises:
            ValueError: The hardware's result is not a table's, but that of a range reduction.
        """
        if self.table is None:
            raise ValueError(f"{self.name} must have a table for its slope, not a range reduction")
        operands = operand_bits(x, self.form, self.input_scale)
        values = self._slopes(operands) if self.form.bits == 32 else self._slope_lookup.take(operands)
        return torch.from_numpy(np.asarray(values)).to(dtype=x.dtype, device=x.device)

    @cached_property
    def _lookup(self) -> npt.NDArray[np.float32]:
        return self._results(patterns(self.form)).astype(np.float32)

    @cached_property
    def _slope_lookup(self) -> npt.NDArray[np.float32]:
        return self._slopes(patterns(self.form)).astype(np.float32)

    def _results(self, operands: Bits) -> Reals:
        return decode(self.bits(operands), self.form) * self.output_scale

    def _slopes(self, operands: Bits) -> Reals:
        table = self.table
        assert table is not None
        segment = address_decoder(operands, table.breakpoints, self.form)
        scales = _coefficient_scales(table)
        coefficients = (decode(table.coefficients, self.form) * scales)[segment]
        slopes = coefficients[..., 1]
        if table.degree == 2:
            with np.errstate(invalid="ignore"):
                bent = slopes + 2 * coefficients[..., 2] * decode(operands, self.form)
            slopes = np.where(coefficients[..., 2] == 0, slopes, bent)  # 0 x infinity is 0 here, too
        return np.asarray(slopes * (self.output_scale / self.input_scale))


def _coefficient_scales(table: SfuTable) -> Reals:
    """What a unit of each coefficient is worth, in units of the result and the operand: powers of two from the shifts.

    Degree 2: t = (c2 x + (c1 << a0)) >> s0, y = (t x + (c0 << a1)) >> s1.
    """
    if not table.shifts:
        return np.ones(table.degree + 1)
    product, addend = table.shifts[-1]
    scales = [2.0 ** (addend - product), 2.0**-product]
    if table.degree == 2:
        inner_product, inner_addend = table.shifts[0]
        scales = [
            scales[0],
            2.0 ** (inner_addend - inner_product - product),
            2.0 ** (-inner_product - product),
        ]
    return np.array(scales)


@lru_cache(maxsize=512)
def activation(name: str, parameters: Parameters, config: ApproximateConfig) -> Activation | None:
    """The hardware's function, or ``None`` if the hardware has none: exp, log, sin, cos, reciprocal and rsqrt need a range
    reduction, which FP16 (exp: from 16 segments on) and FP32 have.

    Args:
        name: One of ``config``'s functions.
        parameters: As :func:`function_of` takes them.
        config: Segments, degree, format and range.

    Raises:
        UserError: The function cannot be fitted on its range.
    """
    with paused():  # the fit calls the very functions that are replaced
        return _activation(function_of(name, parameters), config, name)


def _activation(subject: Function, config: ApproximateConfig, name: str) -> Activation | None:
    if name in REDUCED:
        return _range_reduced(subject, config)
    interval = config.range_of(name) or subject.range
    result = fit(
        subject, segments=config.segments, degree=config.degree, format=config.format, range=interval
    )
    assert result.scaling is not None  # only unrounded fits have none
    table = result.table()
    return Activation(
        name=subject.name, format=config.format, exact=subject.torch, bits=_bits(table), range=interval,
        table=table, input_scale=result.scaling.input_scale, output_scale=result.scaling.output_scale,
    )  # fmt: skip


def _bits(table: SfuTable) -> Callable[[Bits], Bits]:
    return FastFp32(table) if table.format == "fp32" else lambda x: flex_sfu(x, table)


def _range_reduced(subject: Function, config: ApproximateConfig) -> Activation | None:
    name = subject.name
    try:
        table = reduction_table(name, segments=config.segments, degree=config.degree, format=config.format)
    except UserError:
        return None
    top = FORMATS[config.format].maximum
    low = 0.0 if name in ("log", "rsqrt") else -top
    return Activation(
        name=name, format=config.format, exact=subject.torch, bits=lambda x: reduced(name, x, table),
        range=(low, log(top) if name == "exp" else top),
    )  # fmt: skip


_ZERO, _IDENTITY = (0.0, 0.0), (1.0, 0.0)

DEFAULTS: dict[str, Parameters] = {"softplus": (1.0, 20.0), "elu": (1.0, 1.0, 1.0), "leaky_relu": (0.01,)}
"""The parameters of kinds of functions, as PyTorch has them if nothing is said."""


@lru_cache(maxsize=512)
def function_of(name: str, parameters: Parameters = ()) -> Function:
    """The exact function; of the kinds in :data:`DEFAULTS`, the one with these parameters.

    >>> function_of("softplus", (4.0, 20.0)).range
    (-2.0, 2.0)
    """
    if name in FUNCTIONS and parameters == DEFAULTS.get(name, ()):
        return FUNCTIONS[name]
    text = ", ".join(f"{value:g}" for value in parameters)
    if name == "softplus":
        beta, threshold = parameters
        return Function(
            name=f"softplus({text})", torch=lambda x: F.softplus(x, beta, threshold), range=_around(8 / beta),
            left=_ZERO if beta > 0 else _IDENTITY, right=_IDENTITY if beta > 0 else _ZERO,
        )  # fmt: skip
    if name == "elu":
        alpha, scale, steepness = parameters
        return Function(
            name=f"elu({text})", torch=lambda x: torch.ops.aten.elu(x, alpha, scale, steepness),
            range=_around(8 / steepness), left=(0.0, -alpha * scale), right=(scale, 0.0), corners=(0.0,),
        )  # fmt: skip
    if name == "leaky_relu":
        (slope,) = parameters
        return Function(
            name=f"leaky_relu({text})", torch=lambda x: F.leaky_relu(x, slope), range=_around(8.0),
            left=(slope, 0.0), right=_IDENTITY, corners=(0.0,),
        )  # fmt: skip
    raise ValueError(
        f"name must be one of {', '.join(DEFAULTS)} or of FUNCTIONS without parameters, not {name!r}"
    )


def _around(half: float) -> tuple[float, float]:
    return (-abs(half), abs(half))


def nonpositive_exponential(config: ApproximateConfig) -> Callable[[Bits], Bits]:
    """Softmax's exp on FP16 bit patterns of numbers of at most 0, as a look-up."""
    values = _exponential_values(config.segments, config.degree, config.exponential)
    return lambda x: values.take(x)


@lru_cache(maxsize=64)
def _exponential_values(segments: int, degree: int, exponential: str) -> Bits:
    every = patterns(FORMATS["fp16"])
    with paused():
        return _nonpositive(every, segments, degree, exponential)


def _nonpositive(every: Bits, segments: int, degree: int, exponential: str) -> Bits:
    if exponential == "reduced" and segments >= 16:
        table = reduction_table("exp_nonpositive", segments=segments, degree=degree)
        return reduced("exp_nonpositive", every, table)
    return flex_sfu(every, fit("exp", segments=segments, degree=degree).table())
