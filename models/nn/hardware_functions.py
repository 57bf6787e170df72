"""FP16 look-ups in a network's operators, and FP16 results everywhere: the contexts of the accuracy study.

They act below autograd on a network in evaluation; :func:`lanewise.models.nn.approximate` is for everything else.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lanewise.models.nn import rows
from lanewise.models.nn.config import FLEX_FUNCTIONS
from lanewise.models.nn.lookup import Lookup, look_up


class HardwareFunctions(TorchDispatchMode):
    """Context in which activations and softmax are computed by the hardware's bits.

    Acts on PyTorch's own operators, so that it does not matter whether a network calls a module, a function
    or a method, or scaled dot-product attention, which is taken apart. Operands are rounded to FP16,
    results have the operand's dtype. Softmax is the vector kernel's, :func:`lanewise.models.rows.softmax_bits`.

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
        self.tables = {name: np.array(table, np.float16) for name, table in lookups.items()}
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
        """Softmax along ``dim``, :func:`lanewise.models.rows.softmax_bits`; shape and dtype of ``x``."""
        for name in ("softmax", "exp"):
            self.calls[name] = self.calls.get(name, 0) + 1
        powers = self.tables["exp"].view(np.uint16)
        return rows.softmax(x, dim, powers.take)

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


_DEFAULTS: dict[str, tuple[float, ...]] = {"softplus": (1, 20), "elu": (1, 1, 1)}
"""The parameters that a table was made for, by position after the operand."""

_OPAQUE = frozenset({
    "lstm", "gru", "rnn_tanh", "rnn_relu", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell",
    "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
})  # fmt: skip
"""Operators that hold activations which cannot be reached."""
