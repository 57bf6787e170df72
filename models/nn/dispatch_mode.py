"""Replaces what PyTorch runs without asking: operators called from compiled code, TorchScript's above all."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from lanewise.errors import UserError
from lanewise.models.nn.operators import ACTIVATIONS, OTHERS, lstm_layer
from lanewise.models.nn.session import Session, current


class DispatchMode(TorchDispatchMode):
    """Context in which operators go to the hardware that :class:`~lanewise.models.nn.function_mode.FunctionMode` has not seen.

    It lies below autograd: derivatives are PyTorch's formulas of the exact functions.

    Raises:
        UserError: An operator holds functions that are to be replaced and cannot be reached.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.session = session

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if current() is not self.session:
            return func(*args, **kwargs)
        operator = func._schema.name.removeprefix("aten::")
        if operator in _OPAQUE and self.wants(_OPAQUE[operator]):
            raise UserError(
                f"layer {self.session.layer!r} must call activations as operators of their own, not inside {operator}; "
                "expected it under exclude"
            )
        name = operator.removesuffix("_")
        if operator in _SEVERAL:
            return self.several(func, *args, **kwargs)
        result: Any = NotImplemented
        if name in ACTIVATIONS:
            options = {key: value for key, value in kwargs.items() if key not in ("out", "grad_input")}
            result = ACTIVATIONS[name](self.session, *args, **options)
        elif operator == "_softmax":
            result = OTHERS["softmax"](self.session, args[0], args[1])
        elif operator == "_safe_softmax":
            result = OTHERS[operator](self.session, *args, **kwargs)
        elif operator == "glu":
            result = OTHERS["glu"](self.session, *args)
        if result is NotImplemented:
            return func(*args, **kwargs)
        target = args[0] if operator.endswith("_") else kwargs.get("out")
        return result if target is None else target.copy_(result)

    def wants(self, functions: frozenset[str]) -> bool:
        """Whether one of ``functions`` is replaced."""
        config = self.session.config
        replaced = {
            *config.functions,
            *(["softmax"] if config.softmax else []),
            *(["norms"] if config.norms else []),
        }
        return bool(functions & replaced)

    def several(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """An operator that gives, after its results, what its derivative needs: that stays exact."""
        result = _SEVERAL[func._schema.name.removeprefix("aten::")](self.session, *args, **kwargs)
        given = func(*args, **kwargs)
        if result is NotImplemented:
            return given
        results = result if isinstance(result, tuple) else (result,)
        return *results, *given[len(results) :]


def _group_norm(session: Session, x: Any, weight: Any, bias: Any, *sizes: Any) -> Any:
    """``sizes``: batch, channels, elements of a channel, groups, and epsilon."""
    return OTHERS["group_norm"](session, x, sizes[3], weight, bias, sizes[4])


_SEVERAL: dict[str, Callable[..., Any]] = {
    "native_layer_norm": OTHERS["layer_norm"], "_fused_rms_norm": OTHERS["rms_norm"], "native_group_norm": _group_norm,
    "log_sigmoid_forward": ACTIVATIONS["log_sigmoid"],
    "_scaled_dot_product_flash_attention_for_cpu": OTHERS["scaled_dot_product_attention"],
    "mkldnn_rnn_layer": lstm_layer,
}  # fmt: skip

_GATES, _LAYER = frozenset({"sigmoid", "tanh"}), frozenset({"softmax", "norms", "gelu"})
_OPAQUE = {
    "lstm": _GATES, "gru": _GATES, "rnn_tanh": frozenset({"tanh"}), "_thnn_fused_lstm_cell": _GATES,
    "_thnn_fused_gru_cell": _GATES, "_native_multi_head_attention": frozenset({"softmax"}), "_transformer_encoder_layer_fwd": _LAYER,
}  # fmt: skip
"""Operators that hold functions which cannot be reached."""
