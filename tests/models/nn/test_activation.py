"""Activations on tensors: golden bits in every format, slopes of the polynomial, kinds with parameters."""

import re

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - its usual name

from lanewise.errors import UserError
from lanewise.formats import FORMATS
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.functions import FUNCTIONS
from lanewise.models.nn import ApproximateConfig, activated, activation, flex_sfu_function
from lanewise.models.nn.activation import function_of
from lanewise.models.numbers import bits_dtype, decode
from lanewise.models.reduction import reduced
from lanewise.models.reduction_tables import reduction_table

SEED = 11
SMALL = [name for name, form in FORMATS.items() if form.bits < 32]


def operands(form):
    """All of a small format; of a wide one 4,000."""
    if form.bits < 32:
        return np.arange(1 << form.bits).astype(bits_dtype(form))
    return np.random.default_rng(SEED).integers(0, 1 << 32, 4000, dtype=np.uint32)


def same(result, expected):
    torch.testing.assert_close(
        result, torch.from_numpy(np.asarray(expected)).to(result.dtype), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("name", ["fp16", "bf16", "fp8e4m3", "fp8e5m2", "fp32", "int8", "int16"])
def test_every_operand_gives_the_golden_bits(name, degree):
    form, config = FORMATS[name], ApproximateConfig(segments=8, degree=degree, format=name)
    hardware = activation("silu", (), config)
    fitted = fit("silu", segments=8, degree=degree, format=name)
    bits = operands(form)
    x = torch.from_numpy(decode(bits, form) * fitted.scaling.input_scale)
    expected = decode(flex_sfu(bits, fitted.table()), form) * fitted.scaling.output_scale
    # a zero's sign apart, a NaN's payload apart; results pass through FP32
    same(hardware(x).float(), expected.astype(np.float32))
    for kind in (torch.float32, torch.float16, torch.bfloat16):
        assert hardware(x[:10].to(kind)).dtype == kind
    same(hardware(torch.zeros(0, 3)), np.zeros((0, 3)))


@pytest.mark.parametrize("name", ["exp", "sin", "reciprocal"])
def test_range_reductions(name):
    config = ApproximateConfig(functions=(name,))
    bits = operands(FORMATS["fp16"])
    expected = reduced(name, bits, reduction_table(name)).view(np.float16)
    same(activation(name, (), config)(torch.from_numpy(bits.view(np.float16))), expected)
    with pytest.raises(ValueError, match="must have a table for its slope, not a range reduction"):
        activation(name, (), config).slope(torch.ones(1))


@pytest.mark.parametrize("options", [{"segments": 8}, {"format": "bf16"}, {"format": "int8"}])
def test_without_a_range_reduction_there_is_no_exp(options):
    assert activation("exp", (), ApproximateConfig(**options)) is None


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("name", ["fp16", "bf16", "fp32", "int8", "int16"])
def test_slope_is_the_derivative_of_the_polynomial(name, degree):
    """Differences of the real polynomial within one segment; the hardware's own are steps."""
    config = ApproximateConfig(segments=16, degree=degree, format=name, gradient="table")
    fitted = fit("gelu", segments=16, degree=degree, format=name)
    knots = np.array(fitted.breakpoints)
    x = torch.linspace(-9, 9, 301, dtype=torch.float64)
    x = torch.from_numpy(fitted.scaling.operand(fitted.scaling.operand_bits(x.numpy())))
    segment = np.searchsorted(knots, x.numpy(), side="right")
    pieces = np.array(fitted.coefficients)[segment]
    step = 1e-4

    def polynomial(v):
        return sum(pieces[:, power] * v**power for power in range(degree + 1))

    expected = (polynomial(x.numpy() + step) - polynomial(x.numpy() - step)) / (2 * step)
    x.requires_grad_()
    hardware = activation("gelu", (), config)
    (gradient,) = torch.autograd.grad(activated(hardware, x, "table").sum(), x)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(activated(hardware, x, "exact").sum(), x)
    (exact,) = torch.autograd.grad(F.gelu(x).sum(), x)
    torch.testing.assert_close(gradient, exact, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "parameters", "exact"),
    [
        ("softplus", (2.0, 20.0), lambda x: F.softplus(x, 2.0)),
        ("softplus", (0.5, 5.0), lambda x: F.softplus(x, 0.5, 5.0)),
        ("elu", (0.3, 1.0, 1.0), lambda x: F.elu(x, 0.3)),
        ("elu", (1.6732632423543772, 1.0507009873554805, 1.0), F.selu),
        ("elu", (2.0, 1.0, 0.5), lambda x: F.celu(x, 2.0)),
        ("leaky_relu", (0.2,), lambda x: F.leaky_relu(x, 0.2)),
    ],
)
def test_kinds_are_fitted_for_their_parameters(name, parameters, exact):
    hardware = activation(name, parameters, ApproximateConfig(segments=64))
    x = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    assert (hardware(x) - exact(x)).abs().max() < 0.02  # of which FP16 takes 0.008 at 20
    assert (hardware(x) - exact(x)).abs()[x.abs() < 2].max() < 0.003
    torch.testing.assert_close(hardware.exact(x), exact(x))
    assert hardware.name.startswith(f"{name}(")


