"""What the hardware does in place of PyTorch's operators: the one place that knows their arguments.

Each handler takes the session and the operator's arguments, and gives the result, or ``NotImplemented`` if the operator is to
run as it is. Above autograd the results are differentiable.
"""

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.nn import rows
from lanewise.models.nn.activation import DEFAULTS, Parameters, activation, nonpositive_exponential
from lanewise.models.nn.recurrent import CELLS, one_layer, recurrent
from lanewise.models.nn.session import Session, observe
from lanewise.models.nn.straight_through import activated, straight_through

Handler: TypeAlias = Callable[..., Any]


def activate(session: Session, name: str, parameters: Parameters, x: torch.Tensor) -> Any:
    """Function ``name`` of ``x``, or ``NotImplemented`` if it is to stay exact."""
    config = session.config
    if name not in config.functions or not x.is_floating_point():
        return NotImplemented
    hardware = activation(name, parameters, config)
    if hardware is None:
        return NotImplemented
    result = activated(hardware, x, config.gradient)
    observe(session, hardware.name, x, result, hardware.exact, hardware.range)
    return result


def _activation(name: str, *parameter_names: str) -> Handler:
    defaults = DEFAULTS.get(name, ())

    def handler(session: Session, input: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(parameter_names, args, strict=False)) | kwargs
        values = [given.get(parameter, default) for parameter, default in zip(parameter_names, defaults)]
        return activate(session, name, tuple(float(value) for value in values), input)

    return handler


def _gelu(session: Session, input: torch.Tensor, approximate: str = "none") -> Any:
    return activate(session, "gelu_tanh" if approximate == "tanh" else "gelu", (), input)


def _selu(session: Session, input: torch.Tensor) -> Any:
    return activate(session, "elu", (1.6732632423543772, 1.0507009873554805, 1.0), input)


def _celu(session: Session, input: torch.Tensor, alpha: float = 1.0) -> Any:
    return activate(session, "elu", (float(alpha), 1.0, 1.0 / float(alpha)), input)


def _glu(session: Session, input: torch.Tensor, dim: int = -1) -> Any:
    value, gate = input.chunk(2, dim)
    result = activate(session, "sigmoid", (), gate)
    return result if result is NotImplemented else value * result


