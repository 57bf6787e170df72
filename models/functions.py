"""The functions that Flex-SFU approximates, as real numbers: PyTorch in float64, with the interval and the tails of a fit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

Reals: TypeAlias = npt.NDArray[np.float64]
Tail: TypeAlias = tuple[float, float]
"""Slope and offset of an asymptote."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function of one real variable.

    ``left`` and ``right`` are the asymptotes to which a fit's tails are pinned; where there is none, the tail is the fitted line of the
    outermost segment.
    """

    name: str
    torch: Callable[[torch.Tensor], torch.Tensor]
    range: tuple[float, float]
    """Interval over which a fit's error counts."""
    left: Tail | None = None
    right: Tail | None = None

    def __call__(self, x: Reals) -> Reals:
        """Values in float64, shape of ``x``."""
        result: Reals = self.torch(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float64))).numpy()
        return result


ZERO, ONE, IDENTITY = (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)

FUNCTIONS: Mapping[str, Function] = {
    function.name: function
    for function in (
        Function(name="gelu", torch=F.gelu, range=(-8, 8), left=ZERO, right=IDENTITY),
        Function(name="gelu_tanh", torch=lambda x: F.gelu(x, approximate="tanh"), range=(-8, 8), left=ZERO, right=IDENTITY),
        Function(name="silu", torch=F.silu, range=(-8, 8), left=ZERO, right=IDENTITY),
        Function(name="sigmoid", torch=torch.sigmoid, range=(-8, 8), left=ZERO, right=ONE),
        Function(name="tanh", torch=torch.tanh, range=(-8, 8), left=(0.0, -1.0), right=ONE),
        Function(name="exp", torch=torch.exp, range=(-10, 0.1), left=ZERO),
        Function(name="mish", torch=F.mish, range=(-8, 8), left=ZERO, right=IDENTITY),
        Function(name="softplus", torch=F.softplus, range=(-8, 8), left=ZERO, right=IDENTITY),
        Function(name="hardswish", torch=F.hardswish, range=(-8, 8), left=ZERO, right=IDENTITY),
        Function(name="erf", torch=torch.erf, range=(-8, 8), left=(0.0, -1.0), right=ONE),
        Function(name="elu", torch=F.elu, range=(-8, 8), left=(0.0, -1.0), right=IDENTITY),
        Function(name="reciprocal", torch=torch.reciprocal, range=(1, 2)),
        Function(name="rsqrt", torch=torch.rsqrt, range=(1, 4)),
    )
}
"""By name. ``exp`` has the range of softmax, whose operand is never positive; ``reciprocal`` and ``rsqrt`` that of a significand."""
