"""Flex-SFU's bits inside PyTorch networks: every activation and softmax that runs under :class:`HardwareFunctions`.

FP16 has 65,536 numbers, so a function of one is a look-up table of the golden model's results: bit-exact and as fast as indexing.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.vector import execute

Lookup: TypeAlias = npt.NDArray[np.float16]
"""Results for all 65,536 FP16 bit patterns."""

MASKED = -100.0
"""Softmax's shifted operand is not let below this: exp is 0 from there on in FP16, and a mask's infinity would give NaN."""


def flex_sfu_lookup(function: str, segments: int) -> Lookup:
    """What Flex-SFU returns for every FP16 number with ``function`` fitted in ``segments`` segments."""
    table = fit(function, segments=segments, format="fp16").table()
    return flex_sfu(np.arange(1 << 16, dtype=np.uint16), table).view(np.float16)


class HardwareFunctions(TorchFunctionMode):
    """Context in which activations and softmax are computed by the hardware's bits.

    ``gelu``, ``silu``, ``sigmoid``, ``tanh``, ``mish``, ``softplus`` (beta 1), ``hardswish``, ``erf``, ``elu`` (alpha 1) and ``exp``, called as torch
    functions, tensor methods or modules, take FP16 operands through ``lookups``. Softmax is the vector kernel of the simulator: FP16
    maximum and difference, exp by look-up, FP32 sum, reciprocal by the 7-bit estimate and one Newton step in FP32, FP16 product.
    Results have the operand's dtype. Gradients do not flow.

    Attributes:
        calls: How often each function ran.

    Raises:
        ValueError: A function runs with a parameter that the tables do not have.
    """

    def __init__(self, lookups: Mapping[str, Lookup]) -> None:
        super().__init__()
        self.tables = {name: torch.from_numpy(np.asarray(table, np.float16)) for name, table in lookups.items()}
        self.calls: dict[str, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = _FUNCTIONS.get(func)
        if name == "softmax":
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            return self.softmax(args[0] if args else kwargs["input"], -1 if dim is None else int(dim))
        if name is not None:
            name, ordinary = _variant(name, args, kwargs)
            if not ordinary:
                raise ValueError(f"{name} must have its default parameters, not {args[1:]!r} {kwargs!r}")
            if name in self.tables:
                return self.look_up(name, args[0] if args else kwargs["input"])
        return func(*args, **kwargs)

    def look_up(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """``name`` of ``x`` rounded to FP16; shape and dtype of ``x``."""
        self.calls[name] = self.calls.get(name, 0) + 1
        bits = x.detach().to(torch.float16).contiguous().view(torch.int16).to(torch.int64) & 0xFFFF
        return self.tables[name][bits].to(x.dtype)

    def softmax(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        """Softmax along ``dim`` as the vector kernel computes it."""
        self.calls["softmax"] = self.calls.get("softmax", 0) + 1
        half = x.detach().to(torch.float16).clamp(-65504, 65504)
        shifted = (half - half.amax(dim, keepdim=True)).clamp_min(MASKED)
        power = self.look_up("exp", shifted)
        total = power.to(torch.float32).sum(dim, keepdim=True)
        inverse = torch.from_numpy(_reciprocal(total.numpy())).to(torch.float16)
        return (power * inverse).to(x.dtype)


def _reciprocal(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """7-bit estimate and one Newton step, FP32; shape of ``x``."""
    estimate = execute("vfrec7", [x], 32)
    error = execute("vfnmsub", [estimate, x, np.ones_like(x)], 32)
    return execute("vfmadd", [error, estimate, estimate], 32)


def _variant(name: str, args: Any, kwargs: Any) -> tuple[str, bool]:
    """The table's name, and whether the parameters are those that it was made for."""
    parameters = [*args[1:], *(value for key, value in kwargs.items() if key not in ("input", "inplace", "approximate", "out"))]
    if name == "gelu":
        approximate = kwargs.get("approximate", args[1] if len(args) > 1 else "none")
        return ("gelu_tanh" if approximate == "tanh" else "gelu"), approximate in ("tanh", "none")
    if name == "softplus":
        return name, parameters in ([], [1], [1, 20])
    if name == "elu":
        return name, parameters in ([], [1.0], [1.0, False], [1.0, True])
    return name, True


_FUNCTIONS: dict[Any, str] = {
    F.gelu: "gelu", F.silu: "silu", F.mish: "mish", F.softplus: "softplus", F.hardswish: "hardswish", F.elu: "elu",
    F.softmax: "softmax", torch.softmax: "softmax", torch.Tensor.softmax: "softmax",
    torch.sigmoid: "sigmoid", torch.Tensor.sigmoid: "sigmoid", F.sigmoid: "sigmoid",
    torch.tanh: "tanh", torch.Tensor.tanh: "tanh", F.tanh: "tanh",
    torch.erf: "erf", torch.Tensor.erf: "erf", torch.exp: "exp", torch.Tensor.exp: "exp",
}  # fmt: skip