def _softmax(session: Session, input: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    if not session.config.softmax or dim is None:
        return NotImplemented
    x = input if dtype is None else input.to(dtype)
    if not x.is_floating_point():
        return NotImplemented
    return _weights(session, x, dim, lambda v: torch.softmax(v, dim))


def _safe_softmax(session: Session, input: torch.Tensor, dim: int, dtype: torch.dtype | None = None) -> Any:
    """That of scaled dot-product attention: a row that is all masked gives 0, and no NaN in its derivative."""
    x = input if dtype is None else input.to(dtype)
    if not session.config.softmax or not x.is_floating_point():
        return NotImplemented
    return _weights(session, x, dim, lambda v: torch._safe_softmax(v, dim))


def _weights(
    session: Session, x: torch.Tensor, dim: int, exact: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    exponential, vlen_bits = nonpositive_exponential(session.config), session.config.vlen_bits
    result = straight_through(lambda v: rows.softmax(v, dim, exponential, vlen_bits), exact, x)
    observe(session, "softmax", x, result, exact)
    return result


def _attention(
    session: Session, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """Scaled dot-product attention in three parts."""
    if not session.config.softmax:
        return NotImplemented
    if enable_gqa:
        copies = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(copies, -3), value.repeat_interleave(copies, -3)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(
            torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1), -torch.inf
        )
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if masked else scores + attn_mask
    weights = _safe_softmax(session, scores, -1)
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


def _layer_norm(
    session: Session, input: torch.Tensor, normalized_shape: Any, weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None, eps: float = 1e-5, cudnn_enable: bool = True,  # noqa: ARG001 - PyTorch passes it
) -> Any:  # fmt: skip
    if not session.config.norms:
        return NotImplemented
    vlen_bits, shape = session.config.vlen_bits, list(normalized_shape)

    def hardware(x: torch.Tensor, w: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor:
        flat = x.reshape(*x.shape[: x.dim() - len(shape)], prod(shape))
        w, b = (None if parameter is None else parameter.reshape(-1) for parameter in (w, b))
        return rows.layer_norm(flat, w, b, eps, vlen_bits).reshape(x.shape)

    def exact(x: torch.Tensor, w: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor:
        return torch.layer_norm(x, shape, w, b, eps)

    return _normalise(session, "layer_norm", hardware, exact, input, weight, bias)


def _rms_norm(
    session: Session, input: torch.Tensor, normalized_shape: Any, weight: torch.Tensor | None = None, eps: float | None = None
) -> Any:  # fmt: skip
    if not session.config.norms:
        return NotImplemented
    vlen_bits, shape = session.config.vlen_bits, list(normalized_shape)
    epsilon = torch.finfo(input.dtype).eps if eps is None else eps

    def hardware(x: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
        flat = x.reshape(*x.shape[: x.dim() - len(shape)], prod(shape))
        return rows.rms_norm(flat, None if w is None else w.reshape(-1), epsilon, vlen_bits).reshape(x.shape)

    def exact(x: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
        return torch.rms_norm(x, shape, w, epsilon)

    return _normalise(session, "rms_norm", hardware, exact, input, weight)


def _group_norm(
    session: Session, input: torch.Tensor, num_groups: int, weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None, eps: float = 1e-5, cudnn_enabled: bool = True,  # noqa: ARG001 - PyTorch passes it
) -> Any:  # fmt: skip
    if not session.config.norms:
        return NotImplemented
    vlen_bits = session.config.vlen_bits

    def hardware(x: torch.Tensor, w: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor:
        return rows.group_norm(x, num_groups, w, b, eps, vlen_bits)

    def exact(x: torch.Tensor, w: torch.Tensor | None, b: torch.Tensor | None) -> torch.Tensor:
        return torch.group_norm(x, num_groups, w, b, eps)

    return _normalise(session, "group_norm", hardware, exact, input, weight, bias)


def _instance_norm(
    session: Session, input: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None,
    running_mean: torch.Tensor | None, running_var: torch.Tensor | None, use_input_stats: bool,  # noqa: ARG001 - likewise
    momentum: float, eps: float, cudnn_enabled: bool = True,  # noqa: ARG001 - likewise
) -> Any:  # fmt: skip
    """A group a channel. With running statistics it is affine, or has to update them: left as it is."""
    if running_mean is not None or not use_input_stats or input.dim() < 3:
        return NotImplemented
    return _group_norm(session, input, input.shape[1], weight, bias, eps)


def _normalise(
    session: Session, name: str, hardware: Callable[..., torch.Tensor], exact: Callable[..., torch.Tensor],
    x: torch.Tensor, *parameters: torch.Tensor | None,
) -> torch.Tensor:  # fmt: skip
    result = straight_through(hardware, exact, x, *parameters)
    observe(
        session,
        name,
        x,
        result,
        lambda v: exact(v, *(None if p is None else p.to(v.dtype) for p in parameters)),
    )
    return result


def _recurrent(kind: str) -> Handler:
    needed = {"sigmoid", "tanh"} if kind != "rnn_tanh" else {"tanh"}

    def handler(session: Session, *args: Any, **kwargs: Any) -> Any:
        if not needed & set(session.config.functions):
            return NotImplemented
        return recurrent(kind, _gates(session), *args, **kwargs)

    return handler


def _cell(kind: str) -> Handler:
    def handler(session: Session, input: torch.Tensor, hx: Any, *weights: torch.Tensor) -> Any:
        return CELLS[kind](_gates(session), input, hx, *weights)

    return handler


def lstm_layer(
    session: Session, x: torch.Tensor, weight: torch.Tensor, recurrent_weight: torch.Tensor, bias: torch.Tensor,
    recurrent_bias: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor, reverse: bool, *rest: Any,
) -> Any:  # fmt: skip
    """One layer in one direction as oneDNN's operator takes it; ``rest[4]``: whether there are biases.

    Returns:
        Results, last hidden state and last cell.
    """
    if not {"sigmoid", "tanh"} & set(session.config.functions):
        return NotImplemented
    weights = [weight, recurrent_weight, *([bias, recurrent_bias] if rest[4] else [])]
    order = -1 if reverse else 1
    outputs, state = one_layer(
        "lstm", _gates(session), x.unbind(0)[::order], (hidden, cell), weights, len(weights)
    )
    return torch.stack(outputs[::order]), *state


def _gates(session: Session) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Sigmoid and tanh, on the hardware if they are its functions."""

    def gate(name: str, x: torch.Tensor) -> torch.Tensor:
        result = activate(session, name, (), x)
        return {"sigmoid": torch.sigmoid, "tanh": torch.tanh}[name](x) if result is NotImplemented else result

    return gate


_PLAIN = ("exp", "sigmoid", "silu", "tanh", "mish", "erf", "hardswish", "hardsigmoid", "atan", "log", "sin", "cos",
          "reciprocal", "rsqrt")  # fmt: skip

ACTIVATIONS: Mapping[str, Handler] = MappingProxyType(
    {name: _activation(name) for name in _PLAIN}
    | {
        "special_expit": _activation("sigmoid"), "special_erf": _activation("erf"), "arctan": _activation("atan"),
        "log_sigmoid": _activation("logsigmoid"), "softplus": _activation("softplus", "beta", "threshold"),
        "elu": _activation("elu", "alpha", "scale", "input_scale"),
        "leaky_relu": _activation("leaky_relu", "negative_slope"),
        "gelu": _gelu, "selu": _selu, "celu": _celu,
    }
)  # fmt: skip
"""Element by element, by the name of PyTorch's function without the underscore of its in-place form."""

OTHERS: Mapping[str, Handler] = MappingProxyType({
    "glu": _glu, "softmax": _softmax, "special_softmax": _softmax, "_safe_softmax": _safe_softmax,
    "scaled_dot_product_attention": _attention,
    "layer_norm": _layer_norm, "rms_norm": _rms_norm, "group_norm": _group_norm, "instance_norm": _instance_norm,
    **{kind: _recurrent(kind) for kind in ("lstm", "gru", "rnn_tanh")},
    **{f"{kind}_cell": _cell(kind) for kind in ("lstm", "gru", "rnn_tanh")},
})  # fmt: skip
"""Rows, attention and recurrent layers, by the name of PyTorch's function."""
