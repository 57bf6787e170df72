"""The functions that Flex-SFU approximates, as real numbers: PyTorch in float64.

With each come the range and the tails of its fit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

Reals: TypeAlias = npt.NDArray[np.float64]
Tail: TypeAlias = tuple[float, float]
"""Slope and offset of an asymptote."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function of one real variable, and how its fit is bounded.

    A fit's tail lies on the asymptote where there is one. Where there is none, the tail continues the line of
    the outermost segment inside the range.

    Raises:
        ValueError: The range is empty or not finite.
    """

    name: str
    torch: Callable[[torch.Tensor], torch.Tensor]
    """The reference: float64 in, numbers of any width out, element by element."""
    range: tuple[float, float]
    """Interval over which a fit's error counts, unless another is asked for."""
    left: Tail | None = None
    """Asymptote towards minus infinity."""
    right: Tail | None = None
    """Asymptote towards plus infinity."""
    corners: tuple[float, ...] = ()
    """Where a derivative jumps: a fit may put a breakpoint exactly there."""
    source: str = ""
    """Where the function was defined."""

    def __post_init__(self) -> None:
        low, high = self.range
        if not (isfinite(low) and isfinite(high) and low < high):
            raise ValueError(f"range must be two finite numbers, the smaller first, not {self.range!r}")

    def __call__(self, x: Reals) -> Reals:
        """Values in float64, shape of ``x``."""
        with torch.no_grad():
            result = self.torch(torch.from_numpy(np.array(x, dtype=np.float64)))
        values: Reals = result.detach().to("cpu", torch.float64).numpy()
        return values


_ZERO, _ONE, _MINUS_ONE, _IDENTITY = (0.0, 0.0), (0.0, 1.0), (0.0, -1.0), (1.0, 0.0)
_WIDE = (-8.0, 8.0)
_GELU = "Hendrycks and Gimpel, arXiv 1606.08415"


def _derivative(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Its derivative, by automatic differentiation."""

    def derivative(x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(function(point).sum(), point)
        return slope

    return derivative


_ALL = (
    Function(
        name="gelu",
        torch=F.gelu,
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        source=f"{_GELU}: x Phi(x), by erf",
    ),
    Function(
        name="gelu_tanh",
        torch=lambda x: F.gelu(x, approximate="tanh"),
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        source=f"{_GELU}: its approximation by tanh",
    ),
    Function(
        name="silu",
        torch=F.silu,
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        source="Elfwing, Uchibe, Doya, arXiv 1702.03118: x sigmoid(x)",
    ),
    Function(
        name="gelu_derivative",
        torch=_derivative(F.gelu),
        range=_WIDE,
        left=_ZERO,
        right=_ONE,
        source="of gelu: what its gradient is multiplied by",
    ),
    Function(
        name="gelu_tanh_derivative",
        torch=_derivative(lambda x: F.gelu(x, approximate="tanh")),
        range=_WIDE,
        left=_ZERO,
        right=_ONE,
        source="of gelu_tanh",
    ),
    Function(
        name="silu_derivative",
        torch=_derivative(F.silu),
        range=_WIDE,
        left=_ZERO,
        right=_ONE,
        source="of silu",
    ),
    Function(
        name="sigmoid", torch=torch.sigmoid, range=_WIDE, left=_ZERO, right=_ONE, source="1 / (1 + exp(-x))"
    ),
    Function(
        name="tanh", torch=torch.tanh, range=_WIDE, left=_MINUS_ONE, right=_ONE, source="hyperbolic tangent"
    ),
    Function(
        name="exp",
        torch=torch.exp,
        range=(-10.0, 0.1),
        left=_ZERO,
        source="softmax's numerator, x <= 0. Range: Reggiani et al., arXiv 2305.04546",
    ),
    Function(
        name="mish",
        torch=F.mish,
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        source="Misra, arXiv 1908.08681: x tanh(softplus(x))",
    ),
    Function(
        name="softplus",
        torch=F.softplus,
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        source="Dugas et al., NIPS 2000: log(1 + exp(x))",
    ),
    Function(
        name="hardswish",
        torch=F.hardswish,
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        corners=(-3.0, 3.0),
        source="Howard et al., arXiv 1905.02244: x relu6(x + 3) / 6",
    ),
    Function(
        name="hardsigmoid",
        torch=F.hardsigmoid,
        range=_WIDE,
        left=_ZERO,
        right=_ONE,
        corners=(-3.0, 3.0),
        source="Howard et al., arXiv 1905.02244: relu6(x + 3) / 6",
    ),
    Function(name="erf", torch=torch.erf, range=_WIDE, left=_MINUS_ONE, right=_ONE, source="error function"),
    Function(
        name="elu",
        torch=F.elu,
        range=_WIDE,
        left=_MINUS_ONE,
        right=_IDENTITY,
        corners=(0.0,),
        source="Clevert, Unterthiner, Hochreiter, arXiv 1511.07289, alpha = 1",
    ),
    Function(
        name="selu",
        torch=F.selu,
        range=_WIDE,
        left=(0.0, -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717),
        right=(1.0507009873554804934193349852946, 0.0),
        corners=(0.0,),
        source="Klambauer et al., arXiv 1706.02515",
    ),
    Function(
        name="quick_gelu",
        torch=lambda x: x * torch.sigmoid(1.702 * x),
        range=_WIDE,
        left=_ZERO,
        right=_IDENTITY,
        source=f"{_GELU}: its approximation by sigmoid",
    ),
    Function(
        name="logsigmoid",
        torch=F.logsigmoid,
        range=_WIDE,
        left=_IDENTITY,
        right=_ZERO,
        source="-softplus(-x)",
    ),
    Function(
        name="tanhshrink",
        torch=F.tanhshrink,
        range=_WIDE,
        left=(1.0, 1.0),
        right=(1.0, -1.0),
        source="x - tanh(x)",
    ),
    Function(
        name="softsign",
        torch=F.softsign,
        range=_WIDE,
        corners=(0.0,),
        source="x / (1 + |x|); reaches its asymptotes too late to lie on them",
    ),
    Function(name="atan", torch=torch.atan, range=_WIDE, source="arc tangent, likewise"),
    Function(
        name="sqrt",
        torch=torch.sqrt,
        range=(1.0, 4.0),
        source="of a significand; the factor of 2 up to 4 takes the odd exponent",
    ),
    Function(
        name="exp2", torch=torch.exp2, range=(-0.5, 0.5), source="2**x of what rounding to an integer leaves"
    ),
    Function(name="log", torch=torch.log, range=(0.75, 1.5), source="of a significand brought near 1"),
    Function(name="log2", torch=torch.log2, range=(0.75, 1.5), source="of a significand brought near 1"),
    Function(
        name="sin", torch=torch.sin, range=(-1.5707963267948966, 1.5707963267948966), source="of half a turn"
    ),
    Function(
        name="cos", torch=torch.cos, range=(-1.5707963267948966, 1.5707963267948966), source="of half a turn"
    ),
    Function(name="reciprocal", torch=torch.reciprocal, range=(1.0, 2.0), source="1 / x of a significand"),
    Function(
        name="rsqrt",
        torch=torch.rsqrt,
        range=(1.0, 4.0),
        source="1 / sqrt(x) of a significand; the factor of 2 up to 4 takes the odd exponent",
    ),
)

FUNCTIONS: Mapping[str, Function] = MappingProxyType({function.name: function for function in _ALL})
"""By name. Below its range exp's tail is 0: softmax gives 0 to what lies more than 10 under the maximum."""
