"""The reference functions against definitions written here, and the tails that fits are pinned to."""

import math
import re
from math import erf, exp, log1p, sqrt, tanh

import numpy as np
import pytest
import torch

from lanewise.models.functions import FUNCTIONS, Function


def _gelu_tanh_derivative(x):
    t = tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t * t) * sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)


DEFINITIONS = {
    "gelu": lambda x: x * (1 + erf(x / sqrt(2))) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + exp(-x)),
    "gelu_derivative": lambda x: (1 + erf(x / sqrt(2))) / 2 + x * exp(-x * x / 2) / sqrt(2 * np.pi),
    "gelu_tanh_derivative": lambda x: _gelu_tanh_derivative(x),
    "silu_derivative": lambda x: (1 + x / (1 + exp(x))) / (1 + exp(-x)),
    "sigmoid": lambda x: 1 / (1 + exp(-x)),
    "tanh": tanh,
    "exp": exp,
    "mish": lambda x: x * tanh(log1p(exp(x))),
    "softplus": lambda x: log1p(exp(x)),
    "hardswish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hardsigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "erf": erf,
    "elu": lambda x: x if x > 0 else exp(x) - 1,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (exp(x) - 1)),
    "quick_gelu": lambda x: x / (1 + exp(-1.702 * x)),
    "logsigmoid": lambda x: -log1p(exp(-x)),
    "tanhshrink": lambda x: x - tanh(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "atan": math.atan,
    "sqrt": sqrt,
    "exp2": lambda x: 2.0**x,
    "log": math.log,
    "log2": math.log2,
    "sin": math.sin,
    "cos": math.cos,
    "reciprocal": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / sqrt(x),
}


def test_every_function_has_a_definition_here():
    assert DEFINITIONS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name):
    x = np.linspace(*FUNCTIONS[name].range, 997)
    expected = [DEFINITIONS[name](float(v)) for v in x]
    np.testing.assert_allclose(FUNCTIONS[name](x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tails_are_asymptotes(name):
    """At 40 from zero the function lies on them; where there is none, it is not defined or not straight."""
    function = FUNCTIONS[name]
    for tail, x in ((function.left, -40.0), (function.right, 40.0)):
        if tail is not None:
            assert function(np.array([x]))[0] == pytest.approx(tail[0] * x + tail[1], abs=1e-12)


def test_operand_is_neither_changed_nor_shared():
    x = np.array([-1.0, 2.0])
    identity = Function(name="identity", torch=lambda t: t, range=(-1, 1))
    identity(x)[0] = 5
    assert x.tolist() == [-1.0, 2.0]


def test_results_of_any_width_and_with_gradients_are_numbers():
    x = np.array([-1.0, 0.5])
    for kind in (torch.float16, torch.bfloat16, torch.float32):
        narrow = Function(name="narrow", torch=lambda t, kind=kind: t.to(kind), range=(-1, 1))
        assert narrow(x).dtype == np.float64
        assert narrow(x).tolist() == x.tolist()
    gain = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert Function(name="gain", torch=lambda t: gain * t, range=(-1, 1))(x).tolist() == [-2.0, 1.0]


@pytest.mark.parametrize("interval", [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_empty_range_is_refused(interval):
    message = f"range must be two finite numbers, the smaller first, not {interval!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Function(name="f", torch=torch.exp, range=interval)
