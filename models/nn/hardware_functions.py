"""Flex-SFU's bits in PyTorch networks: activations and softmax that run under :class:`HardwareFunctions`.

FP16 has 65,536 numbers, so a function of one is a look-up of the golden model's results: bit-exact, and fast.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lanewise.models.address_decoder import address_decoder
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable, flex_sfu
from lanewise.models.functions import FUNCTIONS
from lanewise.models.vector import execute

Lookup: TypeAlias = npt.NDArray[np.float16]
"""A function's results for all 65,536 FP16 bit patterns, shape ``(65536,)``."""

FLEX_FUNCTIONS = (
    "exp", "sigmoid", "silu", "tanh", "mish", "softplus", "erf", "gelu", "gelu_tanh", "hardswish", "elu",
)  # fmt: skip
"""What :class:`HardwareFunctions` can take over; ``exp`` is softmax's as well."""

_PATTERNS = np.arange(1 << 16, dtype=np.uint16)


def table_lookup(table: SfuTable) -> Lookup:
    """What Flex-SFU returns with ``table``."""
    return flex_sfu(_PATTERNS, table).view(np.float16)


def flex_sfu_lookup(function: str, segments: int) -> Lookup:
    """What Flex-SFU returns with ``function`` fitted in ``segments`` segments.

    Raises:
        UserError: As :func:`~lanewise.models.fit.fit`.
    """
    return table_lookup(fit(function, segments=segments, format="fp16").table())


def exact_lookup(function: str) -> Lookup:
    """``function`` itself, rounded to FP16: the reference that separates FP16's share of an error."""
    with np.errstate(all="ignore"):
        return FUNCTIONS[function](_PATTERNS.view(np.float16).astype(np.float64)).astype(np.float16)


def look_up(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``values[x rounded to FP16]``; shape and dtype of ``x``. ``values``: shape ``(65536,)``."""
    bits = x.detach().to(torch.float16).contiguous().view(torch.int16).to(torch.int64) & 0xFFFF
    return values[bits].to(x.dtype)


def flex_sfu_function(table: SfuTable) -> Callable[[torch.Tensor], torch.Tensor]:
    """Flex-SFU as a differentiable function of tensors.

    Returns:
        A function that rounds its operand to FP16 and gives the hardware's result, in the operand's dtype
        and shape; its derivative is the segment's slope.
    """
    values = torch.from_numpy(table_lookup(table).copy())
    segments = address_decoder(_PATTERNS, table.breakpoints, table.form)
    slopes = torch.from_numpy(table.coefficients[segments, 1].copy().view(np.float16))

    class FlexSfuFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return look_up(values, x)

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return gradients[0] * look_up(slopes, x)

    def apply(x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = FlexSfuFunction.apply(x)  # type: ignore[no-untyped-call]
        return result

    return apply


class HardwareFunctions(TorchDispatchMode):
    """Context in which activations and softmax are computed by the hardware's bits.

    Acts on PyTorch's own operators, so that it does not matter whether a network calls a module, a function
    or a method, or scaled dot-product attention, which is taken apart. Operands are rounded to FP16,
    results have the operand's dtype. Gradients are those of the functions that are replaced. Softmax is the
    simulator's vector kernel: FP16 maximum and difference, exp by look-up, FP32 sum (a widening reduction;
    its order is the host's), reciprocal by the 7-bit estimate and one Newton step in FP32, FP16 product.

    Attributes:
        calls: How often each function ran.

    Raises:
        ValueError: A function runs with parameters that its table does not have, or inside an operator that
            cannot be taken apart (a recurrent layer).
    """

    def __init__(self, lookups: Mapping[str, Lookup]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        unknown = sorted(set(lookups) - set(FLEX_FUNCTIONS))
        if unknown:
            raise ValueError(f"lookups must be of {', '.join(FLEX_FUNCTIONS)}, not {unknown[0]!r}")
        self.tables = {name: torch.from_numpy(np.array(table, np.float16)) for name, table in lookups.items()}
        self.calls: dict[str, int] = {}
        self._fast_path: list[bool] = []

    def __enter__(self) -> "HardwareFunctions":
        self._fast_path.append(torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)  # one opaque operator otherwise
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        torch.backends.mha.set_fastpath_enabled(self._fast_path.pop())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = func._schema.name.removeprefix("aten::")
        name = operator.removesuffix("_")
        if operator in _OPAQUE:
            raise ValueError(f"activations must be operators of their own, not inside {operator}")
        if operator == "_scaled_dot_product_flash_attention_for_cpu" and "exp" in self.tables:
            return self.attention(*args, **kwargs)
        if operator == "_softmax" and "exp" in self.tables:
            return self.softmax(args[0], args[1])
        if name == "gelu" and kwargs.get("approximate", "none") == "tanh":
            name = "gelu_tanh"
        if name not in self.tables or not args[0].is_floating_point():
            return func(*args, **kwargs)
        if any(value != _DEFAULTS[name][place] for place, value in enumerate(args[1:])):
            raise ValueError(
                f"{name} must have its table's parameters {_DEFAULTS[name]}, not {tuple(args[1:])}"
            )
        result = self.count(name, args[0])
        return args[0].copy_(result) if operator.endswith("_") else result

    def count(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """``name`` of ``x``, counted."""
        self.calls[name] = self.calls.get(name, 0) + 1
        return look_up(self.tables[name], x)

    def softmax(self, x: torch.Tensor, dim: int) -> torch.Tensor:
        """Softmax along ``dim``; shape and dtype of ``x``.

        An infinite mask is taken as -65504, and the difference kept finite: the tail's 0 x infinity would
        give NaN.
        """
        self.calls["softmax"] = self.calls.get("softmax", 0) + 1
        half = x.to(torch.float16).clamp(-65504, 65504)
        power = self.count("exp", (half - half.amax(dim, keepdim=True)).clamp_min(-65504))
        total = power.to(torch.float32).sum(dim, keepdim=True)
        inverse = torch.from_numpy(_reciprocal(total.numpy())).to(torch.float16)
        return (power * inverse).to(x.dtype)

    def attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        attn_mask: torch.Tensor | None = None,
        scale: float | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scaled dot-product attention in three parts, and the log-sum-exp that only a backward pass reads.

        Shapes: query ``(batch, heads, m, d)``, key and value ``(batch, heads, n, d)``.
        """
        if dropout_p:
            raise ValueError(f"dropout_p must be 0, not {dropout_p!r}")
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf)
        if attn_mask is not None:
            scores = scores + attn_mask
        return self.softmax(scores, -1) @ value, scores.logsumexp(-1)


