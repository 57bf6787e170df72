"""The functions of one number that have an operator of their own, and what they are at every FP16 number."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lanewise.mapping.graph import Attribute, Operator
from lanewise.mapping.patterns.numbers import evaluate

PLAIN = (
    "gelu", "gelu_tanh", "quick_gelu", "silu", "mish", "softplus", "sigmoid", "tanh", "hardswish", "hardsigmoid", "relu", "relu6", "elu",
    "log_sigmoid", "erf", "exp", "log", "sqrt", "rsqrt", "reciprocal", "abs", "negate", "sin", "cos",
)  # fmt: skip
"""Without parameters."""

TOLERANCE = 2.0**-15
"""Of a number: a sixteenth of FP16's unit in the last place. Programs write constants with eight digits and more."""
LEAST = 2.0**-28
"""The same of the smallest number."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """An operator of one operand."""

    function: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def values(self, x: Tensor) -> Tensor:
        """Results for ``x``."""
        operator = Operator(
            index=0,
            name="",
            kind="elementwise",
            function=self.function,
            inputs=(0,),
            outputs=(1,),
            attributes=self.attributes,
        )
        found = x if self.function == "identity" else evaluate(operator, [x])
        assert found is not None
        return found


@cache
def probes() -> Tensor:
    """All finite FP16 numbers, as float64, in order."""
    bits = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return torch.from_numpy(np.sort(bits[np.isfinite(bits)].astype(np.float64)))


@cache
def _plain() -> tuple[tuple[Target, Tensor], ...]:
    return tuple((target, target.values(probes())) for target in (Target(function=name) for name in PLAIN))


def targets(found: Tensor) -> Iterator[tuple[Target, Tensor]]:
    """The functions that ``found``, results at :func:`probes`, may be, with their results; those with parameters as the results would have them."""
    x = probes()
    yield Target(function="identity"), x
    yield from _plain()
    at = {number: float(found[int(torch.searchsorted(x, number))]) for number in (-60000.0, -1.0, 1.0, 2.0)}
    parametrised: list[tuple[str, dict[str, Any]]] = [
        ("multiply", {"scalar": at[1.0]}),
        ("add", {"scalar": at[1.0] - 1.0}),
        *(("pow", {"exponent": exponent}) for exponent in (2.0, 3.0)),
        ("leaky_relu", {"slope": -at[-1.0]}),
        ("elu", {"alpha": -at[-60000.0]}),
        ("clamp", {"minimum": float(found[0]), "maximum": float(found[-1])}),
        ("maximum", {"scalar": float(found[0])}),
        ("minimum", {"scalar": float(found[-1])}),
    ]
    for function, attributes in parametrised:
        if all(np.isfinite(number) for number in attributes.values()):
            target = Target(function=function, attributes=attributes)
            yield target, target.values(x)


def unlike(found: Tensor, wanted: Tensor) -> Tensor:
    """Where two results are not one FP16 number: more apart than :data:`TOLERANCE`, or one finite and the other not."""
    error = (found - wanted).abs()
    near = error <= torch.clamp(TOLERANCE * wanted.abs(), min=LEAST)
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    return ~(near | same)
