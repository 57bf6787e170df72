"""Modules that write a norm or a GELU out in elementary operators, recognised by what they compute."""

import re
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.models.functions import FUNCTIONS


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a module computes, and from what."""

    function: str
    """``rms_norm``, ``layer_norm``, or an activation's name."""
    weight: str | None = None
    """The parameter's name; likewise ``bias``."""
    bias: str | None = None
    added: float = 0.0
    """To the weight: 1 if it is stored as a difference from 1."""
    axis: int = -1
    """Of the norm: -1, or 1 for pictures' channels."""
    epsilon: float = 0.0


def recognise(module: nn.Module) -> Form | None:
    """The form of a module without children, or ``None``.

    A copy of one whose class has "norm" in its name is run on random numbers and compared with each norm; with "gelu" in it, on
    a grid. The module itself, its hooks and the random number generator are left alone.
    PyTorch's own modules call functions that are replaced anyway.
    """
    name = type(module).__name__
    if type(module).__module__.startswith("torch.") or next(module.children(), None) is not None:
        return None
    if re.search("norm", name, re.I) and not isinstance(module, _CALLERS):
        return _norm(module)
    if re.search("gelu", name, re.I) and next(module.parameters(), None) is None:
        return _gelu(module)
    return None


NORMS = ("rms_norm", "layer_norm")
"""The forms that are norms."""

_CALLERS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)


def scale(form: Form, module: nn.Module) -> torch.Tensor:
    """The factor that a norm's form multiplies with, in real numbers."""
    assert form.weight is not None
    parameter: torch.Tensor = getattr(module, form.weight)
    return parameter + form.added


def _gelu(module: nn.Module) -> Form | None:
    x = torch.linspace(-6, 6, 241)
    result = _probe(module, x)
    for name in ("gelu_tanh", "quick_gelu"):
        if result is not None and torch.allclose(result, FUNCTIONS[name].torch(x), rtol=0, atol=1e-5):
            return Form(function=name)
    return None


def _norm(module: nn.Module) -> Form | None:
    parameters = {name: p for name, p in module.named_parameters() if p.dim() == 1 and p.device.type == "cpu"}
    weight = next((name for name in ("weight", "scale", "gamma", "g") if name in parameters), None)
    bias = next((name for name in ("bias", "beta", "b") if name in parameters), None)
    if weight is None or set(parameters) != {weight, bias} - {None}:
        return None
    epsilon = next(
        (value for value in (getattr(module, name, None) for name in _EPSILONS) if isinstance(value, float)),
        1e-5,
    )
    kind = parameters[weight].dtype
    generator = torch.Generator().manual_seed(0)
    for axis, rest in ((-1, (2, 5)), (1, (2, 5, 3))):
        shape = (
            (*rest, len(parameters[weight])) if axis == -1 else (rest[0], len(parameters[weight]), *rest[1:])
        )
        x = torch.randn(shape, generator=generator).to(kind) + 0.5
        inputs = (x, x * 10 * epsilon**0.5)  # of the second, epsilon is no small part
        results = [_probe(module, probe) for probe in inputs]
        for function in NORMS if bias is None else ("layer_norm",):
            for added in (0.0, 1.0):
                form = Form(
                    function=function, weight=weight, bias=bias, added=added, axis=axis, epsilon=epsilon
                )
                if all(_agrees(form, module, probe, result) for probe, result in zip(inputs, results)):
                    return form
    return None


_EPSILONS = ("eps", "variance_epsilon", "epsilon", "variance_eps", "layer_norm_eps")


def exact_norm(form: Form, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The norm of a form, in real numbers; shape and type of ``x``."""
    weight, rows = scale(form, module).detach().to(x.dtype), x.movedim(form.axis, -1)
    bias = None if form.bias is None else getattr(module, form.bias).detach().to(x.dtype)
    if form.function == "rms_norm":
        result = F.rms_norm(rows, weight.shape, weight, form.epsilon)
    else:
        result = F.layer_norm(rows, weight.shape, weight, bias, form.epsilon)
    return result.movedim(-1, form.axis)


def _agrees(form: Form, module: nn.Module, x: torch.Tensor, result: torch.Tensor | None) -> bool:
    if result is None or result.shape != x.shape:
        return False
    expected = exact_norm(form, module, x.double())
    allowed = 8 * torch.finfo(result.dtype).eps * max(1.0, float(expected.abs().max()))
    return bool((result - expected).abs().max() <= allowed)


def _probe(module: nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    """The module's result, or ``None`` if it does not take one tensor or does something else in training."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            result = deepcopy(module).eval().forward(x.clone())
            other = deepcopy(module).train().forward(x.clone())
    except Exception:  # noqa: BLE001 - whatever a stranger's module raises for what it does not take
        return None
    if not (isinstance(result, torch.Tensor) and isinstance(other, torch.Tensor)):
        return None
    return result if result.is_floating_point() and torch.equal(result, other) else None