def approximate(module: nn.Module, segments: int = 32) -> nn.Module:
    """A copy of ``module`` whose activations and softmax are Flex-SFU's bits whenever it runs.

    Raises:
        UserError: ``segments`` is not 4, 8, 16, 32 or 64.
    """
    lookups = {name: flex_sfu_lookup(name, segments) for name in FLEX_FUNCTIONS}
    return InContext(deepcopy(module), lambda: (HardwareFunctions(lookups),))


class InContext(nn.Module):
    """``module``, run inside the contexts that ``make`` makes anew for each run, the first outermost."""

    def __init__(self, module: nn.Module, make: Callable[[], tuple[Any, ...]]) -> None:
        super().__init__()
        self.module = module
        self.make = make

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As ``module``'s."""
        with ExitStack() as stack:
            for context in self.make():
                stack.enter_context(context)
            return self.module(*args, **kwargs)


class Fp16Results(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Context in which every operator's floating-point results are rounded to FP16.

    Inside, an operator computes as before: a product still sums in FP32.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        aliases = [returned.alias_info for returned in func._schema.returns]
        if any(alias is not None for alias in aliases):
            if aliases[0].is_write and result.is_floating_point():  # in place, or into a given tensor
                result.copy_(_rounded(result))
            return result  # or a view
        return tuple(map(_rounded, result)) if isinstance(result, tuple) else _rounded(result)


def _rounded(x: Any) -> Any:
    if isinstance(x, torch.Tensor) and x.dtype == torch.float32:
        return x.to(torch.float16).to(torch.float32)
    return x


def _reciprocal(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """7-bit estimate and one Newton step in FP32; shape of ``x``."""
    estimate = execute("vfrec7", [x], 32)
    error = execute("vfnmsub", [estimate, x, np.ones_like(x)], 32)
    return execute("vfmadd", [error, estimate, estimate], 32)


_DEFAULTS: dict[str, tuple[float, ...]] = {"softplus": (1, 20), "elu": (1, 1, 1)}
"""The parameters that a table was made for, by position after the operand."""

_OPAQUE = frozenset({
    "lstm", "gru", "rnn_tanh", "rnn_relu", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell",
    "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
})  # fmt: skip
"""Operators that hold activations which cannot be reached."""