def test_usual_parameters_are_the_usual_function():
    assert function_of("softplus", (1.0, 20.0)) is FUNCTIONS["softplus"]
    with pytest.raises(ValueError, match=r"^name must be one of softplus, elu, leaky_relu or of FUNCTIONS"):
        function_of("sine")


def test_a_range_scales_an_integer_format():
    wide, narrow = (
        activation("tanh", (), ApproximateConfig(format="int8", ranges=ranges))
        for ranges in ((), (("tanh", -1, 1),))
    )
    x = torch.linspace(-1, 1, 101)
    errors = [(hardware(x) - x.tanh()).abs().mean() for hardware in (wide, narrow)]
    assert narrow.range == (-1, 1)
    assert errors[1] < errors[0] / 2


def test_a_table_of_ones_own():
    table = fit("gelu", segments=32, degree=2, format="bf16").table()
    function = flex_sfu_function(table)
    x = torch.linspace(-9, 9, 1001).bfloat16()
    bits = x.view(torch.int16).numpy().view(np.uint16)
    same(function(x), decode(flex_sfu(bits, table), FORMATS["bf16"]))
    x = x.float().requires_grad_()
    exact = torch.autograd.grad(flex_sfu_function(table, F.gelu)(x).sum(), x)[0]
    torch.testing.assert_close(exact, torch.autograd.grad(F.gelu(x).sum(), x)[0])
    assert (torch.autograd.grad(function(x).sum(), x)[0] - exact).abs().max() < 0.06
    with pytest.raises(ValueError, match=r"^table must be of a floating-point format, not int8$"):
        flex_sfu_function(fit("tanh", segments=8, format="int8").table())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segments": 33}, "segments must be 4, 8, 16, 32 or 64, not 33"),
        ({"degree": 3}, "degree must be 1 or 2, not 3"),
        (
            {"format": "fp4"},
            "format must be one of int8, int16, int32, fp8e4m3, fp8e5m2, fp16, bf16, fp32, not 'fp4'",
        ),
        ({"functions": ("relu",)}, "functions must be any of exp, sigmoid, silu"),
        ({"functions": "gelu"}, "functions must be several names, not 'gelu'"),
        ({"exponential": "fast"}, "exponential must be reduced or direct, not 'fast'"),
        ({"gradient": "none"}, "gradient must be exact or table, not 'none'"),
        ({"softmax": 1}, "softmax must be true or false, not 1"),
        ({"vlen_bits": 1000}, "vlen_bits must be a power of two, 128 to 65536, not 1000"),
        ({"ranges": {"tanh": 3}}, "ranges must be functions with two numbers each, not {'tanh': 3}"),
        (
            {"ranges": {"gelu": (3, 1)}},
            "range of gelu must be two finite numbers, the smaller first, not (3.0, 1.0)",
        ),
        ({"ranges": {"gelu": (float("nan"), 1)}}, "range of gelu must be two finite numbers"),
        ({"ranges": {"gelu": (0, float("inf"))}}, "range of gelu must be two finite numbers"),
        ({"functions": None}, "functions must be several names, not None"),
        ({"exclude": None}, "exclude must be several names, not None"),
        ({"format": ["fp16"]}, "format must be one of int8, int16, int32, fp8e4m3"),
    ],
)
def test_configurations_are_checked(options, message):
    with pytest.raises(UserError, match="^" + re.escape(message)):
        ApproximateConfig(**options)


def test_ranges_may_be_a_mapping():
    config = ApproximateConfig(ranges={"tanh": (-1, 2)})
    assert config.ranges == (("tanh", -1.0, 2.0),)
    assert hash(config) == hash(ApproximateConfig(ranges=(("tanh", -1.0, 2.0),)))


@pytest.mark.parametrize("format", FORMATS)
def test_one_number_without_an_axis(format):
    hardware = activation("gelu", (), ApproximateConfig(format=format, segments=8))
    for kind in (torch.float32, torch.float64):
        x = torch.tensor(0.5, dtype=kind)
        assert hardware(x).shape == ()
        assert torch.equal(hardware(x), hardware(x[None])[0])
        assert torch.equal(hardware.slope(x), hardware.slope(x[None])[0])
