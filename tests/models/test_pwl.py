"""What a fit says of itself must be what its table does."""

import dataclasses
import json

import numpy as np
import pytest

from lanewise.errors import UserError
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import flex_sfu
from lanewise.models.functions import FUNCTIONS

EVERY = np.arange(1 << 16, dtype=np.uint16)


@pytest.mark.parametrize("name", ["gelu", "exp", "reciprocal"])
def test_fp16_error_is_that_of_the_hardware_over_all_operands(name):
    """Recomputed by brute force: a fine uniform grid of x, rounded to FP16, through the golden model."""
    result, function = fit(name, segments=16), FUNCTIONS[name]
    low, high = function.range
    x = np.linspace(low, high, 2_000_001).astype(np.float16)
    x = x[(x >= low) & (x <= high)]
    y = flex_sfu(x.view(np.uint16), result.table()).view(np.float16).astype(np.float64)
    error = y - function(x.astype(np.float64))
    assert result.mse == pytest.approx(np.mean(error**2), rel=2e-3)
    assert result.aae2 == pytest.approx(np.mean(np.abs(error)) ** 2, rel=2e-3)
    assert result.max_error == pytest.approx(np.abs(error).max(), rel=2e-3)


def test_real_error_is_the_integral():
    result, function = fit("tanh", segments=16, format="real"), FUNCTIONS["tanh"]
    x = np.random.default_rng(0).uniform(-8, 8, 1_000_000)
    error = result.evaluate(x) - function(x)
    assert result.mse == pytest.approx(np.mean(error**2), rel=2e-2)
    assert result.max_error == pytest.approx(np.abs(error).max(), rel=2e-2)


def test_fp16_numbers_survive_the_table():
    result = fit("silu", segments=32)
    table = result.table()
    for numbers, bits in (
        (result.breakpoints, table.breakpoints),
        ([q for q, _ in result.coefficients], table.coefficients[:, 0].copy()),
        ([m for _, m in result.coefficients], table.coefficients[:, 1].copy()),
    ):
        assert list(numbers) == bits.view(np.float16).astype(np.float64).tolist()


def test_evaluate_is_the_golden_model():
    result = fit("silu", segments=32)
    numbers = EVERY[np.isfinite(EVERY.view(np.float16))]
    expected = flex_sfu(numbers, result.table()).view(np.float16)
    np.testing.assert_array_equal(result.evaluate(numbers.view(np.float16).astype(np.float64)), expected)


def test_no_table_beats_rounding():
    """And one with far more segments than a function needs comes near it."""
    result = fit("reciprocal", segments=64)
    assert result.rounding_mse <= result.mse < 1.2 * result.rounding_mse


def test_a_straight_function_has_no_ratio():
    assert fit("hardsigmoid", segments=32, format="real").limit_ratio is None
    result = fit("gelu", segments=32, format="real")
    assert result.limit_ratio == result.mse / result.limit_mse


def test_as_dict_is_json_with_every_field():
    result = fit("exp", segments=4)
    values = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    own = {field.name for field in dataclasses.fields(result)} - {"scaling"}
    assert values.keys() == own | {"limit_ratio", "input_scale", "output_scale", "shifts"}
    assert [len(line) for line in values["coefficients"]] == [2] * 4


def test_a_table_is_of_the_fit_s_format_and_no_other():
    half, real = fit("gelu", segments=8), fit("gelu", segments=8, format="real")
    assert half.table("fp16").format == half.table().format == "fp16"
    assert real.table().format == "fp16"
    assert real.table("bf16").format == "bf16"
    with pytest.raises(
        UserError, match=r"^format must be fp16, for which this table was fitted, not 'bf16'$"
    ):
        half.table("bf16")
    for name in ("int8", "real"):
        message = f"^format must be one of fp8e4m3, .* for a table of real numbers, not '{name}'$"
        with pytest.raises(UserError, match=message):
            real.table(name)
